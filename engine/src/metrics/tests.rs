//! The table's own rules, and the load meter on made-up time. That handles record what they say is
//! tested where there is a recorder, in `millstream::server`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn close(found: f64, wanted: f64) {
    assert!(
        (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
        "{found}, wanted {wanted}"
    );
}

#[test]
fn names_are_unique_and_end_in_their_unit() {
    let mut seen = BTreeSet::new();
    for metric in ALL {
        let name = metric.name;
        assert!(seen.insert(name), "{name} stands twice");
        assert!(name.starts_with("millstream_"), "{name}");
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{name}"
        );
        let base = name.strip_suffix("_total").unwrap_or(name);
        let unit = match metric.unit {
            Unit::Seconds => "_seconds",
            Unit::Microseconds => "_microseconds",
            Unit::Bytes => "_bytes",
            Unit::PerSecond => "_per_second",
            Unit::Ratio => "_ratio",
            Unit::Count | Unit::Flag => "",
        };
        assert!(base.ends_with(unit), "{name} does not end in {unit}");
        // The exporter of histograms appends these; a name of ours must not look like one of theirs.
        for suffix in ["_bucket", "_sum", "_count"] {
            assert!(!base.ends_with(suffix), "{name}");
        }
    }
}

#[test]
fn help_texts_are_sentences_without_a_full_stop() {
    for Metric { name, help, .. } in ALL {
        assert!(
            help.len() > 10 && !help.ends_with('.') && !help.contains('\n'),
            "{name}"
        );
    }
}

#[test]
fn without_a_recorder_everything_is_silent() {
    describe_all();
    PartitionMetrics::new(crate::event::PartitionId(0)).observe_turn(1, 1);
    WriterMetrics::new().mark_stopped();
    observe_skew(&[1.0]);
}

#[test]
fn a_constant_load_is_exact_however_turns_are_cut() {
    for turns_per_second in [1_u32, 10, 1_000] {
        let mut meter = LoadMeter::new();
        for _ in 0..60 * turns_per_second {
            let items = u64::from(1_000 / turns_per_second);
            meter.observe(
                items,
                items,
                SECOND / turns_per_second / 5,
                SECOND / turns_per_second,
            );
        }
        close(meter.arrivals_per_second(), 1_000.0);
        close(meter.service_seconds(), 0.000_2);
        close(meter.utilisation(), 0.2);
        close(meter.busy_share(), 0.2);
    }
}

#[test]
fn overload_shows_above_one_while_the_busy_share_stays_at_one() {
    let mut meter = LoadMeter::new();
    for _ in 0..30 {
        // 300 come, 100 are all that a second's work can do.
        meter.observe(300, 100, SECOND, SECOND);
    }
    close(meter.utilisation(), 3.0);
    close(meter.busy_share(), 1.0);
}

#[test]
fn a_changed_load_is_taken_over_within_a_minute() {
    let mut meter = LoadMeter::new();
    for _ in 0..60 {
        meter.observe(10, 10, SECOND / 10, SECOND);
    }
    for _ in 0..60 {
        meter.observe(1_000, 1_000, SECOND / 2, SECOND);
    }
    assert!((990.0..=1_000.0).contains(&meter.arrivals_per_second()));
    assert!((0.49..=0.51).contains(&meter.utilisation()));
}

#[test]
fn an_idle_server_has_no_load_and_remembers_its_service_time() {
    let mut meter = LoadMeter::new();
    close(meter.utilisation(), 0.0);
    meter.observe(0, 0, Duration::ZERO, Duration::ZERO);
    close(meter.busy_share(), 0.0);
    meter.observe(50, 50, SECOND / 2, SECOND);
    // A day in one feed, and in many: the sums vanish without making 0 / 0.
    meter.observe(0, 0, Duration::ZERO, 86_400 * SECOND);
    for _ in 0..86_400 {
        meter.observe(0, 0, Duration::ZERO, SECOND);
    }
    close(meter.service_seconds(), 0.01);
    close(meter.arrivals_per_second(), 0.0);
    close(meter.utilisation(), 0.0);
}

#[test]
fn skew_is_the_largest_over_the_mean() {
    close(skew(&[]), 1.0);
    close(skew(&[0.0, 0.0]), 1.0);
    close(skew(&[5.0]), 1.0);
    close(skew(&[4.0, 4.0, 4.0]), 1.0);
    close(skew(&[0.0, 0.0, 9.0]), 3.0);
    close(skew(&[1.0, 3.0]), 1.5);
}
