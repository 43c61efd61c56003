//! `dead-letters export`.

use std::fmt::Write as _;
use std::io::Write;
use std::ops::ControlFlow;

use anyhow::Result;
use millstream_engine::log::frame::Encoding;
use millstream_engine::time::{Clock, SystemClock};

use super::{Data, DataFolder, Filter, Printed, names};

/// Which letters.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExportArguments {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    filter: Filter,
}

pub(in crate::cli) fn export(arguments: &ExportArguments, out: &mut impl Write) -> Result<()> {
    let state = DataFolder::find(&arguments.data.data)?.state()?;
    let names = names(&state)?;
    let now = SystemClock::new().now();
    arguments.filter.for_each(&state, &names, now, |letter| {
        let names = &names;
        let mut object = Printed { letter, names, now }.to_json();
        object["encoding"] = match letter.kind.encoding {
            Encoding::Binary => "binary",
            Encoding::Json => "json",
            // Opaque ones, and what a later version may bring.
            _ => "opaque",
        }
        .into();
        object["payload_hex"] = hex(&letter.payload).into();
        object["dictionary_hex"] = hex(&letter.dictionary).into();
        writeln!(out, "{object}")?;
        Ok(ControlFlow::Continue(()))
    })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A string takes what is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(super::hex(&[0, 10, 255]), "000aff");
    }
}
