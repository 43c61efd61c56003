//! What the handle of a dataflow and whoever runs it share: the stages of the present run, and how it ended.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_engine::checkpoint::Control;
use millstream_engine::flow::{Fence, StageLoad, StageMeter};
use millstream_engine::stage::StageHandle;
use tokio::sync::watch;

use super::Failure;
use crate::dataflow::run::tell;

/// How many looks back the present pressure is measured.
const LOOKS: usize = 10;

/// What runs now.
#[derive(Default)]
pub(super) struct Stages {
    /// The how manieth run it is.
    pub(super) run: u64,
    pub(super) all: Vec<(StageHandle, bool)>,
    pub(super) meters: Vec<StageMeter>,
    /// Loads as they were at the last looks, the oldest first.
    pub(super) looks: VecDeque<Vec<StageLoad>>,
    pub(super) failure: Option<watch::Sender<Option<Failure>>>,
    /// Why this run and all that may follow are to end where they stand.
    pub(super) aborted: Option<String>,
    pub(super) checkpoints: Option<Arc<Control>>,
    pub(super) fence: Arc<Fence>,
    /// This run was given up by whoever watches, so many looks before this one.
    pub(super) looks_given_up: Option<u32>,
    /// Since when what it was given up for has not gone on, by the monotonic clock.
    pub(super) stalled_since: Option<Duration>,
    /// With the number of its run: given up, and in a step that has not come back when it was last looked.
    pub(super) hung: Vec<(u64, StageHandle)>,
}

/// What handle and watcher share.
#[derive(Clone)]
pub(in crate::dataflow) struct Parts {
    pub(super) name: Arc<str>,
    /// Names of stages that follow each other.
    pub(super) edges: Arc<[(String, String)]>,
    pub(super) stages: Arc<Mutex<Stages>>,
    /// Told once, when nothing runs any more and nothing will.
    pub(super) outcome: Arc<watch::Sender<Option<Result<(), Failure>>>>,
    /// How many runs have begun.
    pub(super) runs: Arc<watch::Sender<u64>>,
    pub(super) is_stopping: Arc<watch::Sender<bool>>,
}

