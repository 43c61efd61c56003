//! What an import of the bank's history came to, with the checks that it must pass.

use std::fmt;

use serde_json::{Value, json};

use super::berka::BerkaReport;
use super::cents::Cents;

/// One thing that must hold after an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What must hold.
    pub name: &'static str,
    /// Whether it does.
    pub holds: bool,
    /// What was looked at, or the first thing that is wrong.
    pub detail: String,
}

/// What was read back from the stored events, without a look at what the importer computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Events of all accounts.
    pub events: u64,
    /// Transactions after which the account had the recorded balance.
    pub transactions: u64,
    /// Transactions without a rounding.
    pub exact: u64,
    /// Sum of the roundings with their signs.
    pub rounding_sum: Cents,
    /// Largest rounding, without sign.
    pub rounding_max: Cents,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq)]
pub struct BankReport {
    /// What the files hold.
    pub recorded: BerkaReport,
    /// What the stored events say.
    pub replayed: Replayed,
    /// Commands sent.
    pub commands: u64,
    /// Commands among them that an earlier import had sent before.
    pub repeats: u64,
    /// Whether it was asked to stop before all were sent. Nothing is read back and checked then.
    pub interrupted: bool,
    /// Time from the first command sent to the last one's events on disk. Seconds.
    pub seconds: f64,
    /// What must hold, in the order in which it was looked at.
    pub checks: Vec<Check>,
}

impl BankReport {
    /// Whether all was sent and every check holds.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.interrupted && self.checks.iter().all(|check| check.holds)
    }

    /// Commands per second; zero when it took no time.
    #[must_use]
    pub fn commands_per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.commands as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// One object with everything.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let checks: Vec<_> = self
            .checks
            .iter()
            .map(|check| json!({ "name": check.name, "ok": check.holds, "detail": check.detail }))
            .collect();
        json!({
            "topology": "bank",
            "accounts": self.recorded.accounts,
            "overdrafts": self.recorded.overdrafts,
            "transactions": self.recorded.transactions,
            "events": self.replayed.events,
            "exact": self.replayed.exact,
            "rounded": self.replayed.transactions - self.replayed.exact,
            "rounding_sum": self.replayed.rounding_sum.to_string(),
            "rounding_max": self.replayed.rounding_max.to_string(),
            "commands": self.commands,
            "repeats": self.repeats,
            "interrupted": self.interrupted,
            "seconds": self.seconds,
            "commands_per_second": self.commands_per_second(),
            "checks": checks,
            "ok": self.is_good(),
        })
    }
}

impl fmt::Display for BankReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (recorded, replayed) = (&self.recorded, &self.replayed);
        writeln!(
            out,
            "{} transactions of {} accounts, {} of them with an overdraft",
            recorded.transactions, recorded.accounts, recorded.overdrafts
        )?;
        writeln!(
            out,
            "{} commands in {:.2} s, {:.0} per second; {} had been sent before",
            self.commands,
            self.seconds,
            self.commands_per_second(),
            self.repeats
        )?;
        if self.interrupted {
            return writeln!(out, "stopped before all were sent: nothing is checked");
        }
        writeln!(
            out,
            "{} events: {} transactions exact, {} rounded by {} at most and {} in all",
            replayed.events,
            replayed.exact,
            replayed.transactions - replayed.exact,
            replayed.rounding_max,
            replayed.rounding_sum
        )?;
        for check in &self.checks {
            let mark = if check.holds { "ok    " } else { "FAILED" };
            writeln!(out, "{mark} {}: {}", check.name, check.detail)?;
        }
        Ok(())
    }
}
