//! Steps at which a test has the process die, or an operation fail.
//!
//! Place: between two steps of what must survive a crash: commits, checkpoints, restoring, sinks, decisions, shutting down.
//! [`fail_point!`](crate::fail_point) names one of [`ALL`]. Without the feature `failpoints` the macro is nothing at all:
//! no code, no branch, no dependency. With it a point looks up by its name what is to be done there, which a test says
//! with `die_at` or `fail_at`; the table behind that is the process's own, so a test does this in a process of its own.
//! Invariant: every point is in [`ALL`] once; the torture suite meets each of them.
//! Cost with the feature: a lock and a look-up per point, so nothing is measured with it.

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its name, part by part from the outside in.
    pub name: &'static str,
    /// Whether it can fail, not only be the last step of a process.
    pub can_fail: bool,
}

/// Declares the points, and the list of all.
macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal, $can_fail:literal;)*) => {
        $($(#[$doc])* pub const $point: Point = Point { name: $name, can_fail: $can_fail };)*

        /// All of them.
        pub const ALL: &[Point] = &[$($point),*];
    };
}

points! {
    /// The log's writer begins a group.
    LOG_BEFORE_TRANSACTION = "log.before_transaction", true;
    /// All frames of a group are in the transaction.
    LOG_BEFORE_COMMIT = "log.before_commit", true;
    /// A group is durable, and nobody knows.
    LOG_AFTER_COMMIT = "log.after_commit", true;
    /// A group is durable and in the feed, and nobody was answered.
    LOG_BEFORE_REPLIES = "log.before_replies", false;
    /// One of a group was answered.
    LOG_REPLIED = "log.replied", false;
    /// Chunks of the stream index go into the transaction.
    INDEX_BEFORE_FLUSH = "index.before_flush", true;
    /// They are durable, and the index in memory does not know.
    INDEX_FLUSHED = "index.flushed", false;
    /// The state's writer begins a transaction.
    STATE_BEFORE_TRANSACTION = "state.before_transaction", true;
    /// All writes are in it.
    STATE_BEFORE_COMMIT = "state.before_commit", true;
    /// It is committed, and nobody knows.
    STATE_AFTER_COMMIT = "state.after_commit", true;
    /// One of a group of batches was answered.
    STATE_REPLIED = "state.replied", false;
    /// The state is to be forced to the disk.
    STATE_BEFORE_SYNC = "state.before_sync", true;
    /// It was.
    STATE_SYNCED = "state.synced", true;
    /// A checkpoint is asked for, before the sources know.
    CHECKPOINT_REQUESTED = "checkpoint.requested", false;
    /// A stage is at the barrier and is about to save its state.
    CHECKPOINT_BEFORE_SAVING = "checkpoint.before_saving", true;
    /// A stage has handed its state over and passed the barrier on.
    CHECKPOINT_SAVED = "checkpoint.saved", true;
    /// Rows of a checkpoint go to the storage.
    CHECKPOINT_BEFORE_ROWS = "checkpoint.before_rows", true;
    /// Rows of a checkpoint are stored, and the coordinator does not know.
    CHECKPOINT_ROWS_STORED = "checkpoint.rows_stored", true;
    /// All parts are stored, and nothing names them.
    CHECKPOINT_BEFORE_MANIFEST = "checkpoint.before_manifest", true;
    /// The manifest is stored: the checkpoint counts, perhaps not after a loss of power.
    CHECKPOINT_MANIFEST_STORED = "checkpoint.manifest_stored", true;
    /// It is forced to the disk where that matters, and nobody was told.
    CHECKPOINT_BEFORE_TOLD = "checkpoint.before_told", true;
    /// All were told.
    CHECKPOINT_TOLD = "checkpoint.told", true;
    /// A stage tells its operators.
    CHECKPOINT_STAGE_TOLD = "checkpoint.stage_told", true;
    /// An old checkpoint is to be forgotten, or a savepoint that somebody gave up.
    CHECKPOINT_FORGETTING = "checkpoint.forgetting", false;
    /// All parts of a savepoint are stored, and nothing names them.
    SAVEPOINT_BEFORE_MANIFEST = "savepoint.before_manifest", true;
    /// A log sink is about to append.
    LOG_SINK_BEFORE_APPEND = "log_sink.before_append", true;
    /// One append of a round is durable.
    LOG_SINK_BETWEEN_APPENDS = "log_sink.between_appends", true;
    /// All of a round are.
    LOG_SINK_APPENDED = "log_sink.appended", true;
    /// A log sink finds in a checkpoint what it owes the log.
    LOG_SINK_OWED = "log_sink.owed", true;
    /// Rows go to a file.
    FILE_SINK_BEFORE_WRITE = "file_sink.before_write", true;
    /// A file is to be forced to the disk.
    FILE_SINK_BEFORE_SYNC = "file_sink.before_sync", true;
    /// A file is to be given its name.
    FILE_SINK_BEFORE_NAME = "file_sink.before_name", true;
    /// It has it, perhaps not after a loss of power.
    FILE_SINK_NAMED = "file_sink.named", true;
    /// A result is to be given out.
    DELIVER_BEFORE = "deliver.before", false;
    /// It was.
    DELIVER_AFTER = "deliver.after", false;
    /// The checkpoint to begin from is read.
    RESTORE_MANIFEST_READ = "restore.manifest_read", true;
    /// A stage is to be opened.
    RESTORE_BEFORE_STAGE = "restore.before_stage", true;
    /// It is open and has its state.
    RESTORE_STAGE_OPEN = "restore.stage_open", true;
    /// All are, and other checkpoints are to be forgotten.
    RESTORE_BEFORE_FORGETTING = "restore.before_forgetting", true;
    /// They are, and no stage was started.
    RESTORE_FORGOTTEN = "restore.forgotten", true;
    /// A stage is to make its first turn.
    RESTORE_BEFORE_FIRST_TURN = "restore.before_first_turn", true;
    /// A dataflow begins again in the same process.
    RESTORE_AGAIN = "restore.again", false;
    /// Decisions about dead letters are to be appended.
    LETTER_BEFORE_DECISION = "letter.before_decision", false;
    /// They are durable, and who decided was not answered.
    LETTER_DECIDED = "letter.decided", false;
    /// The event of a dead letter is to be applied or passed over.
    LETTER_BEFORE_SETTLING = "letter.before_settling", false;
    /// The event of a dead letter was applied or passed over, and that is not stored.
    LETTER_SETTLED = "letter.settled", false;
    /// Rows of a projection, with its position and its letters, go to the state's writer.
    PROJECTION_BEFORE_STORE = "projection.before_store", true;
    /// An effect was delivered, and nobody knows.
    EFFECT_DELIVERED = "effect.delivered", false;
    /// What was delivered is deleted, and the delivery does not know.
    EFFECT_DELETED = "effect.deleted", false;
    /// Another version of a projection is to send effects from here on, and nothing says so yet.
    EFFECT_BEFORE_CUT = "effect.before_cut", false;
    /// The state says so, and the version that answers is the one before.
    EFFECT_CUT = "effect.cut", false;
    /// Another version of a projection is to answer queries, and nothing says so yet.
    VERSION_BEFORE_SWITCH = "version.before_switch", false;
    /// The state says so, and readers in this process do not know.
    VERSION_SWITCHED = "version.switched", false;
    /// They do, and whoever asked for it was not told.
    VERSION_SHOWN = "version.shown", false;
    /// Two versions of a projection stand still at one position, to be compared.
    VERSION_COMPARED = "version.compared", false;
    /// A version that is to be dropped does not run any more, and is there.
    VERSION_BEFORE_DROP = "version.before_drop", false;
    /// It was dropped, and its rows are there.
    VERSION_DROPPED = "version.dropped", false;
    /// An exported checkpoint is written, without its name.
    ARCHIVE_WRITTEN = "archive.written", true;
    /// It has it, perhaps not after a loss of power.
    ARCHIVE_NAMED = "archive.named", true;
    /// Some rows of an exported checkpoint are taken in.
    ARCHIVE_ROWS_TAKEN = "archive.rows_taken", true;
    /// All are, and nothing names them.
    ARCHIVE_BEFORE_MANIFEST = "archive.before_manifest", true;
    /// It is named and chosen, perhaps not after a loss of power.
    ARCHIVE_TAKEN = "archive.taken", true;
    /// An engine is to end.
    SHUTDOWN_BEGUN = "shutdown.begun", false;
    /// Its dataflows have.
    SHUTDOWN_DATAFLOWS = "shutdown.dataflows", false;
    /// Its partitions have.
    SHUTDOWN_PARTITIONS = "shutdown.partitions", false;
    /// The log's writer has.
    SHUTDOWN_LOG = "shutdown.log", false;
    /// Its projections have.
    SHUTDOWN_PROJECTIONS = "shutdown.projections", false;
    /// The state's writer has.
    SHUTDOWN_STATE = "shutdown.state", false;
}

/// A step at which tests have the process die, or with a second argument return what that makes of a cause (an
/// [`std::io::Error`]) as an error. Nothing at all without the feature `failpoints`.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fail_point {
    ($point:ident) => {
        $crate::fail_points::pass($crate::fail_points::$point)
    };
    ($point:ident, $error:expr) => {
        if let Some(error) = $crate::fail_points::failure($crate::fail_points::$point, $error) {
            return Err(error);
        }
    };
}

