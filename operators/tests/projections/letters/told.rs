//! Danger: a stream goes on to a later event, and whoever waits for an earlier one is told of that before its row can be read:
//! what he waits for does not wait, as he is told, and is not there.

use std::time::Duration;

use millstream_engine::state::SteppedStateWriter;
use millstream_operators::projection::{OpenReads, Owners, ProgressBoard, ProjectionConfig};

use super::world::{LISTS, Lists, Noted};
use crate::support::{Declared, Log, Moods, NewEvent, Opening, Running, State, config, in_memory};

const BACKOFF: Duration = Duration::from_millis(100);
/// More events than are applied in a turn.
const BUSY: [(&str, u32); 8] = [("b", 2); 8];

/// A projection that has failed on the first event of stream `a`, and has shown so. A store is on its way for ever: none is made that
/// would show rows.
struct Subject {
    log: Log,
    moods: Moods,
    running: Running<Lists<1>>,
    _declared: Declared<Lists<1>>,
    _state: State,
    _steps: SteppedStateWriter,
}

impl Subject {
    /// With events of `a` behind the failed one.
    fn new(behind: usize) -> Self {
        let (mut log, state, steps) = in_memory(1);
        let moods = Moods::good(&log.clock);
        let mut declared = Declared::new(Lists::<1>(moods.clone()), &state);
        let mut config = ProjectionConfig {
            publish_every_ms: 3_600_000,
            store_every_ms: 0,
            ..config(u32::MAX)
        };
        config.failures.backoff_first = BACKOFF;
        config.failures.backoff_max = BACKOFF;
        let opening = Opening {
            board: ProgressBoard::new("lists", 1),
            config: &config,
            reads: OpenReads::default(),
            owners: Owners::in_turn(1),
        };
        let running = declared.open(&log, &state, opening);
        moods.poison([0]);
        let events: Vec<_> = [("a", 0)]
            .into_iter()
            .chain(vec![("a", 1); behind])
            .collect();
        add(&mut log, &events);
        let mut subject = Self {
            log,
            moods,
            running,
            _declared: declared,
            _state: state,
            _steps: steps,
        };
        subject.step();
        assert_eq!(subject.seen(), (None, Some(0)));
        subject
    }

    fn step(&mut self) {
        self.running.step().unwrap();
    }

    /// A turn in which `a` is tried again, and which is over before all is applied that comes then: no rows are shown.
    fn try_again(&mut self, coming: &[(&str, u32)]) {
        let events: Vec<_> = coming.iter().copied().chain(BUSY).collect();
        add(&mut self.log, &events);
        self.log.clock.advance(BACKOFF);
        let is_busy = self.running.step().unwrap();
        assert!(is_busy, "it comes to rest, and has shown its rows");
    }

    /// The row of `a` and the offset of the event that it waits for, as readers are told.
    fn seen(&self) -> (Option<Vec<u32>>, Option<u64>) {
        let mut rows = self.running.table(&LISTS).rows().unwrap().into_iter();
        let row = rows.find_map(|(key, row)| (key == "a").then_some(row));
        let parked = self.running.board.parked("a");
        (row, parked.map(|parked| parked.letter.offset.0))
    }
}

fn add(log: &mut Log, events: &[(&str, u32)]) {
    let event =
        |(key, value): &(&str, u32)| NewEvent::of(("note", key), "Value", &Noted::of(*value));
    let events: Vec<_> = events.iter().map(event).collect();
    log.add(&events);
}

/// Story: the failed event could be applied and the one behind it failed; readers were told of the later letter at once, and
/// `send_projected` answered for the earlier event that its effect can be read. Goal: they are told with the rows.
#[test]
fn of_the_event_behind_once_rows_are_shown() {
    let mut subject = Subject::new(1);
    subject.moods.poison([1]);
    subject.try_again(&[]);
    assert_eq!(subject.seen(), (None, Some(0)));
    subject.step();
    assert_eq!(subject.seen(), (Some(vec![0]), Some(1)));
}

/// Goal: the same where the stream was free in between.
#[test]
fn of_an_event_that_comes_once_rows_are_shown() {
    let mut subject = Subject::new(0);
    subject.moods.poison([1]);
    subject.try_again(&[("a", 1)]);
    assert_eq!(subject.seen(), (None, Some(0)));
    subject.step();
    assert_eq!(subject.seen(), (Some(vec![0]), Some(1)));
}

/// Goal: the same where more waits than is applied in one turn.
#[test]
fn of_the_next_turn_once_rows_are_shown() {
    const BEHIND: usize = 1_100;
    let mut subject = Subject::new(BEHIND);
    subject.moods.poison([]);
    subject.try_again(&[]);
    assert_eq!(subject.seen(), (None, Some(0)));
    subject.step();
    let (row, parked) = subject.seen();
    assert_eq!((row.unwrap().len(), parked), (1 + BEHIND, None));
}
