//! Balances of past days: what the bank wrote down on a day is what it is when it is asked for today.

use std::collections::BTreeMap;

use jiff::civil::Date;
use millstream::prelude::*;
use millstream_engine::time::Timestamp;

use super::*;

/// Days between two whole tables of balances that are compared.
const TABLE_EVERY: usize = 20;
/// Accounts from one that is asked for all of its days to the next, unless `MILLSTREAM_BERKA_EVERY` says otherwise; with 1
/// it takes minutes without optimisation.
const ACCOUNT_EVERY: usize = 12;

/// Last recorded balance of each day on which an account has transactions, by account and day.
type Days = BTreeMap<u32, BTreeMap<Date, Cents>>;

fn recorded(history: &millstream::catalog::bank::berka::History) -> Days {
    let mut days = Days::new();
    for transaction in history.transactions() {
        let of_account = days.entry(transaction.account).or_default();
        of_account.insert(transaction.date, transaction.balance);
    }
    days
}

/// The last moment of a day.
fn end(day: Date) -> At {
    let midnight = day.tomorrow().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    At::EventTime(Timestamp(
        midnight.unwrap().timestamp().as_microsecond() - 1,
    ))
}

/// Goal: on each past day each account has the balance that the bank had recorded by the end of that day. Method: some
/// accounts are asked for every day on which they have transactions and the day before; whole tables on days in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_past_day_has_its_recorded_balances() {
    let Some((trans, order)) = real_data() else {
        return;
    };
    let history = read_history(&trans, &order).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data"))
        .run(bank::topology().unwrap())
        .await
        .unwrap();
    assert_good(&import(&engine, &history).await.unwrap());
    let days = recorded(&history);
    let every = std::env::var("MILLSTREAM_BERKA_EVERY");
    let every = every.map_or(ACCOUNT_EVERY, |every| every.parse().unwrap());
    let mut asked = 0;
    for (account, of_account) in days.iter().step_by(every) {
        let mut past = engine.past::<Account>(&account.to_string()).unwrap();
        let mut before = None;
        for (day, balance) in of_account {
            let yesterday = past.at(&end(day.yesterday().unwrap())).unwrap();
            let yesterday = yesterday.map(|found| found.state.balance());
            assert_eq!(yesterday, before, "{account}, before {day}");
            let today = past.at(&end(*day)).unwrap();
            let today = today.map(|found| found.state.balance());
            assert_eq!(today, Some(*balance), "{account} on {day}");
            before = today;
            asked += 1;
        }
    }
    assert!(asked > 30_000 / every, "{asked}");
    tables(&engine, &days).await;
    engine.shutdown().await.unwrap();
}

async fn tables(engine: &Engine, days: &Days) {
    let all: std::collections::BTreeSet<Date> = days
        .values()
        .flat_map(|days| days.keys().copied())
        .collect();
    let last = all.last().copied();
    for day in all.into_iter().step_by(TABLE_EVERY).chain(last) {
        let upto = |of_account: &BTreeMap<Date, Cents>| {
            let (_, balance) = of_account.range(..=day).next_back()?;
            Some(*balance)
        };
        let expected: BTreeMap<String, Cents> = days
            .iter()
            .filter_map(|(account, days)| Some((account.to_string(), upto(days)?)))
            .collect();
        let past = engine.project_at(Balances, end(day)).await.unwrap();
        let found = past.rows(&BALANCES).unwrap().into_iter();
        let found: BTreeMap<String, Cents> = found
            .map(|(account, balance)| (account.to_string(), balance))
            .collect();
        assert_eq!(found, expected, "on {day}");
    }
}
