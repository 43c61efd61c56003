//! A dataflow beside the measured one whose consumer never takes anything.

use std::num::NonZeroUsize;

use millstream::TopologyBuilder;
use millstream::dataflow::FlowOptions;
use tokio::sync::mpsc::channel;

use crate::gate::Gate;

/// How it hangs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hung {
    /// A channel that nobody reads: the stage waits, and no thread does.
    Channel,
    /// A closure that does not return, and keeps the thread that it is called on.
    Thread,
    /// The same in a dataflow that has threads of its own.
    OwnThread,
}

/// Events that it has, more than its mailboxes hold.
const EVENTS: u64 = 10_000_000;

/// Lets go of what hangs when it is dropped.
pub(super) struct Release {
    gate: Gate,
    receiver: Option<Box<dyn std::any::Any + Send>>,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.gate.open();
        self.receiver = None;
    }
}

impl Hung {
    /// Adds the dataflow; what hangs does so until the other value is dropped.
    pub(super) fn declare(self, topology: TopologyBuilder) -> (TopologyBuilder, Release) {
        let gate = Gate::default();
        let (sender, receiver) = channel::<u64>(16);
        let inner = gate.clone();
        let own_threads = match self {
            Self::OwnThread => NonZeroUsize::new(2),
            Self::Channel | Self::Thread => None,
        };
        let options = FlowOptions {
            own_threads,
            ..FlowOptions::default()
        };
        let topology = topology.dataflow_with("hung", options, move |flow| {
            let numbers = flow.items(0..EVENTS).stream();
            match self {
                Self::Channel => numbers.to_channel(sender),
                Self::Thread | Self::OwnThread => numbers.for_each(move |_, _| inner.wait()),
            }
        });
        let receiver = Some(Box::new(receiver) as Box<dyn std::any::Any + Send>);
        (topology, Release { gate, receiver })
    }
}
