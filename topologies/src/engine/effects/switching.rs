//! Having another version of a projection send its effects: none twice, none left out.
//!
//! Both versions stop at one position. Once the one that answers has stored all that it sends up to there, whether its outboxes have
//! room or not, the state's record says that the other one sends from there on; after that it answers. Invariant: neither goes on before both is so. Killed in
//! between, the next start finds who answers, and has that one go on where the other ends.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::fail_point;
use millstream_engine::state::StateError;
use millstream_operators::projection::{Outlets, QueryError};

use crate::engine::rebuild::RebuildError;
use crate::engine::start::blocking;
use crate::engine::versions::Version;

/// Two versions that stand still at one position, until this is gone.
pub(in crate::engine) struct Handover<'v> {
    outlets: Arc<Outlets>,
    from: &'v Version,
    to: &'v Version,
    /// Where they do, by partition.
    at: Vec<Offset>,
}

impl<'v> Handover<'v> {
    /// Has both stop, and waits until the one that sends has stored all that it sends up to there. Before either is bound not to
    /// overtake the other: of two that each wait for the other neither might come so far.
    pub(in crate::engine) async fn at_rest(
        outlets: &Arc<Outlets>,
        from: &'v Version,
        to: &'v Version,
        deadline: Duration,
    ) -> Result<Self, RebuildError> {
        let versions = [
            (&*from.board, from.registered.id),
            (&*to.board, to.registered.id),
        ];
        let Some(at) = outlets.halt(versions, deadline).await else {
            return Err(RebuildError::Moving {
                projection: outlets.projection(),
            });
        };
        // From here on it is let go, whatever happens.
        let own = Self {
            outlets: Arc::clone(outlets),
            from,
            to,
            at,
        };
        let ends = (0..).map(PartitionId).zip(own.at.iter().copied());
        let ends: Vec<_> = ends.collect();
        match from.board.until_stored(&ends, deadline).await {
            // One that was given up comes no further in this process, and the other one has applied in silence what it lacks.
            Err(QueryError::Stopped { .. }) => {
                let events = outlets.unseen(from.registered.id, &own.at)?;
                if events > 0 {
                    return Err(RebuildError::Unsent {
                        projection: outlets.projection(),
                        version: from.version,
                        events,
                    });
                }
            }
            Err(QueryError::Behind { waited, .. }) => {
                return Err(RebuildError::Sending {
                    projection: outlets.projection(),
                    version: from.version,
                    events: outlets.unseen(from.registered.id, &own.at)?,
                    waited,
                });
            }
            waited => waited?,
        }
        Ok(own)
    }

    /// Has the other one send what comes, durably.
    pub(in crate::engine) async fn cut(&self) -> Result<(), StateError> {
        fail_point!(EFFECT_BEFORE_CUT);
        let (outlets, owner, at) = (
            Arc::clone(&self.outlets),
            self.to.registered.id,
            self.at.clone(),
        );
        blocking(move || outlets.cut(owner, &at)).await?;
        fail_point!(EFFECT_CUT);
        Ok(())
    }
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        self.outlets.go_on();
        self.from.board.stop_behind(None);
        self.to.board.stop_behind(None);
    }
}
