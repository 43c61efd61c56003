//! How long an event takes until its row can be read, as the metrics show it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Recorder, SharedString, Unit};
use millstream_engine::event::PartitionId;
use millstream_engine::state::SteppedStateWriter;
use millstream_engine::time::{Clock, ManualClock};
use millstream_operators::projection::{
    OpenReads, Owners, ProgressBoard, ProjectedEvent, Projection, ProjectionConfig, Rows, Table,
    TableMut,
};

use crate::sending::Value;
use crate::support::{Declared, Log, NewEvent, Opening, Running, State, in_memory};

const ZERO: PartitionId = PartitionId(0);
const LAST: Table<u64, u64> = Table::named("last");

/// Samples of the one histogram that is looked at, in milliseconds.
#[derive(Clone, Default)]
struct Samples(Arc<Mutex<Vec<u64>>>);

impl Samples {
    /// Those since they were taken last.
    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl HistogramFn for Samples {
    fn record(&self, seconds: f64) {
        let milliseconds = (seconds * 1e3).round() as u64;
        self.0.lock().unwrap().push(milliseconds);
    }
}

impl Recorder for Samples {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &metrics::Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        if key.name() == "millstream_projection_visible_seconds" {
            Histogram::from_arc(Arc::new(self.clone()))
        } else {
            Histogram::noop()
        }
    }
}

/// Takes a turn for each event while it is slow.
struct Slow {
    clock: Arc<ManualClock>,
    is_slow: Arc<AtomicBool>,
}

impl Projection for Slow {
    const NAME: &'static str = "slow";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "value";
    type Event = Value;
    type Tables = (Table<u64, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (LAST,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Value>,
        (last,): &mut (TableMut<u64, u64>,),
    ) -> Result<(), Infallible> {
        last.put(&0, event.payload.0);
        if self.is_slow.load(Ordering::Relaxed) {
            self.clock.advance(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// A projection that shows what it has after each turn.
struct Subject {
    log: Log,
    state: State,
    /// What is stored waits there for ever.
    _steps: SteppedStateWriter,
    declared: Declared<Slow>,
    is_slow: Arc<AtomicBool>,
    samples: Samples,
}

impl Subject {
    fn new() -> Self {
        let (log, state, steps) = in_memory(1);
        let is_slow = Arc::<AtomicBool>::default();
        let slow = Slow {
            clock: Arc::clone(&log.clock),
            is_slow: Arc::clone(&is_slow),
        };
        Self {
            declared: Declared::new(slow, &state),
            log,
            state,
            _steps: steps,
            is_slow,
            samples: Samples::default(),
        }
    }

    /// An actor that goes on from what is stored.
    fn open(&mut self) -> Running<Slow> {
        let board = ProgressBoard::of_version("slow", 1, self.log.feed.clone(), self.log.clock());
        board.set_active(true);
        let config = ProjectionConfig {
            publish_every_ms: 0,
            ..ProjectionConfig::default()
        };
        let opening = Opening {
            board,
            config: &config,
            reads: OpenReads::default(),
            owners: Owners::default(),
        };
        let open = || self.declared.open(&self.log, &self.state, opening);
        metrics::with_local_recorder(&self.samples, open)
    }

    /// Appends a frame with an event, after which time goes by.
    fn append(&mut self, seconds: u64) {
        let event = NewEvent::of(("value", "1"), "Value", &Value(seconds));
        self.log.append(ZERO, self.log.clock.now(), [&event]);
        self.log.clock.advance(Duration::from_secs(seconds));
    }

    /// Turns until all is shown; gives what was recorded.
    fn run(&self, running: &mut Running<Slow>) -> Vec<u64> {
        for _ in 0..100 {
            running.step().unwrap();
            if running.board.visible(ZERO) == self.log.end(ZERO) {
                return self.samples.take();
            }
        }
        panic!("it does not come to the end");
    }
}

/// Story: the sample was the age of the newest event that was shown, and there was none unless the projection was at the end: of one
/// that was always busy, and of events that waited for others, nothing was heard.
#[test]
fn what_is_recorded_is_how_long_the_oldest_event_waited_for_its_row() {
    let mut subject = Subject::new();
    let mut running = subject.open();
    // Two that are shown together.
    subject.append(5);
    subject.append(1);
    assert_eq!(subject.run(&mut running), [6_000]);
    assert_eq!(subject.run(&mut running), [0; 0]);
    // Two of which the second is left when the first is shown.
    subject.is_slow.store(true, Ordering::Relaxed);
    subject.append(5);
    subject.append(1);
    assert_eq!(subject.run(&mut running), [6_010, 1_020]);
}

/// What was appended before an actor began tells how old the history is; what a version shows that does not answer, nobody sees.
#[test]
fn neither_history_nor_what_nobody_sees_is_recorded() {
    let mut subject = Subject::new();
    subject.append(3_600);
    let mut running = subject.open();
    assert_eq!(subject.run(&mut running), [0; 0]);
    subject.append(2);
    assert_eq!(subject.run(&mut running), [2_000]);
    running.board.set_active(false);
    subject.append(3);
    assert_eq!(subject.run(&mut running), [0; 0]);
}
