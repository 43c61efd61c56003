//! Which version of a projection sends the effects of which part of the log.
//!
//! A list of cuts, the oldest first: from these offsets on, one per partition, the effects are sent by this version; before the
//! first cut by nobody. A version is known by the id of its rows, which is never given twice: rows that were made anew are
//! another's, and what they are made of again is silent.
//! Invariants: (1) offsets of a partition never fall from one cut to the next, so each position has exactly one owner, or none;
//! (2) the list only grows, but for a log that is another one or an older one. It has an entry per switch and is not cut down.

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::state::ProjectionId;

const FORMAT: u8 = 1;

/// From these offsets on a version sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) owner: ProjectionId,
    /// By partition.
    pub(super) from: Vec<Offset>,
}

/// All cuts, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cuts(Vec<Cut>);

impl Cuts {
    /// Who sends the effects of an event.
    pub(super) fn owner(&self, partition: PartitionId, offset: Offset) -> Option<ProjectionId> {
        let mut latest = self.0.iter().rev();
        let begun = latest.find(|cut| cut.at(partition) <= offset)?;
        Some(begun.owner)
    }

    /// The newest.
    pub(super) fn last(&self) -> Option<&Cut> {
        self.0.last()
    }

    /// Has another version send from these offsets on, or where the one before it begins if that is further.
    pub(super) fn add(&mut self, owner: ProjectionId, from: &[Offset]) {
        let partitions = (0..).map(PartitionId).zip(from);
        let from = partitions.map(|(partition, from)| {
            let before = self.0.last().map_or(Offset(0), |cut| cut.at(partition));
            before.max(*from)
        });
        let from = from.collect();
        self.0.push(Cut { owner, from });
    }

    /// Has none lie behind these offsets: the log ends there, and what comes to be behind it is sent by the newest.
    pub(super) fn end_at(&mut self, heads: &[Offset]) {
        for cut in &mut self.0 {
            let ends = cut.from.iter_mut().zip(heads);
            ends.for_each(|(from, head)| *from = (*from).min(*head));
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        let partitions = self.0.first().map_or(0, |cut| cut.from.len());
        out.extend_from_slice(&u16::try_from(partitions).unwrap_or(u16::MAX).to_be_bytes());
        for cut in &self.0 {
            out.extend_from_slice(&cut.owner.0.to_be_bytes());
            for from in &cut.from {
                out.extend_from_slice(&from.0.to_be_bytes());
            }
        }
        out
    }

    /// `None` if it is of another format or damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[FORMAT])?;
        let (partitions, mut rest) = rest.split_first_chunk::<2>()?;
        let partitions = u16::from_be_bytes(*partitions);
        let mut cuts = Vec::new();
        while !rest.is_empty() {
            let (owner, offsets) = rest.split_first_chunk::<4>()?;
            let (from, behind) = offsets.split_at_checked(usize::from(partitions) * 8)?;
            let from = from.as_chunks::<8>().0.iter();
            cuts.push(Cut {
                owner: ProjectionId(u32::from_be_bytes(*owner)),
                from: from.map(|from| Offset(u64::from_be_bytes(*from))).collect(),
            });
            rest = behind;
        }
        Some(Self(cuts))
    }
}

impl Cut {
    fn at(&self, partition: PartitionId) -> Offset {
        let from = self.from.get(usize::from(partition.0));
        from.copied().unwrap_or(Offset(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(offsets: &[u64]) -> Vec<Offset> {
        offsets.iter().copied().map(Offset).collect()
    }

    #[test]
    fn each_position_has_one_owner() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.owner(PartitionId(0), Offset(0)), None);
        cuts.add(ProjectionId(1), &offsets(&[5, 0]));
        cuts.add(ProjectionId(2), &offsets(&[10, 10]));
        // Not before the one that it follows.
        cuts.add(ProjectionId(1), &offsets(&[7, 20]));
        let owner = |partition, offset| {
            let owner = cuts.owner(PartitionId(partition), Offset(offset));
            owner.map_or(0, |owner| owner.0)
        };
        assert_eq!(
            [4, 5, 9, 10, 100].map(|offset| owner(0, offset)),
            [0, 1, 1, 1, 1]
        );
        assert_eq!(
            [0, 9, 10, 19, 20].map(|offset| owner(1, offset)),
            [1, 1, 2, 2, 1]
        );
        // No partition of this log.
        assert_eq!(owner(2, 1), 0);
    }

    /// What is appended behind the end of an older log is the newest owner's.
    #[test]
    fn cuts_behind_the_end_of_the_log_lie_at_its_end() {
        let mut cuts = Cuts::default();
        cuts.add(ProjectionId(1), &offsets(&[2, 3]));
        cuts.add(ProjectionId(4), &offsets(&[9, 6]));
        cuts.end_at(&offsets(&[5, 7]));
        let owner = |partition, offset| cuts.owner(PartitionId(partition), Offset(offset));
        let [old, new] = [1, 4].map(|id| Some(ProjectionId(id)));
        assert_eq!([owner(0, 4), owner(0, 5)], [old, new]);
        assert_eq!([owner(1, 5), owner(1, 6)], [old, new]);
    }

    /// Part of the on-disk format.
    #[test]
    fn the_list_is_stored_as_it_was() {
        let mut cuts = Cuts::default();
        cuts.add(ProjectionId(1), &offsets(&[2, 3]));
        cuts.add(ProjectionId(4), &offsets(&[5, 6]));
        let golden = b"\x01\x00\x02\
            \x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\
            \x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x06";
        assert_eq!(cuts.encode(), golden);
        assert_eq!(Cuts::decode(golden), Some(cuts));
        assert_eq!(Cuts::decode(&golden[..golden.len() - 1]), None);
        assert_eq!(
            Cuts::decode(&Cuts::default().encode()),
            Some(Cuts::default())
        );
    }
}
