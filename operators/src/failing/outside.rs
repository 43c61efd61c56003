//! What is shown of items that failed: letters in `state/`, the board, metrics.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use compact_str::CompactString;
use millstream_engine::checkpoint::{Control, Epoch};
use millstream_engine::event::Position;
use millstream_engine::flow::{Fault, Fence, Pass, Wiring};
use millstream_engine::log::frame::{Encoding, Kind};
use millstream_engine::metrics::DeadLetterMetrics;
use millstream_engine::state::{DeadLetter, DeadLetterId, DeadLetterStatus, EarlierTries};
use serde::Serialize;

use super::cause::told;
use super::entry::{Entry, Place, Work};
use super::letters::{ItemLetters, Shown, letter_stage};
use crate::projection::ITEMS;
use crate::sink::{LetterAccess, LetterStore};

/// Version of a dataflow's letters.
const VERSION: u32 = 1;
/// Key of letters of items that have none.
const NO_KEY: &str = "item";

/// What a stage that is open shows to others.
pub(super) struct Outside {
    pub(super) stage: Arc<str>,
    pub(super) partition: usize,
    /// If there is a place for them.
    pub(super) letters: Option<LetterStore>,
    pub(super) shared: Option<Arc<ItemLetters>>,
    /// Behind it is what outlives this run.
    fence: Arc<Fence>,
    pub(super) metrics: DeadLetterMetrics,
    /// What waits has a letter.
    keeps_letters: bool,
    /// Of the run, if a restart goes back to a checkpoint.
    checkpoints: Option<Arc<Control>>,
    /// Letters to be written at the end of the turn.
    changed: BTreeSet<Place>,
    /// Letters of what is tried again by itself, or of which only what waits behind has changed: written now and then, and
    /// at barriers.
    later: BTreeSet<Place>,
    /// Letters that no checkpoint has, those of checkpoints that are not complete apart.
    unsaved: HashSet<DeadLetterId>,
    saving: VecDeque<(Epoch, HashSet<DeadLetterId>)>,
}

impl Outside {
    /// The `ordinal`th operator of its stage that may fail.
    pub(super) fn open(
        wiring: &Wiring,
        ordinal: usize,
        keeps_letters: bool,
    ) -> Result<Self, Fault> {
        let stage = letter_stage(&wiring.identity, ordinal);
        // Without letters of its own it has those to delete that it kept by another policy.
        let opens = keeps_letters || wiring.resources.get::<LetterAccess>().is_some();
        let letters = opens.then(|| LetterStore::open(wiring, Arc::clone(&stage), ITEMS));
        let letters = letters.transpose()?;
        let outside = Self {
            metrics: DeadLetterMetrics::new(
                &letter_stage(&wiring.stage, ordinal),
                wiring.partition_id(),
            ),
            stage,
            partition: wiring.partition,
            keeps_letters,
            letters,
            shared: wiring.resources.get::<ItemLetters>(),
            fence: wiring.fence(),
            checkpoints: wiring
                .checkpoints
                .as_ref()
                .map(|link| Arc::clone(link.control())),
            changed: BTreeSet::new(),
            later: BTreeSet::new(),
            unsaved: HashSet::new(),
            saving: VecDeque::new(),
        };
        if let (Some(letters), Some((_pass, board))) = (&outside.letters, outside.board()) {
            let (owner, stage) = (letters.owner(), &outside.stage);
            board.hide_all(owner, stage, wiring.partition, wiring.partitions);
        }
        Ok(outside)
    }

    /// Whether checkpoints have what waits.
    pub(super) const fn has_checkpoints(&self) -> bool {
        self.checkpoints.is_some()
    }

    /// Whether the run is being stopped, and its last checkpoint has what waits.
    pub(super) fn is_stopping(&self) -> bool {
        let checkpoints = self.checkpoints.as_ref();
        checkpoints.is_some_and(|control| control.is_stopping())
    }

    /// It has its first turn.
    pub(super) fn begins(&self) {
        if let (Some(letters), Some((_pass, board))) = (&self.letters, self.board()) {
            board.begins(letters.owner(), &self.stage, self.partition);
        }
    }

    /// Where others see what waits. `None` also for a run that was given up: it is the next one's by then. No key is
    /// written meanwhile, since that is user code.
    fn board(&self) -> Option<(Pass<'_>, &ItemLetters)> {
        let board = self.shared.as_deref()?;
        Some((self.fence.try_pass()?, board))
    }

    /// Work waits from now on, or something about it has changed.
    pub(super) fn changed<K: Serialize, W>(&mut self, entry: &Entry<K, W>, is_new: bool) {
        let Some(letters) = self.letters.as_ref().filter(|_| self.keeps_letters) else {
            return;
        };
        // What is tried again by itself is mostly settled before anybody reads its letter.
        let written = match entry.due {
            None => &mut self.changed,
            Some(_) => &mut self.later,
        };
        written.insert(entry.place);
        let id = letter_id(letters, entry);
        if is_new && self.has_checkpoints() {
            self.unsaved.insert(id);
        }
        let mut shown = Shown {
            holder: self.partition,
            stage: Arc::clone(&self.stage),
            key: entry.holds_key.then(|| key_text(entry.key.as_ref())),
            status: status(entry),
            attempts: entry.attempts,
            redrives: entry.redrives,
            is_saved: !self.has_checkpoints(),
        };
        if let Some((_pass, board)) = self.board() {
            shown.is_saved |= !is_new && board.is_saved(id);
            board.show(id, shown);
        }
    }

