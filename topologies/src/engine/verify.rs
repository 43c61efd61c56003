//! Comparing projections with what their code makes of the log.

use std::sync::Arc;

use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::log::StreamReader;
use millstream_engine::state::{StateError, StateStore};
use millstream_operators::past::{At, PastError};
use millstream_operators::projection::{
    Looked, PastTables, Projection, QueryError, Replay, TableSet, Verification,
};

use super::Engine;
use super::start::blocking;

/// Why a projection could not be compared with a replay.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Its rows could not be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The log could not be replayed.
    #[error(transparent)]
    Past(#[from] PastError),
    /// An engine stores rows meanwhile.
    #[error(
        "the rows of {projection} changed meanwhile: stop the engine first, or ask it with Engine::verify"
    )]
    Moving {
        /// Name of the projection.
        projection: &'static str,
    },
}

impl From<StateError> for VerifyError {
    fn from(cause: StateError) -> Self {
        Self::Query(cause.into())
    }
}

impl Engine {
    /// Compares the tables of a projection that runs with what its code makes of the log: a snapshot of them, with a replay
    /// up to the same position. What runs goes on meanwhile.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::catalog::bank::{Account, AccountCommand, Balances, Cents};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let topology = Topology::named("bank").aggregate::<Account>().projection(Balances).build()?;
    /// # let engine = Engine::open(folder.path()).run(topology).await?;
    /// # let open = AccountCommand::Open { overdraft_limit: Cents::ZERO };
    /// # engine.send::<Account>("42", open).await?;
    /// let verification = engine.verify(Balances).await?;
    /// assert!(verification.is_good(), "{verification:?}");
    /// # engine.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cost: a whole replay, and each row read, decoded and hashed twice. Rows that change meanwhile are kept in memory as
    /// they were, at most 1,000,000 per table.
    ///
    /// # Errors
    /// [`VerifyError`]; [`QueryError::UnknownProjection`] or [`QueryError::OtherVersion`] if it does not run. One that runs
    /// need not be the one that answers.
    pub async fn verify<P: Projection>(&self, projection: P) -> Result<Verification, VerifyError> {
        let everything = self.durable();
        let version = self.version::<P>()?;
        let snapshot = version.snapshot().at_least(&everything).open().await?;
        let streams: Arc<dyn StreamReader> = Arc::new(self.log().clone());
        blocking(move || {
            let (projection, token) = (Arc::new(projection), snapshot.token().clone());
            let past = replay(&projection, streams, &token)?;
            verification(&*projection, &Looked::Shown(&snapshot), token, &past)
        })
        .await
    }
}

/// The same for what is stored, by an engine that stands still; `None` if nothing ever was.
pub(crate) fn stored<P: Projection>(
    projection: &Arc<P>,
    streams: Arc<dyn StreamReader>,
    store: &StateStore,
) -> Result<Option<Verification>, VerifyError> {
    let Some(registered) = store.projection(P::NAME, P::VERSION)? else {
        return Ok(None);
    };
    let partitions = streams.partitions();
    let stored = || -> Result<Token, StateError> {
        let mut token = Token::default();
        for partition in (0..partitions).map(PartitionId) {
            let progress = store.progress(registered.id, partition)?;
            let next = progress.unwrap_or_default().next;
            if let Some(offset) = next.0.checked_sub(1).map(Offset) {
                token.observe(Position { partition, offset });
            }
        }
        Ok(token)
    };
    let token = stored()?;
    let past = replay(projection, streams, &token)?;
    let looked = Looked::Stored(store, &registered.tables);
    let verification = verification(&**projection, &looked, token, &past)?;
    if stored()? != verification.token {
        let projection = P::NAME;
        return Err(VerifyError::Moving { projection });
    }
    Ok(Some(verification))
}

fn replay<P: Projection>(
    projection: &Arc<P>,
    streams: Arc<dyn StreamReader>,
    token: &Token,
) -> Result<PastTables, PastError> {
    let replay = Replay::<P>::new(streams, Arc::clone(projection));
    replay.at(At::Position(token.clone())).tables()
}

fn verification<P: Projection>(
    projection: &P,
    looked: &Looked<'_>,
    token: Token,
    past: &PastTables,
) -> Result<Verification, VerifyError> {
    Ok(Verification {
        projection: P::NAME,
        version: P::VERSION,
        token,
        events: past.events(),
        failed: past.failed_count() + past.waiting(),
        tables: projection.tables().verify(looked, past)?,
    })
}
