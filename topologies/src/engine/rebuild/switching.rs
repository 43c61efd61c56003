//! Having another version answer, or again the one that did before. The parent's head has the steps.

use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::fail_point;

use super::guards::{Bound, Hurried};
use super::{Rebuild, RebuildError, progress};
use crate::engine::effects::Handover;
use crate::engine::start::blocking;
use crate::engine::versions::Version;

impl Rebuild {
    /// Has the candidate answer instead of the version that does now, which runs on behind it. Gives the version that
    /// answers. Waits until the candidate has come as far; readers do not wait for it, and never go back to what was.
    ///
    /// # Errors
    /// [`RebuildError::NoCandidate`]: no higher version runs, and none was chosen. [`RebuildError::Behind`] when the deadline
    /// passes: nothing has changed. [`RebuildError::Sending`] when it passes while the version that answers sends what the
    /// candidate has not sent. [`RebuildError::Unsent`]: the version that answers was given up, and owes effects.
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
    pub(super) async fn reached(&self, to: &Version, from: &Version) -> Result<(), RebuildError> {
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
}
