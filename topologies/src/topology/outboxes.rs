//! Whether each outbox is sent to by one projection and delivered by one function.

use std::any::TypeId;
use std::collections::HashMap;

use super::{Topology, TopologyFault};

/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 255;

pub(super) fn check(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let mut declared = HashMap::new();
    let mut told = Vec::new();
    for projection in &topology.projections {
        let (name, version) = (projection.name(), projection.version());
        for outbox in projection.outboxes() {
            let is_name = !outbox.name.is_empty()
                && outbox.name.len() <= NAME_BYTES_MAX
                && !outbox.name.chars().any(char::is_control);
            if !is_name {
                faults.push(TopologyFault::OutboxName {
                    outbox: outbox.name,
                });
            }
            // Versions of a projection may have the same outboxes, each once.
            let first = declared.insert(outbox.name, (name, version));
            if first.is_some_and(|first| first.0 != name || first.1 == version) {
                faults.push(TopologyFault::SameOutbox {
                    outbox: outbox.name,
                });
            }
            let delivered = topology.deliveries.iter();
            let mut delivered = delivered.filter(|one| one.outbox == outbox.name);
            if !told.contains(&outbox.name) && delivered.next().is_none() {
                told.push(outbox.name);
                faults.push(TopologyFault::Undelivered {
                    projection: name,
                    outbox: outbox.name,
                });
            }
        }
    }
    check_deliveries(topology, faults);
}

fn check_deliveries(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let mut names = Vec::new();
    for delivering in &topology.deliveries {
        let outbox = delivering.outbox;
        if names.contains(&outbox) {
            faults.push(TopologyFault::SameOutbox { outbox });
            continue;
        }
        names.push(outbox);
        let sent: Vec<TypeId> = topology
            .projections
            .iter()
            .flat_map(|projection| projection.outboxes())
            .filter(|own| own.name == outbox)
            .map(|own| own.effect)
            .collect();
        if sent.is_empty() || sent.iter().any(|effect| *effect != delivering.effect) {
            faults.push(TopologyFault::UnknownOutbox { outbox });
        }
    }
}
