//! `events` and `streams`: what they hold, what a query on them reads.

use std::collections::BTreeMap;

use millstream_engine::time::Timestamp;

use crate::support::{START, STEP, ask, data};

/// A time as Arrow shows it: with no fraction of a second, or with six digits of it.
fn shown(time: Timestamp) -> String {
    let text = time.to_string();
    match text.strip_suffix('Z').and_then(|text| text.split_once('.')) {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<6}Z"),
        None => text,
    }
}

#[test]
fn every_column_of_every_event_is_what_the_log_has() {
    let answer = ask("select * from events");
    let expected = data().events.iter().map(|event| {
        let (category, id) = event.stream.split_once('-').unwrap();
        let json = event.to_json().ok().flatten();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = |id: Option<uuid::Uuid>| id.map_or(String::new(), |id| id.to_string());
        vec![
            event.position.partition.to_string(),
            event.position.offset.to_string(),
            event.stream.clone(),
            category.to_owned(),
            id.to_owned(),
            event.version.to_string(),
            event.event_type.clone(),
            event.schema_version.to_string(),
            shown(event.recorded_at),
            shown(event.event_time),
            event.id.to_string(),
            uuid(event.metadata.correlation),
            uuid(event.metadata.causation),
            event.metadata.user.clone().unwrap_or_default().into(),
            json.as_ref().map_or(String::new(), ToString::to_string),
            if json.is_some() {
                String::new()
            } else {
                hex(&event.payload)
            },
        ]
    });
    let mut expected: Vec<_> = expected.collect();
    expected.sort();
    assert_eq!(answer.sorted(), expected);
    assert!(
        answer.plan.contains("partitions=[0, 1, 2, 3]"),
        "{}",
        answer.plan
    );
}

#[test]
fn groups_are_those_of_a_loop() {
    let answer = ask("select type, count(*), max(version) from events group by type order by type");
    let mut expected: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for event in &data().events {
        let (count, version) = expected.entry(&event.event_type).or_default();
        *count += 1;
        *version = event.version.max(*version);
    }
    let expected = expected.into_iter();
    let expected: Vec<_> = expected
        .map(|(name, (count, version))| {
            vec![name.to_owned(), count.to_string(), version.to_string()]
        })
        .collect();
    assert_eq!(answer.texts(), expected);
    // Neither payloads nor anything else is taken from the log for it.
    assert!(
        answer.plan.contains("columns=[version, type]"),
        "{}",
        answer.plan
    );
}

#[test]
fn a_stream_is_found_without_reading_the_log() {
    let query = "select version from events where stream = 'visit-17' order by version";
    let answer = ask(query);
    let own = data()
        .events
        .iter()
        .filter(|event| event.stream == "visit-17");
    let own: Vec<_> = own.map(|event| event.version.to_string()).collect();
    assert!(!own.is_empty());
    assert_eq!(answer.column(), own);
    assert_eq!(answer.rows_read, own.len());
    assert!(
        answer.plan.contains("streams by index=1"),
        "{}",
        answer.plan
    );
    assert!(!answer.plan.contains("FilterExec"), "{}", answer.plan);

    let by_parts = ask("select version from events where category = 'visit' and id = '17'");
    assert_eq!(by_parts.rows_read, own.len());
    let later = ask("select version from events where stream = 'visit-17' and version >= 5");
    assert_eq!(later.rows_read, own.len() - 5);
    let none = ask("select version from events where stream in ('nothing', 'visit-9999')");
    assert_eq!((none.texts().len(), none.rows_read), (0, 0));
}

