//! The queries, computed directly over a whole list of events.
//!
//! Place: what the answers of dataflows and of other programs are checked against. So the code is the
//! plainest there is, shares nothing with operators or with hand-optimised loops, and each query has a
//! file. Invariants: (1) rows come sorted; (2) the order of the events does not matter, except for what
//! [`q0`], [`q1`], [`q2`] and [`q13`] pass on, sorted as well. Windows are aligned to the epoch, `[start,
//! end)`, and every window with an event in it counts, also one that starts before the first event; at the
//! end of input all close. Cost: everything in memory, several times. Failure: none.

mod q0;
mod q1;
mod q11;
mod q12;
mod q13;
mod q2;
mod q3;
mod q4;
mod q5;
mod q6;
mod q7;
mod q8;
mod q9;
mod windows;

pub use q0::q0;
pub use q1::q1;
pub use q2::q2;
pub use q3::q3;
pub use q4::q4;
pub use q5::q5;
pub use q6::{q6, q6_panes};
pub use q7::q7;
pub use q8::{q8, q8_flink};
pub use q9::{q9, q9_flink};
pub use q11::q11;
pub use q12::q12;
pub use q13::{TABLE_ROWS, q13, table_value};

use super::checksum::Checksum;
use super::event::NexmarkEvent;

/// Seconds between two windows of q5, as Beam has it.
pub const Q5_SECONDS_BEAM: u64 = 5;
/// Seconds between two windows of q5, as nexmark-flink has it.
pub const Q5_SECONDS_FLINK: u64 = 2;

/// Whose definition of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Apache Beam's.
    #[default]
    Beam,
    /// nexmark-flink's, where it differs (q5, q8, q9).
    Flink,
}

/// A query by its number: rows and checksum.
///
/// `None` for a number without a query, and for q12, which needs the processing time of each event.
#[must_use]
pub fn checksum(query: u32, variant: Variant, events: &[NexmarkEvent]) -> Option<Checksum> {
    Some(match (query, variant) {
        (0, _) => Checksum::of(&q0(events)),
        (1, _) => Checksum::of(&q1(events)),
        (2, _) => Checksum::of(&q2(events)),
        (3, _) => Checksum::of(&q3(events)),
        (4, _) => Checksum::of(&q4(events)),
        (5, Variant::Beam) => Checksum::of(&q5(events, Q5_SECONDS_BEAM)),
        (5, Variant::Flink) => Checksum::of(&q5(events, Q5_SECONDS_FLINK)),
        (6, _) => Checksum::of(&q6(events)),
        (7, _) => Checksum::of(&q7(events)),
        (8, Variant::Beam) => Checksum::of(&q8(events)),
        (8, Variant::Flink) => Checksum::of(&q8_flink(events)),
        (9, Variant::Beam) => Checksum::of(&q9(events)),
        (9, Variant::Flink) => Checksum::of(&q9_flink(events)),
        (11, _) => Checksum::of(&q11(events)),
        (13, _) => Checksum::of(&q13(events)),
        _ => return None,
    })
}
