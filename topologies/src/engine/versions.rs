//! The versions of each projection that run, and which of them answers.
//!
//! Place: the record in `state/` -> **here**, at the start -> queries by name, and [`Rebuild`](super::Rebuild), which
//! changes it. Invariants: (1) exactly one version of a name answers, the one that the record names; (2) the record is changed
//! before readers are; (3) one change of a name at a time.
//! What answers when the program does not declare the version that the record names: the one that it declares with
//! `.projection(…)`, with a warning, so that a program can be put back to an earlier one. A version that was dropped is not
//! built again as long as others of its name are declared beside it, unless one that runs reads its tables.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::event::{PartitionId, Token};
use millstream_engine::metrics::{ProjectionMetrics, VersionMetrics};
use millstream_engine::stage::StageHandle;
use millstream_engine::state::{RegisteredProjection, StateError};
use millstream_operators::projection::{
    AnyReader, OpenProjectionError, Outlets, ProgressBoard, QueryError, Reads,
};

use super::effects;
use super::pace::Pace;
use super::projections::{AnyProjection, Prepared, Surroundings};
use super::reads;
use super::table_at::Told;

/// One version of a projection that runs.
pub(super) struct Version {
    pub(super) version: u32,
    /// Category of the events that it reads.
    pub(super) category: &'static str,
    pub(super) board: Arc<ProgressBoard>,
    pub(super) readers: Vec<(&'static str, Arc<dyn AnyReader>)>,
    pub(super) told: Told,
    pub(super) registered: RegisteredProjection,
    /// Tables of others that it looks into.
    pub(super) reads: Reads,
    pub(super) stages: Vec<StageHandle>,
    /// How fast it has come further lately.
    pub(super) pace: Mutex<Pace>,
    pub(super) metrics: VersionMetrics,
    /// By partition, of one that was given up and shows nothing itself.
    pub(super) lags: Vec<ProjectionMetrics>,
    /// Figures of one that was dropped are shown once more, as zeros.
    pub(super) is_gone: AtomicBool,
}

/// The versions of one projection.
pub(super) struct Versions {
    pub(super) name: &'static str,
    all: Vec<Version>,
    active: AtomicUsize,
    /// Their outboxes, if they have some.
    pub(super) outlets: Option<Arc<Outlets>>,
    /// Held while one is changed for another or dropped, and while two come to one position.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// Held while two are compared: each comparison keeps rows as they were. Taken before the other.
    pub(super) comparing: tokio::sync::Mutex<()>,
}

impl Versions {
    /// The version that answers.
    pub(super) fn active(&self) -> &Version {
        &self.all[self.active.load(Ordering::Acquire)]
    }

    /// Those that were not dropped, as they were declared.
    pub(super) fn all(&self) -> impl Iterator<Item = &Version> {
        self.all.iter().filter(|one| !one.board.is_dropped())
    }

    /// All that were started.
    pub(super) fn started(&self) -> &[Version] {
        &self.all
    }

    pub(super) fn get(&self, version: u32) -> Option<&Version> {
        self.all().find(|one| one.version == version)
    }

    /// Waits until the version that answers shows all that `token` has seen: if that is another one meanwhile, and the one before is
    /// dropped, the other one.
    pub(super) async fn reached(
        &self,
        token: &Token,
        deadline: Duration,
    ) -> Result<(), QueryError> {
        loop {
            let board = &self.active().board;
            let reached = board.reached(token, deadline).await;
            if !board.is_dropped() {
                return reached;
            }
        }
    }

    /// Has another version answer.
    pub(super) fn activate(&self, version: u32) {
        let Some(at) = self.all.iter().position(|one| one.version == version) else {
            return;
        };
        // The new one first: whoever sees neither as active would be told wrong.
        self.all[at].board.set_active(true);
        let before = self.active.swap(at, Ordering::AcqRel);
        if before != at {
            self.all[before].board.set_active(false);
        }
    }
}

/// Projections of one name, and which of them are to run.
struct Chosen<'t> {
    name: &'static str,
    declared: Vec<&'t dyn AnyProjection>,
    /// Versions that are not, since they were dropped.
    dropped: Vec<u32>,
    active: u32,
}

impl<'t> Chosen<'t> {
    fn running(&self) -> impl Iterator<Item = &'t dyn AnyProjection> {
        let declared = self.declared.iter().copied();
        declared.filter(|one| !self.dropped.contains(&one.version()))
    }
}

/// Registers the projections of a topology, sees which version of each answers, and makes their stages. Blocks on the
/// state's writer.
pub(super) fn prepare(
    projections: &[Box<dyn AnyProjection>],
    around: &Surroundings,
) -> Result<Vec<Vec<Prepared>>, (&'static str, OpenProjectionError)> {
    let mains = projections.iter().filter(|one| !one.is_candidate());
    let mut chosen: Vec<_> = mains
        .map(|main| {
            let name = main.name();
            choose(&**main, projections, around).map_err(|cause| (name, cause.into()))
        })
        .collect::<Result<_, _>>()?;
    build_what_is_read(&mut chosen);
    let prepared: Vec<_> = chosen
        .iter()
        .map(|chosen| prepare_one(chosen, around).map_err(|cause| (chosen.name, cause)))
        .collect::<Result<_, _>>()?;
    reads::connect(&prepared)?;
    Ok(prepared)
}

