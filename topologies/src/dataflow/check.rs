//! What can be wrong with a dataflow, found before anything runs.

use std::path::PathBuf;

use super::flow::{Draft, StagePlan};
use super::{reach, unnamed};

/// One thing that is wrong with a dataflow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataflowFault {
    /// The dataflow needs a name: its state is kept under it.
    #[error("the dataflow has no name")]
    NoName,
    /// It has no stage: no stream reached a sink.
    #[error("nothing happens: no stream ends in a sink")]
    Empty,
    /// A stage with no partition does nothing.
    #[error("stage {stage:?}: partitions must be at least 1")]
    NoPartitions {
        /// The stage.
        stage: String,
    },
    /// Two stages of one name could not be told apart.
    #[error("two stages named {stage:?}")]
    SameStage {
        /// The name.
        stage: String,
    },
    /// State without a name could not be found again after a change of the dataflow.
    #[error(
        "{kind} in stage {stage:?} has state and no name: with more than one such operator in a dataflow, give each \
         one, with .named(\"…\") before it or .state_named(\"…\") behind it"
    )]
    UnnamedState {
        /// What keeps it.
        kind: &'static str,
        /// Its stage.
        stage: String,
    },
    /// Stages of one kind are told apart by their order alone, and what comes to stand before others takes over what they stored.
    #[error(
        "stage {stage:?} goes on where a checkpoint has it and has no name: with more than one such {kind:?} in a dataflow, \
         give each one, with .stage_named(\"…\"). One that has run as the only one goes on as .stage_named({kind:?})"
    )]
    UnnamedStage {
        /// What it begins with.
        kind: String,
        /// What it is called without a name.
        stage: String,
    },
    /// State of one name twice would be mixed up.
    #[error("two operators keep state named {name:?}")]
    SameState {
        /// The name.
        name: String,
    },
    /// What is sent there goes nowhere.
    #[error("what {label:?} gives out is not read: end it in a sink, or do not declare it")]
    NotRead {
        /// The side output or stream.
        label: String,
    },
    /// What is read from there never comes.
    #[error("nothing is sent to {label:?}: give it to an operator, or do not read it")]
    NotSent {
        /// The side output.
        label: String,
    },
    /// Each side output has one sender: it says when nothing more comes.
    #[error(
        "more than one operator sends to {label:?}: give each a side output of its own, and merge what comes out"
    )]
    SentTwice {
        /// The side output.
        label: String,
    },
    /// Each item of a side output goes to one reader.
    #[error("{label:?} is read more than once: read it once and .share(…) the stream")]
    ReadTwice {
        /// The side output.
        label: String,
    },
    /// Partition n of one stage reads partition n of the other, and they have different numbers of them.
    #[error(
        "{label:?} joins a stage of {from} partitions and one of {to}: give both as many, or put an exchange between"
    )]
    Partitions {
        /// The edge.
        label: String,
        /// Partitions of the sending stage.
        from: usize,
        /// Partitions of the receiving stage.
        to: usize,
    },
    /// Both inputs of a join must be split alike, so that equal keys meet.
    #[error(
        "join {stage:?}: the left stream has {left} partitions and the right one {right}, so that equal keys do not \
         meet: give both as many"
    )]
    JoinPartitions {
        /// The stage of the join.
        stage: String,
        /// Partitions of the left input.
        left: usize,
        /// Partitions of the right input.
        right: usize,
    },
    /// A cycle of bounded mailboxes can stand still for ever.
    #[error(
        "stages {stages} form a cycle: let it pass through the log (a log sink, and a source that reads it), which is \
         the buffer that breaks it"
    )]
    Cycle {
        /// The stages, in order.
        stages: String,
    },
    /// Two sinks into one table would overwrite each other's rows.
    #[error("two sinks into table {table:?}: merge the streams before one")]
    SameTable {
        /// The table.
        table: &'static str,
    },
    /// Two sinks into files of the same names would overwrite and delete each other's.
    #[error(
        "stages {first:?} and {second:?} both write files {prefix}-… into {}: give each sink a prefix of its own",
        .folder.display()
    )]
    SameFiles {
        /// The folder.
        folder: PathBuf,
        /// What the files' names begin with.
        prefix: String,
        /// The stage that was declared first.
        first: String,
        /// The other one.
        second: String,
    },
    /// The rows of a dataflow's table are parts of its checkpoints, entries of indexes are not.
    #[error(
        "table {table:?} has indexes, which a dataflow cannot keep: write it from a projection, or leave them out"
    )]
    IndexedTable {
        /// The table.
        table: &'static str,
    },
    /// The rows of a dataflow's table are parts of its checkpoints, versions of rows are not.
    #[error(
        "table {table:?} is versioned, and a dataflow keeps no versions: write it from a projection, or leave that out"
    )]
    VersionedTable {
        /// The table.
        table: &'static str,
    },
    /// What a source gives goes nowhere.
    #[error(
        "the stream of source {source_name:?} does not end in a sink: end it in one, or do not declare it"
    )]
    NotEnded {
        /// The source.
        source_name: String,
    },
    /// Without a watermark nothing but the end of the input closes windows or has anything forgotten, and this input has
    /// none.
    #[error(
        "{place} goes by event time, and source {source_name:?} has neither an end nor a watermark, so that it would \
         keep everything, and give out nothing that waits for that time: give the source .watermarks(…)"
    )]
    NoWatermark {
        /// The operator.
        place: String,
        /// The source.
        source_name: String,
    },
    /// A sink that tells repetitions by their number would take other items for repetitions.
    #[error(
        "{sink} tells repetitions by their number, and {place} does not give the same items in the same order at each \
         start: {reason}. Change that, or use a sink that is at least once"
    )]
    NotDeterministic {
        /// The sink.
        sink: String,
        /// The operator or source.
        place: String,
        /// Why.
        reason: String,
    },
    /// A sink that tells repetitions by their number would take new items for repetitions.
    #[error(
        "{sink} tells repetitions by their number, and source {source_name:?} does not give the same items at each \
         start: read what can be repeated, or use a sink that is at least once"
    )]
    NotRepeatable {
        /// The sink.
        sink: String,
        /// The source.
        source_name: String,
    },
    /// An operator cannot do what is asked of it.
    #[error("{place}: {reason}")]
    Impossible {
        /// Stage or operator.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// Everything that is wrong with a dataflow, at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dataflow {name:?} cannot run: {}", list(.faults))]
pub struct InvalidDataflow {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub faults: Vec<DataflowFault>,
}

fn list(faults: &[DataflowFault]) -> String {
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// All faults of a declaration.
pub(super) fn check(draft: &Draft) -> Vec<DataflowFault> {
    let mut faults = Vec::new();
    if draft.name.is_empty() {
        faults.push(DataflowFault::NoName);
    }
    if draft.stages.is_empty() {
        faults.push(DataflowFault::Empty);
    }
    check_stages(draft, &mut faults);
    check_states(draft, &mut faults);
    unnamed::check(draft, &mut faults);
    check_edges(draft, &mut faults);
    check_cycles(draft, &mut faults);
    check_ends(draft, &mut faults);
    check_files(draft, &mut faults);
    reach::check(draft, &mut faults);
    faults
}

/// Sources and sinks that do not go together.
fn check_ends(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    for (at, plan) in draft.tables.iter().enumerate() {
        let table = plan.name();
        if draft.tables[..at].iter().any(|other| other.name() == table) {
            faults.push(DataflowFault::SameTable { table });
        }
        if plan.has_indexes() {
            faults.push(DataflowFault::IndexedTable { table });
        }
        if plan.is_versioned() {
            faults.push(DataflowFault::VersionedTable { table });
        }
    }
    if draft.stages.is_empty() {
        return;
    }
    for (number, source) in draft.sources.iter().enumerate() {
        let reads = |stage: &StagePlan| stage.site.source == Some(number);
        if !draft.stages.iter().any(reads) {
            let source_name = source.name.clone();
            faults.push(DataflowFault::NotEnded { source_name });
        }
    }
}

/// Each sink has files of its own.
fn check_files(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    for (at, stage) in draft.stages.iter().enumerate() {
        let Some(files) = &stage.site.files else {
            continue;
        };
        let mut others = draft.stages[..at].iter();
        if let Some(first) = others.find(|other| other.site.files.as_ref() == Some(files)) {
            faults.push(DataflowFault::SameFiles {
                folder: files.folder.clone(),
                prefix: files.prefix.clone(),
                first: first.name.clone(),
                second: stage.name.clone(),
            });
        }
    }
}

fn check_stages(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    for (at, stage) in draft.stages.iter().enumerate() {
        let name = &stage.name;
        if stage.site.partitions == 0 {
            let stage = name.clone();
            faults.push(DataflowFault::NoPartitions { stage });
        }
        if draft.stages[..at].iter().any(|other| other.name == *name) {
            let stage = name.clone();
            faults.push(DataflowFault::SameStage { stage });
        }
    }
}

/// One stateful operator is known by its dataflow; several need names.
fn check_states(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    let states = || {
        draft
            .stages
            .iter()
            .flat_map(|stage| stage.site.states.iter().map(move |state| (stage, state)))
    };
    let several = states().count() > 1;
    let mut names = Vec::new();
    for (stage, state) in states() {
        match &state.name {
            None if several => faults.push(DataflowFault::UnnamedState {
                kind: state.kind,
                stage: stage.name.clone(),
            }),
            None => {}
            Some(name) if names.contains(&name) => {
                let name = name.clone();
                faults.push(DataflowFault::SameState { name });
            }
            Some(name) => names.push(name),
        }
    }
}

fn check_edges(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    for edge in &draft.edges {
        let label = edge.label.clone();
        match (edge.from, edge.to) {
            (None, None) => {}
            (Some(_), None) => faults.push(DataflowFault::NotRead { label }),
            (None, Some(_)) => faults.push(DataflowFault::NotSent { label }),
            (Some(from), Some(to)) => {
                let partitions = |stage: usize| draft.stages[stage].site.partitions;
                let (from, to) = (partitions(from), partitions(to));
                if edge.one_to_one && from != to {
                    faults.push(DataflowFault::Partitions { label, from, to });
                }
            }
        }
    }
}

/// Depth-first search; each cycle is told once, from the stage where it was met again.
fn check_cycles(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    let mut done = vec![false; draft.stages.len()];
    for start in 0..draft.stages.len() {
        let mut path = Vec::new();
        visit(draft, start, &mut path, &mut done, faults);
    }
}

fn visit(
    draft: &Draft,
    stage: usize,
    path: &mut Vec<usize>,
    done: &mut [bool],
    faults: &mut Vec<DataflowFault>,
) {
    if let Some(at) = path.iter().position(|&other| other == stage) {
        let mut names: Vec<_> = path[at..]
            .iter()
            .map(|&stage| draft.stages[stage].name.as_str())
            .collect();
        names.push(&draft.stages[stage].name);
        let stages = names.join(" -> ");
        faults.push(DataflowFault::Cycle { stages });
        return;
    }
    if done[stage] {
        return;
    }
    path.push(stage);
    for edge in draft.edges.iter().filter(|edge| edge.from == Some(stage)) {
        if let Some(to) = edge.to {
            visit(draft, to, path, done, faults);
        }
    }
    path.pop();
    done[stage] = true;
}
