//! Stages and edges of a dataflow while it is declared, and the names that they have once all are known.

use std::sync::Arc;

use millstream_engine::flow::{Fault, StageMeter, Wiring};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_operators::failing::letter_stage;

use super::{FlowOptions, StageId};
use crate::dataflow::check::DataflowFault;
use crate::dataflow::origin::Opening;
use crate::dataflow::site::Site;
use crate::dataflow::source::SourceNote;
use crate::dataflow::table::TablePlan;

/// Prepares one partition of a stage.
pub(in crate::dataflow) type MakeStage =
    Box<dyn Fn(&Wiring, &Arc<Mailbox>, StageMeter) -> Result<Opening, Fault> + Send>;
/// Makes the lanes of an edge.
pub(in crate::dataflow) type Connect = Box<dyn Fn(usize, &[Arc<Mailbox>], MailboxLimits) + Send>;

pub(in crate::dataflow) struct StagePlan {
    pub(in crate::dataflow) site: Site,
    /// Unique; given with the site, or made when all are known.
    pub(in crate::dataflow) name: String,
    pub(in crate::dataflow) make: MakeStage,
}

pub(in crate::dataflow) struct EdgePlan {
    pub(in crate::dataflow) label: String,
    pub(in crate::dataflow) one_to_one: bool,
    pub(in crate::dataflow) from: Option<StageId>,
    pub(in crate::dataflow) to: Option<StageId>,
    pub(in crate::dataflow) connect: Connect,
}

/// A dataflow while it is declared.
pub(in crate::dataflow) struct Draft {
    pub(in crate::dataflow) name: String,
    pub(in crate::dataflow) options: FlowOptions,
    pub(in crate::dataflow) stages: Vec<StagePlan>,
    pub(in crate::dataflow) edges: Vec<EdgePlan>,
    pub(in crate::dataflow) faults: Vec<DataflowFault>,
    pub(in crate::dataflow) sources: Vec<SourceNote>,
    pub(in crate::dataflow) tables: Vec<TablePlan>,
    /// Late items, or items that fail, become dead letters somewhere.
    pub(in crate::dataflow) has_letters: bool,
}

impl Draft {
    /// One that has nothing yet.
    pub(super) const fn new(name: String, options: FlowOptions) -> Self {
        Self {
            name,
            options,
            stages: Vec::new(),
            edges: Vec::new(),
            faults: Vec::new(),
            sources: Vec::new(),
            tables: Vec::new(),
            has_letters: false,
        }
    }

    /// What could not be known before all stages were: how many partitions those have that follow others, and names
    /// of those that were not given one.
    pub(super) fn complete(&mut self) {
        for _ in 0..self.stages.len() {
            let mut changed = false;
            for at in 0..self.stages.len() {
                let edge = self.stages[at].site.follows;
                let before = edge.and_then(|edge| self.edges[edge].from);
                let Some(partitions) = before.map(|from| self.stages[from].site.partitions) else {
                    continue;
                };
                let site = &mut self.stages[at].site;
                changed |= std::mem::replace(&mut site.partitions, partitions) != partitions;
            }
            if !changed {
                break;
            }
        }
        for at in 0..self.stages.len() {
            if self.stages[at].site.name.is_none() {
                self.stages[at].name = self.free_name(&self.stages[at].site.kind);
            }
        }
    }

    /// What the state of each stage is found by in a checkpoint: a name that was given, or else the stage's.
    pub(in crate::dataflow) fn identities(&self) -> Vec<String> {
        let given: Vec<_> = self
            .stages
            .iter()
            .map(|stage| stage.site.identity())
            .collect();
        let is_taken = |name: &str| {
            let mut others = self.stages.iter().zip(&given);
            others.any(|(stage, given)| given.is_none() && stage.name == name)
        };
        let is_of_state = |stage: &StagePlan, name: &str| {
            let is_named = |other: &StagePlan| other.site.name.as_deref() == Some(name);
            stage.site.name.is_none() && self.stages.iter().any(is_named)
        };
        let stages = self.stages.iter().zip(&given);
        let identity = |(stage, given): (&StagePlan, &Option<String>)| match given {
            // A source may well be named as the state that it steers.
            Some(given) if is_of_state(stage, given) => format!("state {given}"),
            Some(given) if is_taken(given) => format!("{given} (named)"),
            Some(given) => given.clone(),
            None => stage.name.clone(),
        };
        stages.map(identity).collect()
    }

    /// What letters of late items name as their stages.
    pub(in crate::dataflow) fn late_stages(&self, dataflow: &str) -> Vec<Arc<str>> {
        let stages = self.stages.iter().zip(self.identities());
        let kept = stages.filter(|(stage, _)| stage.site.has_late_letters);
        kept.map(|(_, identity)| letter_stage(&format!("{dataflow}/{identity}"), 0))
            .collect()
    }

    /// What the letters of operators that may fail name as their stages.
    pub(in crate::dataflow) fn letter_stages(&self, dataflow: &str) -> Vec<Arc<str>> {
        let stages = self.stages.iter().zip(self.identities());
        let named = stages.flat_map(|(stage, identity)| {
            let stage_name = format!("{dataflow}/{identity}");
            (0..stage.site.failing).map(move |ordinal| letter_stage(&stage_name, ordinal))
        });
        named.collect()
    }

    /// `kind`, or `kind-2` and so on if that is taken.
    fn free_name(&self, kind: &str) -> String {
        let is_taken = |name: &str| self.stages.iter().any(|stage| stage.name == name);
        if !is_taken(kind) {
            return kind.to_owned();
        }
        (2..)
            .map(|number| format!("{kind}-{number}"))
            .find(|name| !is_taken(name))
            .unwrap_or_default()
    }
}
