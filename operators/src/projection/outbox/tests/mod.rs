//! The queue: against a plain model of it, how many rows it reads, and what it promises one by one.

mod model;
mod rows;

use std::collections::VecDeque;
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId, Position};

use super::EffectPlace;
use super::format::Span;
use super::queue::Queue;
use super::reading::{Found, Reading, Room};

/// Room, and calls at once.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    held_max: usize,
    bytes_max: usize,
    calls: usize,
}

impl Sizes {
    fn queue(self) -> Queue {
        let room = Room {
            effects: self.held_max,
            bytes: self.bytes_max,
        };
        Queue::new(Reading::from(place(0), room, self.calls), self.calls)
    }
}

/// Few, so that streams are passed over all the time.
const SMALL: Sizes = Sizes {
    held_max: 6,
    bytes_max: usize::MAX,
    calls: 2,
};

fn place(offset: u64) -> EffectPlace {
    EffectPlace {
        position: Position {
            partition: PartitionId(0),
            offset: Offset(offset),
        },
        index: 0,
    }
}

fn found(place: EffectPlace, stream: impl ToString) -> Found {
    of_bytes(place, stream, 0)
}

fn of_bytes(place: EffectPlace, stream: impl ToString, bytes: usize) -> Found {
    (place, stream.to_string().into(), vec![0; bytes])
}

/// Room for ten bytes, and for more effects than there are.
const SHORT: Sizes = Sizes {
    held_max: 100,
    bytes_max: 10,
    calls: 2,
};

fn deliver_next(queue: &mut Queue) {
    let (place, _) = queue.start().unwrap();
    queue.settle(place);
}

/// What does not fit is read again when it does, and not before; one that never does has its turn alone.
#[test]
fn bytes_are_bounded_and_a_larger_one_passes_alone() {
    let mut queue = SHORT.queue();
    let all = [4, 4, 4, 50, 1].into_iter().enumerate();
    let all: Vec<_> = all.map(|(at, bytes)| (at as u64, bytes)).collect();
    // Reads, if it wants to, and says which comes first.
    let read = |queue: &mut Queue| {
        let wanted = queue.next_read()?;
        let behind = all.iter().filter(|(at, _)| place(*at) >= wanted.from);
        let page = behind.take(wanted.rows);
        let page: Vec<_> = page
            .map(|&(at, bytes)| of_bytes(place(at), at, bytes))
            .collect();
        let (first, end) = (page[0].0, page.last().map(|(place, ..)| *place));
        queue.take_in(wanted, page, end);
        Some(first.position.offset.0)
    };
    assert_eq!(read(&mut queue), Some(0));
    assert_eq!((queue.len(), queue.bytes), (2, 8));
    assert_eq!(read(&mut queue), None);
    deliver_next(&mut queue);
    assert_eq!(read(&mut queue), Some(2));
    assert_eq!((queue.len(), queue.bytes), (2, 8));
    for left in [1, 0] {
        deliver_next(&mut queue);
        assert_eq!(queue.len(), left);
        // There is room for one like those that were here, and then none for the one that comes.
        assert_eq!(read(&mut queue), Some(3));
        assert_eq!(queue.len(), left.max(1));
        assert_eq!(read(&mut queue), None);
    }
    assert_eq!((queue.len(), queue.bytes), (1, 50));
    // One that fails keeps its room.
    let (large, _) = queue.start().unwrap();
    queue.failed(large, |_| Some(Duration::ZERO));
    assert_eq!(read(&mut queue), None);
    queue.wake(Duration::ZERO);
    deliver_next(&mut queue);
    assert_eq!(read(&mut queue), Some(4));
    assert_eq!((queue.len(), queue.bytes), (1, 1));
}

/// What waits behind a failed effect gives its bytes up as it does its place, as many as are needed.
#[test]
fn what_waits_behind_a_failed_effect_gives_its_bytes_up() {
    let mut queue = SHORT.queue();
    let wanted = queue.next_read().unwrap();
    let stuck = (0..4).map(|at| of_bytes(place(at), "a", 2));
    queue.take_in(wanted, stuck, Some(place(3)));
    queue.start().unwrap();
    queue.failed(place(0), |_| Some(Duration::ZERO));
    let wanted = queue.next_read().unwrap();
    assert_eq!(wanted.from, place(3).next());
    queue.take_in(wanted, [of_bytes(place(4), "b", 5)], None);
    let is_here = |at: &u64| queue.held(place(*at)).is_some();
    assert_eq!((0..5).filter(is_here).collect::<Vec<_>>(), [0, 1, 4]);
    assert_eq!(queue.bytes, 9);
}

/// One that was given up and is sent again goes before those of its stream that wait.
#[test]
fn an_earlier_one_that_comes_later_goes_first() {
    let mut queue = SMALL.queue();
    queue.add(place(3), "a".into(), Vec::new());
    queue.add(place(5), "a".into(), Vec::new());
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(3)));
    assert!(queue.start().is_none());
    queue.add(place(1), "a".into(), Vec::new());
    assert!(queue.start().is_none(), "another is under way");
    queue.failed(place(3), |_| Some(Duration::from_secs(1)));
    for at in [1, 3, 5] {
        assert_eq!(queue.start().map(|(place, _)| place), Some(place(at)));
        queue.settle(place(at));
    }
    assert!(queue.start().is_none());
}

