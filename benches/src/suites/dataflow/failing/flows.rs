//! Dataflows of a function that does next to nothing, or of a process that counts per key, and what fails in them.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::dataflow::Flow;
use millstream_engine::time::Timestamp;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::keyed::{Context, KeyedProcess, TryKeyedProcess};

use super::KEYS;
use crate::flows::Totals;
use crate::suites::dataflow::load::Load;

/// Events per second of event time.
const PER_SECOND: u64 = 1_000_000;

/// Which events fail.
#[derive(Clone, Copy, Debug)]
pub(super) enum Poison {
    /// None.
    None,
    /// Those of one key in so many, each time.
    Key(u64),
    /// The same, by a panic.
    PanicKey(u64),
    /// Each so-manieth that a partition tries.
    Event(u64),
    /// The same, by a panic.
    PanicEvent(u64),
    /// The one with this number among those that all partitions try, by a panic.
    Nth(u64),
}

impl Poison {
    pub(super) const fn panics(self) -> bool {
        matches!(self, Self::PanicKey(_) | Self::PanicEvent(_) | Self::Nth(_))
    }
}

/// What the stage does with its events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Map,
    TryMap,
    /// A map that reads a number from a text, as most that may fail do something.
    Parse,
    TryParse,
    Process,
    TryProcess,
}

/// Looks at each event, whether it fails or not.
#[derive(Clone, Debug)]
pub(super) struct Look {
    poison: Poison,
    tried: u64,
    failures: Arc<AtomicU64>,
}

impl Look {
    pub(super) fn new(poison: Poison) -> Self {
        Self {
            poison,
            tried: 0,
            failures: Arc::default(),
        }
    }

    /// Tries that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Of what keeps no count.
    #[inline(always)]
    fn by_key(&self, key: u64) -> Result<(), &'static str> {
        match self.poison {
            Poison::Key(one_in) if key.is_multiple_of(one_in) => self.fail(false),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn at(&mut self, key: u64) -> Result<(), &'static str> {
        let (fails, panics) = match self.poison {
            Poison::None => (false, false),
            Poison::Key(one_in) => (key.is_multiple_of(one_in), false),
            Poison::PanicKey(one_in) => (key.is_multiple_of(one_in), true),
            Poison::Event(one_in) | Poison::PanicEvent(one_in) => {
                self.tried += 1;
                let panics = matches!(self.poison, Poison::PanicEvent(_));
                (self.tried.is_multiple_of(one_in), panics)
            }
            Poison::Nth(number) => {
                self.tried += 1;
                // In one of the partitions.
                let is_it = self.tried == number && self.failures.load(Ordering::Relaxed) == 0;
                (is_it, true)
            }
        };
        if fails { self.fail(panics) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn fail(&self, panics: bool) -> Result<(), &'static str> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        assert!(!panics, "it is poison");
        Err("it is poison")
    }
}

/// Counts a key's events, and looks at each as the one that fails does.
#[derive(Clone)]
pub(super) struct Count(pub(super) Look);

impl KeyedProcess<u64, u64> for Count {
    type State = (u64, ());
    type Out = u64;
    type Side = Infallible;

    fn item(
        &mut self,
        key: &u64,
        (count, ()): &mut (u64, ()),
        _time: Timestamp,
        _event: u64,
        ctx: &mut Context<'_, u64>,
    ) {
        *count += 1;
        ctx.emit(black_box(1));
        // None does.
        let _ = self.0.at(*key);
    }
}

/// The same, and fails for some.
#[derive(Clone)]
pub(super) struct TryCount(pub(super) Look);

impl TryKeyedProcess<u64, u64> for TryCount {
    type State = (u64, ());
    type Out = u64;
    type Side = Infallible;
    type Error = &'static str;

    fn item(
        &mut self,
        key: &u64,
        (count, ()): &mut (u64, ()),
        _time: Timestamp,
        _event: &u64,
        ctx: &mut Context<'_, u64>,
    ) -> Result<(), &'static str> {
        *count += 1;
        ctx.emit(black_box(1));
        self.0.at(*key)
    }
}

/// A dataflow that is declared for each run anew.
#[derive(Clone, Debug)]
pub(super) struct Flows {
    work: Work,
    events: u64,
    look: Look,
}

impl Flows {
    pub(super) fn new(work: Work, poison: Poison, events: u64) -> Self {
        let look = Look::new(poison);
        Self { work, events, look }
    }

    /// Tries that failed.
    pub(super) fn failures(&self) -> u64 {
        self.look.failures()
    }

    pub(super) fn declare(&self, flow: &Flow, policy: ItemPolicy, totals: &Totals) {
        let source = flow.source("events", Load::steady(self.events, KEYS, PER_SECOND));
        let (load, sink, look) = (source.stream(), totals.sink(), self.look.clone());
        // Key 0 would fail whatever is asked for.
        let load = load.map(|key: u64| key + 1);
        match self.work {
            Work::Map => {
                let function = move |key| match look.by_key(key) {
                    Ok(()) => black_box(key).min(1),
                    Err(_) => 0,
                };
                load.map(function).end(sink);
            }
            Work::TryMap => {
                let function = move |key: &u64| look.by_key(*key).map(|()| black_box(*key).min(1));
                load.try_map(policy, function).end(sink);
            }
            Work::Parse => {
                let function = |text: String| text.parse::<u64>().map_or(0, |key| key.min(1));
                load.map(|key| key.to_string()).map(function).end(sink);
            }
            Work::TryParse => {
                let function = |text: &String| text.parse::<u64>().map(|key| key.min(1));
                let load = load.map(|key| key.to_string());
                load.try_map(policy, function).end(sink);
            }
            Work::Process => load.key_by(|key| *key).process(Count(look)).end(sink),
            Work::TryProcess => {
                let keyed = load.key_by(|key| *key);
                keyed.try_process(policy, TryCount(look)).end(sink);
            }
        }
    }
}
