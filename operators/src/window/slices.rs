//! Open slices: one table of accumulators per slice of time.
//!
//! Items mostly come for the slice that the item before came for, so its bounds are compared first; the others are
//! searched. Emptied tables keep their memory and are used again.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use millstream_engine::flow::Fault;
use millstream_engine::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::function::AggregateFunction;
use crate::table::{Numbers, StateMemory, Table, TableMemory};

/// Emptied tables kept for the slices to come.
const SPARES: usize = 4;

#[derive(Clone)]
pub(crate) struct Slice<K, A> {
    /// Number of the slice; it ends at `(number + 1) * length + offset`.
    pub(crate) number: i64,
    pub(crate) table: Table<K, A>,
}

/// Tables of slices with their numbers, to be saved.
pub(super) fn by_number<K, A>(
    slices: &mut VecDeque<Slice<K, A>>,
) -> impl Iterator<Item = (i64, &mut Table<K, A>)> {
    let slices = slices.iter_mut();
    slices.map(|slice| (slice.number, &mut slice.table))
}

/// Slices of tables that were restored.
pub(super) fn in_order<K, A>(tables: BTreeMap<i64, Table<K, A>>) -> VecDeque<Slice<K, A>> {
    let tables = tables.into_iter();
    tables
        .map(|(number, table)| Slice { number, table })
        .collect()
}

/// Slices that still take items, earliest first.
#[derive(Clone)]
pub(crate) struct Slices<K, A> {
    length: i64,
    offset: i64,
    slices: VecDeque<Slice<K, A>>,
    numbers: Numbers,
    spares: Vec<Table<K, A>>,
    memory: TableMemory<K, A>,
    /// Index of the slice that the last item was in, and its bounds; an empty range if there is none.
    current: usize,
    start: i64,
    end: i64,
}

impl<K: Hash + Eq, A> Slices<K, A> {
    pub(crate) fn new(length: i64, offset: i64) -> Self {
        Self {
            length,
            offset,
            slices: VecDeque::new(),
            numbers: Numbers::default(),
            spares: Vec::new(),
            memory: TableMemory::default(),
            current: 0,
            start: 0,
            end: 0,
        }
    }

    /// Whether `time` lies in the slice of the item before.
    #[inline(always)]
    pub(crate) fn is_current(&self, time: Timestamp) -> bool {
        self.start <= time.0 && time.0 < self.end
    }

    /// How many of the first `times` lie in the current slice and are not before `late_before`.
    #[inline]
    fn run(&self, times: &[Timestamp], late_before: i64) -> usize {
        let (start, end) = (self.start.max(late_before), self.end);
        let is_other = |time: &Timestamp| time.0 < start || time.0 >= end;
        times.iter().position(is_other).unwrap_or(times.len())
    }

    /// Takes the items of `times` from `items` for as long as they lie in the current slice, and gives how many: in a
    /// loop that looks at nothing but the slice's table, so that the processor can have several lookups under way at a
    /// time. That is most of the cost when keys are many.
    #[inline]
    pub(super) fn add_run<T, F>(
        &mut self,
        times: &[Timestamp],
        items: &mut impl Iterator<Item = T>,
        late_before: i64,
        key: impl Fn(&T) -> K,
        function: &F,
    ) -> usize
    where
        F: AggregateFunction<T, Accumulator = A>,
    {
        let run = self.run(times, late_before);
        if run > 0 {
            let table = self.current();
            for (&time, item) in times[..run].iter().zip(items) {
                let sum = table.get_or_insert_with(key(&item), || function.create());
                function.add(sum, time, &item);
            }
        }
        run
    }

    /// The table of the current slice; only after [`is_current`](Self::is_current) or [`select`](Self::select).
    #[inline(always)]
    pub(crate) fn current(&mut self) -> &mut Table<K, A> {
        &mut self.slices[self.current].table
    }

    /// Makes the slice of `time` the current one.
    #[cold]
    pub(crate) fn select(&mut self, time: Timestamp) {
        let number = (time.0.saturating_sub(self.offset)).div_euclid(self.length);
        let at = self.slices.partition_point(|slice| slice.number < number);
        if self
            .slices
            .get(at)
            .is_none_or(|slice| slice.number != number)
        {
            let mut table = self.spares.pop().unwrap_or_default();
            table.share(&self.memory);
            self.slices.insert(at, Slice { number, table });
        }
        self.current = at;
        self.start = self.start_of(number);
        self.end = self.end_of(number);
    }

    /// No slice is the current one: the next item looks its slice up.
    pub(super) fn deselect(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub(crate) fn end_of(&self, number: i64) -> i64 {
        self.start_of(number).saturating_add(self.length)
    }

    fn start_of(&self, number: i64) -> i64 {
        number
            .saturating_mul(self.length)
            .saturating_add(self.offset)
    }

    /// Number of the earliest slice.
    pub(crate) fn first(&self) -> Option<i64> {
        self.slices.front().map(|slice| slice.number)
    }

    /// End of the earliest slice.
    pub(crate) fn first_end(&self) -> Option<i64> {
        self.slices.front().map(|slice| self.end_of(slice.number))
    }

    /// Takes the earliest slice out.
    pub(crate) fn pop(&mut self) -> Option<Slice<K, A>> {
        self.deselect(); // The indices move.
        self.slices.pop_front()
    }

    /// Gives an emptied table back.
    pub(crate) fn recycle(&mut self, table: Table<K, A>) {
        debug_assert!(table.is_empty(), "only emptied tables are reused");
        if self.spares.len() < SPARES {
            self.spares.push(table);
        }
    }

    /// Its tables share this memory from now on.
    pub(crate) fn share(&mut self, memory: StateMemory)
    where
        K: Serialize + DeserializeOwned,
        A: Serialize + DeserializeOwned,
    {
        self.memory = memory.for_tables();
        self.numbers.share(memory);
    }

    /// Gives up what is too much.
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        let tables = self.slices.iter_mut().map(|slice| &mut slice.table);
        tables.chain(&mut self.spares).try_for_each(Table::settle)
    }

    /// Gives what has changed.
    pub(crate) fn save(
        &mut self,
        kind: &'static str,
        saving: &mut Saving,
    ) -> Result<(), CheckpointError>
    where
        K: Serialize,
        A: Serialize,
    {
        self.numbers.save(kind, by_number(&mut self.slices), saving)
    }

    /// Takes back what was saved, as far as it is this partition's.
    pub(crate) fn restore(
        &mut self,
        kind: &'static str,
        restoring: &mut Restoring,
    ) -> Result<(), CheckpointError>
    where
        K: Serialize + DeserializeOwned,
        A: Serialize + DeserializeOwned,
    {
        self.slices = in_order(self.numbers.restore(kind, restoring)?);
        Ok(())
    }

    /// Accumulators in all slices.
    pub(crate) fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.table.len()).sum()
    }
}
