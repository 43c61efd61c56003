//! The last life of a seed: nothing fails any more, and all comes to an end that is checked.

use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::Subscription;

use super::{Course, rows};
use crate::engine::clients::STREAMS;
use crate::engine::contents::Contents;
use crate::engine::model::{balances, check_copies, check_sums, digits, has_all_sums, totals};
use crate::engine::process::Process;
use crate::engine::topology::DIGITS;
use crate::tally::{TALLY, add};

/// Steps after which everything must have come to rest: many, where a dataflow with mailboxes of one item lets its output
/// out at each checkpoint.
const ROUNDS_MAX: usize = 4_000;

impl Course {
    /// Nothing fails any more, and nobody asks for anything new: all has to come to an end, and to the right one.
    pub(super) fn last_life(&mut self) -> String {
        let mut process = self.open().unwrap_or_else(|cause| panic!("{cause}"));
        self.begin(&process);
        self.ask_once_more(&process);
        let mut subscription = self.subscribe(&process);
        for _ in 0..self.random.below(100) {
            let stepped = self.step(&mut process, &mut subscription);
            stepped.unwrap_or_else(|cause| panic!("{cause}"));
        }
        self.trouble.set(false);
        self.come_to_rest(&mut process, &mut subscription);
        self.count(&process);
        // And again, as another process finds it.
        drop(process);
        self.crash();
        let mut process = self.open().unwrap_or_else(|cause| panic!("{cause}"));
        self.begin(&process);
        self.ask_once_more(&process);
        let mut subscription = self.subscribe(&process);
        self.come_to_rest(&mut process, &mut subscription);
        let steps = self.random.next();
        format!("{steps} {:?}", Contents::read(&process.reader))
    }

    fn come_to_rest(&mut self, process: &mut Process, subscription: &mut Subscription) {
        let mut left = Ok(());
        for _ in 0..ROUNDS_MAX {
            left = self.settle(process, subscription);
            if left.is_ok() {
                return self.check_end(process);
            }
        }
        // What is missing, if it is that.
        self.check_end(process);
        panic!("it does not come to rest: {left:?}, {:?}", process.driver);
    }

    /// Does what there is to do, then lets some time pass; gives what is not done yet.
    fn settle(
        &mut self,
        process: &mut Process,
        subscription: &mut Subscription,
    ) -> Result<(), &'static str> {
        let mut is_at_rest = true;
        let stages = process
            .partitions
            .iter_mut()
            .chain(&mut process.projections);
        for stage in stages {
            for _ in 0..100 {
                if !stage.is_runnable(&process.clock) {
                    break;
                }
                let stepped = stage.step(&process.clock);
                stepped.unwrap_or_else(|cause| panic!("{cause}"));
            }
        }
        while process.log_writer.step() {
            is_at_rest = false;
        }
        // Checkpoints, of which one follows the other, always leave something for it.
        while process.state_writer.step() {}
        process.driver.run_steps(1_000).unwrap();
        process.driver.ask_for_checkpoint();
        self.clients.poll(&mut self.model);
        while self.see(process, subscription) {}
        self.tables.look_at_digits(process);
        process.clock.advance(Duration::from_millis(700));
        let letters = process.store.dead_letters(None, None, 1).unwrap();
        if !letters.is_empty() {
            self.clients.decide(process, &mut self.random, false);
            return Err("letters");
        }
        let seen = self.model.seen.iter().map(|seen| Offset(seen.len() as u64));
        let heads = process.heads();
        let is_seen = seen.eq(heads.iter().copied());
        let is_shown = (0_u16..).zip(&heads).all(|(partition, head)| {
            let partition = PartitionId(partition);
            let boards = [process.balances.board(), process.totals.board()];
            boards.iter().all(|board| board.visible(partition) >= *head)
        });
        // Its letter may still be on its way to the store.
        let is_parked = (0..STREAMS).any(|id| process.balances.parked(&id.to_string()).is_some());
        match () {
            () if is_parked => Err("a parked account"),
            () if !is_at_rest => Err("the log"),
            () if !is_seen => Err("the subscriber"),
            () if !is_shown => Err("projections"),
            () if !self.clients.is_idle() => Err("callers"),
            () if !self.is_flow_done(process) => Err("the dataflow"),
            () => Ok(()),
        }
    }

    fn is_flow_done(&self, process: &Process) -> bool {
        let contents = Contents::read(&process.reader);
        has_all_sums(&contents)
            && rows(&process.driver.table(&DIGITS).unwrap()) == digits(&contents)
    }

    fn count(&self, process: &Process) {
        let contents = Contents::read(&process.reader);
        self.model.count(&contents);
        add(&TALLY.discarded, contents.discarded(false).len() as u64);
        add(
            &TALLY.items_discarded,
            contents.discarded(true).len() as u64,
        );
        let completed = process
            .driver
            .checkpoints()
            .and_then(|status| status.completed);
        add(&TALLY.checkpoints, completed.map_or(0, |epoch| epoch.0));
    }

    fn check_end(&mut self, process: &Process) {
        let contents = Contents::read(&process.reader);
        self.model.check(&contents);
        check_sums(&contents, true);
        check_copies(&contents, true);
        assert_eq!(rows(&process.balances), balances(&contents));
        assert_eq!(rows(&process.totals), totals(&contents));
        let table = process.driver.table(&DIGITS).unwrap();
        assert_eq!(rows(&table), digits(&contents));
    }
}
