//! Which projection looks into the tables of which other.
//!
//! Place: [`Reads`](millstream_operators::projection::Reads) of each projection -> **here**: checked when a topology is built,
//! connected when an engine starts, asked before a version is dropped. Invariants: (1) a projection reads the version that it
//! names, whichever answers queries; (2) one that is read by a version that answers has all the time that it needs, and at a
//! shutdown comes to the end of the log as that one does; (3) no version is dropped while another projection that runs reads
//! it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use millstream_operators::projection::{OpenProjectionError, OpenReads, ReadFault};

use super::projections::{AnyProjection, Prepared};
use super::versions::{Version, Versions};

/// Whatever is wrong with what the projections of a topology read of each other, with the name of who reads.
pub(crate) fn faults(projections: &[Box<dyn AnyProjection>]) -> Vec<(&'static str, ReadFault)> {
    let declared: HashSet<_> = projections
        .iter()
        .map(|one| (one.name(), one.version()))
        .collect();
    let mut edges: HashMap<&str, Vec<&'static str>> = HashMap::new();
    for one in projections {
        let of = one.reads();
        edges
            .entry(one.name())
            .or_default()
            .extend(of.all().map(|read| read.of()));
    }
    let mut faults = Vec::new();
    for one in projections {
        let name = one.name();
        faults.extend(one.read_faults().into_iter().map(|fault| (name, fault)));
        let mut told = HashSet::new();
        for read in one.reads().all() {
            let (of, version, table) = (read.of(), read.version(), read.table());
            if !declared.contains(&(of, version)) {
                faults.push((name, ReadFault::Undeclared { of, version, table }));
            }
            if of != name && told.insert(of) && reaches(&edges, of, name) {
                faults.push((name, ReadFault::Cycle { of }));
            }
        }
    }
    faults
}

/// Whether a projection reads another one, by way of others as well.
fn reaches(edges: &HashMap<&str, Vec<&'static str>>, from: &'static str, to: &str) -> bool {
    let (mut seen, mut left) = (HashSet::new(), vec![from]);
    while let Some(next) = left.pop() {
        if next == to {
            return true;
        }
        if seen.insert(next) {
            left.extend(edges.get(next).into_iter().flatten());
        }
    }
    false
}

/// Gives each projection the readers of what it reads.
pub(super) fn connect(
    prepared: &[Vec<Prepared>],
) -> Result<(), (&'static str, OpenProjectionError)> {
    let all = || prepared.iter().flatten();
    for one in all() {
        let mut open = OpenReads::default();
        for read in one.reads.all() {
            let (of, version, table) = (read.of(), read.version(), read.table());
            let mut others = all().filter(|other| other.name == of);
            let other = others.find(|other| other.registered.version == version);
            let mut readers = other.into_iter().flat_map(|other| &other.readers);
            let Some((_, reader)) = readers.find(|(name, _)| *name == table) else {
                let cause = OpenProjectionError::NotRunning { of, version, table };
                return Err((one.name, cause));
            };
            open.0.push(Arc::clone(reader));
        }
        // Once, before its stages run.
        let _ = one.open_reads.set(open);
        let readers = all().filter(|other| {
            let mut reads = other.reads.all();
            let own = (one.name, one.registered.version);
            reads.any(|read| (read.of(), read.version()) == own)
        });
        let readers = readers.map(|other| Arc::downgrade(&other.board));
        one.board.set_readers(readers.collect());
    }
    Ok(())
}

/// Another projection that runs and reads this version: its name and version.
pub(super) fn reader_of(
    all: &[Arc<Versions>],
    name: &str,
    version: u32,
) -> Option<(&'static str, u32)> {
    let reads = |one: &&Version| {
        let mut reads = one.reads.all();
        reads.any(|read| read.of() == name && read.version() == version)
    };
    all.iter().find_map(|versions| {
        let found = versions.all().find(reads)?;
        Some((versions.name, found.version))
    })
}
