//! What catching panics takes at least: threads that do nothing else.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::Harness;

/// Time in which so many threads together catch so many panics, as many each.
pub(super) fn bare(harness: &Harness, threads: usize, panics: u64) -> Duration {
    let start = harness.now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..panics / threads as u64 {
                    let caught = catch_unwind(AssertUnwindSafe(|| fail(black_box(true))));
                    drop(black_box(caught));
                }
            });
        }
    });
    harness.now() - start
}

/// As what the dataflows call.
#[cold]
#[inline(never)]
fn fail(panics: bool) {
    assert!(!panics, "it is poison");
}