/// A step at which tests have the process die, or with a second argument return what that makes of a cause (an
/// [`std::io::Error`]) as an error. Nothing at all without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fail_point {
    ($point:ident) => {};
    ($point:ident, $error:expr) => {};
}

#[cfg(feature = "failpoints")]
pub use set::{die_at, fail_at, failure, failures, pass, store_error};

#[cfg(feature = "failpoints")]
mod set {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;
    use crate::store::StoreError;

    static FAILURES: AtomicU64 = AtomicU64::new(0);

    /// Has the process die when it comes to a point for the `passing`th time, from 1: at once, without destructors.
    ///
    /// # Panics
    /// When the point library refuses the name, which it does not.
    pub fn die_at(point: Point, passing: u64) {
        let passed = AtomicU64::new(0);
        let die = move || {
            if passed.fetch_add(1, Ordering::AcqRel) + 1 == passing {
                std::process::abort();
            }
        };
        fail::cfg_callback(point.name, die).expect("a callback needs no parsing");
    }

    /// Has a point fail once, when the process comes to it for the `passing`th time, from 1.
    ///
    /// # Panics
    /// When the point cannot fail.
    pub fn fail_at(point: Point, passing: u64) {
        assert!(point.can_fail, "{} cannot fail", point.name);
        let before = match passing.saturating_sub(1) {
            0 => String::new(),
            times => format!("{times}*off->"),
        };
        fail::cfg(point.name, &format!("{before}1*return->off"))
            .expect("it is written as it should be");
    }

    /// How many points have failed in this process.
    #[must_use]
    pub fn failures() -> u64 {
        FAILURES.load(Ordering::Acquire)
    }

    /// Comes to a point that cannot fail.
    pub fn pass(point: Point) {
        fail::fail_point!(point.name);
    }

    /// Comes to a point: the error that it fails with, if it is to.
    pub fn failure<E>(point: Point, error: impl FnOnce(io::Error) -> E) -> Option<E> {
        let name = point.name;
        fail::fail_point!(name, |_| {
            tracing::warn!(name, "a fail point fails");
            FAILURES.fetch_add(1, Ordering::AcqRel);
            Some(error(io::Error::other(format!("fail point {name}"))))
        });
        None
    }

    /// A cause as the store tells it.
    #[must_use]
    pub fn store_error(cause: io::Error) -> StoreError {
        StoreError::Io {
            file: Path::new("data.mdb").to_owned(),
            doing: "a step of a test with",
            source: Arc::new(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_point_each() {
        let mut names: Vec<_> = ALL.iter().map(|point| point.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
