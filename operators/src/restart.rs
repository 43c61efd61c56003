//! For tests: operators that are saved, thrown away and restored between any two steps, with their state on disk, beside
//! one that is not.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream_engine::checkpoint::{Epoch, Part, Restoring, Saving};
use millstream_engine::flow::{Operator, Resources, Turn, Wiring};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::spill::{MemoryBudget, SpillStore};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use proptest::prelude::*;
use serde::Serialize;

/// Key and number.
pub(crate) type Item = (u8, i64);

pub(crate) fn item(key: u8, number: i64) -> Item {
    (key, number)
}

pub(crate) fn key(item: &Item) -> String {
    item.0.to_string()
}

pub(crate) fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// What happens to an operator.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An item of this time, key and number, from a source whose watermark is so much ahead of the merged one.
    Item(i64, u8, i64, i64),
    /// The watermark comes so much further.
    Watermark(i64),
    /// The clock goes on by so much.
    Clock(i64),
    /// A checkpoint, and a restart from it.
    Restart,
}

/// Some steps, in which times are small numbers of microseconds.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (-8..20i64, 0..4u8, 0..10i64, 0..6i64)
            .prop_map(|(time, key, number, ahead)| Step::Item(time, key, number, ahead)),
        2 => (0..12i64).prop_map(Step::Watermark),
        1 => (0..12i64).prop_map(Step::Clock),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..120)
}

/// What an operator has given at barriers.
#[derive(Clone, Default)]
pub(crate) struct Saves(Vec<(Epoch, Vec<Part>)>);

impl Saves {
    /// A barrier comes.
    pub(crate) fn save<T>(&mut self, operator: &mut impl Operator<T>) {
        let epoch = Epoch(self.0.len() as u64 + 1);
        let mut saving = Saving::new(epoch);
        operator.save(&mut saving).unwrap();
        self.0.push((epoch, saving.into_parts()));
    }

    /// Writes what was saved as something else of the same length, such as an earlier version would have written.
    pub(crate) fn rewrite(&mut self, from: &[u8], to: &[u8]) {
        let parts = self.0.iter_mut().flat_map(|(_, parts)| parts);
        for bytes in parts.filter_map(|part| part.bytes.as_mut()) {
            let mut new = bytes.to_vec().unwrap();
            for at in 0..new.len() {
                if new[at..].starts_with(from) {
                    new[at..at + to.len()].copy_from_slice(to);
                }
            }
            *bytes = new.into();
        }
    }

    /// Gives what was saved last to an operator that has nothing.
    pub(crate) fn restore<T>(&self, operator: &mut impl Operator<T>) {
        Self::restore_of(std::slice::from_ref(self), operator, 0, 1);
    }

    /// The same of several partitions.
    pub(crate) fn restore_of<T>(
        all: &[Self],
        operator: &mut impl Operator<T>,
        partition: usize,
        partitions: usize,
    ) {
        let all: Vec<_> = all.iter().map(|saves| saves.0.clone()).collect();
        let mut restoring = Restoring::of_saves(&all, partition, partitions);
        operator.restore(&mut restoring).unwrap();
        restoring.finish().unwrap();
    }

    /// Why an operator does not take what was saved last.
    pub(crate) fn refusal<T>(&self, operator: &mut impl Operator<T>) -> Option<String> {
        let mut restoring = Restoring::of_saves(std::slice::from_ref(&self.0), 0, 1);
        operator.restore(&mut restoring).err().map(|fault| fault.0)
    }

    /// As if an earlier version had saved this last in the place of what was saved under `kind`.
    pub(crate) fn replace(&mut self, kind: &str, state: &impl Serialize) {
        let (_, parts) = self.0.last_mut().unwrap();
        let part = parts.iter_mut().find(|part| part.kind == kind).unwrap();
        part.bytes = Some(rmp_serde::to_vec_named(state).unwrap().into());
    }
}

/// An operator and how far it has come.
struct Run<O> {
    operator: O,
    saves: Saves,
    watermark: i64,
    now: i64,
}

