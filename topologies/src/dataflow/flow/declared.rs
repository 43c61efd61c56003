//! A dataflow once it is declared and checked.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Mutex;

use super::{Draft, Flow, FlowOptions};
use crate::dataflow::check::{self, InvalidDataflow};

/// A dataflow that was declared: stages, joined by edges.
pub struct Dataflow {
    pub(in crate::dataflow) name: String,
    pub(in crate::dataflow) options: FlowOptions,
    /// What is declared is not shared between threads, only handed over.
    pub(in crate::dataflow) draft: Mutex<Draft>,
}

impl Dataflow {
    /// Declares a dataflow named `name` and checks it; gives what `declare` gives as well, such as what streams that
    /// end in memory are collected in.
    ///
    /// ```
    /// use millstream::dataflow::Dataflow;
    ///
    /// let (flow, squares) = Dataflow::declare("squares", |flow| {
    ///     flow.items(0..100u64)
    ///         .stream()
    ///         .filter(|number| number % 2 == 0)
    ///         .map(|number| number * number)
    ///         .collect()
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidDataflow`] names everything that is wrong with it.
    pub fn declare<T>(
        name: &str,
        declare: impl FnOnce(&Flow) -> T,
    ) -> Result<(Self, T), InvalidDataflow> {
        Self::declare_with(name, FlowOptions::default(), declare)
    }

    /// Declares a dataflow that gives nothing to the program beside what it writes, and checks it.
    ///
    /// # Errors
    /// [`InvalidDataflow`] names everything that is wrong with it.
    pub fn build(name: &str, declare: impl FnOnce(&Flow)) -> Result<Self, InvalidDataflow> {
        Self::build_with(name, FlowOptions::default(), declare)
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with(
        name: &str,
        options: FlowOptions,
        declare: impl FnOnce(&Flow),
    ) -> Result<Self, InvalidDataflow> {
        let (flow, ()) = Self::declare_with(name, options, declare)?;
        Ok(flow)
    }

    /// [`declare`](Self::declare) with options.
    ///
    /// # Errors
    /// As there.
    pub fn declare_with<T>(
        name: &str,
        options: FlowOptions,
        declare: impl FnOnce(&Flow) -> T,
    ) -> Result<(Self, T), InvalidDataflow> {
        let flow = Flow::new(name, options.clone());
        let given = declare(&flow);
        flow.draft.borrow_mut().complete();
        let mut faults = std::mem::take(&mut flow.draft.borrow_mut().faults);
        faults.extend(check::check(&flow.draft.borrow()));
        if !faults.is_empty() {
            return Err(InvalidDataflow {
                name: name.to_owned(),
                faults,
            });
        }
        // Streams that were let go of hold the draft no longer.
        let empty = Flow::new(name, options.clone());
        let draft = flow.draft.replace(
            Rc::try_unwrap(empty.draft)
                .map_or_else(|_| unreachable!("nobody else has it"), RefCell::into_inner),
        );
        let dataflow = Self {
            name: name.to_owned(),
            options,
            draft: Mutex::new(draft),
        };
        Ok((dataflow, given))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::dataflow) fn lock(&self) -> std::sync::MutexGuard<'_, Draft> {
        self.draft
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Dataflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataflow")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
