//! What is known of a stage besides its types: what `build` checks.

use std::path::{Path, PathBuf};

use millstream_operators::window::Timing;

use super::flow::EdgeId;

/// Keyed state of an operator.
#[derive(Clone, Debug)]
pub(super) struct StateNote {
    /// What keeps it, for messages: `window`, `join`.
    pub(super) kind: &'static str,
    /// Needed once a dataflow has more than one.
    pub(super) name: Option<String>,
}

/// What an operator has to do with order and time, for who relies on the same results at each start.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// What comes out is not the same at each start although what goes in is.
    Varies(Varies),
    /// What comes out depends on the order in which items come: where that varies, other items come out.
    ByArrival,
    /// Watermarks, or the end of the input, make it give something out, or forget.
    InTime(InTime),
}

/// What is not the same at each start, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Varies {
    /// The operator, or the source.
    pub(super) place: String,
    pub(super) reason: String,
    /// It gives the same items, in another order: windows behind it may not care.
    pub(super) only_order: bool,
}

/// An operator that goes by event time.
#[derive(Clone, Debug)]
pub(super) struct InTime {
    pub(super) place: String,
    /// Without a watermark its state grows until the end of the input.
    pub(super) needs_watermark: bool,
    /// The end of the input makes it give something out.
    pub(super) at_end: bool,
    /// What comes out for a key is in an order of its own, whatever that of the items was.
    pub(super) orders: bool,
}

impl Note {
    /// Another order at each start.
    pub(super) fn order(place: impl Into<String>, reason: &str) -> Self {
        Self::varies(place, reason, true)
    }

    /// Other items at each start.
    pub(super) fn content(place: impl Into<String>, reason: &str) -> Self {
        Self::varies(place, reason, false)
    }

    /// Other items at each start, since they depend on when they are read.
    pub(super) fn by_clock(place: impl Into<String>) -> Self {
        Self::content(place, "it goes by the engine's clock")
    }

    fn varies(place: impl Into<String>, reason: &str, only_order: bool) -> Self {
        Self::Varies(Varies {
            place: place.into(),
            reason: reason.to_owned(),
            only_order,
        })
    }

    /// An operator that the watermark drives: it orders its output and needs a watermark, or neither.
    pub(super) fn in_time(place: impl Into<String>, needs_watermark: bool, orders: bool) -> Self {
        Self::InTime(InTime {
            place: place.into(),
            needs_watermark,
            at_end: true,
            orders,
        })
    }

    /// An operator that only forgets as event time goes on.
    pub(super) fn forgetting(place: impl Into<String>) -> Self {
        Self::InTime(InTime {
            place: place.into(),
            needs_watermark: true,
            at_end: false,
            orders: false,
        })
    }

    /// Those of a window.
    pub(super) fn of_window(place: &str, timing: Timing) -> Vec<Self> {
        let mut notes = Vec::new();
        if timing.by_arrival {
            notes.push(Self::ByArrival);
        }
        if timing.by_watermark || timing.by_end {
            let orders = timing.by_watermark;
            notes.push(Self::in_time(place, timing.by_watermark, orders));
        }
        if timing.by_clock {
            notes.push(Self::by_clock(place));
        }
        if timing.is_revised {
            let reason = "how often late items revise its results depends on when they are read";
            notes.push(Self::content(place, reason));
        }
        notes
    }
}

/// Where items go that come too late for a stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum LateWay {
    /// Nowhere: they are counted.
    Counted,
    /// Over this edge.
    Side(EdgeId),
    /// Into dead letters.
    Letters,
}

impl LateWay {
    pub(super) const fn edge(self) -> Option<EdgeId> {
        match self {
            Self::Side(edge) => Some(edge),
            Self::Counted | Self::Letters => None,
        }
    }
}

/// A stage.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// What it begins with, for its name unless one is given.
    pub(super) kind: String,
    pub(super) name: Option<String>,
    /// As far as it is known; see `follows`.
    pub(super) partitions: usize,
    /// It has as many partitions as the stage that sends over this edge, which may be declared later.
    pub(super) follows: Option<EdgeId>,
    pub(super) inputs: Vec<EdgeId>,
    /// Those of its inputs that have no say in what time it is.
    pub(super) timeless: Vec<EdgeId>,
    pub(super) outputs: Vec<EdgeId>,
    pub(super) states: Vec<StateNote>,
    /// Operators that may fail.
    pub(super) failing: usize,
    /// It keeps late items as dead letters.
    pub(super) has_late_letters: bool,
    /// In the order of its operators.
    pub(super) notes: Vec<Note>,
    /// Its number among the sources, if it reads one.
    pub(super) source: Option<usize>,
    /// What it lets out when a checkpoint is complete cannot be taken back.
    pub(super) lets_out: bool,
    /// Its name as a producer, if it ends in a sink that tells repetitions by their number.
    pub(super) producer: Option<String>,
    /// The table that it writes, if it ends in one.
    pub(super) table: Option<&'static str>,
    /// The files that it writes, if it ends in some.
    pub(super) files: Option<FilesNote>,
}

/// What no two file sinks may have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilesNote {
    /// However it was written, as far as that can be told.
    pub(crate) folder: PathBuf,
    pub(crate) prefix: String,
}

impl FilesNote {
    pub(super) fn new(folder: &Path, prefix: &str) -> Self {
        // What is not there yet has no other name, but for folders above it.
        let known = folder
            .canonicalize()
            .or_else(|_| std::path::absolute(folder));
        Self {
            folder: known.unwrap_or_else(|_| folder.to_owned()),
            prefix: prefix.to_owned(),
        }
    }
}

impl Site {
    pub(super) fn new(kind: impl Into<String>, partitions: usize, inputs: Vec<EdgeId>) -> Self {
        Self {
            kind: kind.into(),
            name: None,
            partitions,
            follows: None,
            inputs,
            timeless: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            failing: 0,
            has_late_letters: false,
            notes: Vec::new(),
            source: None,
            lets_out: false,
            producer: None,
            table: None,
            files: None,
        }
    }

    /// Where its late items go.
    pub(super) fn leads_late(&mut self, late: LateWay) {
        self.outputs.extend(late.edge());
        self.has_late_letters |= matches!(late, LateWay::Letters);
    }

    /// What its state is found by, if anything in it has a name: it must not depend on the order of declaration.
    pub(super) fn identity(&self) -> Option<String> {
        let named = self.states.iter().find_map(|state| state.name.clone());
        let table = || self.table.map(table_identity);
        let producer = || self.producer.as_ref().map(|name| format!("log {name}"));
        self.name.clone().or(named).or_else(table).or_else(producer)
    }

    /// As many partitions as the stage that sends over its first input.
    pub(super) fn following(mut self) -> Self {
        self.follows = self.inputs.first().copied();
        self
    }
}

/// What the state of the stage that writes a table is found by.
pub(super) fn table_identity(table: &str) -> String {
    format!("table {table}")
}
