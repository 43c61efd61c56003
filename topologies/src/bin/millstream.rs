//! The command line of Millstream.

use std::process::ExitCode;

fn main() -> ExitCode {
    millstream::cli::main()
}
