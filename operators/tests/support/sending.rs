//! A projection with an outbox, of as many versions as wanted. The tests of `millstream` use it as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_engine::codec::Event;
use millstream_engine::log::frame::Encoding;
use millstream_operators::projection::{
    Outbox, OutboxMut, ProjectedEvent, Projection, Rows, Table, TableMut,
};
use serde::{Deserialize, Serialize};

/// Events by stream.
pub(crate) const COUNTS: Table<String, u64> = Table::named("counts");
pub(crate) const SENT: Outbox<u64> = Outbox::named("sent");

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Value(pub(crate) u64);

impl Event for Value {
    const ENCODING: Encoding = Encoding::Json;
}

/// Sends the value of each event, and fails on those with a zero while it is out of order. As version `N`.
#[derive(Default)]
pub(crate) struct Sends<const N: u32> {
    pub(crate) is_out_of_order: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
#[error("it is out of order")]
pub(crate) struct OutOfOrder;

impl<const N: u32> Projection for Sends<N> {
    const NAME: &'static str = "sends";
    const VERSION: u32 = N;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "value";
    type Event = Value;
    type Tables = (Table<String, u64>, Outbox<u64>);
    type Error = OutOfOrder;

    fn tables(&self) -> Self::Tables {
        (COUNTS, SENT)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Value>,
        (counts, sent): &mut (TableMut<String, u64>, OutboxMut<u64>),
    ) -> Result<(), OutOfOrder> {
        counts.update(&event.id.to_owned(), |count| *count += 1);
        sent.send(event.payload.0);
        if event.payload.0 == 0 && self.is_out_of_order.load(Ordering::Relaxed) {
            return Err(OutOfOrder);
        }
        Ok(())
    }
}
