//! Stages without a name that a checkpoint could not tell apart.
//!
//! A stage without any name is found by what it begins with, and by its place among those that begin alike. For positions in the log
//! and for results that wait to be delivered that is not enough: nothing of what is stored says whose it is, so a stage that is
//! declared before another one would go on with what that one had. Sources that look at other categories are told apart at the start
//! as well, but not two that read the same.
//! Not here: operators with state, which are few enough to be named each; files, which are stored with how they are called.

use super::check::DataflowFault;
use super::flow::{Draft, StagePlan};

/// Asks for names where several stages of a kind go on from checkpoints and have none.
pub(super) fn check(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    if draft.options.checkpoints.is_none() {
        return;
    }
    let goes_on = |stage: &&StagePlan| {
        let site = &stage.site;
        let source = site.source.map(|number| &draft.sources[number]);
        let is_of_log = source.is_some_and(|source| source.is_of_log);
        let delivers = site.lets_out && site.files.is_none();
        site.identity().is_none() && (is_of_log || delivers)
    };
    let unnamed: Vec<_> = draft.stages.iter().filter(goes_on).collect();
    for stage in &unnamed {
        let kind = &stage.site.kind;
        if unnamed
            .iter()
            .filter(|other| other.site.kind == *kind)
            .count()
            > 1
        {
            faults.push(DataflowFault::UnnamedStage {
                kind: kind.clone(),
                stage: stage.name.clone(),
            });
        }
    }
}
