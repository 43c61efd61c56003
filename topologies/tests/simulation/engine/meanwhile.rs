//! What readers of tables must see at any moment of a life, not only once all has come to rest.
//!
//! Rows of a projection are what a replay of the log gives, up to where its board says that they are; those of accounts that
//! letters are about apart. Counts in the dataflow's table never fall: what the store holds is what a complete checkpoint has,
//! and a restart makes everything anew from there, so a row that was stored sooner would be seen to go back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use millstream_engine::event::PartitionId;
use millstream_operators::projection::{
    ProgressBoard, QueryError, Row, Snapshot, Table, TableKey, TableReader, TableSnapshot,
};

use super::contents::{Contents, What};
use super::course::rows;
use super::process::Process;
use super::topology::{AccountEvent, BALANCES, BalanceRow, DIGITS, TOTALS, UNLUCKY};
use crate::tally::{TALLY, add};

/// What readers have seen in one life.
#[derive(Default)]
pub(super) struct Seen {
    digits: BTreeMap<u64, u64>,
    balances: Option<Held<String, BalanceRow>>,
    totals: Option<Held<u64, i64>>,
    looks: u64,
}

/// A snapshot that is kept open, and the rows that were there when it was taken.
struct Held<K: TableKey, R: Row> {
    table: TableSnapshot<K, R>,
    rows: BTreeMap<K, R>,
}

impl<K: TableKey + Ord + Debug, R: Row + PartialEq + Debug> Held<K, R> {
    fn take(reader: &TableReader<K, R>, table: &Table<K, R>) -> Self {
        let readers = [(table.name(), Arc::new(reader.clone()) as _)];
        let snapshot = Snapshot::of(reader.board(), &readers, usize::MAX);
        Self {
            table: snapshot.table(table).unwrap(),
            rows: rows(reader),
        }
    }

    /// Its rows are what they were, whatever was changed, stored, let go or made anew since.
    fn check(&self) {
        match self.table.scan().all() {
            Ok(found) => {
                assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), self.rows);
                add(&TALLY.snapshots, 1);
            }
            // Its actor is another one now, and says so.
            Err(QueryError::MadeAnew { .. }) => {}
            Err(cause) => panic!("a snapshot: {cause}"),
        }
    }
}

impl Seen {
    /// Looks at all tables.
    pub(super) fn look(&mut self, process: &Process) {
        self.look_at_digits(process);
        look_at_projections(process);
        self.look_at_snapshots(process);
        add(&TALLY.looks, 1);
    }

    /// Looks at snapshots that were taken before, and takes new ones now and then.
    fn look_at_snapshots(&mut self, process: &Process) {
        self.balances.iter().for_each(Held::check);
        self.totals.iter().for_each(Held::check);
        if self.looks.is_multiple_of(3) {
            self.balances = Some(Held::take(&process.balances, &BALANCES));
            self.totals = Some(Held::take(&process.totals, &TOTALS));
        }
        self.looks += 1;
    }

    /// Looks at the dataflow's table.
    pub(super) fn look_at_digits(&mut self, process: &Process) {
        let digits = rows(&process.driver.table(&DIGITS).unwrap());
        for (digit, count) in &self.digits {
            let now = digits.get(digit).copied().unwrap_or(0);
            assert!(
                now >= *count,
                "results with digit {digit} were {count}, and are {now}"
            );
        }
        self.digits = digits;
    }
}

fn is_shown(board: &ProgressBoard, partition: u16, offset: u64) -> bool {
    offset < board.visible(PartitionId(partition)).0
}

fn look_at_projections(process: &Process) {
    let contents = Contents::read(&process.reader);
    let (mut balances, mut totals) = (BTreeMap::<String, BalanceRow>::new(), BTreeMap::new());
    // Of events that may fail some wait, or were given up.
    let mut unlucky = BTreeSet::new();
    for event in contents.events() {
        let What::Moved(AccountEvent::Moved { tag, by, .. }) = &event.what else {
            continue;
        };
        if is_shown(process.totals.board(), event.partition, event.offset) {
            *totals.entry(tag % 3).or_default() += by;
        }
        if is_shown(process.balances.board(), event.partition, event.offset) {
            let account = event.stream.trim_start_matches("account-");
            if tag.is_multiple_of(UNLUCKY) {
                unlucky.insert(account.to_owned());
            }
            let row = balances.entry(account.to_owned()).or_default();
            row.balance += by;
            row.moves += 1;
            row.last = Some(event.version);
        }
    }
    assert_eq!(rows(&process.totals), totals, "totals in the course");
    let mut found = rows(&process.balances);
    found.retain(|account, _| !unlucky.contains(account));
    balances.retain(|account, _| !unlucky.contains(account));
    assert_eq!(found, balances, "balances in the course");
}
