//! A bank account: opened once, then credited and debited within its overdraft limit.
//!
//! A customer's withdrawal may not take the balance below the limit. What the bank itself books - fees,
//! overdraft interest, roundings - is not held to it, as with any bank: a fee is due on an empty account.
//! Limits are per account, zero unless its opening says otherwise.

use serde::{Deserialize, Serialize};

use super::cents::Cents;
use millstream_operators::aggregate::{Aggregate, Decision, Event};

/// Largest rounding either way, inclusive: the bank rounds amounts and balances to tenths apart.
pub const ROUNDING_MAX: Cents = Cents::new(10);

/// State of one account; the default is not opened yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    opened: bool,
    balance: Cents,
    overdraft_limit: Cents,
}

/// The way money takes into or out of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// Over the counter or from a machine.
    Cash,
    /// By card.
    Card,
    /// From or to an account of some bank.
    Transfer,
}

/// What the bank charges for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fee {
    /// Keeping the account.
    Service,
    /// Interest on a negative balance.
    OverdraftInterest,
}

/// What can be asked of an account. Amounts are above zero; `reference` is the asker's number of the
/// transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Opens the account; withdrawals may take its balance down to minus the limit, inclusive.
    Open {
        /// Zero or above.
        overdraft_limit: Cents,
    },
    /// Pays in.
    Deposit {
        /// How much.
        amount: Cents,
        /// How.
        channel: Channel,
        /// Transaction.
        reference: u64,
    },
    /// Takes out, within the limit.
    Withdraw {
        /// How much.
        amount: Cents,
        /// How.
        channel: Channel,
        /// Transaction.
        reference: u64,
    },
    /// The bank pays interest.
    CreditInterest {
        /// How much.
        amount: Cents,
        /// Transaction.
        reference: u64,
    },
    /// The bank charges; the limit does not hold it up.
    ChargeFee {
        /// How much.
        amount: Cents,
        /// For what.
        fee: Fee,
        /// Transaction.
        reference: u64,
    },
    /// Corrects the balance by at most [`ROUNDING_MAX`] either way. By zero it gives no event.
    Round {
        /// What is added to the balance.
        difference: Cents,
        /// Transaction that made it necessary.
        reference: u64,
    },
}

/// What happened to an account; fields as in the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountEvent {
    /// The account is open.
    Opened {
        /// Zero or above.
        overdraft_limit: Cents,
    },
    /// Money came in.
    Deposited {
        /// How much.
        amount: Cents,
        /// How.
        channel: Channel,
        /// Transaction.
        reference: u64,
    },
    /// Money went out.
    Withdrawn {
        /// How much.
        amount: Cents,
        /// How.
        channel: Channel,
        /// Transaction.
        reference: u64,
    },
    /// The bank paid interest.
    InterestCredited {
        /// How much.
        amount: Cents,
        /// Transaction.
        reference: u64,
    },
    /// The bank charged.
    FeeCharged {
        /// How much.
        amount: Cents,
        /// For what.
        fee: Fee,
        /// Transaction.
        reference: u64,
    },
    /// The balance was corrected.
    Rounded {
        /// What was added to the balance.
        difference: Cents,
        /// Transaction.
        reference: u64,
    },
}

impl Event for AccountEvent {}

impl AccountEvent {
    /// What the event adds to the balance; zero for the opening.
    #[must_use]
    pub fn change(&self) -> Cents {
        match self {
            Self::Opened { .. } => Cents::ZERO,
            Self::Deposited { amount, .. } | Self::InterestCredited { amount, .. } => *amount,
            // A decided amount is above zero, so it has a negative.
            Self::Withdrawn { amount, .. } | Self::FeeCharged { amount, .. } => {
                Cents::new(-amount.hundredths())
            }
            Self::Rounded { difference, .. } => *difference,
        }
    }

    /// The asker's number of the transaction; `None` for the opening.
    #[must_use]
    pub fn reference(&self) -> Option<u64> {
        match self {
            Self::Opened { .. } => None,
            Self::Deposited { reference, .. }
            | Self::Withdrawn { reference, .. }
            | Self::InterestCredited { reference, .. }
            | Self::FeeCharged { reference, .. }
            | Self::Rounded { reference, .. } => Some(*reference),
        }
    }
}

