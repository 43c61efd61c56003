//! What a reader takes of frames.

use super::{COMMANDS, Kind, SHAPES};

/// What is taken of a frame whose events lie by kind; a frame whose events lie as they came is always taken whole.
#[derive(Clone, Copy)]
pub enum FramePart<'a> {
    /// All of it.
    Whole,
    /// Events of the kinds for which this is true, and the shapes of their payloads.
    Kinds(&'a dyn Fn(&Kind) -> bool),
    /// The ids of the commands that the events answer, and the events of a frame that has such ids.
    Commands,
}

impl FramePart<'_> {
    pub(super) fn has_attachment(self, tag: u8) -> bool {
        match self {
            Self::Whole => true,
            Self::Kinds(_) => tag == SHAPES,
            Self::Commands => tag == COMMANDS,
        }
    }

    /// Whether it has the events of a kind, in a frame with attachments of these tags.
    pub(super) fn has_kind(self, tags: &[u8], kind: &Kind) -> bool {
        match self {
            Self::Whole => true,
            Self::Kinds(wanted) => wanted(kind),
            Self::Commands => tags.contains(&COMMANDS),
        }
    }

    /// Whether it is all of each frame.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Whole)
    }
}

impl std::fmt::Debug for FramePart<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Whole => "Whole",
            Self::Kinds(_) => "Kinds",
            Self::Commands => "Commands",
        })
    }
}
