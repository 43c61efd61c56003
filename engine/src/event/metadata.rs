//! Identity and origin of an event.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// Identity of an event: a UUID of version 7, unless the appender brought its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    /// The id of the event `slot` places after the first of a frame whose base is `base`.
    ///
    /// Sixteen random bytes per event would be the largest part of a small one and do not compress, so
    /// a frame draws one id and its events count up from it in the low 62 bits.
    pub fn in_frame(base: Uuid, slot: u32) -> Self {
        const COUNTED: u128 = (1 << 62) - 1;
        let bits = base.as_u128();
        let low = (bits & COUNTED).wrapping_add(u128::from(slot)) & COUNTED;
        Self(Uuid::from_u128(bits & !COUNTED | low))
    }

    /// The id of event `sequence` of `stream` as `producer` writes it: the same whenever it is computed again, a
    /// UUID of version 8. Two producers, streams or sequences have different ids but for 122 bits of bad luck.
    pub fn derived(producer: &str, stream: &str, sequence: u64) -> Self {
        let mut hash = Xxh3::new();
        for text in [producer, stream] {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&sequence.to_le_bytes());
        let bytes = hash.digest128().to_be_bytes();
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an event came from. All parts are optional and cost nothing where absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The conversation that the event belongs to: the same in all that follows from one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Uuid>,
    /// The event or command that directly caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<Uuid>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<CompactString>,
}

impl Metadata {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.correlation.is_none() && self.causation.is_none() && self.user.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_a_frame_are_distinct_and_stay_version_seven() {
        let base = Uuid::now_v7();
        let ids: std::collections::BTreeSet<_> = (0..10_000)
            .map(|slot| EventId::in_frame(base, slot))
            .collect();
        assert_eq!(ids.len(), 10_000);
        assert!(
            ids.iter()
                .all(|id| id.0.get_version_num() == 7
                    && id.0.get_variant() == uuid::Variant::RFC4122)
        );
    }

    /// Stored ids are compared with derived ones: the derivation must never change.
    #[test]
    fn derived_ids_are_told_apart_and_stay_the_same() {
        let id = EventId::derived("alerts", "alert-7", 3);
        assert_eq!(id, EventId::derived("alerts", "alert-7", 3));
        assert_eq!(id.0.get_version_num(), 8);
        assert_eq!(id.0.to_string(), "d0f08c86-5e82-8124-a085-973c2588369f");
        let others = [
            EventId::derived("alertsa", "lert-7", 3),
            EventId::derived("alerts", "alert-7", 4),
            EventId::derived("alerts", "alert-8", 3),
        ];
        assert!(others.iter().all(|other| *other != id));
    }
}
