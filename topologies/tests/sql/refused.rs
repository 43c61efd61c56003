//! What is refused, and what is wrong: an error that says so, and nothing written.

use millstream::sql::{SqlError, SqlOptions, SqlSession};

use crate::support::{data, run, runtime, session, try_ask};

fn error_of(query: &str) -> String {
    let outcome = runtime().block_on(try_ask(session(), query));
    match outcome {
        Ok(answer) => panic!("{query} gave {:?}", answer.texts()),
        Err(message) => message,
    }
}

#[test]
fn whatever_would_write_is_refused() {
    let target = data().path.join("copied.csv");
    let copy = format!("copy (select 1) to '{}'", target.display());
    let queries = [
        "create table t (a int)",
        "create table t as select * from events",
        "create view v as select 1",
        "create external table t stored as csv location '/etc/passwd'",
        "drop table events",
        "insert into rooms select * from rooms",
        "delete from events",
        "update events set id = '1'",
        "set datafusion.execution.batch_size = 1",
        "explain analyze insert into rooms select * from rooms",
        &copy,
    ];
    for query in queries {
        let message = error_of(query);
        assert!(
            message.contains("not supported") || message.contains("not implemented"),
            "{query}: {message}"
        );
    }
    assert!(!target.exists());
    let file = data().path.join("log/data.mdb");
    let message = error_of(&format!("select * from '{}'", file.display()));
    assert!(message.contains("not found"), "{message}");
}

#[test]
fn mistakes_are_named() {
    for (query, part) in [
        ("selekt 1", "selekt"),
        ("select nothing from events", "nothing"),
        ("select * from nowhere", "nowhere"),
        ("select 1; select 2", "single"),
        ("select json_text(payload, id) from events", "path"),
        ("", ""),
    ] {
        let message = error_of(query);
        assert!(message.contains(part), "{query}: {message}");
    }
}

#[test]
fn a_key_of_no_table_is_named() {
    let done = run(&data().path, &["select 1", "--key", "nowhere=text"]);
    assert_eq!(done.status.code(), Some(1));
    let message = String::from_utf8_lossy(&done.stderr);
    assert!(message.contains("nowhere"), "{message}");
}

#[test]
fn folders_without_a_log_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let opened = runtime().block_on(SqlSession::open(folder.path(), SqlOptions::default()));
    assert!(matches!(opened, Err(SqlError::NoLog { .. })), "{opened:?}");
}

#[test]
fn what_does_not_fit_into_memory_is_an_error() {
    let query =
        "select a.stream, count(*) from events a join events b on a.id = b.id group by a.stream";
    let done = run(&data().path, &[query, "--memory", "0"]);
    assert_eq!(done.status.code(), Some(1));
    let message = String::from_utf8_lossy(&done.stderr);
    assert!(message.contains("Resources exhausted"), "{message}");
}
