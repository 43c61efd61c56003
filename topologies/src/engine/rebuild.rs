//! Changing a projection for another version of it: progress, comparison, switch, and dropping what is not needed any more.
//!
//! Place: users and the command line -> **[`Rebuild`]** -> the [versions](super::versions) of a projection, and `state/`.
//! A switch: the version that answers is bound not to overtake the other one; once that shows all that the first shows, the
//! state's record is changed, and then readers are. The first runs on behind the second, so it can be switched back to.
//! Invariants: (1) what was shown once is shown from then on, whichever version was asked, so a token that was reached stays
//! reached; (2) the record is changed in one transaction, synced before anybody is told: a crash leaves either version
//! answering, with its rows and positions as they were stored; (3) the version that answers is never dropped.
//! Failure: what does not come to an end within the deadline is taken back, and nothing has changed.

mod comparing;
mod error;
mod guards;
mod progress;

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::fail_point;
use millstream_engine::stage::StageStatus;
use millstream_engine::state::StateError;

pub use error::RebuildError;
pub use progress::{PartitionProgress, VersionProgress};

use self::guards::{Bound, Hurried};
use super::effects::Handover;
use super::start::blocking;
use super::versions::{Version, Versions};
use super::{Engine, reads};

/// How long to wait for the other version unless said otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

impl Engine {
    /// The versions of a projection: for seeing how far a candidate is, comparing it with the version that answers, having
    /// it answer, and dropping the old one.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::catalog::bank::{Account, AccountCommand, AccountEvent, Balances, Cents};
    /// use std::convert::Infallible;
    ///
    /// /// Balances in hundredths, as the second version of them.
    /// struct InHundredths;
    /// const HUNDREDTHS: Table<String, i64> = Table::named("balances");
    ///
    /// impl Projection for InHundredths {
    ///     const NAME: &'static str = Balances::NAME;
    ///     const VERSION: u32 = Balances::VERSION + 1;
    ///     const ROWS: Rows = Rows::ByPartition;
    ///     const CATEGORY: &'static str = "account";
    ///     type Event = AccountEvent;
    ///     type Tables = (Table<String, i64>,);
    ///     type Error = Infallible;
    ///
    ///     fn tables(&self) -> Self::Tables {
    ///         (HUNDREDTHS,)
    ///     }
    ///
    ///     fn project(
    ///         &self,
    ///         event: &ProjectedEvent<'_, AccountEvent>,
    ///         (balances,): &mut (TableMut<String, i64>,),
    ///     ) -> Result<(), Infallible> {
    ///         let change = event.payload.change().hundredths();
    ///         balances.update(&event.id.to_owned(), |sum| *sum += change);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let topology = Topology::named("bank")
    ///     .aggregate::<Account>()
    ///     .projection(Balances)
    ///     .candidate(InHundredths)
    ///     .build()?;
    /// let engine = Engine::open(folder.path()).run(topology).await?;
    /// let open = AccountCommand::Open { overdraft_limit: Cents::ZERO };
    /// let ack = engine.send::<Account>("42", open).await?;
    ///
    /// let rebuild = engine.rebuild("balances")?;
    /// rebuild.caught_up().await?;
    /// assert_eq!(rebuild.compare().await?.tables[0].missing, 0);
    /// rebuild.switch().await?;
    /// let balance = engine.query(&HUNDREDTHS).at_least(&ack.token()).get("42").await?;
    /// assert_eq!(balance, Some(0));
    /// rebuild.drop_version(Balances::VERSION).await?;
    /// # engine.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RebuildError::UnknownProjection`].
    pub fn rebuild(&self, projection: &str) -> Result<Rebuild, RebuildError> {
        let mut all = self.inner.versions.iter();
        let found = all.find(|versions| versions.name == projection);
        let versions = found.ok_or_else(|| RebuildError::UnknownProjection {
            projection: projection.to_owned(),
            known: self.inner.versions.iter().map(|one| one.name).collect(),
        })?;
        Ok(Rebuild {
            engine: self.clone(),
            versions: Arc::clone(versions),
            chosen: None,
            deadline: DEADLINE,
        })
    }

    /// How far each version of each projection is, and how it fares.
    #[must_use]
    pub fn projections(&self) -> Vec<VersionProgress> {
        let all = self.inner.versions.iter();
        all.flat_map(|versions| progress::of_all(self, versions))
            .collect()
    }
}

/// The versions of one projection of an engine. Clones mean the same.
#[derive(Clone)]
pub struct Rebuild {
    engine: Engine,
    versions: Arc<Versions>,
    /// The candidate that is meant, if it was said.
    chosen: Option<u32>,
    deadline: Duration,
}

impl std::fmt::Debug for Rebuild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rebuild")
            .field("projection", &self.versions.name)
            .field("active", &self.active())
            .field("chosen", &self.chosen)
            .finish_non_exhaustive()
    }
}

