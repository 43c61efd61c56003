//! What callers were told, and whether the log keeps it.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::event::Position;
use millstream_engine::partition::{DedupLimits, Expected};

use super::contents::{Contents, Logged, What};
use super::topology::{AccountEvent, BalanceRow, COPIES, SUMS, Summed};
use crate::tally::{TALLY, add};

/// How one attempt at an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nobody was told: it may have happened.
    Unknown,
    /// Nothing was to have happened.
    Refused,
    /// It has: number of its last event in its stream, and where that lies.
    Done { version: u64, position: Position },
}

/// What somebody wants to have happened, once, however often it is tried.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) stream: String,
    /// The change of each event; of notes only how many there are.
    pub(crate) by: Vec<i64>,
    /// Whether it may be tried again: it has an id.
    pub(crate) is_repeatable: bool,
    pub(crate) expected: Expected,
    /// Number of the process that was asked for it first.
    pub(crate) life: u64,
    pub(crate) outcomes: Vec<Outcome>,
}

/// All that callers know.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) operations: Vec<Operation>,
    /// Number of the process that is asked now.
    pub(crate) life: u64,
    /// Events of each stream that somebody was told of.
    pub(crate) known: BTreeMap<String, u64>,
    /// How long commands are remembered.
    pub(crate) dedup: DedupLimits,
    /// Ids of events that a subscriber was handed, by partition.
    pub(crate) seen: Vec<Vec<String>>,
}

impl Model {
    /// Events of the stream that there are at least.
    pub(crate) fn known(&self, stream: &str) -> u64 {
        self.known.get(stream).copied().unwrap_or(0)
    }

    /// Somebody was told that a stream has so many events; whoever asked knew of `floor`.
    pub(crate) fn told(&mut self, stream: &str, events: u64, floor: u64) {
        assert!(
            events >= floor,
            "{stream} was said to have {events} events, and had {floor} before"
        );
        let known = self.known.entry(stream.to_owned()).or_default();
        *known = events.max(*known);
    }

    /// Checks the log, which has lost nothing and has nothing that nobody wanted.
    pub(crate) fn check(&self, contents: &Contents) {
        let mut parts: BTreeMap<u64, Vec<&Logged>> = BTreeMap::new();
        for event in contents.events() {
            if let Some((tag, ..)) = event.part() {
                parts.entry(tag).or_default().push(event);
            }
        }
        for (tag, operation) in (0..).zip(&self.operations) {
            let events = parts.remove(&tag).unwrap_or_default();
            let occurrences: Vec<_> = events.chunks(operation.by.len()).collect();
            operation.check(tag, &occurrences);
            for both in occurrences.windows(2) {
                self.check_forgotten(contents, both[0][0], both[1][0]);
            }
        }
        assert!(parts.is_empty(), "nobody asked for {parts:?}");
        let streams = contents.streams();
        for (stream, known) in &self.known {
            let events = streams.get(stream.as_str()).map_or(0, Vec::len) as u64;
            assert!(events >= *known, "{stream} has {events} events of {known}");
        }
        for (seen, stored) in self.seen.iter().zip(&contents.partitions) {
            let stored = stored.iter().map(|event| &event.id).take(seen.len());
            assert!(stored.eq(seen), "what was seen is not what is stored");
        }
        check_balances(contents);
        check_sums(contents, false);
        check_copies(contents, false);
    }
}

impl Model {
    /// A command that is there twice had been forgotten when it was repeated.
    fn check_forgotten(&self, contents: &Contents, first: &Logged, again: &Logged) {
        assert!(
            first.stream.starts_with("account-"),
            "{first:?} is there twice"
        );
        let between = contents.partitions[usize::from(first.partition)]
            .iter()
            .filter(|event| (first.offset..again.offset).contains(&event.offset))
            .filter(|event| matches!(event.part(), Some((tag, 0, _)) if self.operations[tag as usize].is_repeatable));
        let is_forgotten = first.offset + self.dedup.events_max < again.offset
            || again.recorded_at.since(first.recorded_at) > self.dedup.age_max
            || between.count() > self.dedup.ids_max;
        assert!(
            is_forgotten,
            "{again:?} repeats {first:?}, which is remembered: {:?}",
            self.dedup
        );
    }

