//! Says now and then that a step goes on: for loops that give out all that is due at once, of which there may be so much that
//! the whole takes longer than code that hangs is waited for. One result that takes as long is still seen.
//!
//! Cost: a count per result, and every [`EVERY`]th of them a read of the clock.

use millstream_engine::stage::still_working;

/// So few that results which take a tenth of a second each are not taken for a hang, which is the default at half a minute.
const EVERY: u32 = 256;

/// Of one such loop.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    made: u32,
}

impl Progress {
    /// A result was made.
    #[inline(always)]
    pub(crate) fn made_one(&mut self) {
        self.made += 1;
        if self.made == EVERY {
            self.made = 0;
            still_working();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
