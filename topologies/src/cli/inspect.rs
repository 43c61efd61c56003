//! Commands that look into a data folder: events, streams, projections, dead letters, and whether all of it
//! is whole.
//!
//! Invariants: (1) nothing is created or changed but requests for the engine (`dead-letters redrive|edit|discard`), checkpoints
//! (`checkpoint create|restore|export|delete`) and versions of projections (`projection switch|switch-back|drop`), and a folder that is not there stays so; (2) events are
//! printed as they are read, however many; (3) text from the store never reaches a terminal as control
//! characters. Each file here is one command or what several share.

mod asking;
mod changes;
mod checkpoints;
mod effects;
mod events;
mod folder;
mod keys;
mod letters;
mod log;
mod moment;
mod projections;
mod stats;
mod stream;
mod tail;
mod text;
mod verify;
mod verify_rows;
mod versions;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use millstream_engine::event::StreamId;
use millstream_engine::state::DeadLetterId;

/// See the module's head.
#[derive(Debug, Subcommand)]
pub(super) enum InspectCommand {
    /// Check every page, checksum and hash of a log and its derived state, and name the first that is wrong
    ///
    /// Reads the whole log: the pages of its file, each frame's checksum and hash, and that each frame
    /// names the hash of the one before it, so that a change to stored bytes is seen. The first fault ends it
    /// with status 1, and is named by partition and offset where it lies in a frame. Then the whole state is read, where there
    /// is one (beside a running engine its entries, not its pages): a fault there costs no event, and the state can be deleted
    /// while nothing runs to be rebuilt, but for savepoints and effects that were not delivered.
    Verify {
        #[command(flatten)]
        data: Data,
    },
    /// Read the log: its events in order, new ones as they come, or its figures
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Read one stream: the events of one aggregate instance
    Stream {
        #[command(subcommand)]
        command: StreamCommand,
    },
    /// See how far projections have come and what they hold; compare, switch and drop versions of them
    Projection {
        #[command(subcommand)]
        command: ProjectionCommand,
    },
    /// See the events that a projection failed on, have them tried again or give them up
    DeadLetters {
        #[command(subcommand)]
        command: LettersCommand,
    },
    /// See the side effects of projections that were given up, or that wait to be delivered
    Effects {
        #[command(subcommand)]
        command: effects::EffectsCommand,
    },
    /// See, take, restore, export and delete checkpoints of dataflows
    Checkpoint {
        #[command(subcommand)]
        command: checkpoints::CheckpointCommand,
    },
}

