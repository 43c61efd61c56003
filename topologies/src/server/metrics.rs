//! The engine's metrics over HTTP, in Prometheus' text format.
//!
//! Invariants: (1) a process has one recorder, from the first [`serve_metrics`] to its end; (2) every
//! metric of the engine has its help text and, if it is a histogram, fixed buckets, so that figures of
//! several machines can be added up.
//! Threads: the listener has a thread and a runtime of its own, so that a scrape is answered while
//! the engine's threads are busy, which is when it is wanted most. The same thread empties the
//! histograms' buffers every few seconds, scraped or not.
//! Failure: an address that cannot be had is a typed error; nothing is installed then.
//! Security: no encryption and no password. The default address is reached from the same machine only. Connections are few and
//! short, see [`listener`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::time::Duration;

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use millstream_engine::metrics::{ALL, Kind, Unit, describe_all};
use tokio::sync::oneshot;

use super::listener;

/// Where metrics are served unless told otherwise: port 9464 of this machine, not reachable from others.
pub const DEFAULT_METRICS_ADDRESS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464));

/// Time between two emptyings of the histograms' buffers.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Bounds in seconds: three per decade from 10 µs, a batch of small items, to 10 s, which is trouble.
const SECONDS: [f64; 19] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Bounds of sizes: powers of two, as batches double while a backlog grows.
const SIZES: [f64; 17] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0,
    16_384.0, 32_768.0, 65_536.0,
];

/// Why metrics are not served. Nothing was installed: the process goes on without metrics, or tries
/// again with another address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeMetricsError {
    /// The address is taken, is not one of this machine, or needs rights that the process lacks.
    #[error("metrics cannot be served at {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A recorder is installed already, by an earlier call or by the program itself.
    #[error("this process already has a metrics recorder")]
    AlreadyInstalled,
    /// The system gave no thread for the listener.
    #[error("no thread for the metrics listener: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

impl ServeMetricsError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Bind { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            Self::Thread { .. } => true,
            Self::AlreadyInstalled => false,
        }
    }
}

/// The metrics of this process, being served until it ends. Dropping this does not stop it.
#[derive(Clone, Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    handle: PrometheusHandle,
}

impl MetricsServer {
    /// Where it listens, with the port that the system chose if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a scrape would get now. Cost: as a scrape, one pass over all figures.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

/// Makes all metrics of this process recorded from now on and serves them over HTTP, at `/metrics`.
///
/// Call it before the engine is opened. Returns once the address is bound; needs no runtime around it.
/// With port 0 the system chooses a port. Any path but `/health` answers the metrics.
///
/// ```no_run
/// let server = millstream::server::serve_metrics(millstream::server::DEFAULT_METRICS_ADDRESS)?;
/// println!("metrics at http://{}/metrics", server.address());
/// # Ok::<(), millstream::server::ServeMetricsError>(())
/// ```
///
/// # Errors
/// [`ServeMetricsError`]: nothing was installed.
pub fn serve_metrics(address: SocketAddr) -> Result<MetricsServer, ServeMetricsError> {
    let bind = |source| ServeMetricsError::Bind { address, source };
    let listener = TcpListener::bind(address).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ServeMetricsError::Thread { source })?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(bind)?
    };
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    let served = handle.clone();
    // The thread starts first and waits: a recorder cannot be taken back once it is installed.
    let (start, started) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("millstream-metrics".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                if started.await.is_err() {
                    return;
                }
                tokio::join!(keep_up(&served), listener::serve(listener, served.clone()));
            });
        })
        .map_err(|source| ServeMetricsError::Thread { source })?;
    ::metrics::set_global_recorder(recorder).map_err(|_| ServeMetricsError::AlreadyInstalled)?;
    describe_all();
    let _ = start.send(());
    Ok(MetricsServer { address, handle })
}

/// Empties the histograms' buffers, which grow until then, every few seconds.
async fn keep_up(handle: &PrometheusHandle) {
    let mut looks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        looks.tick().await;
        handle.run_upkeep();
    }
}

/// Metrics of one piece of code, for tests: nothing global, so tests run beside each other.
///
/// ```
/// use millstream::server::LocalMetrics;
/// use millstream_engine::metrics::WriterMetrics;
/// let local = LocalMetrics::new();
/// local.during(|| WriterMetrics::new().mark_stopped());
/// assert!(local.render().contains("millstream_writer_stopped 1"));
/// ```
#[derive(Debug)]
pub struct LocalMetrics {
    recorder: PrometheusRecorder,
}

impl LocalMetrics {
    /// A recorder as [`serve_metrics`] installs it, but nowhere installed.
    pub fn new() -> Self {
        let recorder = builder().build_recorder();
        ::metrics::with_local_recorder(&recorder, describe_all);
        Self { recorder }
    }

    /// Runs `work`; handles that it makes on this thread record here, for as long as they live and from
    /// whatever thread they are used. Those made on other threads do not.
    pub fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        ::metrics::with_local_recorder(&self.recorder, work)
    }

    /// What was recorded so far, in Prometheus' text format.
    pub fn render(&self) -> String {
        self.recorder.handle().render()
    }
}

impl Default for LocalMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A builder with fixed buckets for each histogram of the engine, and for a user's own in seconds.
///
/// Without buckets the exporter shows quantiles, which cannot be added up over partitions.
fn builder() -> PrometheusBuilder {
    let with = |builder: PrometheusBuilder, matcher, bounds: &[f64]| {
        builder
            .set_buckets_for_metric(matcher, bounds)
            .expect("only an empty list of bounds is refused")
    };
    let start = with(
        PrometheusBuilder::new(),
        Matcher::Suffix("_seconds".to_owned()),
        &SECONDS,
    );
    let histograms = ALL
        .iter()
        .filter(|metric| metric.kind == Kind::Histogram && metric.unit != Unit::Seconds);
    histograms.fold(start, |builder, metric| {
        with(builder, Matcher::Full(metric.name.to_owned()), &SIZES)
    })
}