impl Rebuild {
    /// Means this version as the candidate; without it that is the highest of those that do not answer, to be switched to only
    /// if it is higher than the one that does: the same call twice does not switch back.
    ///
    /// # Errors
    /// [`RebuildError::UnknownVersion`].
    pub fn to(mut self, version: u32) -> Result<Self, RebuildError> {
        self.get(version)?;
        self.chosen = Some(version);
        Ok(self)
    }

    /// Waits at most so long for another version to come as far as the one that answers; 10 seconds unless said otherwise.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Name of the projection.
    #[must_use]
    pub fn projection(&self) -> &'static str {
        self.versions.name
    }

    /// The version that answers.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.versions.active().version
    }

    /// Each version that runs, in the order in which they were declared.
    #[must_use]
    pub fn versions(&self) -> Vec<VersionProgress> {
        progress::of_all(&self.engine, &self.versions)
    }

    /// How far the candidate is, how fast it goes and how long that will take.
    ///
    /// # Errors
    /// [`RebuildError::NoCandidate`].
    pub fn progress(&self) -> Result<VersionProgress, RebuildError> {
        Ok(progress::of(
            &self.engine,
            &self.versions,
            self.candidate()?,
        ))
    }

    /// Waits, however long it takes, until the candidate shows all that is durable now.
    ///
    /// # Errors
    /// [`RebuildError::NoCandidate`]; [`RebuildError::Query`]: it was given up.
    pub async fn caught_up(&self) -> Result<(), RebuildError> {
        let candidate = self.candidate()?;
        let token = self.engine.durable();
        let ever = Duration::from_secs(u64::from(u32::MAX));
        Ok(candidate.board.reached(&token, ever).await?)
    }

    /// Has the candidate answer instead of the version that does now, which runs on behind it. Gives the version that
    /// answers. Waits until the candidate has come as far; readers do not wait for it, and never go back to what was.
    ///
    /// # Errors
    /// [`RebuildError::NoCandidate`]: no higher version runs, and none was chosen. [`RebuildError::Behind`] when the deadline
    /// passes: nothing has changed. [`RebuildError::Unsent`]: the version that answers was given up, and owes effects.
    /// [`RebuildError::State`]: see [`Rebuild::active`] after the next start.
    pub async fn switch(&self) -> Result<u32, RebuildError> {
        let own = self.clone();
        self.to_its_end(async move {
            let _one = own.versions.changing.lock().await;
            let next = own.next()?;
            own.switch_to(next).await
        })
        .await
    }

    /// In a task of its own: who does not wait for it any more must not leave the record changed and readers not.
    async fn to_its_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, RebuildError>> + Send + 'static,
    ) -> Result<T, RebuildError> {
        match self.engine.inner.runtime.spawn(change).await {
            Ok(changed) => changed,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being dropped.
                Err(_) => Err(StateError::Closed.into()),
            },
        }
    }

    /// Has the version answer again that did before the last switch. Gives it.
    ///
    /// # Errors
    /// [`RebuildError::NoPrevious`]; as [`switch`](Self::switch).
    pub async fn switch_back(&self) -> Result<u32, RebuildError> {
        let own = self.clone();
        self.to_its_end(async move { own.take_back().await }).await
    }

    async fn take_back(&self) -> Result<u32, RebuildError> {
        let _one = self.versions.changing.lock().await;
        let name = self.versions.name;
        let known = self.engine.inner.store.versions(name)?;
        let previous = known.and_then(|known| known.previous);
        let runs = previous.filter(|&previous| self.versions.get(previous).is_some());
        let previous = runs.ok_or(RebuildError::NoPrevious {
            projection: name,
            previous,
        })?;
        self.switch_to(previous).await
    }

    async fn switch_to(&self, version: u32) -> Result<u32, RebuildError> {
        let (from, to) = (self.versions.active(), self.get(version)?);
        if from.version == to.version {
            return Ok(version);
        }
        // One that was given up may show all there is, and would show nothing more.
        to.board.check_running()?;
        let _hurried = Hurried::new(&to.board);
        self.reached(to, from).await?;
        let handover = match &self.versions.outlets {
            Some(outlets) => Some(Handover::at_rest(outlets, from, to, self.deadline).await?),
            None => None,
        };
        let bound = Bound::new(&from.board, &to.board);
        self.reached(to, from).await?;
        if let Some(handover) = &handover {
            handover.cut().await?;
        }
        fail_point!(VERSION_BEFORE_SWITCH);
        let (state, name) = (self.engine.inner.state.clone(), self.versions.name);
        blocking(move || state.activate_version(name, version)).await?;
        fail_point!(VERSION_SWITCHED);
        self.versions.activate(version);
        bound.keep();
        drop(handover);
        fail_point!(VERSION_SHOWN);
        tracing::info!(
            projection = name,
            from = from.version,
            to = version,
            "another version answers"
        );
        Ok(version)
    }

    /// What the stored rows of a version have seen.
    fn stored(&self, version: &Version) -> Result<Token, RebuildError> {
        let mut token = Token::default();
        for partition in (0..self.engine.partitions()).map(PartitionId) {
            let (store, id) = (&self.engine.inner.store, version.registered.id);
            let next = store.progress(id, partition)?.unwrap_or_default().next;
            if let Some(offset) = next.0.checked_sub(1).map(Offset) {
                token.observe(Position { partition, offset });
            }
        }
        Ok(token)
    }

    /// Waits until `to` shows all that `from` shows now.
    async fn reached(&self, to: &Version, from: &Version) -> Result<(), RebuildError> {
        let mut token = from.board.token();
        // What it shows as soon as its actors have begun.
        token.merge(&self.stored(from)?);
        let reached = to.board.reached(&token, self.deadline).await;
        match (reached, to.board.behind(&token)) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(_)) if !to.board.is_stopped() => Err(RebuildError::Behind {
                projection: self.versions.name,
                version: to.version,
                behind: progress::behind(&to.board, &token),
                waited: self.deadline,
            }),
            (Err(cause), _) => Err(cause.into()),
        }
    }

    /// Drops a version that does not answer: it ends if it runs, its readers get an error, and its rows are deleted, in
    /// slices, also after a restart. It is not built again as long as the program declares it beside others.
    ///
    /// # Errors
    /// [`RebuildError::Active`]; [`RebuildError::Read`]: another projection looks into its tables;
    /// [`RebuildError::UnknownVersion`] if it is not stored either; [`RebuildError::Stage`]: it
    /// does not end, and nothing was dropped, but it gives no answers until the next start.
    pub async fn drop_version(&self, version: u32) -> Result<(), RebuildError> {
        let own = self.clone();
        self.to_its_end(async move { own.drop_one(version).await })
            .await
    }

    async fn drop_one(&self, version: u32) -> Result<(), RebuildError> {
        let _one = self.versions.changing.lock().await;
        let name = self.versions.name;
        if self.active() == version {
            return Err(RebuildError::Active {
                projection: name,
                version,
            });
        }
        if let Some((reader, its)) = reads::reader_of(&self.engine.inner.versions, name, version) {
            return Err(RebuildError::Read {
                projection: name,
                version,
                reader,
                reader_version: its,
            });
        }
        let mut started = self.versions.started().iter();
        match started.find(|one| one.version == version) {
            Some(running) => self.end(running).await?,
            None if self.engine.inner.store.projection(name, version)?.is_some() => {}
            None => return Err(self.unknown(version)),
        }
        fail_point!(VERSION_BEFORE_DROP);
        let state = self.engine.inner.state.clone();
        let dropped = blocking(move || state.drop_version(name, version)).await;
        fail_point!(VERSION_DROPPED);
        match dropped {
            // By somebody before.
            Err(StateError::UnknownProjection { .. }) => Ok(()),
            dropped => Ok(dropped?),
        }
    }

    /// Ends the stages of a version.
    async fn end(&self, version: &Version) -> Result<(), RebuildError> {
        version.board.drop_version();
        // What it had to wait for does not keep it from its end, and what waited for it waits for the one that answers.
        version.board.stay_below(None);
        for other in self.versions.all() {
            if other.board.is_below(&version.board) && !other.board.is_active() {
                let active = Arc::clone(&self.versions.active().board);
                other.board.stay_below(Some(active));
            }
        }
        let deadline = self.engine.inner.config.shutdown_deadline;
        for stage in &version.stages {
            let ended = tokio::time::timeout(deadline, stage.drain_and_stop()).await;
            let stands_still =
                matches!(ended, Ok(StageStatus::Stopped | StageStatus::Failed { .. }));
            if !stands_still {
                return Err(RebuildError::Stage {
                    stage: stage.name().to_owned(),
                    waited: deadline,
                });
            }
        }
        Ok(())
    }

    /// The version that is to take over, as far as can be told.
    fn candidate(&self) -> Result<&Version, RebuildError> {
        let active = self.active();
        if let Some(chosen) = self.chosen {
            return self.get(chosen);
        }
        let others = self.versions.all().filter(|one| one.version != active);
        let highest = others.max_by_key(|one| one.version);
        highest.ok_or(RebuildError::NoCandidate {
            projection: self.versions.name,
            active,
        })
    }

    /// The version that is switched to.
    fn next(&self) -> Result<u32, RebuildError> {
        let (candidate, active) = (self.candidate()?.version, self.active());
        if self.chosen.is_none() && candidate < active {
            return Err(RebuildError::NoCandidate {
                projection: self.versions.name,
                active,
            });
        }
        Ok(candidate)
    }

    fn get(&self, version: u32) -> Result<&Version, RebuildError> {
        let found = self.versions.get(version);
        found.ok_or_else(|| self.unknown(version))
    }

    fn unknown(&self, version: u32) -> RebuildError {
        RebuildError::UnknownVersion {
            projection: self.versions.name,
            version,
            known: self.versions.all().map(|one| one.version).collect(),
        }
    }
}
