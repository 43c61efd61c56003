//! The operator of session windows.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Discard, Emit, Fault, Operator, Turn, Wiring, inner_sink};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Session;
use super::list::{One, Sessions};
use super::queues::{Look, Queues};
use super::rules::Rules;
use crate::Key;
use crate::function::AggregateFunction;
use crate::parameters::Parameters;
use crate::progress::Progress;
use crate::table::{StateMemory, Table};
use crate::window::{TimeDomain, Trigger, Triggered, Windowed};

/// Its kinds of state in checkpoints.
const KIND: &str = "session windows";
const OPEN: &str = "open sessions";

/// What is saved beside the sessions. When keys are looked at next is known from those.
#[derive(Serialize, Deserialize)]
struct Saved<D> {
    /// Not said by earlier versions.
    #[serde(default)]
    gap: Option<i64>,
    #[serde(default)]
    domain: Option<TimeDomain>,
    #[serde(default, skip_serializing_if = "Parameters::are_none")]
    parameters: Parameters,
    dirty: D,
    early_at: Option<i64>,
    watermark: i64,
    now: Timestamp,
}

/// Aggregates each key's items of each session. The function must merge.
pub struct SessionWindows<T, K, F, A: AggregateFunction<T>, L> {
    domain: TimeDomain,
    lateness: i64,
    key: F,
    rules: Rules<A>,
    late: L,
    keys: Table<K, Sessions<A::Accumulator>>,
    queues: Queues<K>,
    sessions: usize,
    late_before: i64,
    item: PhantomData<fn(T)>,
}

impl<T, K, F, A, L> SessionWindows<T, K, F, A, L>
where
    K: Hash + Eq + Clone,
    A: AggregateFunction<T>,
{
    /// Sessions as `window` says, of the keys that `key` gives, given out at the watermark and with each late item;
    /// late items go to `late`.
    pub fn new(window: Session, key: F, function: A, late: L) -> Self {
        let trigger = Trigger::at_watermark().late_each();
        Self::triggered(Triggered::new(window, trigger), key, function, late)
    }

    /// The same, given out as its trigger says.
    pub fn triggered(window: Triggered<Session>, key: F, function: A, late: L) -> Self {
        let Triggered { window, trigger } = window;
        let keep = match window.domain {
            TimeDomain::Event => window.gap.saturating_add(window.lateness),
            // Time goes on: nothing reaches back.
            TimeDomain::Processing => 0,
        };
        Self {
            domain: window.domain,
            lateness: window.lateness,
            key,
            rules: Rules {
                function,
                gap: window.gap,
                keep,
                trigger,
                retracting: window.retracting,
                watermark: i64::MIN,
            },
            late,
            keys: Table::default(),
            queues: Queues::new(),
            sessions: 0,
            late_before: i64::MIN,
            item: PhantomData,
        }
    }

    /// Whether an item that is behind its source's watermark is too far behind it.
    #[cold]
    fn is_late(&self, time: Timestamp) -> bool {
        let end = time.0.saturating_add(self.rules.gap);
        let limit = self.late_before.max(self.rules.watermark);
        end.saturating_add(self.lateness) <= limit
    }

    /// Gives out and drops what is due at the watermark.
    fn fire<E: Emit<Windowed<K, A::Output>>>(&mut self, out: &mut E) {
        let rules = &self.rules;
        let mut progress = Progress::default();
        while let Some(Look { due, key, .. }) = self.queues.due.pop(rules.watermark) {
            progress.made_one();
            let Some(place) = self.keys.find(&key) else {
                continue;
            };
            if self.keys.at(place).1.queued != due {
                continue; // It was queued anew for an earlier time.
            }
            let sessions = self.keys.at_mut(place).1;
            let before = sessions.list.len();
            rules.look_again(&key, sessions, out);
            self.sessions -= before - sessions.list.len();
            match rules.next_due(sessions) {
                Some(due) => {
                    sessions.queued = due;
                    self.queues.look_at(due, key);
                }
                None => {
                    drop(self.keys.remove_at(place));
                    self.queues.waits_no_longer(&key);
                }
            }
        }
    }

    /// Gives out early what the clock says is due.
    fn fire_early<E: Emit<Windowed<K, A::Output>>>(&mut self, now: i64, out: &mut E) {
        let mut progress = Progress::default();
        for key in self.queues.take_dirty(now) {
            progress.made_one();
            if let Some(sessions) = self.keys.get_mut(&key) {
                self.rules.give_early(&key, sessions, out);
            }
        }
    }
}

