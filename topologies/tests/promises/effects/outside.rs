//! What stands outside: it takes effects, remembers them, and can be told to be odd.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millstream::prelude::*;
use tokio::sync::Notify;

use crate::support::{Happened, panics};

/// A projection with effects: notes are mailed, and additions change a row.
#[derive(Default)]
pub(super) struct Mailing<const VERSION: u32, const EARLY: bool = false> {
    /// Events that have failed once, by version of the projection. Of all engines of a test: one that was to be tried again when
    /// an engine ended would fail once more in the next, and be a dead letter.
    pub(super) failed: Failed,
    /// Held up by the note [`HOLD`], if it is there.
    pub(super) held: Option<Arc<Held>>,
    /// It does not fail on [`FAILS`] any more.
    pub(super) is_mended: Arc<AtomicBool>,
}

pub(super) type Failed = Arc<Mutex<BTreeSet<(u32, String, u64)>>>;

/// A note that some projections are held up by.
pub(super) const HOLD: &str = "hold";

/// Holds a projection up until it is let go.
#[derive(Default)]
pub(super) struct Held {
    is_free: Mutex<bool>,
    freed: std::sync::Condvar,
}

impl Held {
    fn wait(&self) {
        let is_free = self.is_free.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.freed.wait_while(is_free, |is_free| !*is_free));
    }

    pub(super) fn let_go(&self) {
        *self.is_free.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.freed.notify_all();
    }
}

pub(super) const TOTALS: Table<String, i64> = Table::named("totals");
pub(super) const MAILS: Outbox<String> = Outbox::named("mails");

#[derive(Debug, thiserror::Error)]
#[error("no mail is written about this")]
pub(super) struct Unwritten;

impl<const VERSION: u32, const EARLY: bool> Projection for Mailing<VERSION, EARLY> {
    const NAME: &'static str = "mailing";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>, Outbox<String>);
    type Error = Unwritten;

    fn tables(&self) -> Self::Tables {
        let mails = if EARLY { MAILS.from_start() } else { MAILS };
        (TOTALS, mails)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (totals, mails): &mut (TableMut<String, i64>, OutboxMut<String>),
    ) -> Result<(), Unwritten> {
        let (id, version) = (event.id, event.version);
        match event.payload {
            Happened::Added { by } => {
                totals.update(&id.to_owned(), |sum| *sum += by);
                // Each addition is mailed, and those of two twice.
                for copy in 0..(*by).clamp(0, 2) {
                    mails.send(mail(id, version, *by, copy));
                }
                let is_first = || {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.insert((VERSION, id.to_owned(), version))
                };
                let is_mended = self.is_mended.load(Ordering::Acquire);
                if (*by == FAILS && !is_mended)
                    || *by == FAILS + i64::from(VERSION)
                    || (*by == FLAKY && is_first())
                {
                    return Err(Unwritten);
                }
            }
            Happened::Noted { text } => {
                if let Some(held) = self.held.as_ref().filter(|_| text == HOLD) {
                    held.wait();
                }
                mails.send(format!("{id}.{version}: {text}"));
            }
            Happened::Odd { .. } | Happened::Poison => {}
        }
        Ok(())
    }
}

pub(super) fn mail(id: &str, version: u64, by: i64, copy: i64) -> String {
    format!("{id}.{version}: {by} ({copy})")
}

/// An addition that the projection fails on, after it has sent. With the number of a version added, that version does.
pub(super) const FAILS: i64 = 1_000;
/// One that it fails on the first time.
pub(super) const FLAKY: i64 = 2_000;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Then {
    Fail,
    Panic,
    Hang,
    /// It is taken once the outside is let go.
    Wait,
}

#[derive(Default)]
struct Seen {
    /// All calls, in order.
    calls: Vec<Effect<String>>,
    /// Of those that went well, each once.
    taken: Vec<Effect<String>>,
    ids: BTreeSet<millstream_engine::event::EventId>,
    /// What becomes of the next calls for such a mail.
    odd: BTreeMap<String, Vec<Then>>,
}

/// A call.
type Taking = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Clones mean the same.
#[derive(Clone, Default)]
pub(super) struct Outside {
    seen: Arc<Mutex<Seen>>,
    moved: Arc<Notify>,
    gate: Arc<Notify>,
    /// What has failed once in the projections that send here.
    pub(super) failed: Failed,
}

impl Outside {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is given to a topology.
    pub(super) fn deliver(&self) -> impl Fn(Effect<String>) -> Taking + Send + Sync + 'static {
        let own = self.clone();
        move |effect| {
            let own = own.clone();
            Box::pin(async move { own.take(effect).await })
        }
    }

    async fn take(&self, effect: Effect<String>) -> Result<(), String> {
        let then = {
            let mut seen = self.seen();
            seen.calls.push(effect.clone());
            let odd = seen.odd.get_mut(&effect.value);
            let then = odd.and_then(|odd| (!odd.is_empty()).then(|| odd.remove(0)));
            let is_taken = matches!(then, None | Some(Then::Wait));
            if is_taken
                && seen
                    .ids
                    .insert(millstream_engine::event::EventId(effect.id.0))
            {
                seen.taken.push(effect);
            }
            then
        };
        self.moved.notify_waiters();
        match then {
            None => Ok(()),
            Some(Then::Fail) => Err("it is out of order".to_owned()),
            Some(Then::Panic) => panics("the outside panics"),
            Some(Then::Hang) => std::future::pending().await,
            Some(Then::Wait) => {
                self.gate.notified().await;
                Ok(())
            }
        }
    }

    /// The next calls for this mail come to these.
    pub(super) fn odd(&self, mail: &str, then: impl IntoIterator<Item = Then>) {
        let mut seen = self.seen();
        seen.odd.insert(mail.to_owned(), then.into_iter().collect());
    }

    /// Lets one call go that waits, or the next that will.
    pub(super) fn let_go(&self) {
        self.gate.notify_one();
    }

    /// What was taken, each once.
    pub(super) fn taken(&self) -> Vec<Effect<String>> {
        self.seen().taken.clone()
    }

    /// The mails that were taken, by key, in order.
    pub(super) fn mails(&self) -> BTreeMap<String, Vec<String>> {
        let mut mails = BTreeMap::<_, Vec<_>>::new();
        for effect in self.taken() {
            mails.entry(effect.key).or_default().push(effect.value);
        }
        mails
    }

    pub(super) fn calls(&self) -> Vec<Effect<String>> {
        self.seen().calls.clone()
    }

    /// Waits until `holds`.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        crate::support::within(async {
            loop {
                let mut moved = std::pin::pin!(self.moved.notified());
                moved.as_mut().enable();
                if holds(self) {
                    return;
                }
                moved.await;
            }
        })
        .await;
    }
}
