//! Gives the pieces of a file to its source: read on the spot, or by a thread of the file's own.
//!
//! A read may wait: for a disk that is slow, and without end where the file is a pipe that nobody writes to. A thread of the
//! runtime must not, since stages share it and a stage that waits in a read hears no request to stop. So a dataflow that
//! runs reads each file by a thread; where one thread does everything, as in a test, files are read on the spot.
//! Invariant: both ways give the same pieces in the same order.
//! Threads: one per file that is being read; it ends with the file, or once its source is gone: at the next piece, so one
//! that waits for a pipe stays until somebody writes to it or closes it.
//! Bounds: [`PIECES_MAX`] pieces are read ahead. Failure: what the reader met comes as the last piece.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::threads;

use super::pieces::{Piece, Pieces};

/// Pieces that may wait for the source. One would do where the source is slower; a second one lets the next read go on
/// meanwhile, and more only smooth what the disk does.
const PIECES_MAX: usize = 4;

type Read = Result<Piece, String>;

/// Where pieces come from.
#[derive(Debug)]
pub(super) enum Reader {
    /// Read by whoever asks.
    Here(Pieces),
    /// Read by a thread.
    There(FromThread),
}

/// The source's end of a reading thread.
#[derive(Debug)]
pub(super) struct FromThread {
    pieces: Receiver<Read>,
    /// Has a file that is followed looked at again.
    look: Sender<()>,
    /// The thread found nothing new and waits to be told to look.
    waits: bool,
}

impl Reader {
    /// Starts a thread that reads `pieces` and wakes `mailbox` for each.
    pub(super) fn on_a_thread(pieces: Pieces, mailbox: &Arc<Mailbox>) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(PIECES_MAX);
        let (look, looks) = bounded(1);
        let woken = WakeAtEnd(Arc::clone(mailbox));
        threads::try_spawn("file", move || {
            // In this order: the channel is closed before the source is woken for the last time.
            let woken = woken;
            let sender = sender;
            read(pieces, &sender, &looks, &woken.0);
        })?;
        Ok(Self::There(FromThread {
            pieces: receiver,
            look,
            waits: false,
        }))
    }

    /// The next piece; `None` if it has not been read yet, and the mailbox is woken when it has.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, String> {
        match self {
            Self::Here(pieces) => pieces.next().map(Some),
            Self::There(thread) => thread.next(),
        }
    }
}

impl FromThread {
    fn next(&mut self) -> Result<Option<Piece>, String> {
        if std::mem::take(&mut self.waits) {
            // Refused only if the thread is gone, which is seen below.
            let _ = self.look.try_send(());
        }
        match self.pieces.try_recv() {
            Ok(read) => {
                let piece = read?;
                self.waits = piece == Piece::Pending;
                Ok(Some(piece))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err("its reader has ended".to_owned()),
        }
    }
}

/// Wakes also if the reader panics: the source would wait for ever.
struct WakeAtEnd(Arc<Mailbox>);

impl Drop for WakeAtEnd {
    fn drop(&mut self) {
        self.0.wake();
    }
}

fn read(mut pieces: Pieces, out: &Sender<Read>, looks: &Receiver<()>, mailbox: &Mailbox) {
    loop {
        let piece = pieces.next();
        let is_last = matches!(piece, Ok(Piece::End) | Err(_));
        let found_nothing = matches!(piece, Ok(Piece::Pending));
        if out.send(piece).is_err() {
            return;
        }
        mailbox.wake();
        if is_last || (found_nothing && looks.recv().is_err()) {
            return;
        }
    }
}
