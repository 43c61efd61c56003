//! What is left of results that depend on timing, where later ones replace earlier ones.

use std::collections::BTreeMap;

use millstream_engine::time::Timestamp;
use millstream_operators::window::{Revision, Windowed};

use crate::simulation::Results;

/// A result: key, begin and end of its window, value, and whether it takes back one that was given before.
pub(crate) type Row = (u8, i64, i64, i128, bool);

/// The result of a window as a row.
pub(crate) fn row(result: Windowed<u8, i128>) -> Row {
    (
        result.key,
        result.window.start.as_millis(),
        result.window.end.as_millis(),
        result.value,
        result.revision == Revision::Retraction,
    )
}

/// Results that were not taken back. Each that was taken back must have been given before.
pub(crate) fn net(results: Results<Row>) -> Results<Row> {
    let mut left: BTreeMap<(Timestamp, Row), i64> = BTreeMap::new();
    for (time, (key, start, end, value, is_taken_back)) in results {
        let given = left
            .entry((time, (key, start, end, value, false)))
            .or_default();
        *given += if is_taken_back { -1 } else { 1 };
    }
    let more_than_once = left.iter().find(|(_, given)| !(0..=1).contains(*given));
    assert_eq!(more_than_once, None);
    let given = left.into_iter().filter(|(_, given)| *given > 0);
    given.map(|(row, _)| row).collect()
}

/// What the results of each key come to, whatever windows they are of.
pub(crate) fn totals(results: Results<Row>) -> Results<Row> {
    let mut totals: BTreeMap<u8, i128> = BTreeMap::new();
    for (_, (key, _, _, value, is_taken_back)) in results {
        *totals.entry(key).or_default() += if is_taken_back { -value } else { value };
    }
    let total = |(key, total)| (Timestamp::EPOCH, (key, 0, 0, total, false));
    totals.into_iter().map(total).collect()
}
