//! The projection as a step core: pull frames, apply, show, store.

mod applying;
mod batching;
mod deciding;
mod enriching;
mod freeing;
mod halting;
mod opening;
mod ordering;
mod pacing;
mod sending;
mod sharing;
mod storing;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::frame::{Frame, FrameHash, KindSet, Record};
use millstream_engine::log::{
    Asked, Direction, Feed, FrameSlice, LogCursor, LogError, StreamReader, StreamRef,
    for_each_event,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::{DeadLetterMetrics, ParkedNow, ProjectionMetrics};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{
    Progress, RegisteredProjection, StateBatch, StateError, StateStore, StateWrite,
    StateWriterHandle,
};
use millstream_engine::time::{Clock, Timestamp};

pub use self::opening::ProjectionParts;

use self::halting::Halt;
use super::applier::Applier;
use super::decided::{Decided, Fate};
use super::enrich::Following;
use super::parked::{Moment, Parked};
use super::wanted::Portion;
use super::{
    OpenProjectionError, ProgressBoard, Projection, ProjectionConfig, TableSet, UnreadablePolicy,
};
use crate::failing::{Failure, Telling};

/// Time of one turn, after which others have theirs.
const TURN: Duration = Duration::from_millis(1);
/// How often lag is shown while nothing comes.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often one looks that waits for another version or for its outbox, which tell nobody.
const HELD_UP_EVERY: Duration = Duration::from_millis(2);
/// Events of one parked key that are applied per turn once it is freed.
const FREED_EVENTS: usize = 1_024;
/// Bytes of versions that are kept in memory before a store is waited for.
const VERSION_BYTES_MAX: usize = 64 << 20;
/// Bytes of versions that are stored without waiting for the time.
const VERSION_BYTES_STORED: usize = 16 << 20;
/// Dead letters read at a time when a projection starts.
const LETTERS: usize = 256;

/// One partition that is read.
struct Source {
    cursor: LogCursor,
    /// The frame that holds the event before the position.
    frame: Option<(Offset, FrameHash)>,
    moved: bool,
    /// Position that was stored last.
    stored: Offset,
    metrics: ProjectionMetrics,
    /// When the newest event that was applied had been recorded.
    recorded: Timestamp,
    /// When the oldest event had been recorded whose row is not shown yet, of those that were appended since this core began.
    unshown: Option<Timestamp>,
    /// Where the log ended when this core began: what is before is history, whose age tells nothing of how fast this is.
    begun_at: Offset,
    /// What was decided about events that wait or are still to come.
    decided: Decided,
    /// Decisions before this offset are in `decided`, those about settled events apart.
    read_upto: Offset,
    /// Up to when its partition was last asked to be quiet, by a projection that goes by recorded time.
    asked: Option<Asked>,
}

/// A projection at work.
pub struct ProjectionCore<P: Projection> {
    applier: Applier<P>,
    registered: RegisteredProjection,
    config: ProjectionConfig,
    sources: Vec<Source>,
    turn: usize,
    parked: Parked,
    feed: Arc<Feed>,
    streams: Arc<dyn StreamReader>,
    writer: StateWriterHandle,
    board: Arc<ProgressBoard>,
    clock: Arc<dyn Clock>,
    mailbox: Arc<Mailbox>,
    /// Woken when a state writer that had no room may have some: the mailbox.
    room: Waker,
    storing: Arc<AtomicBool>,
    /// A store of this core failed.
    lost: Arc<AtomicBool>,
    /// What the state's writer had no room for: to be handed over before anything else.
    refused: Option<StateBatch>,
    /// Parked keys that were due then are looked at before anything else.
    opened_at: Duration,
    published_at: Duration,
    stored_at: Duration,
    shown_at: Duration,
    stopping: bool,
    /// It was being built when it was asked to stop: see `is_leaving`.
    is_unbuilt: bool,
    /// Something was left when the last turn was over.
    is_behind: bool,
    /// Events are there which others may have to come before.
    waits: bool,
    /// An outbox is full.
    is_choked: bool,
    /// It applies nothing more before letters are stored.
    is_held_back: bool,
    /// Time of this turn in which all owners were at work.
    shared_for: Duration,
    /// Of batches that fail.
    telling: Telling,
    dead_letters: DeadLetterMetrics,
    /// Those that are read.
    following: Following,
}

impl<P: Projection> fmt::Debug for ProjectionCore<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionCore")
            .field("projection", &P::NAME)
            .finish_non_exhaustive()
    }
}

impl<P: Projection> ProjectionCore<P> {
    fn moment(&self) -> Moment {
        Moment {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }
}

impl<P: Projection> StageCore for ProjectionCore<P> {
    fn step(&mut self) -> Step {
        let start = self.clock.monotonic();
        if self.lost.load(Ordering::Acquire) {
            return Step::Failed("rows could not be stored".to_owned());
        }
        // Over the memory bound: go on once all rows are stored, so that they can be let go.
        let full = self.applier.rows() > self.config.hot_rows_max;
        // Versions cannot be let go, only handed over.
        let heavy = self.applier.pending_bytes() > VERSION_BYTES_MAX;
        if full && self.is_all_stored() {
            self.publish(start);
            self.applier.shrink();
        } else if full || heavy {
            self.publish(start);
            return match self.store(start, true, true) {
                // Not `Idle`: that would end a stage that is stopping, with events left to apply.
                Ok(()) => Step::IdleUntil(self.next_look(start)),
                Err(cause) => Step::Failed(cause),
            };
        }
        if let Some(wait) = self.wait_for_turn(start) {
            return Step::IdleUntil(wait);
        }
        let more = match self.apply_and_send(start) {
            Ok(more) => more,
            Err(error) => return Step::Failed(error.to_string()),
        };
        let now = self.clock.monotonic();
        self.turn_over(start, now, more);
        let late = now.saturating_sub(self.published_at)
            >= Duration::from_millis(self.config.publish_every_ms);
        if !more || late {
            self.publish(now);
        }
        let ending = self.stopping && !more && self.is_at_end();
        let is_behind = more && self.is_far_behind();
        if let Err(cause) = self.store(now, is_behind, ending) {
            return Step::Failed(cause);
        }
        self.show(now);
        let due = self.parked.next_due().is_some_and(|due| due <= now);
        self.following.turn_over(&self.board);
        // Before those that are read have come as far, or an outbox has room again, nothing can be tried.
        let due = due && self.following.waits.is_none();
        if (more || (due && !ending)) && !self.is_choked {
            return Step::Again;
        }
        if ending && (self.feed.is_closed() || self.is_leaving()) && self.is_all_stored() {
            self.sources.iter().for_each(|source| {
                self.board.end_of(source.cursor.partition().0);
            });
            return Step::Done;
        }
        Step::IdleUntil(self.next_look(now))
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.is_unbuilt = self.is_being_built();
        }
        self.stopping = true;
    }
}
