//! Figures that the engine tells about itself, read as a scraper would.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use millstream::server::{MetricsServer, serve_metrics};

/// The metrics of this process, recorded from the first call on; `None` when something else records them.
/// Call it before the engine is opened that is to be heard.
pub fn recorded() -> Option<&'static MetricsServer> {
    static SERVER: OnceLock<Option<MetricsServer>> = OnceLock::new();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    SERVER.get_or_init(|| serve_metrics(any_port).ok()).as_ref()
}

/// Values of a figure in a scrape, whatever their labels.
fn values<'a>(scrape: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    scrape.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        rest.rsplit(' ').next()?.parse().ok()
    })
}

/// Sum of a figure over all its labels.
#[must_use]
pub fn sum(scrape: &str, name: &str) -> f64 {
    values(scrape, name).sum()
}

/// Mean of a figure over all its labels; not a number when there are none.
#[must_use]
pub fn mean(scrape: &str, name: &str) -> f64 {
    sum(scrape, name) / values(scrape, name).count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# HELP n of things\n# TYPE n gauge\nn{partition=\"0\"} 1.5\nn{partition=\"1\"} 2\nn_total 7\nm 3\n";

    #[test]
    fn figures_are_found_by_their_whole_name() {
        assert_eq!(sum(SCRAPE, "n"), 3.5);
        assert_eq!(mean(SCRAPE, "n"), 1.75);
        assert_eq!(sum(SCRAPE, "m"), 3.0);
        assert!(mean(SCRAPE, "k").is_nan());
    }
}
