//! A join of two streams window by window: temperature and humidity of rooms, side by side for every ten minutes.
//!
//! `cargo run -p millstream-examples --example windowed_join`

use std::time::Duration;

use millstream::dataflow::Dataflow;
use millstream_engine::flow::Ascending;
use millstream_engine::time::Timestamp;
use millstream_operators::window::Tumbling;

/// Room and reading. What a join keeps is owned, so that checkpoints can hold it.
type Reading = (String, i64);

/// Minute, room and reading.
const TEMPERATURES: [(i64, &str, i64); 4] = [
    (1, "kitchen", 21),
    (2, "cellar", 12),
    (12, "kitchen", 22),
    (25, "cellar", 13),
];
const HUMIDITIES: [(i64, &str, i64); 3] =
    [(3, "kitchen", 40), (9, "cellar", 70), (14, "kitchen", 42)];

/// Readings, each with its time.
fn timed(readings: &[(i64, &str, i64)]) -> Vec<(Timestamp, Reading)> {
    let timed = |&(minute, room, value): &(i64, &str, i64)| {
        let time = Timestamp::from_seconds(minute * 60);
        (time, (room.to_owned(), value))
    };
    readings.iter().map(timed).collect()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (dataflow, pairs) = Dataflow::declare("climate", |flow| {
        // Times come in order, so that the watermark is the latest time.
        let temperatures = flow
            .timed_items(timed(&TEMPERATURES))
            .watermarks(Ascending::new())
            .stream();
        let humidities = flow
            .timed_items(timed(&HUMIDITIES))
            .watermarks(Ascending::new())
            .stream();
        let room = |reading: &Reading| reading.0.clone();
        temperatures
            .key_by(room)
            .join(humidities.key_by(room))
            .window(Tumbling::of(Duration::from_secs(600)))
            // A reading without one of the other kind in its window comes alone.
            .full(|room, temperature, humidity| {
                (
                    room.clone(),
                    temperature.map(|t| t.1),
                    humidity.map(|h| h.1),
                )
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
            (0, ("cellar".to_owned(), Some(12), Some(70))),
            (0, ("kitchen".to_owned(), Some(21), Some(40))),
            (10, ("kitchen".to_owned(), Some(22), Some(42))),
            (20, ("cellar".to_owned(), Some(13), None)),
        ]
    );
    Ok(())
}