/// Where to look.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Data {
    /// Data folder of an engine, or the folder of its log
    #[arg(value_name = "DATA")]
    data: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Print events, oldest first, partition after partition
    ///
    /// One line per event: position (partition:offset), recorded time, stream, version, type and payload with
    /// its fields by name; the time at which it happened where that is another. With --json also its
    /// id, schema version and metadata.
    #[command(
        after_help = "Examples:\n  millstream log read data/bank --limit 20\n  millstream log read data/bank --partition 2 --from 5000 --category account --json\n  millstream log read data/bank --from-time 2024-02-29T12:00:00Z"
    )]
    Read(log::ReadArguments),
    /// Print new events as they come, until Ctrl-C
    ///
    /// Reads beside the engine that writes the folder, a few times a second, without being in its way. Where it
    /// begins is said on standard error.
    #[command(
        after_help = "Examples:\n  millstream log tail data/bank\n  millstream log tail data/bank --partition 0 --json | head -3"
    )]
    Tail(tail::TailArguments),
    /// Print what each partition holds: events, frames, bytes, times, and its stream index
    ///
    /// `unflushed` are index entries that are only in the memory of the engine; they are made from
    /// the log when it opens. Bytes of the file include free pages and what is allocated ahead.
    Stats {
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum StreamCommand {
    /// Print the events of one stream, oldest first unless said otherwise
    ///
    /// With --at only those that count at a moment of the past. The log knows two times of an event: when it
    /// was recorded, which says what was known then, and when it happened, which says what was the case then; so a time is
    /// given by name.
    #[command(
        after_help = "Moments for --at:\n  17              up to and with version 17 (version=17)\n  2:1234          up to and with that position, partition:offset (position=2:1234)\n  recorded=TIME   what the log held at that time: recorded then or earlier\n  event=TIME      what had happened by that time, whenever it was recorded\nA time is like 2024-02-29T12:00:00Z, and belongs to the moment itself.\n\nExamples:\n  millstream stream show data/bank account-42\n  millstream stream show data/bank account-42 --backwards --limit 1\n  millstream stream show data/bank account-42 --at recorded=2024-02-29T12:00:00Z\n  millstream stream show data/bank account-42 --at 17 --backwards --limit 5"
    )]
    Show(stream::ShowArguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum ProjectionCommand {
    /// Print each projection's version, tables and rows, and its progress against the log
    ///
    /// Versions that no running program uses are listed too, until they are dropped; the one that answers queries is marked.
    /// `behind` counts events that are in the log and not in the stored rows, `for` is how old the oldest of them is; a running
    /// engine may be further than what it has stored. `failures` and `restarts` are those since the running engine began.
    /// What a damaged frame hides is printed as ? and unreadable, and ends it with status 1.
    List {
        #[command(flatten)]
        data: Data,
    },
    /// Make projections anew beside what is stored, and print where the two differ
    ///
    /// Replays the log up to where the stored rows are, with the code of the ready-made topologies, and compares each row;
    /// a program with projections of its own does the same with Engine::verify. `checksum` is the same wherever a table has
    /// the same rows. Nothing is changed. Rows that differ end it with status 1.
    #[command(
        after_help = "Examples:\n  millstream projection verify data/bank\n  millstream projection verify data/bank --projection balances --json"
    )]
    Verify(verify_rows::VerifyArguments),
    /// Print the changes of a versioned table: each row as it was before an event and after it
    ///
    /// One line per change: position (partition:offset) and recorded time of the event, the row's key, the row before and after,
    /// with fields by name. Those of one partition come in the order in which they were made, all of them with global rows. They
    /// are read from the data folder, beside its engine or at rest; what the engine shows and has not stored yet is not among
    /// them. The last line says where to go on, with --json each change does: the same cursors as those of Engine::changes. Goes on
    /// without gaps or repeats; where that cannot be it says why.
    #[command(
        after_help = "Examples:\n  millstream projection changes DATA balances balances\n  millstream projection changes DATA balances balances --after CURSOR --limit 1000 --json\n  millstream projection changes DATA sales by-day --key text,u32"
    )]
    Changes(changes::ChangesArguments),
    /// Print all versions of one row that a versioned table keeps, the oldest first
    ///
    /// One line per version: position and recorded time of the event that left it, and the row with fields by name, or `no row`
    /// where it was removed. The first may be older than the changes that are kept: what the row was when they begin.
    #[command(
        after_help = "Examples:\n  millstream projection history DATA balances balances 42\n  millstream projection history DATA sales by-day --key text,u32 south 17"
    )]
    History(changes::HistoryArguments),
    /// Print how far each version is, how fast it goes, and when it will have caught up, as the running engine sees it
    #[command(
        after_help = "Examples:\n  millstream projection progress data/bank\n  millstream projection progress data/bank balances --json"
    )]
    Progress(versions::ProgressArguments),
    /// Have the running engine compare a candidate with the version that answers, row by row
    ///
    /// Both are looked at as they are at one position, once the candidate has come as far. Nothing is changed, and commands
    /// and queries go on. Rows that differ end it with status 1.
    #[command(
        after_help = "Examples:\n  millstream projection compare data/bank balances\n  millstream projection compare data/bank balances --to 3 --common-fields"
    )]
    Compare(versions::CompareArguments),
    /// Have a candidate answer queries instead of the version that does now
    ///
    /// A running engine waits until it has come as far, and switches without anybody's rows going back; at rest it is
    /// refused while the candidate is behind. The other version stays, and runs on where a program declares it, so that
    /// `switch-back` is possible.
    #[command(
        after_help = "Examples:\n  millstream projection switch data/bank balances\n  millstream projection switch data/bank balances --to 3"
    )]
    Switch(versions::Chosen),
    /// Have the version answer again that did before the last switch
    #[command(after_help = "Example:\n  millstream projection switch-back data/bank balances")]
    SwitchBack(versions::BackArguments),
    /// Delete a version that does not answer, with its rows
    ///
    /// Its space comes back in small steps while an engine runs, this one or the next. A program that still declares it beside
    /// others does not build it again, unless another projection reads its tables: a running engine refuses to drop such a
    /// version, and where none runs nobody knows.
    #[command(after_help = "Example:\n  millstream projection drop data/bank balances 1")]
    Drop(versions::DropArguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum LettersCommand {
    /// Print one line per parked key, in the order of projection and position
    #[command(
        after_help = "Examples:\n  millstream dead-letters list data/bank --projection balances --older-than 1h\n  millstream dead-letters list data/bank --key 'account-4*' --cause overdrawn"
    )]
    List(letters::ListArguments),
    /// Print how many there are, how old and how large, by stage and cause
    ///
    /// Causes that differ in their numbers only are one: each number is printed as #. `events` are the failed ones and
    /// those that wait behind them.
    #[command(
        after_help = "Examples:\n  millstream dead-letters stats data/bank\n  millstream dead-letters stats data/bank --stage balances --json"
    )]
    Stats(letters::StatsArguments),
    /// Have events tried again that wait for a person, with what waits behind each
    ///
    /// Leaves a request in the folder, which becomes events of the log: a running engine takes it up within a second,
    /// a stopped one when it starts. Streams are tried in the order of their positions, no faster than the
    /// projection's `redrives_per_second`; one that fails again is a dead letter again, with its history. The same request
    /// twice does what one does.
    #[command(
        after_help = "Examples:\n  millstream dead-letters redrive data/bank 3-0-1234-9f86d081\n  millstream dead-letters redrive data/bank --projection balances --cause overdrawn --by ann --reason 'fixed in 1.4'"
    )]
    Redrive(letters::RedriveArguments),
    /// Put another payload in the place of an event's, and have it tried again so
    ///
    /// Leaves a request in the folder as `redrive` does. The event itself stays in the log as it is, and the edit beside it with
    /// who and why: rows are made of the edited one for ever, also when they are made anew. What is no event of its type is a
    /// dead letter again, which says so.
    #[command(
        after_help = "Examples:\n  millstream dead-letters show data/bank 3-0-1234-9f86d081 --json | jq .payload > event.json\n  millstream dead-letters edit data/bank 3-0-1234-9f86d081 --file event.json --by ann --reason 'amount had a comma'"
    )]
    Edit(letters::EditArguments),
    /// Give events up that a projection fails on; what waits behind each goes on
    ///
    /// Leaves a request in the folder as `redrive` does. The decision stays in the log with who and why: rows will
    /// lack the event for ever, also when they are made anew and it fails again.
    #[command(
        after_help = "Examples:\n  millstream dead-letters discard data/bank 3-0-1234-9f86d081 --by ann --reason 'test data, see ticket 12'"
    )]
    Discard(letters::DiscardArguments),
    /// Print everything about each of them, one JSON object per line
    ///
    /// As `list --json`, with the event's bytes and the dictionary that they refer to in hexadecimal: what was decoded
    /// can be read, what could not be is not lost.
    #[command(
        after_help = "Examples:\n  millstream dead-letters export data/bank > letters.jsonl\n  millstream dead-letters export data/bank --cause overdrawn | jq .payload"
    )]
    Export(letters::ExportArguments),
    /// Print everything about one of them, its payload with fields by name where that can be read
    Show {
        #[command(flatten)]
        data: Data,
        /// Its id as `list` prints it, such as 3-0-1234-9f86d081
        id: DeadLetterId,
    },
}

