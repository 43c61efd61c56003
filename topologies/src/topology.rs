//! Declaring a topology: what an engine runs, checked as a whole before anything starts.

use std::collections::HashMap;
use std::fmt;

use millstream_engine::event::StreamId;
use millstream_operators::aggregate::{Aggregate, AggregateConfig};
use millstream_operators::projection::{
    DECISIONS, Delivering, DeliveryConfig, Effect, Outbox, Projection, ProjectionConfig, Row,
};

use crate::dataflow::{Dataflow, Flow, FlowOptions};
use crate::engine::aggregates::{AnyAggregate, Registered};
use crate::engine::projections::{AnyProjection, Declared};
use crate::engine::reads;

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
        check_aggregates(&topology, &mut faults);
        check_projections(&topology, &mut faults);
        let read = reads::faults(&topology.projections).into_iter();
        faults.extend(read.map(|(projection, fault)| TopologyFault::Reads { projection, fault }));
        outboxes::check(&topology, &mut faults);
        faults.extend(self.faults);
        check_dataflows(&topology, &mut faults);
        if faults.is_empty() {
            return Ok(topology);
        }
        let name = topology.name;
        Err(InvalidTopology { name, faults })
    }
}

fn check_aggregates(topology: &Topology, faults: &mut Vec<TopologyFault>) {
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

fn check_projections(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let mut tables = HashMap::new();
    check_versions(topology, faults);
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
fn check_versions(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let (mut names, mut versions) = (HashMap::new(), HashMap::new());
    let declared = topology.projections.iter();
    for projection in declared.clone().filter(|one| !one.is_candidate()) {
        let (name, version) = (projection.name(), projection.version());
        versions.insert((name, version), ());
        if names.insert(name, ()).is_some() {
            faults.push(TopologyFault::SameProjection { name });
        }
    }
    for projection in declared.filter(|one| one.is_candidate()) {
        let (name, version) = (projection.name(), projection.version());
        if !names.contains_key(name) {
            faults.push(TopologyFault::CandidateOfNone { name, version });
        }
        if versions.insert((name, version), ()).is_some() {
            faults.push(TopologyFault::SameVersion { name, version });
        }
    }
}

/// What the parts of a topology must know of each other; each dataflow alone is checked already.
fn check_dataflows(topology: &Topology, faults: &mut Vec<TopologyFault>) {
    let mut tables = HashMap::new();
    for projection in &topology.projections {
        for table in projection.tables() {
            tables.insert(table, format!("projection {:?}", projection.name()));
        }
    }
    let mut producers: HashMap<String, &str> = HashMap::new();
    for dataflow in &topology.dataflows {
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
