use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::event::{Offset, PartitionId};
use crate::log::frame::fixtures::first_frame;
use crate::log::{Head, LogReader};
use crate::mailbox::{Mailbox, MailboxLimits, Wake};
use crate::time::{ManualClock, Timestamp};

/// An empty log that takes everything and keeps nothing.
struct Taking;

impl LogStore for Taking {
    fn append(&mut self, _: &[SealedFrame]) -> Result<(), LogError> {
        Ok(())
    }
}

impl LogReader for Taking {
    fn partitions(&self) -> u16 {
        2
    }

    fn head(&self, _: PartitionId) -> Result<Head, LogError> {
        Ok(Head::default())
    }

    fn read(&self, _: PartitionId, _: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
        Ok(Vec::new())
    }
}

/// What a submission was told.
type Told = Arc<Mutex<Option<Committed>>>;

fn submission(frame: Option<SealedFrame>) -> (Submission, Told) {
    let told = Told::default();
    let teller = Arc::clone(&told);
    let done = Box::new(move |committed: &Committed| {
        *teller.lock().unwrap() = Some(committed.clone());
    });
    (Submission { frame, done }, told)
}

fn is_stopped(told: &Told) -> bool {
    matches!(*told.lock().unwrap(), Some(Err(LogError::Stopped { .. })))
}

/// Panics once it is told to.
struct PanicsFrom(AtomicBool);

impl Wake for PanicsFrom {
    fn wake(&self) {
        assert!(
            !self.0.load(Ordering::Acquire),
            "a waker of the program's own"
        );
    }
}

#[derive(Debug)]
struct Panics;

impl Clock for Panics {
    fn now(&self) -> Timestamp {
        Timestamp(1)
    }

    fn monotonic(&self) -> Duration {
        panic!("a clock of the program's own");
    }
}

/// Story: a panic of whoever a frame woke ended the writer's thread without a word: no command succeeded any more, its
/// submitters' frames were in flight for ever, and `Engine::failed` never came.
#[test]
fn a_subscriber_that_panics_stops_the_log_with_a_word() {
    let feed = Arc::new(Feed::new(&Taking).unwrap());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1)));
    let mailbox = Mailbox::new(MailboxLimits::default(), Arc::clone(&clock));
    let waker = Arc::new(PanicsFrom(AtomicBool::new(false)));
    mailbox.attach(waker.clone());
    let _ = mailbox.begin_turn();
    waker.0.store(true, Ordering::Release);
    let _cursor = feed.subscribe(PartitionId(0), Offset(0), &mailbox, Arc::new(Taking));
    let group = GroupWriter::new(Taking, Arc::clone(&feed), clock);
    let (writer, thread) = LogWriter::start(group, 2);
    let (first, told) = submission(Some(first_frame()));
    writer.submit(first).unwrap();
    drop(writer);
    assert!(thread.thread.join().is_ok(), "the thread died of it");
    assert!(is_stopped(&told));
    assert!(matches!(feed.stopped(), Some(LogError::Stopped { .. })));
}

/// The same of what runs outside of all that is caught: figures, lines of the log, the clock.
#[test]
fn a_thread_that_dies_says_so_to_everybody() {
    let feed = Arc::new(Feed::new(&Taking).unwrap());
    let group = GroupWriter::new(Taking, Arc::clone(&feed), Arc::new(Panics));
    let (writer, mut stepped) = LogWriter::stepped(group, 4);
    let (first, _) = submission(Some(first_frame()));
    writer.submit(first).unwrap();
    let step = move || {
        stepped.step();
    };
    // On a thread of its own, so that it is dropped while the panic is under way.
    let died = std::thread::scope(|scope| scope.spawn(step).join());
    assert!(died.is_err());
    assert!(matches!(feed.stopped(), Some(LogError::Stopped { .. })));
    assert!(feed.is_closed());
    assert!(writer.stopped().is_some());
    let (late, _) = submission(None);
    assert!(writer.submit(late).is_err());
}

/// Whoever waits behind the one that the thread dies of is told, also where one of them panics at that.
#[test]
fn those_who_wait_when_the_thread_dies_are_told() {
    let feed = Arc::new(Feed::new(&Taking).unwrap());
    let group = GroupWriter::new(Taking, feed, Arc::new(Panics));
    let (writer, stepped) = LogWriter::stepped(group, 4);
    let angry = Submission {
        frame: None,
        done: Box::new(|_| panic!("an answer of the program's own")),
    };
    writer.submit(angry).unwrap();
    let (behind, told) = submission(None);
    writer.submit(behind).unwrap();
    let dies = move || {
        let _stepped = stepped;
        panic!("it dies");
    };
    let died = std::thread::scope(|scope| scope.spawn(dies).join());
    assert!(died.is_err());
    assert!(is_stopped(&told));
}

/// As soon as a frame is stored, a turn of another partition begins: whoever reads the log itself has seen the frame.
struct FollowedAtOnce {
    feed: Arc<Feed>,
    at: Arc<Mutex<Option<Timestamp>>>,
}

impl LogStore for FollowedAtOnce {
    fn append(&mut self, _: &[SealedFrame]) -> Result<(), LogError> {
        let stamp = self.feed.stamps().begin(PartitionId(1), Timestamp::MIN);
        *self.at.lock().unwrap() = Some(stamp.at());
        Ok(())
    }
}

/// Story: a frame could be read between its commit and its being published, and what followed from it be recorded at the same
/// time, in a partition that comes before.
#[test]
fn what_follows_from_a_stored_frame_is_recorded_later() {
    let feed = Arc::new(Feed::new(&Taking).unwrap());
    let at = Arc::<Mutex<Option<Timestamp>>>::default();
    let store = FollowedAtOnce {
        feed: Arc::clone(&feed),
        at: Arc::clone(&at),
    };
    let clock = Arc::new(ManualClock::new(Timestamp(1)));
    let (first, told) = submission(Some(first_frame()));
    let cause = first.frame.as_ref().unwrap().frame.header().recorded_last;
    let mut writer = GroupWriter::new(store, feed, clock);
    writer.step(vec![first]).unwrap();
    assert!(matches!(*told.lock().unwrap(), Some(Ok(_))));
    let effect = at.lock().unwrap().expect("a turn began");
    assert!(effect > cause, "{effect:?} {cause:?}");
}