impl<O> Run<O> {
    /// What a step gives out. The order is left out: it may be that of a hash map.
    fn step<T>(&mut self, step: &Step, item: impl Fn(u8, i64) -> T) -> Vec<String>
    where
        O: Operator<T>,
        O::Out: Debug,
    {
        let mut given = Vec::new();
        let mut out = |time: Timestamp, item: O::Out| given.push(format!("{} {item:?}", time.0));
        let operator = &mut self.operator;
        match *step {
            Step::Item(time, key, number, ahead) => {
                let merged = Timestamp(self.watermark);
                operator.late_before(Timestamp(self.watermark.saturating_add(ahead)));
                let time = self.watermark.max(0).saturating_add(time);
                operator.item(Timestamp(time), item(key, number), &mut out);
                operator.late_before(merged);
            }
            Step::Watermark(by) => {
                self.watermark = self.watermark.max(0).saturating_add(by);
                operator.late_before(Timestamp(self.watermark));
                operator.watermark(Timestamp(self.watermark), &mut out);
            }
            Step::Clock(by) => {
                self.now += by;
                let now = Timestamp(self.now);
                let monotonic = Duration::from_micros(self.now as u64);
                operator.begin(&Turn { now, monotonic });
                if operator.next_due().is_some_and(|due| due <= now) {
                    operator.processing_time(now, &mut out);
                }
            }
            Step::Restart => {}
        }
        given.sort();
        given
    }

    fn save<T>(&mut self)
    where
        O: Operator<T>,
    {
        self.operator.before_barrier(&mut |_, _| {});
        self.saves.save(&mut self.operator);
    }

    /// As a stage does it.
    fn restart<T>(&mut self, fresh: O)
    where
        O: Operator<T>,
    {
        self.save();
        self.operator = fresh;
        self.operator.open(&wiring()).unwrap();
        self.saves.restore(&mut self.operator);
        let mut given = 0;
        let mut out = |_, _| given += 1;
        if self.watermark > i64::MIN {
            self.operator.late_before(Timestamp(self.watermark));
            self.operator.watermark(Timestamp(self.watermark), &mut out);
        }
        assert_eq!(given, 0, "it was given out before");
    }
}

fn held<T>(operator: &impl Operator<T>) -> Vec<(&'static str, usize)> {
    let mut items = Vec::new();
    operator.state_items(&mut items);
    items
}

/// Where there is memory for next to nothing: state is on disk between any two steps.
pub(crate) fn wiring() -> Wiring {
    static STORE: OnceLock<Arc<Resources>> = OnceLock::new();
    let resources = STORE.get_or_init(|| resources(1));
    wiring_with(Arc::clone(resources))
}

/// A store for state, with memory for so many bytes of it.
pub(crate) fn resources(bytes: usize) -> Arc<Resources> {
    let folder = tempfile::tempdir().unwrap();
    let budget = Arc::new(MemoryBudget::new(bytes));
    let store = SpillStore::create(&folder.path().join("spill"), budget).unwrap();
    // The folder's name goes now, since nothing is dropped when tests have ended; the file with the process.
    Arc::new(Resources::new().with(store))
}

pub(crate) fn wiring_with(resources: Arc<Resources>) -> Wiring {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(0)));
    Wiring {
        stage: "tested".into(),
        identity: "tested".into(),
        partition: 0,
        partitions: 1,
        mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&clock)),
        clock,
        resources,
        checkpoints: None,
    }
}

/// Whether restarts, and memory that is far too small, change anything in what the operators that `make` makes give out, step by step, and hold.
pub(crate) fn assert_survives<T, O>(
    make: impl Fn() -> O,
    item: impl Fn(u8, i64) -> T,
    steps: &[Step],
) -> Result<(), TestCaseError>
where
    O: Operator<T>,
    O::Out: Debug,
{
    let run = || Run {
        operator: make(),
        saves: Saves::default(),
        watermark: i64::MIN,
        now: 0,
    };
    let (mut undisturbed, mut restarted) = (run(), run());
    restarted.operator.open(&wiring()).unwrap();
    for step in steps.iter().chain([&Step::Watermark(i64::MAX)]) {
        match step {
            Step::Restart => restarted.restart(make()),
            // Checkpoints that nothing is restored from must leave no gap in those that come after.
            Step::Clock(_) => restarted.save(),
            _ => {}
        }
        let (expected, found) = (undisturbed.step(step, &item), restarted.step(step, &item));
        restarted.operator.flush(true).unwrap();
        prop_assert_eq!(expected, found, "at {:?}", step);
        let (expected, found) = (held(&undisturbed.operator), held(&restarted.operator));
        prop_assert_eq!(expected, found, "after {:?}", step);
    }
    Ok(())
}
