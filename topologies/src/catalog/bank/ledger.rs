//! The bank's books: every event of an account is two postings that add up to zero.
//!
//! One side is the account, the other the world: the cash desk, cards, other banks, the bank's own
//! interest, fees and roundings. So the sum over all sides is zero after every event, which a read model
//! can be asked for at any moment. Sums are 128 bits wide and do not overflow.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::account::{AccountEvent, Channel, Fee};

/// What stands against the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum World {
    /// Deposits and withdrawals, by their way.
    Channel(Channel),
    /// Interest that the bank paid.
    Interest,
    /// What the bank charged.
    Fee(Fee),
    /// Roundings.
    Rounding,
}

/// One side of a booking.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// An account, by its id.
    Account(CompactString),
    /// Everything else.
    World(World),
}

/// What is added to one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Where.
    pub side: Side,
    /// How much, of either sign. Hundredths; wide, since every 64-bit amount must have its negative.
    pub hundredths: i128,
}

/// The two postings of an event of the account `id`; `None` for its opening, which moves nothing.
#[must_use]
pub fn postings(id: &str, event: &AccountEvent) -> Option<[Posting; 2]> {
    let world = match event {
        AccountEvent::Opened { .. } => return None,
        AccountEvent::Deposited { channel, .. } | AccountEvent::Withdrawn { channel, .. } => {
            World::Channel(*channel)
        }
        AccountEvent::InterestCredited { .. } => World::Interest,
        AccountEvent::FeeCharged { fee, .. } => World::Fee(*fee),
        AccountEvent::Rounded { .. } => World::Rounding,
    };
    let hundredths = i128::from(event.change().hundredths());
    Some([
        Posting {
            side: Side::Account(id.into()),
            hundredths,
        },
        Posting {
            side: Side::World(world),
            hundredths: -hundredths,
        },
    ])
}

/// All sides' balances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    accounts: BTreeMap<CompactString, i128>,
    world: BTreeMap<World, i128>,
    accounts_sum: i128,
    world_sum: i128,
}

impl Ledger {
    /// Books an event of the account `id`.
    pub fn apply(&mut self, id: &str, event: &AccountEvent) {
        for posting in postings(id, event).into_iter().flatten() {
            let (balance, sum) = match posting.side {
                Side::Account(id) => (self.accounts.entry(id).or_default(), &mut self.accounts_sum),
                Side::World(world) => (self.world.entry(world).or_default(), &mut self.world_sum),
            };
            *balance += posting.hundredths;
            *sum += posting.hundredths;
        }
    }

    /// Balance of an account in hundredths; zero for one without postings.
    #[must_use]
    pub fn account(&self, id: &str) -> i128 {
        self.accounts.get(id).copied().unwrap_or(0)
    }

    /// Balance of a side of the world in hundredths; negative is what it gave to accounts.
    #[must_use]
    pub fn world(&self, world: World) -> i128 {
        self.world.get(&world).copied().unwrap_or(0)
    }

    /// Sum over all accounts in hundredths: what the bank owes its customers.
    #[must_use]
    pub fn owed(&self) -> i128 {
        self.accounts_sum
    }

    /// Sum over all sides: zero. Cost: none, sums are kept.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.accounts_sum + self.world_sum
    }

    /// The same, added up anew from every balance: that the sums kept are right.
    #[must_use]
    pub fn sum_anew(&self) -> i128 {
        self.accounts.values().chain(self.world.values()).sum()
    }
}
