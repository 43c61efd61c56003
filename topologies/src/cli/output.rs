//! Standard output that whoever reads it may close before all is written, as `head` does.
//!
//! Invariant: nobody reading ends a command that only prints, and no other: what is done and what the exit status says is
//! the same with and without a reader.

use std::io::{self, ErrorKind, Write};

use super::inspect::{InspectCommand, ProjectionCommand};
use super::{Arguments, Command};

/// Output of a command. Once its reader is gone it is an error, or for a command that goes on nothing.
#[derive(Debug)]
pub(super) struct Output<W> {
    to: W,
    goes_on: bool,
    is_closed: bool,
}

impl<W: Write> Output<W> {
    pub(super) fn new(to: W, goes_on: bool) -> Self {
        Self {
            to,
            goes_on,
            is_closed: false,
        }
    }

    /// What `written` says, or `instead` if there is no reader and need not be one.
    fn unless_closed<T>(&mut self, written: io::Result<T>, instead: T) -> io::Result<T> {
        match written {
            Err(error) if self.goes_on && error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(instead)
            }
            written => written,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let written = self.to.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let flushed = self.to.flush();
        self.unless_closed(flushed, ())
    }
}

impl Arguments {
    /// Whether the command has more to do, or to say with its exit status, than what it prints: it goes on without a reader.
    /// Others print as much as is read, some without an end of their own.
    pub(super) fn goes_on_unread(&self) -> bool {
        match &self.command {
            None => !self.shop.only_lists(),
            Some(Command::Run { topology }) => !topology.only_lists(),
            Some(Command::Inspect(command)) => matches!(
                command,
                InspectCommand::Verify { .. }
                    | InspectCommand::Projection {
                        command: ProjectionCommand::List { .. }
                            | ProjectionCommand::Verify(_)
                            | ProjectionCommand::Compare(_)
                    }
            ),
            #[cfg(feature = "sql")]
            Some(Command::Sql(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A pipe whose reader takes so many bytes and goes.
    struct Pipe(usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.min(bytes.len()) {
                0 => Err(ErrorKind::BrokenPipe.into()),
                taken => {
                    self.0 -= taken;
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            match self.0 {
                0 => Err(ErrorKind::BrokenPipe.into()),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn only_a_command_that_goes_on_is_told_nothing_of_a_closed_pipe() {
        for goes_on in [true, false] {
            let mut output = Output::new(Pipe(3), goes_on);
            assert!(output.write_all(b"one").is_ok());
            assert_eq!(output.flush().is_ok(), goes_on);
            assert_eq!(output.write_all(b"two").is_ok(), goes_on);
        }
    }

    #[test]
    fn what_has_a_verdict_goes_on_unread_and_what_prints_ends() {
        for (words, goes_on) in [
            (&[][..], true),
            (&["--list", "duplicate"], false),
            (&["run", "shop", "--serve"], true),
            (&["run", "shop", "--list", "unreadable"], false),
            (&["run", "nexmark", "--query", "q1"], true),
            (&["run", "bank", "--trans", "t", "--order", "o"], true),
            (&["verify", "data"], true),
            (&["projection", "verify", "data"], true),
            (&["projection", "list", "data"], true),
            (&["projection", "compare", "data", "balances"], true),
            (&["projection", "changes", "data", "one", "two"], false),
            (&["log", "tail", "data"], false),
            (&["dead-letters", "export", "data"], false),
        ] {
            let all = std::iter::once(&"millstream").chain(words);
            let arguments = Arguments::try_parse_from(all).unwrap();
            assert_eq!(arguments.goes_on_unread(), goes_on, "{words:?}");
        }
    }
}
