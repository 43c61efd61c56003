//! Declaring a topology: what an engine runs, checked as a whole before anything starts.

use std::fmt;

use millstream_operators::aggregate::{Aggregate, AggregateConfig};
use millstream_operators::projection::{
    Delivering, DeliveryConfig, Effect, Outbox, Projection, ProjectionConfig, Row,
};

use crate::dataflow::{Dataflow, Flow, FlowOptions};
use crate::engine::aggregates::{AnyAggregate, Registered};
use crate::engine::projections::{AnyProjection, Declared};
use crate::engine::reads;

mod checks;
mod fault;
mod outboxes;

pub use fault::{InvalidTopology, TopologyFault};

/// What an engine runs: aggregates, projections and dataflows. Made with [`Topology::named`].
pub struct Topology {
    pub(crate) name: String,
    pub(crate) aggregates: Vec<Box<dyn AnyAggregate>>,
    pub(crate) projections: Vec<Box<dyn AnyProjection>>,
    /// How effects of projections are delivered.
    pub(crate) deliveries: Vec<Delivering>,
    pub(crate) dataflows: Vec<Dataflow>,
    /// Bytes of memory for the state of all dataflows, if that is bounded.
    pub(crate) state_memory: Option<usize>,
    pub(crate) state_disk: Option<u64>,
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let categories: Vec<_> = self.aggregates.iter().map(|a| a.category()).collect();
        let projections: Vec<_> = self.projections.iter().map(|p| p.name()).collect();
        f.debug_struct("Topology")
            .field("name", &self.name)
            .field("aggregates", &categories)
            .field("projections", &projections)
            .field("dataflows", &self.dataflows)
            .finish()
    }
}

/// Collects the parts of a topology.
#[derive(Debug)]
pub struct TopologyBuilder {
    topology: Topology,
    /// Of dataflows, which check themselves when they are declared.
    faults: Vec<TopologyFault>,
    /// Names of all dataflows, also of those with faults.
    dataflows: Vec<String>,
}

