mod room;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;

use super::super::turn::RawDraft;
use super::*;
use crate::event::{Metadata, Offset, stream_hash};
use crate::index::IndexEntry;
use crate::log::frame::fixtures::first_frame;
use crate::log::frame::{Encoding, Frame, Kind};
use crate::log::{Direction, Feed, GroupWriter, LogReader, LogStore, SteppedLogWriter};
use crate::mailbox::MailboxLimits;
use crate::time::ManualClock;

/// An empty log on a disk that fails with the first write; then nothing can be read either.
#[derive(Clone, Debug, Default)]
struct Failing {
    is_broken: Arc<AtomicBool>,
}

const BROKEN: LogError = LogError::Panicked;

impl Failing {
    fn check(&self) -> Result<(), LogError> {
        if self.is_broken.load(Ordering::Acquire) {
            return Err(BROKEN);
        }
        Ok(())
    }
}

impl LogStore for Failing {
    fn append(&mut self, _: &[SealedFrame]) -> Result<(), LogError> {
        self.is_broken.store(true, Ordering::Release);
        self.check()
    }
}

impl LogReader for Failing {
    fn partitions(&self) -> u16 {
        1
    }

    fn head(&self, _: PartitionId) -> Result<Head, LogError> {
        self.check().map(|()| Head::default())
    }

    fn read(&self, _: PartitionId, _: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
        self.check().map(|()| Vec::new())
    }
}

impl StreamReader for Failing {
    fn locate(
        &self,
        _: PartitionId,
        _: u64,
        _: u64,
        _: usize,
        _: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        self.check().map(|()| Vec::new())
    }
}

/// Somebody who waits to be told why nothing happens.
struct Waiting(Arc<std::sync::Mutex<Option<String>>>);

impl PartitionInput for Waiting {
    fn queued(&self) -> usize {
        1
    }

    fn take(&mut self, _: usize, _: &mut Turn<'_>) -> usize {
        panic!("nothing is decided on a log that stopped")
    }

    fn completion(&mut self) -> Option<Completion> {
        None
    }

    fn settled(&mut self, _: u64) {}

    fn refuse(&mut self, cause: &LogError) {
        *self.0.lock().expect("nobody panics with it") = Some(cause.to_string());
    }
}

fn parts(
    log: &Failing,
    writer: &LogWriter,
    clock: &Arc<dyn Clock>,
    inputs: Vec<Box<dyn PartitionInput>>,
) -> PartitionParts {
    PartitionParts {
        partition: PartitionId(0),
        config: PartitionConfig::default(),
        mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(clock)),
        inputs,
        writer: writer.clone(),
        streams: Arc::new(log.clone()),
        clock: Arc::clone(clock),
        ids: random_ids,
        stamps: Stamps::new(1, Timestamp(0)),
        shared: Arc::default(),
    }
}

/// Story: LMDB lets nobody read any more once a commit failed. A partition that was opened just then could not be, for ever,
/// and its callers heard after many attempts that it had been restarted.
#[test]
fn one_that_is_opened_on_a_stopped_log_says_why() {
    let log = Failing::default();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1)));
    let feed = Arc::new(Feed::new(&log).expect("nothing is there"));
    let group = GroupWriter::new(log.clone(), feed, Arc::clone(&clock));
    let (writer, mut stepped) = LogWriter::stepped(group, 8);
    let told = Arc::default();
    let open = || {
        let inputs: Vec<Box<dyn PartitionInput>> = vec![Box::new(Waiting(Arc::clone(&told)))];
        PartitionCore::open(parts(&log, &writer, &clock, inputs))
    };
    assert!(open().is_ok());
    let submission = Submission {
        frame: Some(first_frame()),
        done: Box::new(|committed| assert!(committed.is_err())),
    };
    assert!(writer.submit(submission).is_ok() && stepped.step());
    assert!(log.head(PartitionId(0)).is_err());
    let mut core = open().expect("it opens, to refuse");
    assert!(matches!(core.step(), Step::Idle));
    let told = told.lock().expect("nobody panics with it").clone();
    let told = told.expect("those who wait are told");
    assert!(told.contains("start the process again"), "{told}");
}

type Done = Box<dyn FnOnce(&Committed) + Send>;

/// A core without inputs, and the answers of its first frame, which are these.
fn in_flight(completions: Vec<Completion>) -> (PartitionCore, Done) {
    let log = Failing::default();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1)));
    let feed = Arc::new(Feed::new(&log).expect("nothing is there"));
    let group = GroupWriter::new(log.clone(), feed, Arc::clone(&clock));
    let (writer, _) = LogWriter::stepped(group, 8);
    let opened = PartitionCore::open(parts(&log, &writer, &clock, Vec::new()));
    let mut core = opened.expect("nothing is there");
    let stamp = core.stamps.begin(PartitionId(0), Timestamp(1));
    core.submitted = 1;
    core.shared.submitted.store(1, Ordering::Release);
    let done = core.done(1, completions, stamp);
    (core, done)
}

