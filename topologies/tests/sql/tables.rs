//! Tables of projections: columns, keys, and what is sought of them.

use std::collections::BTreeMap;

use millstream::prelude::*;
use millstream::sql::SqlOptions;

use crate::support::{ask, ask_of, data, run, try_ask};

/// Visits, fees and the largest fee by room, hours by room and version, and counts by fee, as a loop gives them.
struct Folded {
    rooms: BTreeMap<String, (u64, i64, i64)>,
    hours: BTreeMap<(String, u64), i64>,
    fees: BTreeMap<i64, u64>,
}

fn expected() -> Folded {
    let mut expected = Folded {
        rooms: BTreeMap::new(),
        hours: BTreeMap::new(),
        fees: BTreeMap::new(),
    };
    for event in &data().events {
        let Ok(Some(payload)) = event.to_json() else {
            continue;
        };
        let Some(entered) = payload.get("Entered") else {
            continue;
        };
        let room = entered["room"].as_str().unwrap().to_owned();
        let fee = entered["fee"].as_i64().unwrap();
        let row = expected.rooms.entry(room.clone()).or_default();
        *row = (row.0 + 1, row.1 + fee, row.2.max(fee));
        *expected
            .hours
            .entry((room, event.version % 24))
            .or_default() += fee;
        *expected.fees.entry(fee - 50).or_default() += 1;
    }
    expected
}

#[test]
fn fields_are_columns_and_structs_are_structs() {
    let answer = ask(
        "select key, visits, fees.sum, fees['largest'], state, row_key, odd from rooms order by key",
    );
    let expected = expected().rooms.into_iter();
    let rows = answer.texts();
    assert!(!rows.is_empty());
    for (row, (room, (visits, sum, largest))) in rows.iter().zip(expected) {
        let expected = [
            room,
            visits.to_string(),
            sum.to_string(),
            largest.to_string(),
        ];
        assert_eq!(row[..4], expected);
        assert_eq!(row[4..6], ["Busy", "7"]);
        let odd: BTreeMap<String, u64> = serde_json::from_str(&row[6]).unwrap();
        assert_eq!(odd.values().sum::<u64>(), visits);
    }
    let columns = ask(
        "select column_name, data_type from information_schema.columns where table_schema = 'public' and table_name = 'rooms' order by ordinal_position",
    );
    assert_eq!(columns.texts()[0], ["key", "Utf8"]);
    assert_eq!(columns.texts()[2], ["visits", "Int64"]);
    let same = ask("select count(*) from \"visits\".\"rooms\"");
    assert_eq!(same.column(), [rows.len().to_string()]);
}

#[test]
fn keys_are_sought() {
    let expected = expected();
    let one = ask("select visits from rooms where key = 'room 3'");
    assert_eq!(one.column(), [expected.rooms["room 3"].0.to_string()]);
    assert_eq!(one.rows_read, 1);
    let some = ask("select key from rooms where key in ('room 5', 'room 1', 'other') order by key");
    assert_eq!(
        (some.column(), some.rows_read),
        (vec!["room 1".to_owned(), "room 5".to_owned()], 2)
    );
    let range = ask("select key from rooms where key > 'room 4' order by key");
    assert_eq!(range.column(), ["room 5", "room 6"]);
    assert!(range.rows_read <= 3);
    let prefix = ask("select count(*) from rooms where key like 'room%'");
    assert_eq!(prefix.column(), [expected.rooms.len().to_string()]);
    assert_eq!(ask("select key from rooms limit 2").rows_read, 2);
    assert_eq!(
        ask("select key from rooms where key = 'nobody'").rows_read,
        0
    );
}

#[test]
fn numbers_as_keys_are_told_and_sought() {
    let expected = expected();
    let all = ask("select key, value from fees order by key");
    let rows = expected.fees.iter();
    let rows: Vec<_> = rows
        .map(|(fee, count)| vec![fee.to_string(), count.to_string()])
        .collect();
    assert_eq!(all.texts(), rows);
    let some = ask("select key from fees where key between -3 and 2 order by key");
    assert_eq!(some.column(), ["-3", "-2", "-1", "0", "1", "2"]);
    assert_eq!(some.rows_read, 6);
}

