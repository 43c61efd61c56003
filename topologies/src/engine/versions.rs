//! The versions of each projection that run, and which of them answers.
//!
//! Place: the record in `state/` -> **here**, at the start -> queries by name, and [`Rebuild`](super::Rebuild), which
//! changes it. Invariants: (1) exactly one version of a name answers, the one that the record names; (2) the record is changed
//! before readers are; (3) one change of a name at a time.
//! What answers when the program does not declare the version that the record names: the one that it declares with
//! `.projection(…)`, with a warning, so that a program can be put back to an earlier one. A version that was dropped is not
//! built again as long as others of its name are declared beside it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::event::{PartitionId, Token};
use millstream_engine::metrics::{ProjectionMetrics, VersionMetrics};
use millstream_engine::stage::StageHandle;
use millstream_engine::state::RegisteredProjection;
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
    /// Held while one is changed for another, compared or dropped.
    pub(super) changing: tokio::sync::Mutex<()>,
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

/// Projections of one name that are to run.
struct Chosen<'t> {
    declared: Vec<&'t dyn AnyProjection>,
    active: u32,
}

/// Registers the projections of a topology, sees which version of each answers, and makes their stages. Blocks on the
/// state's writer.
pub(super) fn prepare(
    projections: &[Box<dyn AnyProjection>],
    around: &Surroundings,
) -> Result<Vec<Vec<Prepared>>, (&'static str, OpenProjectionError)> {
    let mains = projections.iter().filter(|one| !one.is_candidate());
    let prepared: Vec<_> = mains
        .map(|main| {
            let name = main.name();
            prepare_one(&**main, projections, around).map_err(|cause| (name, cause))
        })
        .collect::<Result<_, _>>()?;
    reads::connect(&prepared)?;
    Ok(prepared)
}

fn prepare_one(
    main: &dyn AnyProjection,
    projections: &[Box<dyn AnyProjection>],
    around: &Surroundings,
) -> Result<Vec<Prepared>, OpenProjectionError> {
    let chosen = choose(main, projections, around)?;
    let registered: Vec<_> = chosen
        .declared
        .iter()
        .map(|one| one.register(around))
        .collect::<Result<_, _>>()?;
    around.writer.activate_version(main.name(), chosen.active)?;
    let mut all = registered.iter();
    let active = all.find(|one| one.version == chosen.active);
    let outlets = match active {
        Some(active) => effects::open(main.name(), &chosen.declared, active.id, around)?,
        None => None,
    };
    let all = chosen.declared.iter().zip(registered);
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
) -> Result<Chosen<'t>, OpenProjectionError> {
    let name = main.name();
    let of_name = projections.iter().map(|one| &**one);
    let mut declared: Vec<_> = of_name.filter(|one| one.name() == name).collect();
    let numbers: Vec<_> = declared.iter().map(|one| one.version()).collect();
    around.writer.forget_dropped(name, &numbers)?;
    let Some(known) = around.store.versions(name)? else {
        let active = main.version();
        return Ok(Chosen { declared, active });
    };
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
    declared.retain(|one| one.version() == active || !known.dropped.contains(&one.version()));
    for version in numbers {
        if version != active && known.dropped.contains(&version) {
            tracing::info!(
                projection = name,
                version,
                "this version was dropped and is not built again: declare it no more"
            );
        }
    }
    Ok(Chosen { declared, active })
}

/// The versions of one name, once their stages run.
pub(super) fn started(prepared: Vec<(Prepared, Vec<StageHandle>)>) -> Option<Versions> {
    let first = &prepared.first()?.0;
    let (name, outlets) = (first.name, first.outlets.clone());
    let all: Vec<_> = prepared
        .into_iter()
        .map(|(prepared, stages)| Version {
            version: prepared.registered.version,
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
    })
}
