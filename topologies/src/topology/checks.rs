//! What can be wrong with the parts of a topology, alone and with each other.

use std::collections::HashMap;

use millstream_engine::event::StreamId;
use millstream_operators::projection::DECISIONS;

use crate::dataflow::{Dataflow, FilesNote};

use super::{Topology, TopologyFault};

pub(super) fn aggregates(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let mut categories = HashMap::new();
    for aggregate in &topology.aggregates {
        let category = aggregate.category();
        if category.contains('@') || StreamId::new(category, "x").is_err() {
            faults.push(TopologyFault::Category { category });
        }
        if category == DECISIONS {
            faults.push(TopologyFault::ReservedCategory { category });
        }
        if categories.insert(category, ()).is_some() {
            faults.push(TopologyFault::SameCategory { category });
        }
        if aggregate.version() == 0 {
            faults.push(TopologyFault::VersionZero {
                part: "aggregate",
                name: category,
            });
        }
    }
}

pub(super) fn projections(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let mut tables = HashMap::new();
    versions(topology, faults);
    for projection in &topology.projections {
        let name = projection.name();
        if projection.version() == 0 {
            faults.push(TopologyFault::VersionZero {
                part: "projection",
                name,
            });
        }
        if projection.is_ordered_in_vain() {
            faults.push(TopologyFault::OrderByPartition { projection: name });
        }
        if projection.is_batched_in_vain() {
            faults.push(TopologyFault::BatchOfEach { projection: name });
        }
        if projection.is_routed_in_vain() {
            faults.push(TopologyFault::RoutedTogether { projection: name });
        }
        for (table, index) in projection.unkept_unique() {
            faults.push(TopologyFault::UniqueByPartition {
                projection: name,
                table,
                index,
            });
        }
        let version = projection.version();
        for table in projection.tables() {
            // Versions of a projection may have the same tables, each once.
            let first = tables.insert(table, (name, version));
            let conflict = first.filter(|first| first.0 != name || first.1 == version);
            if let Some((first, _)) = conflict {
                faults.push(TopologyFault::SameTable {
                    table,
                    first,
                    second: name,
                });
            }
        }
    }
}

/// Whether each projection is declared once, and each candidate is another version of one.
fn versions(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let (mut names, mut known) = (HashMap::new(), HashMap::new());
    let declared = topology.projections.iter();
    for projection in declared.clone().filter(|one| !one.is_candidate()) {
        let (name, version) = (projection.name(), projection.version());
        known.insert((name, version), ());
        if names.insert(name, ()).is_some() {
            faults.push(TopologyFault::SameProjection { name });
        }
    }
    for projection in declared.filter(|one| one.is_candidate()) {
        let (name, version) = (projection.name(), projection.version());
        if !names.contains_key(name) {
            faults.push(TopologyFault::CandidateOfNone { name, version });
        }
        if known.insert((name, version), ()).is_some() {
            faults.push(TopologyFault::SameVersion { name, version });
        }
    }
}

/// Each dataflow writes files of its own; twice in one has been told.
fn check_files(dataflows: &[Dataflow], at: usize, faults: &mut Vec<TopologyFault>) {
    let (before, second) = (&dataflows[..at], dataflows[at].name());
    for FilesNote { folder, prefix } in dataflows[at].files() {
        let has_it = |other: &&Dataflow| {
            let mut files = other.files().into_iter();
            files.any(|files| files.folder == folder && files.prefix == prefix)
        };
        if let Some(first) = before.iter().find(has_it) {
            faults.push(TopologyFault::SameFiles {
                first: first.name().to_owned(),
                second: second.to_owned(),
                folder,
                prefix,
            });
        }
    }
}

/// What the parts of a topology must know of each other; each dataflow alone is checked already.
pub(super) fn dataflows(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let mut tables = HashMap::new();
    for projection in &topology.projections {
        for table in projection.tables() {
            tables.insert(table, format!("projection {:?}", projection.name()));
        }
    }
    let mut producers: HashMap<String, &str> = HashMap::new();
    for (at, dataflow) in topology.dataflows.iter().enumerate() {
        let name = dataflow.name();
        for producer in dataflow.producers() {
            match producers.insert(producer.clone(), name) {
                // Twice in one dataflow: it has been told.
                Some(first) if first != name => faults.push(TopologyFault::SameProducer {
                    producer,
                    first: first.to_owned(),
                    second: name.to_owned(),
                }),
                _ => {}
            }
        }
        check_files(&topology.dataflows, at, faults);
        for table in dataflow.tables() {
            if let Some(owner) = tables.insert(table, format!("dataflow {name:?}")) {
                let dataflow = name.to_owned();
                faults.push(TopologyFault::TableTaken {
                    dataflow,
                    table,
                    owner,
                });
            }
        }
        for (source_name, (id, event_type)) in dataflow.event_types() {
            let mut aggregates = topology.aggregates.iter();
            if !aggregates.any(|aggregate| aggregate.events() == id) {
                faults.push(TopologyFault::UnknownEvents {
                    dataflow: name.to_owned(),
                    source_name,
                    event_type,
                });
            }
        }
    }
}