#[test]
fn tuples_are_several_columns_and_sought_by_the_first_ones() {
    let expected = expected().hours;
    let all = ask("select key_1, key_2, value from \"by-hour\" order by key_1, key_2");
    let rows = expected.iter();
    let rows =
        rows.map(|((room, hour), sum)| vec![room.clone(), hour.to_string(), sum.to_string()]);
    assert_eq!(all.texts(), rows.collect::<Vec<_>>());
    let own = |room: &str| expected.keys().filter(|key| key.0 == room).count();
    let first = ask("select key_2 from \"by-hour\" where key_1 = 'room 2'");
    assert_eq!(
        (first.texts().len(), first.rows_read),
        (own("room 2"), own("room 2"))
    );
    let both = ask(
        "select key_1, key_2 from \"by-hour\" where key_1 in ('room 2', 'room 3') and key_2 >= 3 and key_2 < 5",
    );
    let within = expected.keys().filter(|(room, hour)| {
        ["room 2", "room 3"].contains(&room.as_str()) && (3..5).contains(hour)
    });
    let within = within.count();
    assert_eq!((both.texts().len(), both.rows_read), (within, within));
    // Nobody said what these keys are, and they do not say it themselves.
    let untold = run(
        &data().path,
        &["select arrow_typeof(key) from \"by-hour\" limit 1"],
    );
    let untold = String::from_utf8_lossy(&untold.stdout);
    assert!(untold.contains("Binary"), "{untold}");
}

#[test]
fn rows_that_are_not_like_the_first_are_an_error_that_says_so() {
    // They are texts.
    let done = run(
        &data().path,
        &["select key from rooms", "--key", "rooms=u32"],
    );
    assert_eq!(done.status.code(), Some(1));
    let message = String::from_utf8_lossy(&done.stderr);
    assert!(message.contains("--key"), "{message}");
}

/// Rows with fields that only some have.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Uneven {
    number: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    late: Option<String>,
}

const UNEVEN: Table<u64, Uneven> = Table::named("uneven");

struct UnevenRows;

impl Projection for UnevenRows {
    const NAME: &'static str = "uneven";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "visit";
    type Event = crate::support::Visit;
    type Tables = (Table<u64, Uneven>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (UNEVEN,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, crate::support::Visit>,
        (rows,): &mut (TableMut<u64, Uneven>,),
    ) -> Result<(), Self::Error> {
        let number = event.version as i64;
        let late = (number >= 5).then(|| "late".to_owned());
        rows.put(&event.version, Uneven { number, late });
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_past_the_sample_are_refused_and_a_larger_one_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("uneven")
        .projection(UnevenRows)
        .build()
        .unwrap();
    let builder = Engine::open(folder.path()).config(crate::support::config());
    let engine = builder.run(topology).await.unwrap();
    let events = (0..10).map(|_| NewEvent::typed(crate::support::Visit::Left));
    let appender = engine.appender();
    let stream = "visit-1".parse().unwrap();
    appender
        .append(stream, Expected::Any, events.collect())
        .await
        .unwrap();
    engine
        .projected(&engine.durable(), std::time::Duration::from_secs(300))
        .await
        .unwrap();

    let sampled = |sample_rows| SqlOptions {
        sample_rows,
        ..SqlOptions::default()
    };
    let few = engine.sql_session(sampled(3)).await.unwrap();
    let message = try_ask(&few, "select * from uneven").await.unwrap_err();
    assert!(
        message.contains("late") && message.contains("--sample"),
        "{message}"
    );
    let all = engine.sql_session(sampled(100)).await.unwrap();
    let late = ask_of(
        &all,
        "select key, late from uneven where key >= 4 order by key limit 2",
    )
    .await;
    assert_eq!(late.texts(), [["4", ""], ["5", "late"]]);
    engine.shutdown().await.unwrap();
}
