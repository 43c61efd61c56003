use std::collections::BTreeMap;
use std::ops::Bound;

use millstream_engine::state::{StateBatch, StateWrite};
use proptest::prelude::*;

use super::super::{
    AnyReader, HandedOver, Page, Pages, QueryError, RowSource, Snapshot, TableMut, TableSnapshot,
};
use super::{BY_CODE, BY_TAG, Key, ROWS, Row, Stored};
use crate::projection::error::RowError;
use crate::projection::writer::mark_of;

type Map = BTreeMap<Key, Row>;

#[derive(Clone, Debug)]
enum Step {
    /// Changes rows; fails in the end, or not.
    Event(Vec<(Key, Option<Row>)>, bool),
    /// An event of one of a few streams follows, of which a table may guess what it touches.
    OfStream(&'static str),
    Publish,
    HandOver,
    Commit,
    /// Lets go what was used longest ago: one of so many rows is kept.
    Shrink(usize),
    /// The same of what is stored, whatever is on its way.
    LetStoredGo,
    Restart,
    Snapshot,
    LetGo,
}

/// What is asked after each step.
#[derive(Clone, Debug)]
struct Asked {
    keys: Vec<Key>,
    from: Key,
    to: Key,
    limit: usize,
    is_descending: bool,
    tag: u8,
    code: u8,
}

fn key() -> impl Strategy<Value = Key> {
    (0..3_u8, "[a\0]{0,2}")
}

fn row() -> impl Strategy<Value = Row> {
    let of = || prop::option::of(0..4_u8);
    (of(), prop_oneof![3 => Just(None), 1 => of()]).prop_map(|(tag, code)| Row { tag, code })
}

fn step() -> impl Strategy<Value = Step> {
    let changes = prop::collection::vec((key(), prop::option::weighted(0.8, row())), 1..4);
    prop_oneof![
        8 => (changes, prop::bool::weighted(0.1)).prop_map(|(changes, fails)| Step::Event(changes, fails)),
        6 => prop::sample::select(vec!["a", "b", "c"]).prop_map(Step::OfStream),
        3 => Just(Step::Publish),
        2 => Just(Step::HandOver),
        2 => Just(Step::Commit),
        1 => (1..4_usize).prop_map(Step::Shrink),
        2 => Just(Step::LetStoredGo),
        1 => Just(Step::Restart),
        1 => Just(Step::Snapshot),
        1 => Just(Step::LetGo),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let keys = prop::collection::vec(key(), 0..4);
    (
        keys,
        key(),
        key(),
        1..4_usize,
        any::<bool>(),
        0..4_u8,
        0..4_u8,
    )
        .prop_map(|(keys, from, to, limit, is_descending, tag, code)| Asked {
            keys,
            from,
            to,
            limit,
            is_descending,
            tag,
            code,
        })
}

struct World {
    stored: Stored,
    table: TableMut<Key, Row>,
    /// On its way to the store, with what the store has then.
    on_its_way: Option<(Vec<StateWrite>, Option<HandedOver>, Map)>,
    snapshots: Vec<(TableSnapshot<Key, Row>, Map)>,
    in_store: Map,
    applied: Map,
    shown: Map,
}

fn is_unique(rows: &Map) -> bool {
    let mut codes: Vec<_> = rows.values().filter_map(|row| row.code).collect();
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    codes.len() == count
}

impl World {
    fn event(&mut self, changes: Vec<(Key, Option<Row>)>, fails: bool) {
        let mut after = self.applied.clone();
        for (key, row) in changes {
            assert_eq!(self.table.get(&key), after.get(&key));
            match row {
                Some(row) => {
                    self.table.put(&key, row.clone());
                    after.insert(key, row);
                }
                None => {
                    self.table.remove(&key);
                    after.remove(&key);
                }
            }
        }
        let checked = self.table.check();
        match &checked {
            Ok(()) => assert!(is_unique(&after)),
            Err(RowError::Taken { index }) => {
                assert_eq!(*index, BY_CODE.name());
                assert!(!is_unique(&after));
            }
            Err(other) => panic!("{other}"),
        }
        if fails || checked.is_err() {
            self.table.undo();
        } else {
            self.table.keep();
            self.applied = after;
        }
    }

    fn publish(&mut self) {
        self.table.publish();
        self.shown = self.applied.clone();
    }

    fn hand_over(&mut self) {
        if self.on_its_way.is_some() {
            return;
        }
        self.publish();
        let mut writes = Vec::new();
        let handed_over = self.table.store(&mut writes).unwrap();
        self.on_its_way = Some((writes, handed_over, self.applied.clone()));
    }

    fn commit(&mut self) {
        let Some((writes, handed_over, rows)) = self.on_its_way.take() else {
            return;
        };
        let batch = StateBatch::new(writes);
        self.stored.writer.step(vec![batch]).unwrap();
        handed_over.iter().for_each(HandedOver::settle);
        self.in_store = rows;
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Event(changes, fails) => self.event(changes, fails),
            Step::OfStream(stream) => {
                if self.table.foresees() {
                    self.table.foresee(&[mark_of(stream), mark_of("other")]);
                }
                self.table.of_stream(stream);
            }
            Step::Publish => self.publish(),
            Step::HandOver => self.hand_over(),
            Step::Commit => self.commit(),
            Step::Shrink(of) => {
                self.commit();
                self.hand_over();
                self.commit();
                let mut uses = Vec::new();
                self.table.uses(&mut uses);
                uses.sort_unstable();
                let used = uses.get(uses.len() - uses.len() / of).copied();
                self.table.shrink(used.unwrap_or(u64::MAX));
            }
            Step::LetStoredGo => self.table.let_stored_go(),
            Step::Restart => {
                self.commit();
                self.table = self.stored.open(false, 0);
                self.applied = self.in_store.clone();
                self.shown = self.in_store.clone();
            }
            Step::Snapshot => {
                let readers: [(_, std::sync::Arc<dyn AnyReader>); 1] =
                    [("rows", std::sync::Arc::new(self.stored.reader.clone()))];
                let snapshot = Snapshot::of(&self.stored.board, &readers, 1_000);
                let table = snapshot.table(&ROWS).unwrap();
                self.snapshots.push((table, self.shown.clone()));
            }
            Step::LetGo => {
                if !self.snapshots.is_empty() {
                    self.snapshots.remove(0);
                }
            }
        }
    }

    fn check(&self, asked: &Asked) {
        let reader = &self.stored.reader;
        for key in &asked.keys {
            assert_eq!(reader.get(key).unwrap().as_ref(), self.shown.get(key));
        }
        assert_eq!(reader.count().unwrap(), self.shown.len() as u64);
        let range = asked.from.clone()..asked.to.clone();
        let pages = || {
            (
                reader.scan(),
                reader.range(range.clone()),
                reader.prefix(&asked.tag),
            )
        };
        let (tags, codes) = tag_ranges(asked);
        check(
            asked,
            &self.shown,
            reader.get_many(&asked.keys),
            pages(),
            (
                reader.by_range(&BY_TAG, tags.clone()),
                reader.by(&BY_CODE, &codes),
            ),
        );
        for (snapshot, rows) in &self.snapshots {
            for key in &asked.keys {
                assert_eq!(snapshot.get(key).unwrap().as_ref(), rows.get(key));
            }
            check(
                asked,
                rows,
                snapshot.get_many(&asked.keys),
                (
                    snapshot.scan(),
                    snapshot.range(range.clone()),
                    snapshot.prefix(&asked.tag),
                ),
                (
                    snapshot.by_range(&BY_TAG, tags.clone()),
                    snapshot.by(&BY_CODE, &codes),
                ),
            );
        }
    }
}

fn tag_ranges(asked: &Asked) -> (std::ops::Range<(u8, String)>, u8) {
    let to = (asked.tag + 1, "a".to_owned());
    ((asked.tag, asked.from.1.clone())..to, asked.code)
}

type Tables<S> = (Pages<S>, Pages<S>, Pages<S>);
type Indexed<S> = (Result<Pages<S>, QueryError>, Result<Pages<S>, QueryError>);

fn check<S, I>(
    asked: &Asked,
    rows: &Map,
    many: Result<Vec<Option<Row>>, QueryError>,
    (all, range, prefix): Tables<S>,
    (by_tag, by_code): Indexed<I>,
) where
    S: RowSource<Key = Key, Row = Row>,
    I: RowSource<Key = Key, Row = Row>,
{
    let expected: Vec<_> = asked
        .keys
        .iter()
        .map(|key| rows.get(key).cloned())
        .collect();
    assert_eq!(many.unwrap(), expected);
    let of = |is_in: &dyn Fn(&Key, &Row) -> bool| -> Vec<(Key, Row)> {
        let own = rows.iter().filter(|(key, row)| is_in(key, row));
        own.map(|(key, row)| (key.clone(), row.clone())).collect()
    };
    check_pages(asked, all, of(&|_, _| true));
    let is_in = |key: &Key, _: &Row| *key >= asked.from && *key < asked.to;
    check_pages(asked, range, of(&is_in));
    check_pages(asked, prefix, of(&|key, _| key.0 == asked.tag));
    let (tags, code) = tag_ranges(asked);
    let found_by = |key: &Key, row: &Row| Some((row.tag?, key.1.clone()));
    let mut tagged = of(&|key, row| found_by(key, row).is_some_and(|by| tags.contains(&by)));
    tagged.sort_by_key(|(key, row)| (found_by(key, row), key.clone()));
    check_pages(asked, by_tag.unwrap(), tagged);
    check_pages(
        asked,
        by_code.unwrap(),
        of(&|_, row| row.code == Some(code)),
    );
}

/// Page by page, with each cursor as a text in between.
fn check_pages<S>(asked: &Asked, pages: Pages<S>, mut expected: Vec<(Key, Row)>)
where
    S: RowSource<Key = Key, Row = Row>,
{
    assert_eq!(pages.all().unwrap(), expected);
    let pages = if asked.is_descending {
        expected.reverse();
        pages.descending()
    } else {
        pages
    };
    let (mut found, mut rest) = (Vec::new(), pages.clone());
    loop {
        let Page { rows, next } = rest.page(asked.limit).unwrap();
        assert!(rows.len() <= asked.limit);
        assert!(rows.len() == asked.limit || next.is_none());
        found.extend(rows);
        let Some(next) = next else { break };
        rest = pages
            .clone()
            .after(&next.to_string().parse().unwrap())
            .unwrap();
    }
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn readers_indexes_and_snapshots_see_what_was_shown(
        steps in prop::collection::vec((step(), asked()), 1..40),
        is_new: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let stored = Stored::new(folder.path());
        let mut world = World {
            table: stored.open(is_new, 0),
            stored,
            on_its_way: None,
            snapshots: Vec::new(),
            in_store: Map::new(),
            applied: Map::new(),
            shown: Map::new(),
        };
        for (step, asked) in steps {
            world.step(step);
            world.check(&asked);
        }
    }
}

#[test]
fn a_cursor_goes_on_with_nothing_but_its_own_range() {
    let folder = tempfile::tempdir().unwrap();
    let stored = Stored::new(folder.path());
    let mut table = stored.open(true, 0);
    for tag in 0..3 {
        let row = Row {
            tag: Some(tag),
            code: None,
        };
        table.put(&(tag, String::new()), row);
    }
    table.check().unwrap();
    table.keep();
    table.publish();
    let reader = &stored.reader;
    let next = reader.scan().page(1).unwrap().next.unwrap();
    assert_eq!(
        reader
            .scan()
            .after(&next)
            .unwrap()
            .page(9)
            .unwrap()
            .rows
            .len(),
        2
    );
    let refused = |outcome: Result<(), QueryError>| {
        assert!(
            matches!(outcome, Err(QueryError::ForeignCursor)),
            "{outcome:?}"
        );
    };
    refused(reader.scan().descending().after(&next).map(drop));
    refused(reader.range(..(2, String::new())).after(&next).map(drop));
    refused(reader.by(&BY_CODE, &1).unwrap().after(&next).map(drop));
    for text in [
        "",
        "zz",
        "00112233445566778",
        "é0112233445566778",
        "0011223344556677+1",
    ] {
        assert!(text.parse::<super::super::Cursor>().is_err(), "{text}");
    }
}

#[test]
fn nothing_lies_behind_the_largest_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let stored = Stored::new(folder.path());
    let mut table = stored.open(true, 0);
    for code in [0, u8::MAX] {
        let row = Row {
            tag: None,
            code: Some(code),
        };
        table.put(&(code, String::new()), row);
    }
    table.check().unwrap();
    table.keep();
    table.publish();
    let behind = |code: u8| {
        let range = (Bound::Excluded(code), Bound::Unbounded);
        stored
            .reader
            .by_range(&BY_CODE, range)
            .unwrap()
            .count()
            .unwrap()
    };
    assert_eq!((behind(0), behind(1), behind(u8::MAX)), (1, 1, 0));
}

#[test]
fn a_snapshot_that_would_have_to_keep_too_much_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let stored = Stored::new(folder.path());
    let mut table = stored.open(true, 0);
    let snapshot = TableSnapshot::of(stored.reader.clone(), 2);
    for (count, tag) in (1..).zip(0..3) {
        let row = Row {
            tag: Some(tag),
            code: None,
        };
        table.put(&(tag, String::new()), row);
        table.check().unwrap();
        table.keep();
        table.publish();
        let found = snapshot.scan().all();
        if count <= 2 {
            assert_eq!(found.unwrap(), []);
        } else {
            assert!(matches!(
                found,
                Err(QueryError::SnapshotLost { rows_max: 2, .. })
            ));
            assert!(snapshot.get(&(0, String::new())).is_err());
        }
    }
    assert_eq!(stored.reader.count().unwrap(), 3);
}