impl<T, K, F, A, L> Operator<T> for SessionWindows<T, K, F, A, L>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Send + 'static,
    A: AggregateFunction<T>,
    L: Operator<T, Out = Infallible>,
{
    type Out = Windowed<K, A::Output>;

    #[inline]
    fn item<E: Emit<Self::Out>>(&mut self, time: Timestamp, item: T, out: &mut E) {
        let time = match self.domain {
            TimeDomain::Event => time,
            TimeDomain::Processing => self.queues.now,
        };
        let behind = time.0 < self.late_before.max(self.rules.watermark);
        if behind && self.is_late(time) {
            self.late.item(time, item, &mut Discard);
            return;
        }
        let rules = &self.rules;
        let plain = !behind && !rules.trigger.is_early();
        let key = (self.key)(&item);
        let (sessions, at) = if let Some(place) = self.keys.find(&key) {
            let sessions = self.keys.at_mut(place).1;
            if plain
                && let Some(newest) = sessions.list.last_mut()
                && newest.start <= time.0
                && time.0 < newest.end(rules.gap)
                && !newest.shown
                && newest.before.is_none()
            {
                newest.last = newest.last.max(time.0);
                newest.changes = newest.changes.saturating_add(1);
                rules.function.add(&mut newest.sum, time, &item);
                return;
            }
            let before = sessions.list.len();
            let at = sessions.add(&rules.function, rules.gap, (time, &item));
            self.sessions = self.sessions + sessions.list.len() - before;
            (sessions, at)
        } else {
            let mut sum = rules.function.create();
            rules.function.add(&mut sum, time, &item);
            let end = time.0.saturating_add(rules.gap);
            let sessions = Sessions::new(One::new(time.0, sum), end);
            self.sessions += 1;
            let queued = key.clone();
            self.queues.look_at(end, queued);
            if plain {
                self.keys.insert(key, sessions);
                return;
            }
            let sessions = self.keys.get_or_insert_with(key.clone(), || sessions);
            (sessions, 0)
        };
        let waits = rules.after_item(&key, sessions, at, out);
        self.queues.after_item(rules, &key, sessions, waits);
    }

    fn watermark<E: Emit<Self::Out>>(&mut self, watermark: Timestamp, out: &mut E) {
        self.late.watermark(watermark, &mut Discard);
        // In processing time only the end of the input closes what is open.
        if self.domain == TimeDomain::Event || watermark == Timestamp::MAX {
            self.rules.watermark = watermark.0;
            self.fire(out);
        }
    }

    fn late_before(&mut self, limit: Timestamp) {
        if self.domain == TimeDomain::Event {
            self.late_before = limit.0;
        }
        self.late.late_before(limit);
    }

    fn begin(&mut self, turn: &Turn) {
        // A clock that goes back must not change a session that has ended.
        self.queues.now = self.queues.now.max(turn.now);
        self.late.begin(turn);
    }

    fn processing_time<E: Emit<Self::Out>>(&mut self, now: Timestamp, out: &mut E) {
        self.fire_early(now.0, out);
        if self.domain == TimeDomain::Processing {
            self.rules.watermark = self.rules.watermark.max(now.0);
            self.fire(out);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let closing = match self.domain {
            TimeDomain::Event => None,
            TimeDomain::Processing => self.queues.due.first(),
        };
        let due = [closing, self.queues.early_at].into_iter().flatten().min();
        due.map(Timestamp)
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let memory = StateMemory::of(wiring);
        self.keys.share(&memory.for_tables());
        self.queues.due.share(&memory);
        self.late.open(wiring)
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        self.keys.settle()?;
        self.queues.due.settle()?;
        self.late.flush(idle)
    }

    inner_sink!(late: is_blocked blocked idle end before_barrier checkpointed awaits_checkpoint);

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("window accumulators", self.sessions));
        into.push(("early results due", self.queues.dirty().len()));
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let saved = Saved {
            gap: Some(self.rules.gap),
            domain: Some(self.domain),
            parameters: Parameters(self.rules.function.parameters()),
            dirty: self.queues.dirty(),
            early_at: self.queues.early_at,
            watermark: self.rules.watermark,
            now: self.queues.now,
        };
        saving.whole(KIND, &saved)?;
        self.keys.save(OPEN, saving)?;
        self.late.save(saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        for saved in restoring.whole::<Saved<HashSet<K, FixedState>>>(KIND)? {
            let stored = (saved.gap, saved.domain);
            self.rules.check(KIND, stored, self.domain, restoring)?;
            let parameters = self.rules.function.parameters();
            saved.parameters.check(KIND, parameters, restoring)?;
            let own = saved.dirty.into_iter().filter(|key| restoring.owns(key));
            self.queues.wait_again(own, saved.early_at);
            self.queues.now = self.queues.now.max(saved.now);
            restoring.goes_on_from(saved.now);
            self.rules.watermark = self.rules.watermark.max(saved.watermark);
        }
        self.keys.restore(OPEN, restoring)?;
        self.keys.for_each(|key, sessions| {
            self.sessions += sessions.list.len();
            let (due, key) = (sessions.queued, key.clone());
            self.queues.look_at(due, key);
        });
        self.late.restore(restoring)
    }
}

impl<T, K, F, A, L> Clone for SessionWindows<T, K, F, A, L>
where
    K: Hash + Eq + Clone,
    F: Clone,
    A: AggregateFunction<T>,
    L: Clone,
{
    /// One that has nothing yet: operators are cloned before they are opened.
    fn clone(&self) -> Self {
        Self {
            domain: self.domain,
            lateness: self.lateness,
            key: self.key.clone(),
            rules: self.rules.clone(),
            late: self.late.clone(),
            keys: Table::default(),
            queues: Queues::new(),
            sessions: 0,
            late_before: i64::MIN,
            item: PhantomData,
        }
    }
}

impl<T, K, F, A: AggregateFunction<T>, L> fmt::Debug for SessionWindows<T, K, F, A, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionWindows")
            .field("gap", &self.rules.gap)
            .field("watermark", &self.rules.watermark)
            .finish_non_exhaustive()
    }
}
