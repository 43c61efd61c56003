//! A join of two streams window by window: temperature and humidity of rooms, side by side for every ten minutes.
//!
//! `cargo run -p millstream-examples --example windowed_join`

use std::time::Duration;

use millstream::dataflow::{Dataflow, Generate};
use millstream_engine::flow::Ascending;
use millstream_engine::time::Timestamp;
use millstream_operators::window::Tumbling;

/// Room and reading.
type Reading = (&'static str, i64);

const TEMPERATURES: [(i64, Reading); 4] = [
    (1, ("kitchen", 21)),
    (2, ("cellar", 12)),
    (12, ("kitchen", 22)),
    (25, ("cellar", 13)),
];
const HUMIDITIES: [(i64, Reading); 3] = [
    (3, ("kitchen", 40)),
    (9, ("cellar", 70)),
    (14, ("kitchen", 42)),
];

/// Readings with the minute that each was taken in, as a source of one split.
fn minutes<const N: usize>(
    readings: [(i64, Reading); N],
) -> Generate<
    impl Fn(usize, usize) -> std::array::IntoIter<(Timestamp, Reading), N> + Clone + Send + 'static,
> {
    let timed = readings.map(|(minute, reading)| (Timestamp::from_seconds(minute * 60), reading));
    Generate::timed(move |_, _| timed.into_iter()).splits(1)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (dataflow, pairs) = Dataflow::declare("climate", |flow| {
        // Each split's times come in order, so that its watermark is its latest time.
        let temperatures = flow
            .source("temperatures", minutes(TEMPERATURES))
            .watermarks(Ascending::new())
            .stream();
        let humidities = flow
            .source("humidities", minutes(HUMIDITIES))
            .watermarks(Ascending::new())
            .stream();
        let room = |reading: &Reading| reading.0;
        temperatures
            .key_by(room)
            .join(humidities.key_by(room))
            .window(Tumbling::of(Duration::from_secs(600)))
            // A reading without one of the other kind in its window comes alone.
            .full(|room, temperature, humidity| {
                (*room, temperature.map(|t| t.1), humidity.map(|h| h.1))
            })
            .map(|pair| (pair.window.start.as_micros() / 60_000_000, pair.value))
            .collect()
    })?;
    dataflow.run().await?;

    let mut pairs = pairs.take_items();
    pairs.sort_unstable();
    for (minute, (room, temperature, humidity)) in &pairs {
        println!("{room}, from minute {minute}: {temperature:?} degrees, {humidity:?} % humidity");
    }
    assert_eq!(
        pairs,
        [
            (0, ("cellar", Some(12), Some(70))),
            (0, ("kitchen", Some(21), Some(40))),
            (10, ("kitchen", Some(22), Some(42))),
            (20, ("cellar", Some(13), None)),
        ]
    );
    Ok(())
}
