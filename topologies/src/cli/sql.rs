//! `millstream sql`: a query on a data folder, its answer as a table, CSV, JSON or a Parquet file.
//!
//! A file is written beside itself and takes its name when it is whole: an answer that failed or was interrupted leaves none.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use millstream_operators::projection::KeyPart;

use super::Usage;
use crate::sql::{SqlFormat, SqlOptions, SqlSession, write_to};

/// See [`SqlFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
    Parquet,
}

/// What to ask, and how to answer.
#[derive(Debug, clap::Args)]
pub(super) struct SqlArguments {
    /// Data folder of an engine, which may run meanwhile
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// One query; what would write is refused
    #[arg(value_name = "QUERY")]
    query: String,
    /// How the answer is written [default: table, or json with --json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// File to write the answer to, instead of standard output; Parquet needs one
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the keys of a stored table are, such as visits=text,u32: text, u16, u32, u64, u128, i32, i64, bool, time or
    /// bytes [default: told from the keys, bytes where that is not certain]
    #[arg(long, value_name = "TABLE=PARTS", value_parser = key_parts)]
    key: Vec<(String, Vec<KeyPart>)>,
    /// Rows that a table's columns are learnt from
    #[arg(long, value_name = "ROWS", default_value_t = SqlOptions::default().sample_rows)]
    sample: usize,
    /// Most memory for sorts, groups and joins, in mebibytes
    #[arg(long, value_name = "MIB", default_value_t = SqlOptions::default().memory_bytes >> 20)]
    memory: usize,
}

fn key_parts(text: &str) -> Result<(String, Vec<KeyPart>), String> {
    let (table, parts) = text
        .rsplit_once('=')
        .ok_or("a key is given like visits=text,u32")?;
    let parts: Vec<KeyPart> = parts
        .split(',')
        .map(|part| part.trim().parse().map_err(|error| format!("{error}")))
        .collect::<Result<_, String>>()?;
    if parts.len() > 1 && parts.contains(&KeyPart::Bytes) {
        return Err("bytes are a whole key, and no part of one".to_owned());
    }
    Ok((table.to_owned(), parts))
}

pub(super) fn run(arguments: &SqlArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let format = match (arguments.format, is_json) {
        (Some(Format::Table), false) | (None, false) => SqlFormat::Table,
        (Some(Format::Csv), false) => SqlFormat::Csv,
        (Some(Format::Parquet), false) => SqlFormat::Parquet,
        (Some(Format::Json) | None, _) => SqlFormat::Json,
        (Some(_), true) => bail!(Usage("--json asks for another format than --format does")),
    };
    if format == SqlFormat::Parquet && arguments.output.is_none() {
        bail!(Usage(
            "a Parquet answer needs a file: name one with --output"
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting threads")?;
    let answered = runtime.block_on(async {
        tokio::select! {
            answered = answer(arguments, format, is_json, out) => answered,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        }
    });
    // A read that nobody waits for any more ends by itself; the process need not wait for it.
    runtime.shutdown_background();
    answered
}

async fn answer(
    arguments: &SqlArguments,
    format: SqlFormat,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let options = SqlOptions {
        sample_rows: arguments.sample,
        memory_bytes: arguments.memory << 20,
        keys: arguments.key.iter().cloned().collect::<BTreeMap<_, _>>(),
        ..SqlOptions::default()
    };
    let session = SqlSession::open(&arguments.data, options).await?;
    let frame = session.sql(&arguments.query).await?;
    let Some(file) = &arguments.output else {
        write_to(frame, format, out).await?;
        return Ok(());
    };
    let mut unfinished = beside(file)?;
    let rows = {
        let mut buffered = BufWriter::new(unfinished.as_file_mut());
        let rows = write_to(frame, format, &mut buffered).await?;
        buffered.flush()?;
        rows
    };
    unfinished
        .persist(file)
        .with_context(|| format!("naming {}", file.display()))?;
    if is_json {
        // A path that is not UTF-8 is no JSON.
        let name = file.display().to_string();
        writeln!(out, "{}", serde_json::json!({ "rows": rows, "file": name }))?;
    } else {
        writeln!(out, "{rows} rows in {}", file.display())?;
    }
    Ok(())
}

/// A file that goes away unless it is given its name.
fn beside(file: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".millstream-sql-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: what the umask leaves.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let made = builder.tempfile_in(folder);
    made.with_context(|| format!("making a file in {}", folder.display()))
}
