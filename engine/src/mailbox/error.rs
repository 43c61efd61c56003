//! What a mailbox refuses, with the item in the error: a caller never loses what it wanted to send.

use std::fmt;

/// An item that was not taken without waiting, with the item.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Overloaded<T> {
    /// The mailbox holds as much as it may: try later, wait with [`LaneSender::send`](super::LaneSender::send), or tell the
    /// caller to slow down.
    #[error("the mailbox is full")]
    Full(T),
    /// The mailbox takes nothing any more.
    #[error("the mailbox is closed")]
    Closed(T),
}

impl<T> Overloaded<T> {
    /// The item that was refused.
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }

    /// Whether the same item may be taken later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Closed(_) => false,
        }
    }
}

impl<T> fmt::Debug for Overloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

/// The mailbox takes nothing any more; the item comes back.
#[derive(PartialEq, Eq, thiserror::Error)]
#[error("the mailbox is closed")]
pub struct Closed<T>(pub T);

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}
