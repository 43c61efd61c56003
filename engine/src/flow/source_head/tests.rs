//! Idleness of splits whose stage has no rest: what takes all of its turns, and what is not pulled.

mod reads;

use std::num::NonZeroUsize;

use super::*;
use crate::flow::{Ascending, Emit};
use crate::mailbox::MailboxLimits;
use crate::time::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

/// Adds seconds of items and says what comes of the pull.
type Script = dyn FnMut(&mut Vec<i64>) -> Pulled + Send;

/// Gives what a closure says.
struct Scripted(Box<Script>);

impl Source for Scripted {
    type Item = ();

    fn pull<E: Emit<()>>(&mut self, _items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        let mut seconds = Vec::new();
        let pulled = (self.0)(&mut seconds);
        for second in seconds {
            out.emit(Timestamp::from_seconds(second), ());
        }
        Ok(pulled)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

/// What the operators behind the head hear.
#[derive(Default)]
struct Heard {
    watermark: Option<Timestamp>,
    idle: usize,
}

impl Operator<()> for Heard {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, _item: (), _out: &mut E) {}

    fn watermark<E: Emit<Infallible>>(&mut self, watermark: Timestamp, _out: &mut E) {
        self.watermark = Some(watermark);
    }

    fn idle(&mut self) {
        self.idle += 1;
    }

    crate::stateless!();
}

struct Bench {
    clock: Arc<ManualClock>,
    head: SourceHead<Scripted, Ascending>,
    heard: Heard,
}

impl Bench {
    fn new(clock: Arc<ManualClock>, drift: Option<Duration>, scripts: Vec<Scripted>) -> Self {
        let limits = MailboxLimits {
            items_max: 8.try_into().unwrap(),
            bytes_max: 1_024.try_into().unwrap(),
        };
        let mailbox = Mailbox::new(limits, Arc::<ManualClock>::clone(&clock) as _);
        let options = SourceOptions {
            batch: BatchSize::Fixed(NonZeroUsize::MIN),
            idle_after: Some(SECOND * 30),
            alignment: drift.map(|drift| Arc::new(Alignment::new(scripts.len(), drift))),
        };
        let split = |(number, source)| Split {
            source,
            policy: Ascending::new(),
            number,
            of: None,
            resumed: Timestamp::MIN,
        };
        let splits = scripts.into_iter().enumerate().map(split).collect();
        Self {
            head: SourceHead::new(splits, options, &mailbox),
            clock,
            heard: Heard::default(),
        }
    }

    fn turn(&mut self) -> Pull {
        let turn = Turn {
            now: self.clock.now(),
            monotonic: self.clock.monotonic(),
        };
        let pulled = self.head.pull(&mut self.heard, &turn, &*self.clock);
        pulled.unwrap()
    }

    fn watermark(&self) -> Option<i64> {
        self.heard.watermark.map(|time| time.as_millis() / 1_000)
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::EPOCH))
}

/// An item at once, then nothing.
fn one(second: i64) -> Scripted {
    let mut left = Some(second);
    Scripted(Box::new(move |seconds| {
        seconds.extend(left.take());
        Pulled::Pending
    }))
}

#[test]
fn a_split_that_takes_all_turns_does_not_keep_its_neighbour_from_being_idle() {
    let clock = clock();
    let (shared, mut second) = (Arc::clone(&clock), 10);
    let busy = Scripted(Box::new(move |seconds| {
        shared.advance(SECOND);
        second += 1;
        seconds.push(second);
        Pulled::More
    }));
    let mut bench = Bench::new(clock, None, vec![one(1), busy]);
    for _ in 0..20 {
        assert_eq!(bench.turn(), Pull::More);
    }
    assert_eq!(bench.watermark(), Some(1));
    for _ in 0..50 {
        bench.turn();
    }
    assert!(bench.watermark() > Some(30), "{:?}", bench.watermark());
    assert_eq!(bench.heard.idle, 0, "one of them is at work");
}

#[test]
fn a_split_that_is_held_back_is_not_silent() {
    let clock = clock();
    let pulls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (counted, mut second) = (Arc::clone(&pulls), 0);
    let fast = Scripted(Box::new(move |seconds| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        second += 1_000;
        seconds.push(second);
        Pulled::More
    }));
    let mut second = 0;
    let slow = Scripted(Box::new(move |seconds| {
        second += 1;
        seconds.push(second);
        Pulled::Pending
    }));
    let mut bench = Bench::new(clock, Some(SECOND * 10), vec![fast, slow]);
    for turn in 1..20 {
        bench.turn();
        bench.clock.advance(SECOND * 10);
        assert!(
            bench.watermark() <= Some(turn * 2),
            "{:?}",
            bench.watermark()
        );
    }
    assert_eq!(pulls.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(bench.watermark() >= Some(19));
}

