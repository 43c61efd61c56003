//! The operator of count windows.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Wiring, inner_sink};
use millstream_engine::time::Timestamp;

use super::Count;
use super::bounds::{Bounded, window};
use super::held::OfKey;
use super::saved::KIND;
use crate::Key;
use crate::function::AggregateFunction;
use crate::progress::Progress;
use crate::table::{StateMemory, Table};
use crate::window::{Revision, Windowed};

/// Aggregates every so many items of each key.
pub struct CountWindows<T, K, F, A: AggregateFunction<T>, L> {
    count: Count,
    key: F,
    function: Bounded<A>,
    late: L,
    keys: Table<K, OfKey<A::Accumulator>>,
    /// Accumulators of all keys.
    held: usize,
    watermark: Timestamp,
    item: PhantomData<fn(T)>,
}

impl<T, K, F, A, L> CountWindows<T, K, F, A, L>
where
    K: Hash + Eq + Clone,
    A: AggregateFunction<T>,
{
    /// Windows as `window` says, of the keys that `key` gives. Nothing is late: `late` gets no items.
    pub fn new(window: Count, key: F, function: A, late: L) -> Self {
        Self {
            count: window,
            key,
            function: Bounded(function),
            late,
            keys: Table::default(),
            held: 0,
            watermark: Timestamp::MIN,
            item: PhantomData,
        }
    }

    /// The input is complete: what is not full will never be.
    fn give_unfinished<E: Emit<Windowed<K, A::Output>>>(&mut self, out: &mut E) {
        self.held = 0;
        let mut progress = Progress::default();
        for (key, held) in self.keys.drain() {
            if !self.count.unfinished {
                continue;
            }
            for sum in held.unfinished(&self.count, &self.function) {
                let window = window(&sum);
                let result = Windowed {
                    key: key.clone(),
                    window,
                    value: self.function.finish(&sum),
                    revision: Revision::Early,
                };
                // Its items may be long past; what follows must not take it for late.
                out.emit(window.last().max(self.watermark), result);
                progress.made_one();
            }
        }
    }
}

impl<T, K, F, A, L> Operator<T> for CountWindows<T, K, F, A, L>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Send + 'static,
    A: AggregateFunction<T>,
    L: Operator<T, Out = Infallible>,
{
    type Out = Windowed<K, A::Output>;

    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let (count, function) = (&self.count, &self.function);
        let keys = self.keys.len();
        let place = self
            .keys
            .find_or_insert_with((self.key)(&item), || OfKey::new(count, A::MERGES));
        let is_new = self.keys.len() > keys;
        let (key, known) = self.keys.at_mut(place);
        let before = if is_new { 0 } else { known.len() };
        let full = known.add(count, function, (time, &item));
        self.held = self.held + known.len() - before;
        let is_over = known.is_over(count);
        if let Some(sum) = full {
            let window = window(&sum);
            let result = Windowed {
                key: key.clone(),
                window,
                value: function.finish(&sum),
                revision: Revision::OnTime,
            };
            out.emit(window.last(), result);
        }
        if is_over {
            let over = self.keys.remove_at(place);
            self.held -= over.len();
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.late.watermark(watermark, &mut Discard);
        if watermark == Timestamp::MAX {
            self.give_unfinished(out);
        }
        self.watermark = watermark;
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.keys.share(&StateMemory::of(wiring).for_tables());
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.keys.settle()?;
        self.late.flush(idle)
    }

    inner_sink!(late: late_before begin is_blocked blocked idle end before_barrier checkpointed
        awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("window accumulators", self.held));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let parameters = self.function.0.parameters();
        self.count.save(parameters, self.watermark, saving)?;
        self.keys.save(KIND, saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let parameters = self.function.0.parameters();
        let found = self.count.restore(&parameters, restoring)?;
        self.watermark = found.watermark;
        self.keys.restore(KIND, restoring)?;
        let mut is_fit = true;
        self.keys.for_each(|_, held| {
            self.held += held.len();
            is_fit &= !found.is_unsaid || held.fits(&self.count, A::MERGES);
        });
        if !is_fit {
            let stored = "another number of items".to_owned();
            return Err(self.count.refuse(stored, restoring).into());
        }
        self.late.restore(restoring)
    }
}

impl<T, K: Clone, F: Clone, A: AggregateFunction<T>, L: Clone> Clone
    for CountWindows<T, K, F, A, L>
{
    fn clone(&self) -> Self {
        Self {
            count: self.count,
            key: self.key.clone(),
            function: self.function.clone(),
            late: self.late.clone(),
            keys: self.keys.clone(),
            held: self.held,
            watermark: self.watermark,
            item: PhantomData,
        }
    }
}

impl<T, K, F, A: AggregateFunction<T>, L> fmt::Debug for CountWindows<T, K, F, A, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountWindows")
            .field("count", &self.count)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
