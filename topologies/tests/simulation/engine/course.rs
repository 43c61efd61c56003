//! One seed: lives of the process on the same disks, each until it is to crash or a disk fails, and what is left in the end.

mod last_life;

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::Subscription;
use millstream_engine::store::DiskFault;
use millstream_engine::time::Clock;
use millstream_operators::projection::{Row, TableKey, TableReader};

use super::clients::Clients;
use super::contents::Contents;
use super::meanwhile::Seen;
use super::model::Model;
use super::process::{Disks, Process, Shape, begin_ids};
use super::shape::{Pace, shape};
use super::topology::Trouble;
use crate::simulation::Random;
use crate::tally::{TALLY, add};

pub(super) struct Course {
    pub(super) random: Random,
    disks: Disks,
    shape: Shape,
    pace: Pace,
    pub(super) model: Model,
    pub(super) clients: Clients,
    trouble: Trouble,
    now: Timestamp,
    /// What readers have seen in this life.
    tables: Seen,
    /// The last life ended in order, and all it had applied is stored.
    is_whole: bool,
}

/// Runs a seed; gives what there was of it in the end, to be compared.
pub(crate) fn simulate(seed: u64) -> String {
    begin_ids();
    let mut random = Random(seed);
    let partitions = 1 + random.below(3) as u16;
    let shape = shape(&mut random, partitions);
    let partition_dedup = shape.partition.dedup;
    let mut course = Course {
        shape,
        pace: Pace::random(&mut random),
        random,
        disks: Disks::default(),
        model: Model {
            dedup: partition_dedup,
            seen: vec![Vec::new(); usize::from(partitions)],
            ..Model::default()
        },
        clients: Clients::default(),
        trouble: Trouble::default(),
        now: Timestamp::from_seconds(1_000),
        tables: Seen::default(),
        is_whole: false,
    };
    for _ in 0..course.random.below(6) {
        course.live();
    }
    course.last_life()
}

impl Course {
    /// One life that ends in a crash, or in order.
    fn live(&mut self) {
        let faults = self.faults_met();
        let (log, state) = (self.disks.log.faults_met(), self.disks.state.faults_met());
        add(&TALLY.lives, 1);
        self.order_fault();
        self.shape.flow.partitions = 1 + self.random.below(3) as usize;
        match self.open() {
            Ok(mut process) => {
                self.begin(&process);
                if self.random.below(2) == 0 {
                    self.ask_once_more(&process);
                }
                self.run(&mut process, faults);
                if self.faults_met() == faults && self.random.below(3) == 0 {
                    self.end(&mut process, faults);
                }
                self.clients.forget();
                self.now = process.clock.now();
                process.state_writer.kill();
            }
            Err(cause) => {
                assert!(self.faults_met() != faults, "it does not open: {cause}");
                add(&TALLY.unopened, 1);
            }
        }
        add(&TALLY.log_faults, self.disks.log.faults_met() - log);
        add(&TALLY.state_faults, self.disks.state.faults_met() - state);
        self.crash();
    }

    /// What is there before anything is done.
    fn begin(&mut self, process: &Process) {
        self.check(process);
        self.tables = Seen::default();
        self.tables.look(process);
        if std::mem::take(&mut self.is_whole) {
            self.check_whole(process);
        }
        self.model.life += 1;
    }

    fn ask_once_more(&mut self, process: &Process) {
        let (model, random) = (&mut self.model, &mut self.random);
        self.clients.ask_once_more(model, process, random);
    }

    /// Ends a life in order, unless a disk fails meanwhile.
    fn end(&mut self, process: &mut Process, faults: u64) {
        match self.end_in_order(process) {
            Ok(()) if self.faults_met() == faults => {
                self.is_whole = true;
                add(&TALLY.orderly_ends, 1);
            }
            Ok(()) => {}
            Err(cause) => assert!(self.faults_met() != faults, "it does not end: {cause}"),
        }
    }

    fn faults_met(&self) -> u64 {
        self.disks.log.faults_met() + self.disks.state.faults_met()
    }

    fn open(&mut self) -> Result<Process, String> {
        let seed = self.random.next();
        // An administrator, or another machine, has another time.
        let back = Duration::from_millis(self.random.below(3) * 20);
        let now = Timestamp(self.now.0 - back.as_micros() as i64);
        Process::open(&self.disks, &self.shape, now, &self.trouble, seed)
    }

    fn subscribe(&self, process: &Process) -> Subscription {
        let seen = (0_u16..).zip(&self.model.seen);
        let from: Vec<_> = seen
            .map(|(partition, seen)| (PartitionId(partition), Offset(seen.len() as u64)))
            .collect();
        process.subscribe(&from)
    }

    /// What may go wrong in a life, if anything.
    fn order_fault(&mut self) {
        let is_log = self.random.below(2) == 0;
        let disk = if is_log {
            &self.disks.log
        } else {
            &self.disks.state
        };
        let after = self.random.below(20) as u32;
        match self.random.below(8) {
            0 => disk.fail(after, DiskFault::Commit { is_kept: false }),
            1 => disk.fail(after, DiskFault::Commit { is_kept: true }),
            2 => disk.fail(after, DiskFault::Sync),
            3 => disk.set_room(Some(disk.bytes() + self.random.below(3_000))),
            _ => {}
        }
    }