/// The text of an argument as a stream's id.
fn stream_id(text: &str) -> Result<StreamId, String> {
    text.parse()
        .map_err(|error| format!("{error}; a stream is named like account-42"))
}

/// Runs one of the commands.
pub(super) fn run(command: &InspectCommand, is_json: bool, out: &mut impl Write) -> Result<()> {
    match command {
        InspectCommand::Verify { data } => verify::verify(&data.data, is_json, out),
        InspectCommand::Log { command } => match command {
            LogCommand::Read(arguments) => log::read(arguments, is_json, out),
            LogCommand::Tail(arguments) => tail::tail(arguments, is_json, out),
            LogCommand::Stats { data } => stats::stats(&data.data, is_json, out),
        },
        InspectCommand::Stream {
            command: StreamCommand::Show(arguments),
        } => stream::show(arguments, is_json, out),
        InspectCommand::Projection { command } => match command {
            ProjectionCommand::List { data } => projections::list(&data.data, is_json, out),
            ProjectionCommand::Verify(arguments) => verify_rows::verify(arguments, is_json, out),
            ProjectionCommand::Changes(arguments) => changes::changes(arguments, is_json, out),
            ProjectionCommand::History(arguments) => changes::history(arguments, is_json, out),
            ProjectionCommand::Progress(arguments) => versions::progress(arguments, is_json, out),
            ProjectionCommand::Compare(arguments) => versions::compare(arguments, is_json, out),
            ProjectionCommand::Switch(arguments) => versions::switch(arguments, is_json, out),
            ProjectionCommand::SwitchBack(arguments) => {
                versions::switch_back(arguments, is_json, out)
            }
            ProjectionCommand::Drop(arguments) => versions::drop_version(arguments, is_json, out),
        },
        InspectCommand::Effects { command } => effects::run(command, is_json, out),
        InspectCommand::Checkpoint { command } => checkpoints::run(command, is_json, out),
        InspectCommand::DeadLetters { command } => match command {
            LettersCommand::List(arguments) => letters::list(arguments, is_json, out),
            LettersCommand::Stats(arguments) => letters::stats(arguments, is_json, out),
            LettersCommand::Redrive(arguments) => letters::redrive(arguments, is_json, out),
            LettersCommand::Edit(arguments) => letters::edit(arguments, is_json, out),
            LettersCommand::Discard(arguments) => letters::discard(arguments, is_json, out),
            LettersCommand::Export(arguments) => letters::export(arguments, out),
            LettersCommand::Show { data, id } => letters::show(&data.data, *id, is_json, out),
        },
    }
}

#[cfg(test)]
mod tests;
