//! The count per key and second: on one thread, and on two that each have a source and half of the keys.
//!
//! A map from key to count, though the keys would do as an index: a count that knows its keys beforehand
//! would be another problem. Threads: two sources, two maps; what is for the other thread goes there in
//! batches over a bounded channel, with the watermark of the batch. A thread whose channel is full takes in
//! what the other has sent meanwhile, so the two cannot wait for each other. Failure: none.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use millstream_benches::keyed::{KeyCount, KeyedEvent, KeyedSource, WINDOW_MILLIS, window_of};

use super::FastMap;
use crate::input::{millis, timestamp};
use crate::{Options, Tally};

/// Events of a source between two hand-overs.
const BATCH_EVENTS: usize = 8_192;
/// Batches on their way to one thread.
const BATCHES_MAX: usize = 16;

/// The counts of the windows that are open, oldest first.
struct Windows {
    counts: VecDeque<FastMap<u64, u64>>,
    spare: Vec<FastMap<u64, u64>>,
    /// Start of the oldest.
    first: u64,
    tally: Tally,
}

impl Windows {
    fn new(tally: Tally) -> Self {
        Self {
            counts: VecDeque::new(),
            spare: Vec::new(),
            first: 0,
            tally,
        }
    }

    /// Counts events, of which mostly all lie in one window.
    fn add(&mut self, events: &[KeyedEvent]) {
        let same_window = |a: &KeyedEvent, b: &KeyedEvent| window_of(a.time) == window_of(b.time);
        for run in events.chunk_by(same_window) {
            let length = WINDOW_MILLIS.cast_unsigned();
            let place = ((millis(run[0].time) - self.first) / length) as usize;
            while self.counts.len() <= place {
                self.counts.push_back(self.spare.pop().unwrap_or_default());
            }
            let counts = &mut self.counts[place];
            for event in run {
                *counts.entry(event.key).or_default() += 1;
            }
        }
    }

    /// Gives out the windows that end at or before `watermark`.
    fn close(&mut self, watermark: u64) {
        let length = WINDOW_MILLIS.cast_unsigned();
        while watermark
            .checked_sub(length)
            .is_some_and(|start| start >= self.first)
        {
            let Some(mut counts) = self.counts.pop_front() else {
                return;
            };
            let window = timestamp(self.first);
            for (key, count) in counts.drain() {
                self.tally.add(&KeyCount { window, key, count });
            }
            self.spare.push(counts);
            self.first += length;
        }
    }
}

fn watermark_of(source: &KeyedSource) -> u64 {
    millis(source.watermark())
}

pub(super) fn one_thread(options: &Options) -> Tally {
    let mut sources = [0, 1].map(|source| KeyedSource::share(source, options.events));
    let mut windows = Windows::new(options.tally());
    let mut batch = Vec::with_capacity(BATCH_EVENTS);
    loop {
        let mut taken = 0;
        for source in &mut sources {
            batch.clear();
            batch.extend(source.take(BATCH_EVENTS));
            taken += batch.len();
            windows.add(&batch);
        }
        windows.close(watermark_of(&sources[0]).min(watermark_of(&sources[1])));
        if taken == 0 {
            return windows.tally;
        }
    }
}

/// Events for the other thread, and what its sender's watermark is after them.
struct Parcel {
    events: Vec<KeyedEvent>,
    watermark: u64,
}

/// One of the two threads.
struct Half {
    windows: Windows,
    own_watermark: u64,
    others_watermark: u64,
    sender: Sender<Parcel>,
    receiver: Receiver<Parcel>,
    /// Empty vectors, to be filled again.
    spare: Vec<Vec<KeyedEvent>>,
}

impl Half {
    fn take_in(&mut self, parcel: Parcel) {
        self.windows.add(&parcel.events);
        self.others_watermark = parcel.watermark;
        self.spare.push(parcel.events);
        self.windows
            .close(self.own_watermark.min(self.others_watermark));
    }

    /// Sends, and takes in what comes while there is no room.
    fn send(&mut self, mut parcel: Parcel) {
        loop {
            match self.sender.try_send(parcel) {
                Ok(()) => return,
                Err(TrySendError::Full(back)) => parcel = back,
                Err(TrySendError::Disconnected(_)) => unreachable!("the other reads to the end"),
            }
            match self.receiver.try_recv() {
                Ok(parcel) => self.take_in(parcel),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn run(mut self, mut source: KeyedSource, index: u64) -> Tally {
        let mut own = Vec::with_capacity(BATCH_EVENTS);
        while source.size_hint().0 > 0 {
            let mut away = self.spare.pop().unwrap_or_default();
            own.clear();
            away.clear();
            for event in source.by_ref().take(BATCH_EVENTS) {
                if event.key % 2 == index {
                    own.push(event);
                } else {
                    away.push(event);
                }
            }
            self.windows.add(&own);
            self.own_watermark = watermark_of(&source);
            self.send(Parcel {
                events: away,
                watermark: self.own_watermark,
            });
            while let Ok(parcel) = self.receiver.try_recv() {
                self.take_in(parcel);
            }
        }
        // Without a source's events there was no parcel to say so.
        self.own_watermark = u64::MAX;
        self.send(Parcel {
            events: Vec::new(),
            watermark: u64::MAX,
        });
        while self.others_watermark < watermark_of(&source) {
            let Ok(parcel) = self.receiver.recv() else {
                break;
            };
            self.take_in(parcel);
        }
        self.windows.close(u64::MAX);
        self.windows.tally
    }
}

pub(super) fn two_threads(options: &Options) -> Tally {
    let (to_first, at_first) = bounded(BATCHES_MAX);
    let (to_second, at_second) = bounded(BATCHES_MAX);
    let half = |sender, receiver| Half {
        windows: Windows::new(options.tally()),
        own_watermark: 0,
        others_watermark: 0,
        sender,
        receiver,
        spare: Vec::new(),
    };
    let (first, second) = (half(to_second, at_first), half(to_first, at_second));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| second.run(KeyedSource::share(1, options.events), 1));
        let mut tally = first.run(KeyedSource::share(0, options.events), 0);
        tally.merge(other.join().expect("the other thread does not panic"));
        tally
    })
}
