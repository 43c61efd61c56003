//! Which dead letters wait for a person, as they are stored and as dataflows that run have them.

use millstream_engine::state::{
    DeadLetter, DeadLetterId, DeadLetterStatus, RegisteredProjection, SeenLetter, StateError,
};
use millstream_operators::failing::{LetterStanding, is_of_item};
use millstream_operators::projection::{LetterDecision, LetterOrder};

use super::DecideError;
use crate::Engine;
use crate::dataflow::DataflowStatus;
use crate::dataflow::table;

/// Which letters wait for a decision.
///
/// A decision may be appended only about a letter that is stored as dead: its event is not applied before a decision
/// that names as many redrives lies in the log, so the first of these finds it as it was, in every run.
pub(in crate::engine) struct Waiting {
    engine: Engine,
    /// All that have rows, whether they run or not.
    stored: Vec<RegisteredProjection>,
    /// The versions of projections that run.
    running: Vec<RegisteredProjection>,
    /// What dataflows of the topology are registered as.
    dataflows: Vec<RegisteredProjection>,
}

impl Waiting {
    pub(in crate::engine) fn of(engine: &Engine) -> Result<Self, StateError> {
        let stored = engine.state().projections()?;
        let is_dataflow = |known: &&RegisteredProjection| {
            let mut names = engine
                .dataflows()
                .iter()
                .map(|flow| table::owner(flow.name()));
            known.version == table::VERSION && names.any(|name| known.name == name)
        };
        let dataflows = stored.iter().filter(is_dataflow).cloned().collect();
        let versions = engine.inner.versions.iter();
        let running = versions.flat_map(|versions| versions.all());
        Ok(Self {
            engine: engine.clone(),
            stored,
            running: running.map(|one| one.registered.clone()).collect(),
            dataflows,
        })
    }

    /// An order about a letter; `None` if it is one that nobody waits for a decision on.
    pub(super) fn order(&self, letter: &DeadLetter, by: &str, reason: &str) -> Option<LetterOrder> {
        let mut dataflows = self.dataflows.iter();
        match dataflows.find(|one| one.id == letter.projection) {
            Some(dataflow) => LetterOrder::of_item(letter, &dataflow.name, by, reason),
            None => LetterOrder::of(letter, by, reason),
        }
    }

    /// Whether it is the letter of a late item of a dataflow: nothing holds that any more, so it can be let go of at once.
    pub(super) fn is_late(&self, letter: &DeadLetter) -> bool {
        let mut dataflows = self.dataflows.iter();
        letter.kind.category.is_empty() && dataflows.any(|one| one.id == letter.projection)
    }

    /// What the dataflow is registered as that a letter is of, if it is one of the topology.
    pub(super) fn dataflow_of(&self, letter: &DeadLetter) -> Option<&str> {
        let mut dataflows = self.dataflows.iter();
        let dataflow = dataflows.find(|one| one.id == letter.projection)?;
        Some(dataflow.name.as_str())
    }

    /// The letter that is to be let go of by a decision, if it is that of a late item and there still, as it was seen.
    pub(in crate::engine) fn late(
        &self,
        decision: &LetterDecision,
    ) -> Result<Option<SeenLetter>, DecideError> {
        let LetterDecision::Discarded(order) = decision else {
            return Ok(None);
        };
        let letter = self.letter(order)?.filter(|letter| self.is_late(letter));
        let seen = letter.map(|letter| SeenLetter::from(&letter));
        Ok(seen.filter(|seen| order.content == Some(seen.content)))
    }

    /// Of a letter of a dataflow.
    fn check_item(&self, letter: &DeadLetter, dataflow: &str) -> Result<(), DecideError> {
        let id = letter.id();
        if !is_of_item(letter) {
            // A late item: nothing holds it any more.
            return Err(DecideError::NotParked { id });
        }
        let mut dataflows = self.engine.dataflows().iter();
        let flow = dataflows.find(|flow| table::owner(flow.name()) == dataflow);
        let runs = flow.is_some_and(|flow| flow.status() == DataflowStatus::Running);
        if !runs && flow.is_some_and(|flow| !flow.has_checkpoints()) {
            // Nothing of it is left, and the next start has other letters.
            return Err(DecideError::NotParked { id });
        }
        let board = &self.engine.inner.inputs.letters;
        match board.standing(id) {
            LetterStanding::Open { redrives } if redrives == letter.redrives => Ok(()),
            LetterStanding::Open { .. } | LetterStanding::Retrying => {
                Err(DecideError::Retrying { id })
            }
            LetterStanding::Unsaved if runs => Err(DecideError::Unsaved { id }),
            // Its stage has not begun yet, and may have the item.
            LetterStanding::Unknown if runs && !board.has_begun(id.projection, &letter.stage) => {
                Err(DecideError::Unsaved { id })
            }
            LetterStanding::Unsaved | LetterStanding::Unknown => Err(DecideError::NotParked { id }),
        }
    }

    pub(super) fn check(&self, letter: &DeadLetter) -> Result<(), DecideError> {
        let id = letter.id();
        let mut dataflows = self.dataflows.iter();
        if let Some(dataflow) = dataflows.find(|one| one.id == letter.projection) {
            return self.check_item(letter, &dataflow.name);
        }
        let mut running = self.running.iter();
        let Some(running) = running.find(|one| one.id == letter.projection) else {
            return Err(DecideError::NotParked { id });
        };
        let of_name = self.stored.iter().filter(|one| one.name == running.name);
        let highest = of_name.max_by_key(|one| one.version);
        // Decisions are those of later versions as well, which may have gone past the event; of earlier ones they are not.
        if let Some(newer) = highest.filter(|one| one.version > running.version) {
            return Err(DecideError::NewerVersion {
                projection: newer.name.to_string(),
                newer: newer.version,
            });
        }
        match letter.status {
            DeadLetterStatus::Dead => Ok(()),
            DeadLetterStatus::Retrying { .. } => Err(DecideError::Retrying { id }),
        }
    }

    /// Whether an order was given about a letter as it is now. One that was not is too late.
    pub(in crate::engine) fn admits(&self, order: &LetterOrder) -> Result<bool, DecideError> {
        let Some(letter) = self.letter(order)? else {
            return Ok(false);
        };
        match self.check(&letter) {
            Ok(()) => Ok(letter.redrives == order.redrives),
            // It may be taken in a moment.
            Err(error @ DecideError::Unsaved { .. }) => Err(error),
            Err(error) => {
                tracing::info!(%error, "a decision about a dead letter is not taken");
                Ok(false)
            }
        }
    }
    /// The letter that an order is about, if it is there still.
    fn letter(&self, order: &LetterOrder) -> Result<Option<DeadLetter>, StateError> {
        let known = match &order.stage {
            Some(_) => &self.dataflows,
            None => &self.running,
        };
        let mut known = known.iter();
        let owner = known.find(|one| one.name == order.projection && one.version == order.version);
        let Some(owner) = owner else {
            return Ok(None);
        };
        let stage = order.stage.as_ref().unwrap_or(&order.projection);
        let id = DeadLetterId::new(owner.id, order.position(), stage, &order.key);
        self.engine.state().dead_letter(id)
    }
}
