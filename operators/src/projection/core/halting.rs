//! Why a projection stops: the log cannot be read, or more waits than may.

use millstream_engine::event::Position;
use millstream_engine::state::DeadLetter;

use super::*;
use crate::projection::LookupError;

/// Why a projection cannot go on. What it applied since its last store is forgotten with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "{keys} keys are parked with {bytes} bytes, which is all that `parked_keys_max` or `parked_bytes_max` allow, \
         and an event of {key} failed too: {cause}"
    )]
    Parked {
        keys: usize,
        bytes: usize,
        key: String,
        cause: String,
    },
    #[error("event {position} cannot be applied: {cause}")]
    Lookup {
        position: Position,
        cause: LookupError,
    },
    #[error("event {position} of {key} cannot be read: {cause}")]
    Unreadable {
        position: Position,
        key: String,
        cause: String,
    },
    #[error(
        "behind the failed event of {key} wait more than `followers_max` ({events}) or `followers_bytes_max` ({bytes}) \
         allow: redrive or discard it and start again"
    )]
    Queue {
        events: u64,
        bytes: u64,
        key: String,
    },
}

impl Halt {
    #[cold]
    pub(super) fn full<P: Projection>(parked: &Parked, stream: &str, failure: Failure) -> Self {
        Self::Parked {
            keys: parked.len(),
            bytes: parked.bytes(),
            key: format!("{}-{stream}", P::CATEGORY),
            cause: failure.causes().join(": "),
        }
    }

    #[cold]
    pub(super) fn overgrown(parked: &Parked, letter: &DeadLetter) -> Self {
        let own = letter.payload.len();
        Self::Parked {
            keys: parked.len(),
            bytes: parked.bytes(),
            key: letter.key.to_string(),
            cause: format!("as edited, with {own} bytes: {}", letter.cause.join(": ")),
        }
    }

    #[cold]
    pub(super) fn lookup(partition: PartitionId, record: &Record<'_>, cause: LookupError) -> Self {
        let offset = record.offset;
        Self::Lookup {
            position: Position { partition, offset },
            cause,
        }
    }

    #[cold]
    pub(super) fn unreadable<P: Projection>(
        partition: PartitionId,
        record: &Record<'_>,
        failure: Failure,
    ) -> Self {
        Self::Unreadable {
            position: Position {
                partition,
                offset: record.offset,
            },
            key: format!("{}-{}", P::CATEGORY, record.stream),
            cause: failure.causes().join(": "),
        }
    }

    #[cold]
    pub(super) fn queue<P: Projection>(config: &ProjectionConfig, stream: &str) -> Self {
        Self::Queue {
            events: config.followers_max,
            bytes: config.followers_bytes_max,
            key: format!("{}-{stream}", P::CATEGORY),
        }
    }
}
