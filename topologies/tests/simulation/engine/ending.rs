//! An orderly end, in the order in which [`Engine::shutdown`](millstream::Engine::shutdown) has it: the dataflow's sources
//! first, then the partitions, the log's writer, the projections and the state's writer.
//!
//! What must hold: it comes to an end, everybody who asked for something is told what became of it, and the next process
//! finds the projections where the log ends, also if the power was lost in between.

use std::time::Duration;

use millstream_engine::event::PartitionId;

use super::actor::Actor;
use super::course::Course;
use super::process::Process;

/// Rounds after which everything must have ended.
const ROUNDS_MAX: usize = 4_000;

impl Course {
    /// Ends the process; why that failed, if a disk did.
    pub(super) fn end_in_order(&mut self, process: &mut Process) -> Result<(), String> {
        process.driver.begin_stop();
        self.until(process, |process| process.driver.is_ended())?;
        process.partitions.iter_mut().for_each(Actor::begin_end);
        self.until(process, |process| {
            process.partitions.iter().all(Actor::has_ended)
        })?;
        while process.log_writer.step() {}
        process.feed.close();
        self.clients.poll(&mut self.model);
        process.projections.iter_mut().for_each(Actor::begin_end);
        self.until(process, |process| {
            process.projections.iter().all(Actor::has_ended)
        })?;
        process.state.sync().map_err(|error| error.to_string())?;
        self.clients.poll(&mut self.model);
        if !self.clients.is_idle() {
            return Err("somebody was not answered".to_owned());
        }
        Ok(())
    }

    /// Everything goes on until this is so.
    fn until(
        &mut self,
        process: &mut Process,
        is_so: impl Fn(&Process) -> bool,
    ) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            if is_so(process) {
                return Ok(());
            }
            let stages = process
                .partitions
                .iter_mut()
                .chain(&mut process.projections);
            for stage in stages {
                if stage.is_runnable(&process.clock) && !stage.has_ended() {
                    stage.step(&process.clock)?;
                }
            }
            process.log_writer.step();
            while process.state_writer.step() {}
            let stepped = process.driver.run_steps(100);
            stepped.map_err(|failure| failure.to_string())?;
            self.clients.poll(&mut self.model);
            process.clock.advance(Duration::from_millis(7));
        }
        Err(format!("it goes on and on: {:?}", process.driver))
    }

    /// After an orderly end: nothing is left to be applied.
    pub(super) fn check_whole(&self, process: &Process) {
        for (partition, head) in (0_u16..).zip(process.heads()) {
            for board in [process.balances.board(), process.totals.board()] {
                let stored = board.visible(PartitionId(partition));
                assert_eq!(
                    stored, head,
                    "what the end has stored of partition {partition}"
                );
            }
        }
    }
}