/// Story: what a caller who had gone was to be told panicked when it was dropped. The frame was never settled: a restart waited for
/// it without end, a shutdown until its deadline, and those who were answered behind it heard nothing.
#[test]
fn an_answer_that_panics_leaves_its_frame_settled() {
    let is_told = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_told);
    let (mut core, done) = in_flight(vec![
        Box::new(|_| panic!("dropped with a panic")),
        Box::new(move |committed| told.store(committed.is_ok(), Ordering::Release)),
    ]);
    let answered = catch_unwind(AssertUnwindSafe(|| done(&Ok(None))));
    assert!(answered.is_err(), "nobody hears of the panic");
    assert!(is_told.load(Ordering::Acquire));
    assert!(core.shared.stopped().is_none());
    core.stop();
    core.mailbox.close();
    assert!(matches!(core.step(), Step::Done));
}

/// Where the writer's thread dies with them in its hands.
#[test]
fn answers_that_nobody_gives_are_given_at_their_end() {
    let is_told = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_told);
    let (core, done) = in_flight(vec![Box::new(move |committed| {
        told.store(committed.is_err(), Ordering::Release);
    })]);
    drop(done);
    assert!(is_told.load(Ordering::Acquire));
    assert!(matches!(core.shared.stopped(), Some(LogError::Closed)));
}

/// A disk that takes everything.
struct Taking;

impl LogStore for Taking {
    fn append(&mut self, _: &[SealedFrame]) -> Result<(), LogError> {
        Ok(())
    }
}

/// What an input does with its items, one per turn.
#[derive(Clone, Copy)]
enum Item {
    Stores,
    StoresNothing,
    Panics,
}

struct Items(Vec<Item>);

impl PartitionInput for Items {
    fn queued(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, _: usize, turn: &mut Turn<'_>) -> usize {
        match self.0.remove(0) {
            Item::Stores => {
                let kind = Kind {
                    category: "tally".into(),
                    event_type: "Added".into(),
                    schema_version: 1,
                    encoding: Encoding::Opaque,
                };
                let draft = RawDraft {
                    stream: "1",
                    hash: stream_hash("tally-1"),
                    version: 0,
                    event_time: None,
                    id: None,
                    metadata: Metadata::default(),
                };
                turn.append_raw(&kind, &draft, b"1")
                    .expect("one small event");
            }
            Item::StoresNothing => {}
            Item::Panics => panic!("an input panics"),
        }
        1
    }

    fn completion(&mut self) -> Option<Completion> {
        None
    }

    fn settled(&mut self, _: u64) {}

    fn refuse(&mut self, _: &LogError) {}
}

/// A core with these items on a disk that takes everything, the writer stepped by hand, and the core's clock.
fn with_items(items: Vec<Item>) -> (PartitionCore, SteppedLogWriter<Taking>, Arc<ManualClock>) {
    let log = Failing::default();
    let manual = Arc::new(ManualClock::new(Timestamp(1)));
    let clock: Arc<dyn Clock> = manual.clone();
    let feed = Arc::new(Feed::new(&log).expect("nothing is there"));
    let group = GroupWriter::new(Taking, feed, Arc::clone(&clock));
    let (writer, stepped) = LogWriter::stepped(group, 8);
    let opened = PartitionCore::open(parts(&log, &writer, &clock, vec![Box::new(Items(items))]));
    (opened.expect("nothing is there"), stepped, manual)
}

/// Story: a turn that stored nothing ended in the place of one whose frame was still being written. Whoever merges partitions by time
/// took this one for quiet, and applied the frame after later ones of others.
#[test]
fn a_turn_that_stores_nothing_leaves_those_before_it_open() {
    let (mut core, mut writer, _) = with_items(vec![Item::Stores, Item::StoresNothing]);
    core.step();
    assert_eq!((core.in_flight(), writer.waiting()), (1, 1));
    let asked = core.stamps.ask(PartitionId(0), Timestamp(9));
    core.step();
    assert_eq!(core.queued(), 0, "the empty turn is over");
    assert!(!core.stamps.is_quiet(PartitionId(0), asked));
    assert!(writer.step());
    assert!(core.stamps.is_quiet(PartitionId(0), asked));
}

/// Story: the turn of an input that panicked went on for whoever watched. A partition that was given up was told of as one whose
/// aggregate does not return, for ever.
#[test]
fn a_turn_that_panics_is_over() {
    let (mut core, _writer, clock) = with_items(vec![Item::Panics]);
    let stepped = catch_unwind(AssertUnwindSafe(|| core.step()));
    assert!(stepped.is_err());
    clock.advance(Duration::from_secs(9));
    let busy = core.shared.watch().busy(clock.monotonic());
    assert_eq!(busy, Duration::ZERO);
    assert!(core.stamps.is_quiet(
        PartitionId(0),
        core.stamps.ask(PartitionId(0), Timestamp(9))
    ));
}