    /// Counts what came of everything.
    pub(crate) fn count(&self, contents: &Contents) {
        add(&TALLY.commands, self.operations.len() as u64);
        let tags = contents.events().filter_map(Logged::part);
        let there: BTreeSet<u64> = tags.map(|(tag, ..)| tag).collect();
        for (tag, operation) in (0..).zip(&self.operations) {
            let (mut done, mut refused) = (0, 0);
            for outcome in &operation.outcomes {
                match outcome {
                    Outcome::Done { .. } => done += 1,
                    Outcome::Refused => refused += 1,
                    Outcome::Unknown => {}
                }
            }
            add(&TALLY.repeats, u64::max(done, 1) - 1);
            add(&TALLY.refused, u64::from(refused > 0));
            let is_in_doubt = done == 0 && refused < operation.outcomes.len();
            add(&TALLY.in_doubt, u64::from(is_in_doubt));
            let is_there = is_in_doubt && there.contains(&tag);
            add(&TALLY.in_doubt_there, u64::from(is_there));
        }
        let firsts = contents
            .events()
            .filter(|event| matches!(event.part(), Some((_, 0, _))));
        add(&TALLY.done_anew, (firsts.count() - there.len()) as u64);
        for event in contents.events() {
            match event.what {
                What::Summed(_) | What::Copied(_) => add(&TALLY.sums, 1),
                What::Decided(_) => add(&TALLY.decisions, 1),
                What::Moved(_) | What::Noted(_) => {}
            }
        }
    }
}

impl Operation {
    /// Checks what there is of it: once, or as often as it was done anew.
    fn check(&self, tag: u64, occurrences: &[&[&Logged]]) {
        let done = self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Done { version, position } => {
                Some((position.partition.0, position.offset.0, *version))
            }
            Outcome::Unknown | Outcome::Refused => None,
        });
        let refused = self.outcomes.iter();
        let refused = refused.filter(|outcome| **outcome == Outcome::Refused);
        let may_be = self.outcomes.len() - refused.count();
        assert!(
            occurrences.len() <= may_be,
            "operation {tag} was refused, and is there: {self:?}"
        );
        let mut ends = Vec::new();
        for events in occurrences {
            self.check_occurrence(tag, events);
            let last = events[events.len() - 1];
            ends.push((last.partition, last.offset, last.version));
        }
        for told in done {
            assert!(
                ends.contains(&told),
                "operation {tag} was told to be at {told:?}, and is at {ends:?}: {self:?}"
            );
        }
    }

    fn check_occurrence(&self, tag: u64, events: &[&Logged]) {
        let first = events[0];
        let of = self.by.len();
        assert_eq!(events.len(), of, "events of operation {tag}: {events:?}");
        for (part, event) in (0_u8..).zip(events) {
            assert_eq!(event.part(), Some((tag, part, of as u8)), "{self:?}");
            assert_eq!(event.stream, self.stream);
            let behind = u64::from(part);
            let place = (first.offset + behind, first.version + behind);
            assert_eq!((event.offset, event.version), place, "operation {tag}");
            if let What::Moved(AccountEvent::Moved { by, .. }) = &event.what {
                assert_eq!(*by, self.by[usize::from(part)], "operation {tag}");
            }
        }
        match self.expected {
            Expected::Exact(version) => assert_eq!(first.version, version + 1, "operation {tag}"),
            Expected::NoStream => assert_eq!(first.version, 0, "operation {tag}"),
            Expected::Exists => assert!(first.version > 0, "operation {tag}"),
            Expected::Any => {}
        }
    }
}

/// Each event was decided on all those before it in its stream.
fn check_balances(contents: &Contents) {
    for (stream, events) in contents.streams() {
        let mut sum = 0;
        for event in events {
            let What::Moved(moved) = &event.what else {
                break;
            };
            let AccountEvent::Moved {
                by,
                balance,
                part,
                of,
                ..
            } = moved;
            sum += by;
            assert_eq!(sum, *balance, "{stream}, event {}", event.version);
            assert!(*balance >= 0 || part + 1 < *of, "{stream} is overdrawn");
        }
    }
}