    /// The process is gone, and sometimes the power as well. There is room again.
    fn crash(&mut self) {
        let lost = match self.random.below(2) {
            0 => 0,
            _ => 1 + self.random.below(4) as usize,
        };
        add(&TALLY.power_losses, u64::from(lost > 0));
        self.disks.log.crash(lost);
        self.disks.state.crash(lost);
        self.disks.log.set_room(None);
        self.disks.state.set_room(None);
    }

    fn check(&self, process: &Process) {
        self.model.check(&Contents::read(&process.reader));
    }

    /// Random steps.
    fn run(&mut self, process: &mut Process, faults: u64) {
        let mut subscription = self.subscribe(process);
        // Short lives meet what the one before has left half done.
        let steps = [60, 800, 800][self.random.below(3) as usize];
        let mut left = self.random.below(steps);
        while left > 0 {
            left -= 1;
            if let Err(cause) = self.step(process, &mut subscription) {
                // Nothing fails by itself; what a failing disk leads to ends the process.
                assert!(self.faults_met() != faults, "{cause}");
                left = left.min(self.random.below(10));
            } else if self.faults_met() != faults {
                left = left.min(40);
            }
        }
    }

    fn step(
        &mut self,
        process: &mut Process,
        subscription: &mut Subscription,
    ) -> Result<(), String> {
        let pace = self.pace;
        let weights = [
            pace.clients,
            pace.log,
            pace.state,
            pace.stages,
            pace.flow,
            6,
        ];
        let mut at = self.random.below(weights.iter().sum());
        let chosen = weights.iter().position(|&weight| {
            let is_it = at < weight;
            at = at.saturating_sub(weight);
            is_it
        });
        match chosen {
            Some(0) => self.clients.ask(&mut self.model, process, &mut self.random),
            Some(1) => {
                process.log_writer.step();
            }
            Some(2) => {
                let _ = process.state_writer.step();
            }
            Some(3) => return self.step_stage(process),
            Some(4) => {
                let steps = self.random.below(12) as usize;
                let stepped = process.driver.run_steps(steps);
                return stepped.map(|_| ()).map_err(|failure| failure.to_string());
            }
            _ => self.others(process, subscription),
        }
        Ok(())
    }

    fn step_stage(&mut self, process: &mut Process) -> Result<(), String> {
        let stages = process
            .partitions
            .iter_mut()
            .chain(&mut process.projections);
        let runnable = stages.filter(|stage| stage.is_runnable(&process.clock));
        let mut runnable: Vec<_> = runnable.collect();
        if runnable.is_empty() {
            return Ok(());
        }
        let chosen = self.random.below(runnable.len() as u64) as usize;
        let stage = &mut runnable[chosen];
        if self.random.below(150) == 0 {
            stage.lose_core();
            add(&TALLY.lost_cores, 1);
            self.ask_once_more(process);
            return Ok(());
        }
        stage.step(&process.clock)
    }

    /// What is neither a stage nor a disk.
    fn others(&mut self, process: &Process, subscription: &mut Subscription) {
        match self.random.below(14) {
            0..=2 | 12 => self.clients.poll(&mut self.model),
            3..=5 => {
                self.see(process, subscription);
                self.tables.look_at_digits(process);
                if self.random.below(8) == 0 {
                    self.tables.look(process);
                }
            }
            6 | 7 => {
                let by = [1, 10, 60, 1_100][self.random.below(4) as usize];
                process.clock.advance(Duration::from_millis(by));
            }
            8 if self.random.below(8) == 0 => process.driver.ask_for_savepoint(),
            8 => process.driver.ask_for_checkpoint(),
            9 => self.trouble.set(self.random.below(2) == 0),
            10 | 13 => self.clients.decide(process, &mut self.random, true),
            _ => {
                let back = self.random.below(100) as i64 * 1_000;
                process.clock.set(Timestamp(process.clock.now().0 - back));
            }
        }
    }

    /// Takes what a subscriber is handed: nothing that is not on the disk, nothing twice, and nothing left out. Gives whether
    /// there was anything.
    fn see(&mut self, process: &Process, subscription: &mut Subscription) -> bool {
        for (partition, head) in (0_u16..).zip(process.heads()) {
            for board in [process.balances.board(), process.totals.board()] {
                let visible = board.visible(PartitionId(partition));
                assert!(visible <= head, "rows of what is not stored");
            }
        }
        let Some(slice) = subscription.try_next().unwrap() else {
            return false;
        };
        let header = slice.frame.header();
        let heads = process.heads();
        let partition = usize::from(header.partition.0);
        assert!(
            header.end() <= heads[partition],
            "seen before it was stored"
        );
        let seen = &mut self.model.seen[partition];
        for record in slice.records() {
            assert_eq!(record.offset.0, seen.len() as u64, "what comes next");
            seen.push(format!("{:?}", record.id));
        }
        true
    }
}

/// All rows of a table.
pub(super) fn rows<K: TableKey + Ord, R: Row>(table: &TableReader<K, R>) -> BTreeMap<K, R> {
    table.rows().unwrap().into_iter().collect()
}