impl Parts {
    pub(in crate::dataflow) fn new(name: &str, edges: Vec<(String, String)>) -> Self {
        Self {
            name: name.into(),
            edges: edges.into(),
            stages: Arc::default(),
            outcome: Arc::new(watch::Sender::new(None)),
            runs: Arc::default(),
            is_stopping: Arc::new(watch::Sender::new(false)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::dataflow) fn name(&self) -> &str {
        &self.name
    }

    /// What a failure names that is of no stage.
    pub(in crate::dataflow) fn whole(&self) -> String {
        format!("dataflow {}", self.name)
    }

    /// Other stages take the place of those that ran.
    pub(in crate::dataflow) fn begin_run(
        &self,
        meters: Vec<StageMeter>,
        failure: watch::Sender<Option<Failure>>,
        (checkpoints, fence): (Option<Arc<Control>>, Arc<Fence>),
    ) {
        let mut stages = self.lock();
        let (hung, aborted) = (take(&mut stages.hung), stages.aborted.take());
        if let Some(control) = checkpoints.as_ref().filter(|_| self.is_stopping()) {
            control.begin_stop();
        }
        if let Some(cause) = &aborted {
            // Asked for while this run was being made. None of its stages makes a step.
            tell(&failure, &self.whole(), cause);
        }
        *stages = Stages {
            run: stages.run + 1,
            all: Vec::new(),
            meters,
            looks: VecDeque::new(),
            failure: Some(failure),
            aborted,
            checkpoints,
            fence,
            looks_given_up: None,
            stalled_since: None,
            hung,
        };
        drop(stages);
        // Behind them: whoever sees the number finds this run, or a later one.
        self.runs.send_modify(|runs| *runs += 1);
    }

    pub(in crate::dataflow) fn add_stage(&self, handle: StageHandle, is_source: bool) {
        self.lock().all.push((handle.clone(), is_source));
        // Asked to stop while it was being started; who asks from now on finds it.
        if is_source && self.is_stopping() {
            handle.begin_stop();
        }
    }

    /// Ends this run, or the one that is being made, where it stands.
    pub(super) fn begin_abort(&self, cause: &str) {
        let failure = {
            let mut stages = self.lock();
            stages.aborted.get_or_insert_with(|| cause.to_owned());
            stages.failure.clone()
        };
        if let Some(failure) = failure {
            tell(&failure, &self.whole(), cause);
        }
        self.stop_all();
    }

    pub(in crate::dataflow) fn stop_all(&self) {
        for (stage, _) in &self.lock().all {
            stage.begin_stop();
        }
    }

    pub(in crate::dataflow) fn handles(&self) -> Vec<StageHandle> {
        self.run().1
    }

    /// The present run and its stages.
    pub(super) fn run(&self) -> (u64, Vec<StageHandle>) {
        let stages = self.lock();
        let handles = stages.all.iter().map(|(stage, _)| stage.clone());
        (stages.run, handles.collect())
    }

    pub(in crate::dataflow) fn loads(&self) -> Vec<StageLoad> {
        self.lock().meters.iter().map(StageMeter::load).collect()
    }

    /// Keeps a look at the loads.
    pub(in crate::dataflow) fn look(&self, loads: Vec<StageLoad>) {
        let looks = &mut self.lock().looks;
        if looks.len() == LOOKS {
            looks.pop_front();
        }
        looks.push_back(loads);
    }

    /// The checkpoints of the present run, and what changes when another one has taken its place.
    pub(super) fn checkpoints(&self) -> Option<(Arc<Control>, watch::Receiver<u64>)> {
        // Seen before the run is looked for: at worst it is told of a run that was found.
        let runs = self.runs.subscribe();
        let control = self.lock().checkpoints.clone();
        control.map(|control| (control, runs))
    }

    /// This run, if stages of it were given up while they were at something.
    pub(in crate::dataflow) fn fenced(&self) -> Option<u64> {
        let stages = self.lock();
        stages.fence.is_closed().then_some(stages.run)
    }

    /// Since when this run does not go on, if it was given up for that.
    pub(in crate::dataflow) fn stalled_since(&self) -> Option<Duration> {
        self.lock().stalled_since
    }

    /// Whether something of this run may still be done although it was given up: it hangs where it must be waited for, and
    /// no other run may begin beside it.
    pub(in crate::dataflow) fn is_stuck(&self) -> bool {
        let fence = Arc::clone(&self.lock().fence);
        fence.is_closed() && !fence.is_over()
    }

    /// The runs that were given up and have steps which hold a thread, once for each.
    pub(in crate::dataflow) fn hung(&self) -> Vec<u64> {
        let hung = &mut self.lock().hung;
        hung.retain(|(_, stage)| stage.is_in_step());
        hung.iter().map(|(run, _)| *run).collect()
    }

    /// Gives up this run, once, and no other that has taken its place meanwhile: nothing of it does anything from now on
    /// that outlives it. Those that hang are not waited for, and others not for long. Blocks for up to a second. `false`: it
    /// hangs where it must be waited for. It has failed then as well, and is begun again only if it has come back from there
    /// when its stages have ended or are taken for ended; see [`is_stuck`](Self::is_stuck).
    pub(super) fn give_up(&self, run: u64, stage: &str, cause: &str, since: Duration) -> bool {
        let (fence, failure) = {
            let mut stages = self.lock();
            if stages.run != run || stages.looks_given_up.is_some() {
                return true;
            }
            stages.looks_given_up = Some(0);
            stages.stalled_since = Some(since);
            (Arc::clone(&stages.fence), stages.failure.clone())
        };
        // First: stages that come to a closed fence end without a word, and if all had, the run would seem to have ended by
        // itself. Nothing follows it before all have ended, or are taken for ended at a later look.
        if let Some(failure) = failure {
            tell(&failure, stage, cause);
        }
        fence.close()
    }

    /// Takes those for ended that have not ended two looks after the run was given up: their steps hang, or their turn to
    /// run never comes, which waits with the thread of one that hangs. Also where the run is stuck, so that its failure is
    /// told.
    pub(super) fn give_up_rest(&self, cause: &str) {
        let mut stages = self.lock();
        let Some(looks) = &mut stages.looks_given_up else {
            return;
        };
        *looks += 1;
        if *looks != 2 {
            return;
        }
        let run = stages.run;
        let open = stages.all.iter().map(|(stage, _)| stage);
        let open: Vec<_> = open
            .filter(|stage| !stage.status().is_ended())
            .cloned()
            .collect();
        for stage in open {
            stage.give_up(cause);
            stages.hung.push((run, stage));
        }
    }

    pub(in crate::dataflow) fn is_stopping(&self) -> bool {
        *self.is_stopping.borrow()
    }

    pub(in crate::dataflow) async fn until_stopping(&self) {
        // The sender is ours.
        let _ = self.is_stopping.subscribe().wait_for(|is| *is).await;
    }

    pub(in crate::dataflow) fn end(&self, outcome: Result<(), Failure>) {
        self.outcome.send_replace(Some(outcome));
    }
}
