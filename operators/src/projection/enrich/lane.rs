//! How far one actor's changes count as of an event.
//!
//! Number up to which they do: that of the last change by an event that counts. Changes by events that were freed late count
//! from where the projection had come by then, strictly: whoever stood at that very place may have looked before. They lie
//! between others, and count with the next of those at the latest.

use std::collections::VecDeque;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::state::{StateError, StateView};

use crate::projection::ProgressBoard;
use crate::projection::versions::{Change, VersionIds, change_at, changes_from, head_of, tail_of};

/// Changes that one read of the store takes.
const BATCH: usize = 256;

/// Changes of one actor, followed.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) actor: u16,
    /// It makes its changes of events of all partitions.
    is_global: bool,
    /// Of the last change that counts; `None` before the first look.
    number: Option<u64>,
    /// Those behind it that were read.
    ahead: VecDeque<(u64, Change)>,
    /// What was stored when `ahead` was all there is: none comes by an event before.
    known: Vec<Offset>,
}

/// What is not kept any more.
#[derive(Debug)]
pub(super) struct Gone;

/// What a look into the store gives.
pub(super) type Looked<T> = Result<Result<T, Gone>, StateError>;

impl Lane {
    pub(super) const fn new(actor: u16, is_global: bool) -> Self {
        Self {
            actor,
            is_global,
            number: None,
            ahead: VecDeque::new(),
            known: Vec::new(),
        }
    }

    /// Number up to which changes count; 0 before the first look.
    pub(super) fn number(&self) -> u64 {
        self.number.unwrap_or(0)
    }

    /// Takes what counts of what was read; gives the keys that changed, and whether the store has to be asked for more.
    pub(super) fn take(&mut self, ends: &[Offset], mut changed: impl FnMut(&[u8])) -> bool {
        if self.number.is_none() {
            return true;
        }
        let (mut count, mut is_over) = (0, false);
        for (at, (_, change)) in self.ahead.iter().enumerate() {
            if counts(change, ends) {
                count = at + 1;
            } else if !change.is_late {
                is_over = true;
                break;
            }
        }
        for (number, change) in self.ahead.drain(..count) {
            self.number = Some(number);
            changed(&change.key);
        }
        !is_over && !self.knows(ends)
    }

    fn knows(&self, ends: &[Offset]) -> bool {
        let both = self.known.iter().zip(ends).enumerate();
        // The changes of an actor with one partition are made by that alone.
        let mut own = both.filter(|(at, _)| self.is_global || *at == usize::from(self.actor));
        !self.known.is_empty() && own.all(|(_, (known, end))| end <= known)
    }

    /// Reads more. `stored` is how far the projection had stored before the view was opened; gives whether that is enough.
    pub(super) fn read(
        &mut self,
        view: &StateView<'_>,
        ids: VersionIds,
        ends: &[Offset],
        stored: &[Offset],
    ) -> Looked<bool> {
        let number = match self.number {
            Some(number) => number,
            None => match last_that_counts(view, ids, self.actor, ends)? {
                Some(number) => *self.number.insert(number),
                None => return Ok(Err(Gone)),
            },
        };
        let next = self.ahead.back().map_or(number, |(last, _)| *last) + 1;
        let more = changes_from(view, ids, self.actor, next, BATCH)?;
        if more.first().is_some_and(|(first, _)| *first != next) {
            return Ok(Err(Gone));
        }
        let is_all = more.len() < BATCH;
        if is_all {
            self.known = stored.to_vec();
        }
        self.ahead.extend(more);
        Ok(Ok(!is_all || self.knows(ends)))
    }
}

/// How far a projection has stored.
pub(super) fn stored(board: &ProgressBoard, partitions: usize) -> Vec<Offset> {
    let all = (0..).map(PartitionId).take(partitions);
    all.map(|partition| board.stored(partition)).collect()
}

fn counts(change: &Change, ends: &[Offset]) -> bool {
    let position = change.stamp.position;
    let end = ends.get(usize::from(position.partition.0));
    end.is_some_and(|end| {
        if change.is_late {
            change.seen < *end
        } else {
            position.offset < *end
        }
    })
}

/// Number of the last change by an event in its turn that counts, found by halves; `None` when only changes that are not kept
/// can tell.
fn last_that_counts(
    view: &StateView<'_>,
    ids: VersionIds,
    actor: u16,
    ends: &[Offset],
) -> Result<Option<u64>, StateError> {
    let (tail, head) = match (tail_of(view, ids, actor)?, head_of(view, ids, actor)?) {
        (Some((tail, _)), Some((head, _))) => (tail, head),
        _ => return Ok(Some(0)),
    };
    let mut best = (tail == 1).then_some(0);
    let (mut within, mut beyond) = (tail - 1, head + 1);
    while beyond - within > 1 {
        let middle = within + (beyond - within) / 2;
        // Those that came late say nothing of their neighbours.
        let mut at = middle;
        let found = loop {
            if at == within {
                break None;
            }
            match change_at(view, ids, actor, at)? {
                Some(change) if !change.is_late => break Some(counts(&change, ends)),
                _ => at -= 1,
            }
        };
        match found {
            Some(true) => (best, within) = (Some(at), middle),
            Some(false) => beyond = at,
            None => within = middle,
        }
    }
    Ok(best)
}
