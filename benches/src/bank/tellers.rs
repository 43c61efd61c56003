//! Tellers: callers who pay in and take out at accounts drawn at random.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use compact_str::CompactString;
use millstream::catalog::bank::{Account, AccountCommand, Cents, Channel};
use millstream_engine::partition::CommandId;
use millstream_operators::aggregate::{
    AggregateHandle, BulkCommand, CommandOptions, CommandResult,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::SEED;
use crate::load::Caller;

/// Largest amount, in hundredths.
const AMOUNT_MAX: i64 = 10_000;

/// Makes tellers.
#[derive(Clone, Debug)]
pub struct Tellers {
    pub(super) handle: AggregateHandle<Account>,
    pub(super) ids: Arc<[CompactString]>,
}

impl Tellers {
    /// A teller whose commands depend on nothing but `number`.
    #[must_use]
    pub fn teller(&self, number: u64, pace: Pace) -> Teller {
        Teller {
            handle: self.handle.clone(),
            ids: Arc::clone(&self.ids),
            random: SmallRng::seed_from_u64(SEED ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            pace,
            reference: 0,
            paid: 0,
        }
    }
}

/// How a teller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One command, then its answer.
    One,
    /// One command with a command id, then its answer.
    Named,
    /// So many in a bulk, then all answers.
    Bulk(usize),
}

/// Sends deposits and withdrawals to accounts drawn at random.
#[derive(Debug)]
pub struct Teller {
    handle: AggregateHandle<Account>,
    ids: Arc<[CompactString]>,
    random: SmallRng,
    pace: Pace,
    reference: u64,
    paid: i64,
}

impl Teller {
    /// Hundredths that its accepted commands added to the balances.
    #[must_use]
    pub fn paid(&self) -> i64 {
        self.paid
    }

    /// An account, and a command to it.
    fn next(&mut self) -> (usize, AccountCommand) {
        let account = self.random.random_range(0..self.ids.len());
        let amount = Cents::new(self.random.random_range(1..=AMOUNT_MAX));
        self.reference += 1;
        let reference = self.reference;
        let command = if self.random.random_ratio(2, 3) {
            AccountCommand::Deposit {
                amount,
                channel: Channel::Cash,
                reference,
            }
        } else {
            AccountCommand::Withdraw {
                amount,
                channel: Channel::Card,
                reference,
            }
        };
        (account, command)
    }

    fn options(&mut self) -> CommandOptions {
        let id =
            (self.pace == Pace::Named).then(|| CommandId(Uuid::from_u128(self.random.random())));
        CommandOptions {
            id,
            ..CommandOptions::default()
        }
    }

    /// Notes an answer: all of the load must be accepted.
    fn note(&mut self, change: i64, answer: CommandResult<Account>) -> Result<()> {
        let ack = answer.context("a command of the load")?;
        ensure!(!ack.is_repeat, "a command was taken for a repeat");
        self.paid += change;
        Ok(())
    }

    async fn one(&mut self) -> Result<u64> {
        let (account, command) = self.next();
        let (change, options) = (change(&command), self.options());
        let id = &self.ids[account];
        let answer = self.handle.send_with(id, command, options).await;
        self.note(change, answer)?;
        Ok(1)
    }

    pub(super) async fn bulk(&mut self, size: usize) -> Result<u64> {
        let (mut bulk, mut changes) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for _ in 0..size {
            let (account, command) = self.next();
            changes.push(change(&command));
            bulk.push(BulkCommand {
                id: self.ids[account].clone(),
                command,
                options: CommandOptions::default(),
            });
        }
        let answers = self.handle.send_bulk(bulk).await;
        for (change, answer) in changes.into_iter().zip(answers) {
            self.note(change, answer)?;
        }
        Ok(size as u64)
    }
}

/// What a command adds to its account's balance.
fn change(command: &AccountCommand) -> i64 {
    match command {
        AccountCommand::Deposit { amount, .. } => amount.hundredths(),
        AccountCommand::Withdraw { amount, .. } => -amount.hundredths(),
        _ => 0,
    }
}

impl Caller for Teller {
    async fn call(&mut self) -> Result<u64> {
        match self.pace {
            Pace::One | Pace::Named => self.one().await,
            Pace::Bulk(size) => self.bulk(size).await,
        }
    }
}
