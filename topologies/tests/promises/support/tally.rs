//! A small aggregate that can do everything odd, and a gate to hold it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use millstream::prelude::*;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Panics without a report on standard error: it is wanted.
pub(crate) fn panics(message: &str) -> ! {
    std::panic::resume_unwind(Box::new(message.to_owned()))
}

/// A value that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Odd {
    Fails,
    Panics,
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fails => Err(S::Error::custom("this cannot be written")),
            Self::Panics => panics("writing panics"),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self::Fails)
    }
}

/// What happens to a [`Tally`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Happened {
    Added {
        by: i64,
    },
    Noted {
        text: String,
    },
    /// Never stored: writing it fails or panics.
    Odd {
        what: Odd,
    },
    /// Never stored: evolving by it panics.
    Poison,
}

impl Event for Happened {}

pub(crate) fn added(by: i64) -> Happened {
    Happened::Added { by }
}

/// A way to hold a partition until several commands wait in it.
pub(crate) struct Gate {
    pub(crate) entered: SyncSender<()>,
    pub(crate) leave: Receiver<()>,
}

/// The other side of a [`Gate`].
pub(crate) struct Gatekeeper {
    entered: Receiver<()>,
    leave: SyncSender<()>,
}

impl Gatekeeper {
    /// Waits until the gate's command is being decided. Blocks the thread.
    pub(crate) fn wait(&self) {
        self.entered
            .recv_timeout(Duration::from_secs(60))
            .expect("the gate's command is decided");
    }

    pub(crate) fn open(self) {
        let _ = self.leave.send(());
    }
}

pub(crate) fn gate() -> (Gate, Gatekeeper) {
    let (entered, seen) = sync_channel(1);
    let (opened, leave) = sync_channel(1);
    (
        Gate { entered, leave },
        Gatekeeper {
            entered: seen,
            leave: opened,
        },
    )
}

/// What can be asked of a [`Tally`].
pub(crate) enum Ask {
    Add(i64),
    AddAll(Vec<i64>),
    Note(String),
    Nothing,
    /// Emits events, then refuses.
    Refuse,
    /// Refuses unless the sum is this one, else adds.
    AddIf {
        sum: i64,
        by: i64,
    },
    /// An event that can be written, then this, then one that can be.
    Write(Odd),
    DecidePanics,
    EvolvePanics,
    /// Waits in its decision until it is let go, then adds one.
    Wait(Gate),
}

/// Why a [`Tally`] refuses.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("refused on purpose")]
    OnPurpose,
    #[error("the sum is {0}")]
    Sum(i64),
}

/// A sum, with what led to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) sum: i64,
    pub(crate) events: u64,
    /// Bytes of all notes.
    pub(crate) notes: u64,
}

impl Aggregate for Tally {
    const CATEGORY: &'static str = "tally";
    const VERSION: u32 = 1;
    type Command = Ask;
    type Event = Happened;
    type Rejection = Refused;

    fn decide(&self, ask: Ask, out: &mut Decision<'_, Self>) -> Result<(), Refused> {
        match ask {
            Ask::Add(by) => out.emit(added(by)),
            Ask::AddAll(all) => all.into_iter().for_each(|by| out.emit(added(by))),
            Ask::Note(text) => out.emit(Happened::Noted { text }),
            Ask::Nothing => {}
            Ask::Refuse => {
                out.emit(added(1_000));
                out.emit(added(1_000));
                return Err(Refused::OnPurpose);
            }
            Ask::AddIf { sum, .. } if sum != self.sum => return Err(Refused::Sum(self.sum)),
            Ask::AddIf { by, .. } => out.emit(added(by)),
            Ask::Write(what) => {
                out.emit(added(1_000));
                out.emit(Happened::Odd { what });
                out.emit(added(1_000));
            }
            Ask::DecidePanics => {
                out.emit(added(1_000));
                panics("deciding panics")
            }
            Ask::EvolvePanics => {
                out.emit(added(1_000));
                out.emit(Happened::Poison);
            }
            Ask::Wait(gate) => {
                let _ = gate.entered.send(());
                let _ = gate.leave.recv_timeout(Duration::from_secs(60));
                out.emit(added(1));
            }
        }
        Ok(())
    }

    fn evolve(&mut self, event: &Happened) {
        match event {
            Happened::Added { by } => self.sum += by,
            Happened::Noted { text } => self.notes += text.len() as u64,
            Happened::Odd { .. } => {}
            Happened::Poison => panics("evolving panics"),
        }
        self.events += 1;
    }
}
