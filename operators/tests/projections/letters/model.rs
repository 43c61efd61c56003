//! What rows and letters should be, in the plainest way: lists of values, looked through from the front.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use millstream_operators::projection::LetterDecision;

use super::world::{ASIDE, Left, ListRows, Noted};

/// One entry of the log.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Event { key: String, value: u32 },
    Decision(LetterDecision),
}

/// All of the log, by partition and offset.
pub(crate) type Entries = BTreeMap<(u16, u64), Entry>;

#[derive(Clone, Debug, Default)]
struct Verdict {
    redrives: u32,
    carried_out: u32,
    discarded: bool,
    /// The value that it has instead.
    edit: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct Key {
    applied: Vec<u32>,
    /// Partition, offset and value of what waits, the failed one first.
    waiting: Vec<(u16, u64, u32)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    keys: BTreeMap<String, Key>,
    verdicts: HashMap<(u16, u64), Verdict>,
    /// Entries that were met.
    met: BTreeSet<(u16, u64)>,
    /// Decisions that were read, met or not.
    read: BTreeSet<(u16, u64)>,
}

impl Model {
    /// Opens on this log: decisions are read first, and count from then on.
    pub(crate) fn open(&mut self, log: &Entries, poison: &BTreeSet<u32>) {
        for (place, entry) in log {
            if let Entry::Decision(decision) = entry
                && !self.read.contains(place)
            {
                self.read.insert(*place);
                self.take(*place, decision);
            }
        }
        for key in self.keys.values_mut() {
            let Some(&(partition, offset, _)) = key.waiting.first() else {
                continue;
            };
            if let Some(verdict) = self.verdicts.get_mut(&(partition, offset))
                && (verdict.discarded || verdict.carried_out < verdict.redrives)
            {
                verdict.carried_out = verdict.redrives;
                flush(key, &self.verdicts, poison);
            }
        }
    }

    fn take(&mut self, place: (u16, u64), decision: &LetterDecision) -> bool {
        let order = decision.order();
        let verdict = self.verdicts.entry((place.0, order.offset)).or_default();
        if verdict.discarded || order.redrives < verdict.redrives {
            return false;
        }
        match decision {
            LetterDecision::Redriven(_) => verdict.redrives = order.redrives + 1,
            LetterDecision::Discarded(_) => verdict.discarded = true,
            LetterDecision::Edited { payload, .. } => {
                let Ok(Noted::Value(value)) = serde_json::from_str(payload) else {
                    panic!("{payload}");
                };
                (verdict.redrives, verdict.edit) = (order.redrives + 1, Some(value));
            }
            other => panic!("nothing is known of {other:?}"),
        }
        true
    }

    /// Meets all that was not met yet.
    pub(crate) fn settle(&mut self, log: &Entries, poison: &BTreeSet<u32>) {
        for (place, entry) in log {
            if !self.met.insert(*place) {
                continue;
            }
            match entry {
                Entry::Event { value, .. } if *value == ASIDE => {}
                Entry::Event { key, value } => {
                    let key = self.keys.entry(key.clone()).or_default();
                    let is_first = key.waiting.is_empty();
                    key.waiting.push((place.0, place.1, *value));
                    if is_first {
                        flush(key, &self.verdicts, poison);
                    }
                }
                Entry::Decision(decision) => {
                    if self.read.insert(*place) && !self.take(*place, decision) {
                        continue;
                    }
                    let offset = decision.order().offset;
                    let verdict = self.verdicts.entry((place.0, offset)).or_default();
                    let after = decision.order().redrives + 1;
                    let is_new = verdict.carried_out < after && after <= verdict.redrives;
                    match decision {
                        LetterDecision::Redriven(_) | LetterDecision::Edited { .. } if is_new => {
                            verdict.carried_out = after;
                        }
                        LetterDecision::Discarded(_) if verdict.discarded => {}
                        _ => continue,
                    }
                    let is_head = |key: &&mut Key| {
                        let head = key.waiting.first();
                        head.is_some_and(|head| (head.0, head.1) == (place.0, offset))
                    };
                    if let Some(key) = self.keys.values_mut().find(is_head) {
                        flush(key, &self.verdicts, poison);
                    }
                }
            }
        }
    }

    pub(crate) fn rows(&self) -> ListRows {
        let keys = self.keys.iter();
        keys.filter(|(_, key)| !key.applied.is_empty())
            .map(|(name, key)| (name.clone(), key.applied.clone()))
            .collect()
    }

    pub(crate) fn left(&self) -> BTreeSet<Left> {
        let parked = self.keys.iter();
        parked
            .filter_map(|(name, key)| {
                let (&(partition, offset, _), behind) = key.waiting.split_first()?;
                let bytes = |value: u32| serde_json::to_vec(&Noted::Value(value)).unwrap().len();
                let verdict = self.verdicts.get(&(partition, offset));
                Some(Left {
                    key: name.clone(),
                    offset,
                    redrives: verdict.map_or(0, |verdict| verdict.redrives),
                    followers: behind.len() as u64,
                    followers_bytes: behind.iter().map(|(.., value)| bytes(*value) as u64).sum(),
                })
            })
            .collect()
    }

    /// What rows are once nothing fails any more and nothing waits: by the log alone.
    pub(crate) fn in_the_end(log: &Entries) -> ListRows {
        let mut model = Self::default();
        let nothing = BTreeSet::new();
        model.open(log, &nothing);
        model.settle(log, &nothing);
        model.rows()
    }
}

/// Applies what waits up to the next that fails.
fn flush(key: &mut Key, verdicts: &HashMap<(u16, u64), Verdict>, poison: &BTreeSet<u32>) {
    while let Some(&(partition, offset, value)) = key.waiting.first() {
        let verdict = verdicts.get(&(partition, offset));
        if !verdict.is_some_and(|verdict| verdict.discarded) {
            let value = verdict.and_then(|verdict| verdict.edit).unwrap_or(value);
            if poison.contains(&value) {
                return;
            }
            key.applied.push(value);
        }
        key.waiting.remove(0);
    }
}
