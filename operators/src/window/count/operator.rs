//! The operator of count windows.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, inner_sink};
use millstream_engine::time::Timestamp;

use super::Count;
use super::bounds::{Bounded, window};
use super::held::OfKey;
use crate::Key;
use crate::function::AggregateFunction;
use crate::table::Table;
use crate::window::{Revision, Windowed};

/// Its kinds of state in checkpoints.
const KIND: &str = "count windows";
const WATERMARK: &str = "watermark of count windows";

/// Aggregates every so many items of each key.
pub struct CountWindows<T, K, F, A: AggregateFunction<T>, L> {
    count: Count,
    key: F,
    function: Bounded<A>,
    late: L,
    keys: Table<K, OfKey<A::Accumulator>>,
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
            watermark: Timestamp::MIN,
            item: PhantomData,
        }
    }

    /// The input is complete: what is not full will never be.
    fn give_unfinished<E: Emit<Windowed<K, A::Output>>>(&mut self, out: &mut E) {
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
        let place = self
            .keys
            .find_or_insert_with((self.key)(&item), || OfKey::new(count, A::MERGES));
        let (key, known) = self.keys.at_mut(place);
        let full = known.add(count, function, (time, &item));
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
            self.keys.remove_at(place);
        }
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.late.watermark(watermark, &mut Discard);
        if watermark == Timestamp::MAX {
            self.give_unfinished(out);
        }
        self.watermark = watermark;
    }

    inner_sink!(late: late_before open begin flush is_blocked blocked idle end before_barrier checkpointed
        awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        let held = self.keys.iter().map(|(_, held)| held.len()).sum();
        into.push(("window accumulators", held));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        saving.whole(WATERMARK, &self.watermark)?;
        self.keys.save(KIND, saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let watermarks = restoring.whole::<Timestamp>(WATERMARK)?;
        self.watermark = watermarks.into_iter().max().unwrap_or(Timestamp::MIN);
        self.keys.restore(KIND, restoring)?;
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