fn prepare_one(
    chosen: &Chosen<'_>,
    around: &Surroundings,
) -> Result<Vec<Prepared>, OpenProjectionError> {
    let (name, running): (_, Vec<_>) = (chosen.name, chosen.running().collect());
    // Those that are not declared any more, and those that are built all the same.
    around.writer.forget_dropped(name, &chosen.dropped)?;
    for version in &chosen.dropped {
        tracing::info!(
            projection = name,
            version,
            "this version was dropped and is not built again: declare it no more"
        );
    }
    let registered: Vec<_> = running
        .iter()
        .map(|one| one.register(around))
        .collect::<Result<_, _>>()?;
    around.writer.activate_version(name, chosen.active)?;
    let mut all = registered.iter();
    let active = all.find(|one| one.version == chosen.active);
    let outlets = match active {
        Some(active) => effects::open(name, &running, active.id, around)?,
        None => None,
    };
    let all = running.iter().zip(registered);
    all.map(|(one, registered)| {
        let is_active = one.version() == chosen.active;
        one.prepare(around, registered, is_active, outlets.clone())
    })
    .collect()
}

fn choose<'t>(
    main: &'t dyn AnyProjection,
    projections: &'t [Box<dyn AnyProjection>],
    around: &Surroundings,
) -> Result<Chosen<'t>, StateError> {
    let name = main.name();
    let of_name = projections.iter().map(|one| &**one);
    let declared: Vec<_> = of_name.filter(|one| one.name() == name).collect();
    let Some(known) = around.store.versions(name)? else {
        return Ok(Chosen {
            name,
            declared,
            dropped: Vec::new(),
            active: main.version(),
        });
    };
    let numbers: Vec<_> = declared.iter().map(|one| one.version()).collect();
    let mut active = known.active;
    if !numbers.contains(&active) {
        active = main.version();
        tracing::warn!(
            projection = name,
            version = known.active,
            answers = active,
            "the version that answered is not declared any more: the one declared with .projection(…) does, from where its \
             rows stand"
        );
    }
    let mut dropped = known.dropped;
    dropped.retain(|version| *version != active && numbers.contains(version));
    Ok(Chosen {
        name,
        declared,
        dropped,
        active,
    })
}

/// Has versions run that were dropped where one that runs reads their tables, which would have no answers: while no engine runs,
/// nobody knows who reads what when one is dropped.
fn build_what_is_read(chosen: &mut [Chosen<'_>]) {
    // One that is built may read others.
    while let Some((at, version, reader)) = read_and_dropped(chosen) {
        let one = &mut chosen[at];
        one.dropped.retain(|dropped| *dropped != version);
        tracing::warn!(
            projection = one.name,
            version,
            reader,
            "this version was dropped and is built again: another projection reads it"
        );
    }
}

/// A version that was dropped, by the place of its projection, and one that runs and reads it.
fn read_and_dropped(chosen: &[Chosen<'_>]) -> Option<(usize, u32, &'static str)> {
    chosen.iter().flat_map(Chosen::running).find_map(|reader| {
        reader.reads().all().find_map(|read| {
            let (of, version) = (read.of(), read.version());
            let mut all = chosen.iter();
            let at = all.position(|one| one.name == of && one.dropped.contains(&version))?;
            Some((at, version, reader.name()))
        })
    })
}

/// The versions of one name, once their stages run.
pub(super) fn started(prepared: Vec<(Prepared, Vec<StageHandle>)>) -> Option<Versions> {
    let first = &prepared.first()?.0;
    let (name, outlets) = (first.name, first.outlets.clone());
    let all: Vec<_> = prepared
        .into_iter()
        .map(|(prepared, stages)| Version {
            version: prepared.registered.version,
            category: prepared.category,
            metrics: VersionMetrics::new(name, prepared.registered.version),
            lags: (0..prepared.board.partitions())
                .map(|of| {
                    ProjectionMetrics::new(name, prepared.registered.version, PartitionId(of))
                })
                .collect(),
            board: prepared.board,
            readers: prepared.readers,
            told: prepared.told,
            registered: prepared.registered,
            reads: prepared.reads,
            stages,
            pace: Mutex::default(),
            is_gone: AtomicBool::new(false),
        })
        .collect();
    let active = all.iter().position(|one| one.board.is_active())?;
    Some(Versions {
        name,
        all,
        active: AtomicUsize::new(active),
        outlets,
        changing: tokio::sync::Mutex::new(()),
        comparing: tokio::sync::Mutex::new(()),
    })
}
