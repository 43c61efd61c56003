//! A driver over the log and the state of an engine that somebody else steps.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::checkpoint::InState;
use millstream_engine::flow::Resources;
use millstream_engine::stage::RestartPolicy;
use millstream_engine::state::{StateError, StateStore, StateWriterHandle};
use millstream_engine::time::ManualClock;
use millstream_operators::sink::{LetterAccess, TableAccess};
use millstream_operators::source::ReadInPlace;
use millstream_operators::window::LateCounts;

use super::super::flow::Dataflow;
use super::super::home::Home;
use super::{Driver, StartDataflowError};

/// Tables and letters that the stages were given.
type Placement = (Option<Arc<TableAccess>>, Option<Arc<LetterAccess>>);

impl Driver {
    /// Makes the stages as an engine does, over its log and its state: with checkpoints there, from the latest of which it
    /// begins, and with tables and letters. What else the engine consists of is stepped by somebody else, with the same clock.
    /// `resources` are those of the log.
    ///
    /// # Errors
    /// [`StartDataflowError`].
    pub fn over_state(
        dataflow: &Dataflow,
        seed: u64,
        clock: Arc<ManualClock>,
        resources: impl Fn() -> Resources + Send + Sync + 'static,
        (store, writer): (StateStore, StateWriterHandle),
    ) -> Result<Self, StartDataflowError> {
        let refused = |error: StateError| StartDataflowError::Tables {
            dataflow: dataflow.name().to_owned(),
            cause: error.to_string(),
        };
        let storage = InState::open(dataflow.name(), &store, &writer).map_err(refused)?;
        let late = LateCounts::default();
        let counts = late.clone();
        let access: Arc<Mutex<Option<Placement>>> = Arc::default();
        let placed_last = Arc::clone(&access);
        let home = Home {
            clock: Arc::<ManualClock>::clone(&clock),
            furnish: Box::new(move |dataflow, from| {
                let placed = dataflow.place_tables(&store, &writer, from);
                let placed = placed.map_err(|error| StartDataflowError::Tables {
                    dataflow: dataflow.name().to_owned(),
                    cause: error.to_string(),
                })?;
                let own = resources().with(counts.clone()).with(ReadInPlace);
                let resources = placed.add_to(own);
                let found = (resources.get(), resources.get());
                *placed_last.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                Ok(resources)
            }),
            storage: Some(Arc::new(storage)),
            restart: RestartPolicy::default(),
        };
        let placed = home.place(dataflow)?;
        let found = access.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (tables, letters) = found.unwrap_or_default();
        let driver = Self {
            name: dataflow.name().to_owned(),
            clock,
            stages: Vec::new(),
            control: None,
            storage: None,
            edges: dataflow.edges(),
            random: seed,
            failure: None,
            late,
            tables,
            letters,
            _own_tables: None,
        };
        Ok(driver.driving(placed))
    }
}