#[test]
fn silence_counts_from_the_first_pull_that_found_nothing_to_the_last() {
    let mut bench = Bench::new(clock(), None, vec![one(1), one(2)]);
    assert_eq!(bench.turn(), Pull::IdleFor(SECOND * 30));
    bench.clock.advance(SECOND * 10);
    assert_eq!(bench.turn(), Pull::IdleFor(SECOND * 20));
    assert_eq!(bench.watermark(), Some(1));
    bench.clock.advance(SECOND * 20);
    assert_eq!(bench.turn(), Pull::Idle);
    assert_eq!(bench.heard.idle, 1);
    assert_eq!(bench.turn(), Pull::Idle);
    assert_eq!(bench.heard.idle, 1, "it is told once");
}

/// Has as many items as it is asked for, a number of times.
struct Greedy {
    pulls: u32,
    given: Arc<std::sync::atomic::AtomicUsize>,
}

impl Source for Greedy {
    type Item = ();

    fn pull<E: Emit<()>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        if self.pulls == 0 {
            return Ok(Pulled::Pending);
        }
        self.pulls -= 1;
        (0..items_max).for_each(|_| out.emit(Timestamp::EPOCH, ()));
        self.given
            .fetch_add(items_max, std::sync::atomic::Ordering::Relaxed);
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

/// However the size of batches changes: a split that gets less would fall behind.
#[test]
fn splits_that_are_read_in_turn_give_the_same_number_of_items() {
    let clock = clock();
    let limits = MailboxLimits::default();
    let mailbox = Mailbox::new(limits, Arc::<ManualClock>::clone(&clock) as _);
    let given: Vec<Arc<std::sync::atomic::AtomicUsize>> = (0..4).map(|_| Arc::default()).collect();
    let split = |(number, given): (usize, &Arc<_>)| Split {
        source: Greedy {
            pulls: 50,
            given: Arc::clone(given),
        },
        policy: Ascending::new(),
        number,
        of: None,
        resumed: Timestamp::MIN,
    };
    let splits = given.iter().enumerate().map(split).collect();
    let mut head = SourceHead::new(splits, SourceOptions::default(), &mailbox);
    let turn = Turn {
        now: clock.now(),
        monotonic: clock.monotonic(),
    };
    head.pull(&mut Heard::default(), &turn, &*clock).unwrap();
    let given: Vec<_> = given
        .iter()
        .map(|given| given.load(std::sync::atomic::Ordering::Relaxed))
        .collect();
    assert!(given[0] > 50);
    assert_eq!(given, vec![given[0]; 4]);
}

/// Has nothing any more, or as many items as it is asked for, which takes a while; notes how many that is.
struct Slow {
    is_over: bool,
    clock: Arc<ManualClock>,
    asked: Arc<std::sync::Mutex<Vec<usize>>>,
}

impl Source for Slow {
    type Item = ();

    fn pull<E: Emit<()>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        if self.is_over {
            return Ok(Pulled::End);
        }
        self.asked.lock().unwrap().push(items_max);
        (0..items_max).for_each(|_| out.emit(Timestamp::EPOCH, ()));
        let nanos = 20_000 + 200 * items_max as u64;
        self.clock.advance(Duration::from_nanos(nanos));
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

/// Story: the size of pulls was chosen anew where the first split was pulled, and stayed as it was for good once that had
/// ended.
#[test]
fn the_size_of_pulls_is_chosen_anew_after_the_first_split_has_ended() {
    let clock = clock();
    let mailbox = Mailbox::new(
        MailboxLimits::default(),
        Arc::<ManualClock>::clone(&clock) as _,
    );
    let asked = Arc::default();
    let split = |number| Split {
        source: Slow {
            is_over: number == 0,
            clock: Arc::clone(&clock),
            asked: Arc::clone(&asked),
        },
        policy: Ascending::new(),
        number,
        of: None,
        resumed: Timestamp::MIN,
    };
    let mut head = SourceHead::new(vec![split(0), split(1)], SourceOptions::default(), &mailbox);
    for _ in 0..10 {
        let turn = Turn {
            now: clock.now(),
            monotonic: clock.monotonic(),
        };
        head.pull(&mut Heard::default(), &turn, &*clock).unwrap();
    }
    let asked = asked.lock().unwrap();
    // Before it knows what pulls cost it tries several sizes.
    assert!(asked.iter().any(|items| *items != asked[0]), "{asked:?}");
}