/// Why a command was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountRejection {
    /// The account must be opened first.
    #[error("the account is not open")]
    NotOpen,
    /// It was opened before; its limit stays.
    #[error("the account is open already")]
    AlreadyOpen,
    /// A limit below zero.
    #[error("an overdraft limit of {limit}, zero or above expected")]
    LimitNegative {
        /// Limit asked.
        limit: Cents,
    },
    /// The withdrawal would take the balance below minus the limit.
    #[error("{asked} asked, the balance is {balance} and the overdraft limit {limit}")]
    InsufficientFunds {
        /// Balance as it stays.
        balance: Cents,
        /// Overdraft limit, zero or above.
        limit: Cents,
        /// Amount asked.
        asked: Cents,
    },
    /// An amount of zero or below.
    #[error("an amount of {amount}, above zero expected")]
    AmountNotPositive {
        /// Amount asked.
        amount: Cents,
    },
    /// A rounding beyond [`ROUNDING_MAX`].
    #[error("a rounding of {difference}, at most {ROUNDING_MAX} either way expected")]
    RoundingTooLarge {
        /// Difference asked.
        difference: Cents,
    },
    /// The balance would not fit 64 bits.
    #[error("a balance of {balance} cannot change by {amount}")]
    BalanceOverflow {
        /// Balance as it stays.
        balance: Cents,
        /// Amount asked.
        amount: Cents,
    },
}

impl Account {
    /// The balance; negative within an overdraft.
    #[must_use]
    pub fn balance(&self) -> Cents {
        self.balance
    }

    /// How far below zero withdrawals may take the balance; zero or above.
    #[must_use]
    pub fn overdraft_limit(&self) -> Cents {
        self.overdraft_limit
    }

    /// Whether the account was opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened
    }

    fn open(&self, overdraft_limit: Cents) -> Result<AccountEvent, AccountRejection> {
        if self.opened {
            return Err(AccountRejection::AlreadyOpen);
        }
        if overdraft_limit < Cents::ZERO {
            return Err(AccountRejection::LimitNegative {
                limit: overdraft_limit,
            });
        }
        Ok(AccountEvent::Opened { overdraft_limit })
    }

    fn check_amount(&self, amount: Cents) -> Result<(), AccountRejection> {
        if !self.opened {
            return Err(AccountRejection::NotOpen);
        }
        if !amount.is_positive() {
            return Err(AccountRejection::AmountNotPositive { amount });
        }
        Ok(())
    }

    fn check_funds(&self, asked: Cents) -> Result<(), AccountRejection> {
        let (balance, limit) = (self.balance, self.overdraft_limit);
        let wide = |amount: Cents| i128::from(amount.hundredths());
        if wide(balance) - wide(asked) < -wide(limit) {
            return Err(AccountRejection::InsufficientFunds {
                balance,
                limit,
                asked,
            });
        }
        Ok(())
    }

    fn check_rounding(&self, difference: Cents) -> Result<(), AccountRejection> {
        if !self.opened {
            return Err(AccountRejection::NotOpen);
        }
        if difference.hundredths().unsigned_abs() > ROUNDING_MAX.hundredths().unsigned_abs() {
            return Err(AccountRejection::RoundingTooLarge { difference });
        }
        Ok(())
    }

    /// The event that a command makes, its effect on the balance not yet checked.
    fn event(&self, command: AccountCommand) -> Result<AccountEvent, AccountRejection> {
        Ok(match command {
            AccountCommand::Open { overdraft_limit } => self.open(overdraft_limit)?,
            AccountCommand::Deposit {
                amount,
                channel,
                reference,
            } => {
                self.check_amount(amount)?;
                AccountEvent::Deposited {
                    amount,
                    channel,
                    reference,
                }
            }
            AccountCommand::Withdraw {
                amount,
                channel,
                reference,
            } => {
                self.check_amount(amount)?;
                self.check_funds(amount)?;
                AccountEvent::Withdrawn {
                    amount,
                    channel,
                    reference,
                }
            }
            AccountCommand::CreditInterest { amount, reference } => {
                self.check_amount(amount)?;
                AccountEvent::InterestCredited { amount, reference }
            }
            AccountCommand::ChargeFee {
                amount,
                fee,
                reference,
            } => {
                self.check_amount(amount)?;
                AccountEvent::FeeCharged {
                    amount,
                    fee,
                    reference,
                }
            }
            AccountCommand::Round {
                difference,
                reference,
            } => {
                self.check_rounding(difference)?;
                AccountEvent::Rounded {
                    difference,
                    reference,
                }
            }
        })
    }
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    const VERSION: u32 = 1;
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Rejection = AccountRejection;

    fn decide(
        &self,
        command: AccountCommand,
        out: &mut Decision<'_, Self>,
    ) -> Result<(), AccountRejection> {
        let event = self.event(command)?;
        let (balance, amount) = (self.balance, event.change());
        if balance.checked_add(amount).is_none() {
            return Err(AccountRejection::BalanceOverflow { balance, amount });
        }
        if !matches!(
            event,
            AccountEvent::Rounded {
                difference: Cents::ZERO,
                ..
            }
        ) {
            out.emit(event);
        }
        Ok(())
    }

    fn evolve(&mut self, event: &AccountEvent) {
        if let AccountEvent::Opened { overdraft_limit } = event {
            self.opened = true;
            self.overdraft_limit = *overdraft_limit;
        }
        self.balance = self
            .balance
            .checked_add(event.change())
            .expect("no event was decided whose balance does not fit");
    }
}
