//! Looks for the instances of the next commands before the first of them is decided, so that their memory is waited for
//! together: each of a million instances lies where the processor's cache does not have it.

use smallvec::SmallVec;

use super::super::Aggregate;
use super::super::command::Envelope;
use super::super::instances::Instances;

/// Commands that are looked ahead: more than a processor has under way anyway, and few enough that what was found is still in
/// its cache when its turn comes.
const COMMANDS: usize = 16;
/// Instances from which on that is done: fewer are in the cache, where it costs more than it gains. Few in tests, so that both
/// ways are tried.
const LARGE: usize = if cfg!(test) { 4 } else { 8_192 };

/// Where the instances of the next commands are.
pub(super) struct Ahead {
    seen: SmallVec<[Option<u32>; COMMANDS]>,
    next: usize,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self {
            seen: SmallVec::new(),
            next: 0,
        }
    }

    /// Where the instance of the first of these items is, if it was looked for and found; items are those that are left. What
    /// came and went since it was looked for is not known here.
    #[inline]
    pub(super) fn next<A: Aggregate, T>(
        &mut self,
        instances: &Instances<A>,
        items: &[T],
        command: impl Fn(&T) -> Option<&Envelope<A>>,
    ) -> Option<u32> {
        if self.next == self.seen.len() {
            self.seen.clear();
            self.next = 0;
            if instances.len() < LARGE {
                return None;
            }
            let items = items.iter().take(COMMANDS);
            self.seen.extend(items.map(|item| {
                command(item).and_then(|command| instances.find(command.hash, &command.id))
            }));
        }
        let seen = self.seen.get(self.next).copied().flatten();
        self.next = self.seen.len().min(self.next + 1);
        seen
    }
}