    /// The same of what a checkpoint has.
    pub(super) fn restored<K: Serialize, W>(&mut self, entry: &Entry<K, W>) {
        if !self.keeps_letters {
            return;
        }
        self.changed(entry, false);
        self.changed.insert(entry.place);
        let Some(letters) = &self.letters else { return };
        let id = letter_id(letters, entry);
        if let Some((_pass, board)) = self.board() {
            board.saved(id);
        }
    }

    /// More waits behind it.
    pub(super) fn followed(&mut self, place: Place) {
        if self.keeps_letters {
            self.later.insert(place);
        }
    }

    /// It waits no longer.
    pub(super) fn settled<K: Serialize, W>(&mut self, entry: &Entry<K, W>) {
        let Some(letters) = &mut self.letters else {
            return;
        };
        self.changed.remove(&entry.place);
        self.later.remove(&entry.place);
        let id = letter_id(letters, entry);
        self.unsaved.remove(&id);
        if entry.is_stored {
            letters.delete(id);
        }
        if let Some((_pass, board)) = self.board() {
            board.hide(id);
        }
    }

    /// Places whose letters are to be written; with `all` also those that may wait.
    pub(super) fn take_changed(&mut self, all: bool) -> BTreeSet<Place> {
        if all {
            self.changed.append(&mut self.later);
        }
        std::mem::take(&mut self.changed)
    }

    pub(super) fn write<K: Serialize, W: Work>(&mut self, entry: &mut Entry<K, W>) {
        if let Some(letters) = &mut self.letters {
            let letter = letter_of(letters, entry);
            entry.is_stored = true;
            entry.is_noted = false;
            letters.put(letter);
        }
    }

    pub(super) fn before_barrier(&mut self) {
        self.changed.append(&mut self.later);
        if let Some(letters) = &mut self.letters {
            letters.before_barrier();
        }
    }

    /// What waits is part of this checkpoint.
    pub(super) fn saving(&mut self, epoch: Epoch) {
        if !self.unsaved.is_empty() {
            let unsaved = std::mem::take(&mut self.unsaved);
            self.saving.push_back((epoch, unsaved));
        }
    }

    /// This checkpoint is complete, and those before it.
    pub(super) fn saved(&mut self, epoch: Epoch) {
        while self.saving.front().is_some_and(|(of, _)| *of <= epoch)
            && let Some((_, letters)) = self.saving.pop_front()
        {
            if let Some((_pass, board)) = self.board() {
                letters.into_iter().for_each(|letter| board.saved(letter));
            }
        }
    }

    /// Whether a letter waits for a checkpoint.
    pub(super) fn awaits_checkpoint(&self) -> bool {
        !self.unsaved.is_empty() || !self.saving.is_empty()
    }
}

/// The key as letters show it.
pub(super) fn key_text<K: Serialize>(key: Option<&K>) -> CompactString {
    let Some(key) = key else {
        return NO_KEY.into();
    };
    match told(|| serde_json::to_value(key)) {
        Some(Ok(serde_json::Value::String(text))) => text.into(),
        Some(Ok(value)) => value.to_string().into(),
        None | Some(Err(_)) => "(a key without a text)".into(),
    }
}

fn letter_id<K: Serialize, W>(letters: &LetterStore, entry: &Entry<K, W>) -> DeadLetterId {
    let key = key_text(entry.key.as_ref());
    let position = Position::from(entry.place);
    DeadLetterId::new(letters.owner(), position, letters.stage(), &key)
}

fn status<K, W>(entry: &Entry<K, W>) -> DeadLetterStatus {
    entry
        .due
        .map_or(DeadLetterStatus::Dead, |at| DeadLetterStatus::Retrying {
            at,
        })
}

/// What the letter holds of the work.
pub(super) fn payload_of<W: Work>(work: &W) -> (Encoding, Vec<u8>) {
    if let Some(Ok(payload)) = told(|| work.to_json()) {
        return (Encoding::Json, payload);
    }
    // Such as a map whose keys are no texts: as it is saved.
    let saved = told(|| rmp_serde::to_vec_named(work));
    (
        Encoding::Opaque,
        saved.and_then(Result::ok).unwrap_or_default(),
    )
}

fn letter_of<K: Serialize, W: Work>(letters: &LetterStore, entry: &Entry<K, W>) -> DeadLetter {
    let (encoding, payload) = payload_of(&entry.work);
    DeadLetter {
        projection: letters.owner(),
        stage: (&**letters.stage()).into(),
        version: VERSION,
        key: key_text(entry.key.as_ref()),
        status: status(entry),
        cause: entry.cause.clone(),
        class: entry.class.clone(),
        attempts: entry.attempts,
        first_failed: entry.first_failed,
        last_failed: entry.last_failed,
        position: entry.place.into(),
        kind: Kind {
            category: ITEMS.into(),
            event_type: entry.work.type_name().into(),
            schema_version: 1,
            encoding,
        },
        dictionary: Vec::new(),
        payload,
        earlier: entry.earlier.iter().map(EarlierTries::from).collect(),
        redrives: entry.redrives,
        followers: entry.followers.len() as u64,
        followers_bytes: entry.followers_bytes as u64,
        follower_offsets: Vec::new(),
    }
}
