//! What simulations have met so far: a simulation that meets nothing proves nothing.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! tallies {
    ($($name:ident: $what:literal,)*) => {
        /// Counts of everything, over all threads.
        #[derive(Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: AtomicU64,)*
        }

        pub(crate) static TALLY: Tally = Tally { $($name: AtomicU64::new(0),)* };

        impl Tally {
            /// Each count with what it counts.
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($what, self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

tallies! {
    lives: "lives of a process",
    orderly_ends: "lives that ended in order",
    power_losses: "losses of power",
    log_faults: "failures of the log's disk",
    state_faults: "failures of the state's disk",
    unopened: "processes that did not come up",
    lost_cores: "stages made anew",
    commands: "commands and appends",
    refused: "refused",
    in_doubt: "never answered",
    in_doubt_there: "never answered and there",
    repeats: "repeats answered again",
    remembered: "repeats of what an earlier process was asked, answered again",
    done_anew: "repeats done anew, since nobody remembered",
    decisions: "decisions about letters",
    discarded: "events given up",
    items_discarded: "items given up",
    sums: "events that the dataflow appended",
    checkpoints: "checkpoints complete",
    snapshots: "looks at snapshots that were kept open",
    looks: "looks at all tables in the course",
    storage_faults: "failures of checkpoint storage in memory",
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, number: u64) {
    count.fetch_add(number, Ordering::Relaxed);
}