#[test]
fn positions_and_times_are_sought() {
    let answer =
        ask(r#"select stream from events where "partition" = 2 and "offset" between 10 and 14"#);
    assert_eq!((answer.texts().len(), answer.rows_read), (5, 5));
    assert!(answer.plan.contains("partitions=[2]"), "{}", answer.plan);
    let nowhere = ask(r#"select stream from events where "partition" = 9"#);
    assert_eq!((nowhere.texts().len(), nowhere.rows_read), (0, 0));

    let (from, to) = (START + 5 * STEP, START + 7 * STEP);
    let of = |micros: i64| millstream_engine::time::Timestamp(micros).to_string();
    let query = format!(
        "select stream from events where recorded_at >= '{}' and recorded_at < '{}'",
        of(from),
        of(to)
    );
    let answer = ask(&query);
    let within = |event: &&millstream::StoredEvent| (from..to).contains(&event.recorded_at.0);
    let expected = data().events.iter().filter(within).count();
    assert_eq!(expected, 200);
    assert_eq!(
        (answer.texts().len(), answer.rows_read),
        (expected, expected)
    );
}

#[test]
fn frames_without_the_type_are_passed_over() {
    let answer = ask("select stream from events where type = 'Secret'");
    let secret = |event: &&millstream::StoredEvent| event.event_type == "Secret";
    let expected = data().events.iter().filter(secret).count();
    assert_eq!(answer.texts().len(), expected);
    assert!(
        answer.rows_read < data().events.len() / 2,
        "{}",
        answer.rows_read
    );
}

#[test]
fn a_limit_ends_the_reading() {
    let answer = ask(r#"select "offset" from events where "partition" = 1 limit 7"#);
    assert_eq!(answer.texts().len(), 7);
    assert_eq!(answer.rows_read, 7);
    assert_eq!(ask("select * from events limit 0").texts().len(), 0);
}

#[test]
fn payloads_are_looked_into() {
    let fees = "select sum(json_int(payload, 'Entered', 'fee')) from events where type = 'Entered'";
    let expected: i64 = data()
        .events
        .iter()
        .filter_map(|event| event.to_json().ok()??.get("Entered")?.get("fee")?.as_i64())
        .sum();
    assert_eq!(ask(fees).column(), [expected.to_string()]);
    let noted = "select distinct json_text(payload, 'text'), json_float(payload, 'deep', 1, 'x'), \
                 json_bool(payload, 'ok'), json_text(payload, 'deep'), json_int(payload, 'text') \
                 from events where type = 'Noted' and payload is not null";
    assert_eq!(
        ask(noted).texts(),
        [["a \"b\"", "2.5", "true", "[1,{\"x\":2.5}]", ""]]
    );
    let unreadable =
        "select count(*) from events where payload is null and payload_bytes is not null";
    let is_unreadable = |event: &&millstream::StoredEvent| event.to_json().ok().flatten().is_none();
    let expected = data().events.iter().filter(is_unreadable).count();
    assert!(expected > 0);
    assert_eq!(ask(unreadable).column(), [expected.to_string()]);
}

#[test]
fn streams_are_groups_of_events() {
    let answer =
        ask("select stream, events, last_version, \"partition\" from streams order by stream");
    let mut expected: BTreeMap<&str, (usize, u16)> = BTreeMap::new();
    for event in &data().events {
        let entry = expected.entry(&event.stream).or_default();
        *entry = (entry.0 + 1, event.position.partition.0);
    }
    let expected = expected.into_iter();
    let expected: Vec<_> = expected
        .map(|(stream, (count, partition))| {
            let last = count - 1;
            vec![
                stream.to_owned(),
                count.to_string(),
                last.to_string(),
                partition.to_string(),
            ]
        })
        .collect();
    assert_eq!(answer.texts(), expected);
    let one = ask("select events from streams where stream = 'visit-17'");
    assert!(one.plan.contains("streams by index=1"), "{}", one.plan);
    let own = data()
        .events
        .iter()
        .filter(|event| event.stream == "visit-17");
    assert_eq!(one.rows_read, own.count());
}

#[test]
fn explain_says_what_is_pushed_down() {
    let answer = ask(
        "explain select type from events where \"offset\" < 3 and version <> 1 and length(stream) > 3",
    );
    let plan = answer.texts().concat().join("\n");
    assert!(plan.contains("EventsScan"), "{plan}");
    assert!(
        plan.contains("pushed=[offset=..3, version=..1|>1..]"),
        "{plan}"
    );
    assert!(
        plan.contains("FilterExec: character_length(stream"),
        "{plan}"
    );
    let names = ask("show tables").texts();
    let names: Vec<&str> = names.iter().map(|row| row[2].as_str()).collect();
    for name in ["events", "streams", "rooms", "by-hour", "fees"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(ask("describe events").texts().len(), 16);
}
