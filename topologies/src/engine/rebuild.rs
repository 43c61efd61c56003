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
mod dropping;
mod error;
mod guards;
mod progress;
mod switching;

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::state::StateError;

pub use error::RebuildError;
pub use progress::{PartitionProgress, VersionProgress};

use super::Engine;
use super::versions::{Version, Versions};

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

    /// In a task of its own: who does not wait for it any more must not leave the record changed and readers not.
    async fn to_its_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, RebuildError>> + Send + 'static,
    ) -> Result<T, RebuildError> {
        let under_way = self.engine.inner.running.requests().one();
        let change = async move {
            let changed = change.await;
            drop(under_way);
            changed
        };
        match self.engine.inner.runtime.spawn(change).await {
            Ok(changed) => changed,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being dropped.
                Err(_) => Err(StateError::Closed.into()),
            },
        }
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