/// The dataflow's output: what the events of each account come to without those that were given up, or a part of it.
pub(crate) fn check_sums(contents: &Contents, is_final: bool) {
    let expected = sums(contents);
    let streams = contents.streams();
    let mut is_complete = true;
    for (account, expected) in &expected {
        let name = format!("{SUMS}-{account}");
        let found = streams.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let found = found.iter().map(|event| match &event.what {
            What::Summed(summed) => summed.clone(),
            other => panic!("{other:?} in {name}"),
        });
        let found: Vec<_> = found.collect();
        is_complete &= found.len() == expected.len();
        // What is given up later is not among the first of what is expected any more.
        if is_final {
            assert_eq!(&found, expected, "{name}");
        }
        let items = found.iter().map(|summed| summed.items);
        assert!(items.eq(1..=found.len() as u64), "{name}: {found:?}");
    }
    let outputs = streams.keys().filter(|stream| stream.starts_with(SUMS));
    let known = outputs.filter(|stream| expected.contains_key(&stream[SUMS.len() + 1..]));
    let all = streams.keys().filter(|stream| stream.starts_with(SUMS));
    assert_eq!(known.count(), all.count(), "outputs of no account");
    assert!(is_complete || !is_final);
}

/// The dataflow's other output: the events of each account in their order, or the first of them.
pub(crate) fn check_copies(contents: &Contents, is_final: bool) {
    let streams = contents.streams();
    for (name, copies) in &streams {
        let Some(account) = name.strip_prefix(COPIES) else {
            continue;
        };
        let of_account = streams.get(format!("account{account}").as_str());
        let events = of_account.map_or(&[][..], Vec::as_slice);
        assert!(copies.len() <= events.len(), "{name} has too many");
        for (items, (copy, event)) in (1..).zip(copies.iter().zip(events)) {
            let What::Copied(copied) = &copy.what else {
                panic!("{copy:?} in {name}");
            };
            let found = event.part().map(|(tag, part, _)| (items, tag, part));
            assert_eq!(
                Some((copied.items, copied.tag, copied.part)),
                found,
                "{name}"
            );
        }
    }
    if is_final {
        let (copies, moves) = contents.copies_and_moves();
        assert_eq!(copies, moves, "copies");
    }
}

/// Whether the dataflow has let out as much as it has to.
pub(crate) fn has_all_sums(contents: &Contents) -> bool {
    let expected: usize = sums(contents).values().map(Vec::len).sum();
    let is_sum = |event: &&Logged| matches!(event.what, What::Summed(_));
    let (copies, moves) = contents.copies_and_moves();
    contents.events().filter(is_sum).count() >= expected && copies >= moves
}

/// What the dataflow is to make of each account.
pub(crate) fn sums(contents: &Contents) -> BTreeMap<String, Vec<Summed>> {
    let discarded = contents.discarded(true);
    let mut sums = BTreeMap::new();
    for (stream, events) in contents.streams() {
        let Some(account) = stream.strip_prefix("account-") else {
            continue;
        };
        let (mut items, mut sum, mut all) = (0, 0, Vec::new());
        for event in events {
            let What::Moved(AccountEvent::Moved { tag, part, by, .. }) = &event.what else {
                continue;
            };
            if discarded.contains(&(*tag, *part)) {
                continue;
            }
            items += 1;
            sum += by;
            all.push(Summed {
                account: account.to_owned(),
                items,
                sum,
                version: event.version,
            });
        }
        sums.insert(account.to_owned(), all);
    }
    sums
}

/// Rows of the first projection, as a replay gives them.
pub(crate) fn balances(contents: &Contents) -> BTreeMap<String, BalanceRow> {
    let discarded = contents.discarded(false);
    let mut rows: BTreeMap<String, BalanceRow> = BTreeMap::new();
    for event in contents.events() {
        let What::Moved(AccountEvent::Moved { tag, part, by, .. }) = &event.what else {
            continue;
        };
        if discarded.contains(&(*tag, *part)) {
            continue;
        }
        let account = event.stream.trim_start_matches("account-");
        let row = rows.entry(account.to_owned()).or_default();
        row.balance += by;
        row.moves += 1;
        row.last = Some(event.version);
    }
    rows
}

/// Rows of the second one.
pub(crate) fn totals(contents: &Contents) -> BTreeMap<u64, i64> {
    let mut rows = BTreeMap::new();
    for event in contents.events() {
        if let What::Moved(AccountEvent::Moved { tag, by, .. }) = &event.what {
            *rows.entry(tag % 3).or_default() += by;
        }
    }
    rows
}

/// Rows of the dataflow's table.
pub(crate) fn digits(contents: &Contents) -> BTreeMap<u64, u64> {
    let mut rows = BTreeMap::new();
    for summed in sums(contents).values().flatten() {
        *rows.entry(summed.sum.rem_euclid(10) as u64).or_default() += 1;
    }
    rows
}