/// What waits behind a failed effect is here as long as nobody needs the room, and is read again once it can be called if
/// somebody did.
#[test]
fn what_waits_behind_a_failed_effect_gives_its_room_up_when_it_is_needed() {
    let mut queue = SMALL.queue();
    let wanted = queue.next_read().unwrap();
    queue.take_in(
        wanted,
        (0..3).map(|at| found(place(at), "a")),
        Some(place(2)),
    );
    queue.start().unwrap();
    queue.failed(place(0), |_| Some(Duration::ZERO));
    assert_eq!(queue.len(), 3);
    // Three places are free, and the fourth is made so.
    let wanted = queue.next_read().unwrap();
    assert_eq!(wanted.from, place(2).next());
    let others = (3..7).map(|at| found(place(at), ["b", "c"][at as usize % 2]));
    queue.take_in(wanted, others, None);
    let is_here = |queue: &Queue, at| queue.held(place(at)).is_some();
    let here: Vec<_> = (0..7).filter(|&at| is_here(&queue, at)).collect();
    assert_eq!(here, [0, 1, 3, 4, 5, 6]);
    queue.wake(Duration::ZERO);
    while let Some(place) = queue.start().map(|(place, _)| place) {
        queue.settle(place);
    }
    let wanted = queue.next_read().unwrap();
    assert_eq!(wanted.from, place(2));
    queue.take_in(wanted, [found(place(2), "a")], None);
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(2)));
}

/// What comes before a failed effect has what waits behind that flow again: nobody can have its room any more.
#[test]
fn there_are_never_more_than_there_may_be() {
    let mut queue = SMALL.queue();
    let wanted = queue.next_read().unwrap();
    queue.take_in(wanted, [1, 3, 5].map(|at| found(place(at), "a")), None);
    queue.start().unwrap();
    queue.failed(place(1), |_| Some(Duration::from_secs(1)));
    queue.stored(Span::of(place(9)).and(Span::of(place(7))));
    let wanted = queue.next_read().unwrap();
    queue.take_in(wanted, [7, 9].map(|at| found(place(at), "b")), None);
    queue.stored(Span::of(place(0)).and(Span::of(place(2))));
    let wanted = queue.next_read().unwrap();
    let late = [(0, "a"), (1, "a"), (2, "c")].map(|(at, stream)| found(place(at), stream));
    queue.take_in(wanted, late, Some(place(2)));
    assert_eq!((queue.len(), queue.next_read()), (SMALL.held_max, None));
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(0)));
    queue.settle(place(0));
    let wanted = queue.next_read().unwrap();
    assert_eq!(wanted.from, place(2));
}

/// Of several that come before what is here of their stream, and for which there is no room, the next is read before that is called.
#[test]
fn what_was_passed_over_before_others_is_read_before_those_are_called() {
    let mut queue = SMALL.queue();
    let wanted = queue.next_read().unwrap();
    queue.take_in(wanted, [4, 5, 6].map(|at| found(place(at), "a")), None);
    queue.stored(Span::of(place(1)).and(Span::of(place(2))));
    let wanted = queue.next_read().unwrap();
    queue.take_in(wanted, [1, 2].map(|at| found(place(at), "a")), None);
    for at in [1, 2, 4] {
        if let Some(wanted) = queue.next_read() {
            assert_eq!(wanted.from, place(2));
            queue.take_in(wanted, [found(place(2), "a")], None);
        }
        assert_eq!(queue.start().map(|(place, _)| place), Some(place(at)));
        queue.settle(place(at));
    }
}

/// Danger: more streams hang than there are calls, and their effects are older than all that come. Goal: a new one has its
/// turn as soon as a call ends, and what has failed has turns as well.
#[test]
fn streams_that_hang_do_not_have_all_calls() {
    const STREAMS: u64 = 20;
    for calls in [1, 2, 8] {
        let sizes = Sizes {
            held_max: 1_024,
            bytes_max: usize::MAX,
            calls,
        };
        let mut queue = sizes.queue();
        let add = |queue: &mut Queue, at: u64| queue.add(place(at), at.to_string().into(), vec![]);
        (0..STREAMS).for_each(|at| add(&mut queue, at));
        // All of them have failed once, and are due.
        while let Some(at) = queue.start().map(|(place, _)| place) {
            queue.failed(at, |_| Some(Duration::ZERO));
        }
        let (mut hanging, mut delivered, mut tried) = (VecDeque::new(), 0, 0);
        for at in STREAMS..STREAMS + 100 {
            add(&mut queue, at);
            // The oldest call comes to its limit, if all hang.
            if hanging.len() == calls
                && let Some(oldest) = hanging.pop_front()
            {
                queue.failed(oldest, |_| Some(Duration::ZERO));
            }
            queue.wake(Duration::ZERO);
            while hanging.len() < calls
                && let Some(at) = queue.start().map(|(place, _)| place)
            {
                if at.position.offset.0 < STREAMS {
                    hanging.push_back(at);
                    tried += 1;
                } else {
                    queue.settle(at);
                    delivered += 1;
                }
            }
        }
        assert!(delivered >= 49, "{delivered} with {calls} calls");
        assert!(tried >= 49, "{tried} with {calls} calls");
    }
}