impl Topology {
    /// Begins a topology.
    ///
    /// ```
    /// # use millstream::catalog::bank::{Account, Balances};
    /// use millstream::Topology;
    /// let topology = Topology::named("bank")
    ///     .aggregate::<Account>()
    ///     .projection(Balances)
    ///     .build()?;
    /// # Ok::<(), millstream::InvalidTopology>(())
    /// ```
    #[must_use]
    pub fn named(name: &str) -> TopologyBuilder {
        TopologyBuilder {
            topology: Self {
                name: name.to_owned(),
                aggregates: Vec::new(),
                projections: Vec::new(),
                deliveries: Vec::new(),
                dataflows: Vec::new(),
                state_memory: None,
                state_disk: None,
            },
            faults: Vec::new(),
            dataflows: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TopologyBuilder {
    /// Adds an aggregate type.
    #[must_use]
    pub fn aggregate<A: Aggregate>(self) -> Self {
        self.aggregate_with::<A>(AggregateConfig::default())
    }

    /// Adds an aggregate type with limits of its own.
    #[must_use]
    pub fn aggregate_with<A: Aggregate>(mut self, config: AggregateConfig) -> Self {
        let registered = Registered::<A>::new(config);
        self.topology.aggregates.push(Box::new(registered));
        self
    }

    /// Adds a projection.
    #[must_use]
    pub fn projection<P: Projection>(self, projection: P) -> Self {
        self.projection_with(projection, ProjectionConfig::default())
    }

    /// Adds a projection with limits of its own.
    #[must_use]
    pub fn projection_with<P: Projection>(
        mut self,
        projection: P,
        config: ProjectionConfig,
    ) -> Self {
        let declared = Declared::new(projection, config, false);
        self.topology.projections.push(Box::new(declared));
        self
    }

    /// Adds another version of a projection that the topology has: of the same name, with another `VERSION`. It is built from
    /// the log beside the other one, which goes on answering queries until [`Rebuild::switch`](crate::Rebuild::switch)
    /// has this one answer. There may be several.
    #[must_use]
    pub fn candidate<P: Projection>(self, projection: P) -> Self {
        self.candidate_with(projection, ProjectionConfig::default())
    }

    /// The same with limits of its own, such as [`ProjectionConfig::rebuild_share_percent`].
    #[must_use]
    pub fn candidate_with<P: Projection>(
        mut self,
        projection: P,
        config: ProjectionConfig,
    ) -> Self {
        let declared = Declared::new(projection, config, true);
        self.topology.projections.push(Box::new(declared));
        self
    }

    /// Has `deliver` called for each effect that a projection sends to this outbox, live: at least once, in the order of the
    /// log per stream, and again after a while when it gives an error, panics or takes too long. Each outbox of the
    /// topology's projections needs exactly one.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::catalog::bank::{Account, AccountEvent};
    /// use std::convert::Infallible;
    ///
    /// const LETTERS: Outbox<String> = Outbox::named("letters");
    ///
    /// /// A letter for each thing that happens to an account.
    /// struct Correspondence;
    /// impl Projection for Correspondence {
    ///     const NAME: &'static str = "correspondence";
    ///     const VERSION: u32 = 1;
    ///     const ROWS: Rows = Rows::ByPartition;
    ///     const CATEGORY: &'static str = "account";
    ///     type Event = AccountEvent;
    ///     type Tables = (Outbox<String>,);
    ///     type Error = Infallible;
    ///
    ///     fn tables(&self) -> Self::Tables {
    ///         (LETTERS,)
    ///     }
    ///
    ///     fn project(
    ///         &self,
    ///         event: &ProjectedEvent<'_, AccountEvent>,
    ///         (letters,): &mut (OutboxMut<String>,),
    ///     ) -> Result<(), Infallible> {
    ///         letters.send(format!("Dear owner of account {}: {:?}", event.id, event.payload));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let topology = Topology::named("bank")
    ///     .aggregate::<Account>()
    ///     .projection(Correspondence)
    ///     .deliver(&LETTERS, |letter: Effect<String>| async move {
    ///         println!("{}: {}", letter.id, letter.value);
    ///         Ok::<_, Infallible>(())
    ///     })
    ///     .build()?;
    /// # Ok::<(), millstream::InvalidTopology>(())
    /// ```
    #[must_use]
    pub fn deliver<E, F, C>(
        self,
        outbox: &Outbox<E>,
        deliver: impl Fn(Effect<E>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        E: Row,
        F: Future<Output = Result<(), C>> + Send + 'static,
        C: fmt::Display + Send,
    {
        self.deliver_with(outbox, DeliveryConfig::default(), deliver)
    }

    /// The same with limits of its own.
    #[must_use]
    pub fn deliver_with<E, F, C>(
        mut self,
        outbox: &Outbox<E>,
        config: DeliveryConfig,
        deliver: impl Fn(Effect<E>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        E: Row,
        F: Future<Output = Result<(), C>> + Send + 'static,
        C: fmt::Display + Send,
    {
        let delivering = Delivering::new(outbox, config, deliver);
        self.topology.deliveries.push(delivering);
        self
    }

    /// Bounds the memory of the state of all dataflows to about so many bytes: what is used least lies in `spill/` of the
    /// data folder, and is read back when it is used. Without it all state is in memory.
    ///
    /// Windows, keyed state and its timers, patterns and joins keep to it. What waits in operators that may fail, what sinks
    /// keep, and an index of 8 bytes and a bit per key (32 in joins by interval, as of a time and in sliding windows), stay
    /// in memory.
    #[must_use]
    pub const fn state_memory(mut self, bytes: usize) -> Self {
        self.topology.state_memory = Some(bytes);
        self
    }

    /// Bounds what the state of each dataflow takes in `spill/` to about so many bytes, so that a disk on which the log lies,
    /// too, does not fill up. Without [`state_memory`](Self::state_memory) it says nothing. A dataflow that would take more
    /// fails and begins again from its last checkpoint, as often as its restarts allow; the engine and others go on. While it
    /// runs the bound can be moved with
    /// [`MemoryBudget::set_disk_bytes_max`](millstream_engine::spill::MemoryBudget::set_disk_bytes_max). Default: no bound.
    #[must_use]
    pub const fn state_disk(mut self, bytes: u64) -> Self {
        self.topology.state_disk = Some(bytes);
        self
    }

    /// Adds a dataflow.
    #[must_use]
    pub fn dataflow(self, name: &str, declare: impl FnOnce(&Flow)) -> Self {
        self.dataflow_with(name, FlowOptions::default(), declare)
    }

    /// Adds a dataflow with options of its own.
    #[must_use]
    pub fn dataflow_with(
        mut self,
        name: &str,
        options: FlowOptions,
        declare: impl FnOnce(&Flow),
    ) -> Self {
        let dataflow = name.to_owned();
        if self.dataflows.contains(&dataflow) {
            let dataflow = dataflow.clone();
            self.faults.push(TopologyFault::SameDataflow { dataflow });
        }
        match Dataflow::build_with(name, options, declare) {
            Ok(dataflow) => self.topology.dataflows.push(dataflow),
            Err(invalid) => {
                let faults = invalid.faults.into_iter();
                self.faults
                    .extend(faults.map(|fault| TopologyFault::Dataflow {
                        dataflow: dataflow.clone(),
                        fault,
                    }));
            }
        }
        self.dataflows.push(dataflow);
        self
    }

    /// Checks the whole.
    ///
    /// # Errors
    /// [`InvalidTopology`] with every fault.
    pub fn build(self) -> Result<Topology, InvalidTopology> {
        let topology = self.topology;
        let mut faults = Vec::new();
        if topology.name.is_empty() {
            faults.push(TopologyFault::NoName);
        }
        checks::aggregates(&topology, &mut faults);
        checks::projections(&topology, &mut faults);
        let read = reads::faults(&topology.projections).into_iter();
        faults.extend(read.map(|(projection, fault)| TopologyFault::Reads { projection, fault }));
        outboxes::check(&topology, &mut faults);
        faults.extend(self.faults);
        checks::dataflows(&topology, &mut faults);
        if faults.is_empty() {
            return Ok(topology);
        }
        let name = topology.name;
        Err(InvalidTopology { name, faults })
    }
}
