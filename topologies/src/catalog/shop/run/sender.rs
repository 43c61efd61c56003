//! Sends batches of commands in bulk and counts the answers.
//!
//! Invariants: one bulk per kind of aggregate is on its way at a time, so the order per aggregate is the
//! file's; a bulk of customers ends before a purchase or another refund of what its customer refunded in the same bulk, see
//! the parent's third invariant. Failure: an answer that is neither acceptance nor rejection ends the run.

use std::collections::HashSet;

use compact_str::CompactString;
use millstream_engine::partition::CommandId;
use millstream_operators::aggregate::{
    Aggregate, AggregateHandle, BulkCommand, CommandError, CommandOptions, CommandResult,
};
use tokio::sync::mpsc::Receiver;

use super::ShopError;
use super::notes::Notes;
use super::reader::{self, Batch, Category};
use super::report::{Counts, Progress, REJECTED_LISTED_MAX, RejectedLine};
use crate::catalog::shop::{
    Customer, CustomerCommand, CustomerRejection, Product, ProductCommand, Trade,
};

/// Sends customers' commands until the reader ends; each rejected refund is recorded at once.
pub(super) async fn customers(
    handle: AggregateHandle<Customer>,
    mut batches: Receiver<Batch<CustomerCommand>>,
    notes: &Notes<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Counts, ShopError> {
    let mut counts = Counts::default();
    while let Some(batch) = batches.recv().await {
        let mut bulk = Bulk::default();
        for (command, line) in batch.commands.into_iter().zip(batch.lines) {
            if bulk.must_end_before(&command) {
                std::mem::take(&mut bulk)
                    .send(&handle, &batch.digest, &mut counts)
                    .await?;
            }
            bulk.push(command, line);
        }
        bulk.send(&handle, &batch.digest, &mut counts).await?;
        notes.customers_through(batch.through).await?;
        progress(batch.progress);
    }
    Ok(counts)
}

/// Sends products' commands until the reader ends.
pub(super) async fn products(
    handle: AggregateHandle<Product>,
    mut batches: Receiver<Batch<ProductCommand>>,
    notes: &Notes<'_>,
) -> Result<Counts, ShopError> {
    let mut counts = Counts::default();
    while let Some(batch) = batches.recv().await {
        let answers = handle.send_bulk(batch.commands).await;
        for (line, answer) in batch.lines.into_iter().zip(answers) {
            if let Some(rejection) = count::<Product>(answer, &mut counts)
                .map_err(|cause| ShopError::Product { line, cause })?
            {
                reject(&mut counts, line, &rejection);
            }
        }
        notes.products_through(batch.through).await?;
    }
    Ok(counts)
}

/// Commands to customers that travel together.
#[derive(Default)]
struct Bulk {
    commands: Vec<BulkCommand<CustomerCommand>>,
    lines: Vec<u64>,
    /// Refunds by their place among the commands.
    refunds: Vec<(usize, Trade)>,
    /// Customers and codes of these refunds.
    undecided: HashSet<(CompactString, CompactString)>,
}

impl Bulk {
    fn must_end_before(&self, next: &BulkCommand<CustomerCommand>) -> bool {
        let (CustomerCommand::Purchase(trade) | CustomerCommand::Refund(trade)) = &next.command
        else {
            return false;
        };
        !self.undecided.is_empty()
            && self
                .undecided
                .contains(&(next.id.clone(), trade.stock_code.clone()))
    }

    fn push(&mut self, command: BulkCommand<CustomerCommand>, line: u64) {
        let place = self.commands.len();
        match &command.command {
            CustomerCommand::Refund(trade) => {
                self.refunds.push((place, trade.clone()));
                self.undecided
                    .insert((command.id.clone(), trade.stock_code.clone()));
            }
            // What it comes to is certain, whatever comes before and after it.
            CustomerCommand::GuestRefund(trade) => self.refunds.push((place, trade.clone())),
            _ => {}
        }
        self.commands.push(command);
        self.lines.push(line);
    }

    /// Sends the commands, then a record for each refund that was rejected for want of a purchase.
    async fn send(
        self,
        handle: &AggregateHandle<Customer>,
        digest: &[u8; 32],
        counts: &mut Counts,
    ) -> Result<(), ShopError> {
        let ids: Vec<_> = self
            .refunds
            .iter()
            .map(|&(place, _)| self.commands[place].id.clone())
            .collect();
        let mut refunds = self.refunds.into_iter().zip(ids).peekable();
        let (mut records, mut record_lines) = (Vec::new(), Vec::new());
        let answers = handle.send_bulk(self.commands).await;
        for (place, (line, answer)) in self.lines.into_iter().zip(answers).enumerate() {
            let refund = refunds.next_if(|((at, _), _)| *at == place);
            let rejection = count::<Customer>(answer, counts)
                .map_err(|cause| ShopError::Customer { line, cause })?;
            match (rejection, refund) {
                (None, _) => {}
                (
                    Some(CustomerRejection::RefundWithoutPurchase { bought, .. }),
                    Some(((_, refund), id)),
                ) => {
                    counts.unmatched_refunds += 1;
                    record_lines.push(line);
                    records.push(record(refund, bought, id, digest));
                }
                (Some(rejection), _) => reject(counts, line, &rejection),
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let answers = handle.send_bulk(records).await;
        for (line, answer) in record_lines.into_iter().zip(answers) {
            let rejection = count::<Customer>(answer, counts)
                .map_err(|cause| ShopError::Customer { line, cause })?;
            if let Some(rejection) = rejection {
                reject(counts, line, &rejection);
            }
        }
        Ok(())
    }
}

fn record(
    refund: Trade,
    bought: i64,
    id: CompactString,
    digest: &[u8; 32],
) -> BulkCommand<CustomerCommand> {
    let options = CommandOptions {
        id: Some(CommandId(reader::id(
            digest,
            Category::Unmatched,
            refund.line,
        ))),
        event_time: Some(millstream_engine::time::Timestamp::from_micros(
            refund.at_us,
        )),
        ..CommandOptions::default()
    };
    BulkCommand {
        id,
        command: CustomerCommand::RecordUnmatchedRefund { refund, bought },
        options,
    }
}

/// Counts an answer; gives the rejection if it was one.
fn count<A: Aggregate>(
    answer: CommandResult<A>,
    counts: &mut Counts,
) -> Result<Option<A::Rejection>, Box<CommandError<A::Rejection>>> {
    counts.commands += 1;
    match answer {
        // Without an event: what was asked had happened before, and the aggregate remembered it.
        Ok(ack) if ack.is_repeat || ack.events == 0 => counts.repeats += 1,
        Ok(ack) => {
            counts.accepted += 1;
            counts.events += u64::from(ack.events);
        }
        Err(CommandError::Rejected(rejection)) => return Ok(Some(rejection)),
        Err(cause) => return Err(Box::new(cause)),
    }
    Ok(None)
}

/// Counts a rejection that nothing follows.
fn reject(counts: &mut Counts, line: u64, rejection: &dyn std::error::Error) {
    counts.other_rejections += 1;
    if counts.rejected_first.len() < REJECTED_LISTED_MAX {
        counts.rejected_first.push(RejectedLine {
            line,
            reason: rejection.to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(
        id: &str,
        command: fn(Trade) -> CustomerCommand,
        code: &str,
    ) -> BulkCommand<CustomerCommand> {
        BulkCommand {
            id: id.into(),
            command: command(Trade {
                line: 2,
                invoice: "C1".into(),
                stock_code: code.into(),
                units: 1,
                unit_price: crate::money::Money::ZERO,
                at_us: 0,
                country: "UK".into(),
            }),
            options: CommandOptions::default(),
        }
    }

    /// Story: of two refunds in one bulk the second could be accepted before the first, which was refused, was recorded: decided
    /// anew after a crash, the first one was recorded with fewer units bought.
    #[test]
    fn a_bulk_ends_before_what_changes_an_undecided_refund() {
        let mut bulk = Bulk::default();
        let refund = to("anna", CustomerCommand::Refund, "X");
        assert!(!bulk.must_end_before(&refund));
        bulk.push(refund, 2);
        for (id, command, code, must_end) in [
            ("anna", CustomerCommand::Purchase as fn(_) -> _, "X", true),
            ("anna", CustomerCommand::Refund, "X", true),
            ("anna", CustomerCommand::Refund, "Y", false),
            ("bert", CustomerCommand::Refund, "X", false),
        ] {
            let next = to(id, command, code);
            assert_eq!(bulk.must_end_before(&next), must_end, "{next:?}");
        }
        // What is certain waits for nothing, and nothing for it.
        let guest = to("guest.C1", CustomerCommand::GuestRefund, "X");
        bulk.push(guest.clone(), 3);
        assert!(!bulk.must_end_before(&guest));
        assert!(!bulk.must_end_before(&to("guest.C1", CustomerCommand::Purchase, "X")));
    }
}
