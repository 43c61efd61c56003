//! What is too large beside others: whether it fits is told before it is too late, and it gets a frame of its own.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;
use crate::event::StreamId;
use crate::log::frame::DraftError;
use crate::partition::{
    AppendError, Appended, Appender, Appends, CommandId, Expected, NewEvent, Seen, Target,
    TurnError,
};

const MIB: usize = 1 << 20;

/// What fits into a frame by itself, but not beside a MiB of others.
const NEARLY_A_FRAME: usize = 55 * MIB + MIB / 2;

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + 'a>>;

fn poll(sent: &mut Sent<'_>) -> Poll<Result<Appended, AppendError>> {
    sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn answer(mut sent: Sent<'_>) -> Result<Appended, AppendError> {
    match poll(&mut sent) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing was answered"),
    }
}

fn append(appender: &Appender, stream: &str, expected: Expected, bytes: usize) -> Sent<'static> {
    let (appender, stream) = (appender.clone(), stream.parse::<StreamId>());
    let event = NewEvent::opaque("Added", vec![b'a'; bytes]);
    let mut sent: Sent<'static> = Box::pin(async move {
        appender
            .append(stream.expect("a stream's id"), expected, vec![event])
            .await
    });
    assert!(poll(&mut sent).is_pending());
    sent
}

/// Story: an append that has room in a frame of its own was refused because of what was taken before it in the same turn. What is
/// behind it, for the same stream as well, keeps its order.
#[test]
fn a_large_append_gets_a_frame_of_its_own() {
    let log = Failing::default();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1)));
    let feed = Arc::new(Feed::new(&log).expect("nothing is there"));
    let group = GroupWriter::new(Taking, feed, Arc::clone(&clock));
    let (writer, mut stepped) = LogWriter::stepped(group, 8);
    let limits = MailboxLimits {
        bytes_max: const { NonZeroU64::new(256 << 20).unwrap() },
        ..MailboxLimits::default()
    };
    let mailbox = Mailbox::new(limits, Arc::clone(&clock));
    let (sender, lane) = mailbox.lane();
    let appender = Appender::new(vec![sender]);
    let appends = Appends::new(lane, Arc::from([]));
    let mut parts = parts(&log, &writer, &clock, vec![Box::new(appends)]);
    parts.mailbox = mailbox;
    let mut core = PartitionCore::open(parts).expect("nothing is there");

    let first = append(&appender, "tally-1", Expected::NoStream, MIB);
    let large = append(&appender, "tally-2", Expected::NoStream, NEARLY_A_FRAME);
    let behind = append(&appender, "tally-2", Expected::Any, 1);
    let never = append(&appender, "tally-3", Expected::Any, 57 * MIB);
    let last = append(&appender, "tally-1", Expected::Exact(0), 1);
    // A frame for each that is large, and one for the last.
    for _ in 0..8 {
        core.step();
        stepped.step();
    }
    assert_eq!(core.queued(), 0);
    answer(first).unwrap();
    let (large, behind) = (answer(large).unwrap(), answer(behind).unwrap());
    assert_eq!((large.first_version, behind.first_version), (0, 1));
    let never = answer(never);
    assert!(
        matches!(
            never,
            Err(AppendError::Event(TurnError::Draft(
                DraftError::TooLarge { .. }
            )))
        ),
        "{never:?}"
    );
    let last = answer(last).unwrap();
    assert_eq!(last.first_version, 1);
    assert!(behind.position < last.position);
}

/// Appends a small event, remembers commands in large numbers, and tries to append an event that nearly fills a frame.
struct Commands {
    left: usize,
    refused: Arc<AtomicBool>,
}

/// Commands whose ids alone take more than events leave to them.
const COMMANDS: u128 = 300_000;

impl Commands {
    fn append(turn: &mut Turn<'_>, bytes: usize) -> Result<usize, TurnError> {
        let target = Target {
            category: "tally",
            id: "1",
            hash: stream_hash("tally-1"),
        };
        turn.append(target, 0, &Tally::Added("a".repeat(bytes)), None, None)
    }
}

#[derive(Serialize, Deserialize)]
enum Tally {
    Added(String),
}

impl crate::codec::Event for Tally {}

impl PartitionInput for Commands {
    fn queued(&self) -> usize {
        self.left
    }

    fn take(&mut self, _: usize, turn: &mut Turn<'_>) -> usize {
        self.left = 0;
        Self::append(turn, 1).expect("one small event");
        for id in 0..COMMANDS {
            let seen = Seen {
                first: Offset(0),
                events: 1,
                version: 0,
            };
            turn.remember(stream_hash("tally-1"), CommandId(Uuid::from_u128(id)), seen);
        }
        if let Err(error) = Self::append(turn, NEARLY_A_FRAME) {
            self.refused.store(turn.defers(&error), Ordering::Release);
        }
        1
    }

    fn completion(&mut self) -> Option<Completion> {
        None
    }

    fn settled(&mut self, _: u64) {}

    fn refuse(&mut self, _: &LogError) {}
}

/// Story: the ids of commands, which lie beside the events, were not counted when an event was taken. A frame that was found too large
/// when it was sealed ended its partition, for all.
#[test]
fn ids_of_commands_count_for_the_size_of_a_frame() {
    let log = Failing::default();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1)));
    let feed = Arc::new(Feed::new(&log).expect("nothing is there"));
    let group = GroupWriter::new(Taking, feed, Arc::clone(&clock));
    let (writer, mut stepped) = LogWriter::stepped(group, 8);
    let refused = Arc::new(AtomicBool::new(false));
    let commands = Commands {
        left: 1,
        refused: Arc::clone(&refused),
    };
    let opened = PartitionCore::open(parts(&log, &writer, &clock, vec![Box::new(commands)]));
    let mut core = opened.expect("nothing is there");
    if let Step::Failed(cause) = core.step() {
        panic!("{cause}");
    }
    assert!(refused.load(Ordering::Acquire));
    assert!(stepped.step());
}
