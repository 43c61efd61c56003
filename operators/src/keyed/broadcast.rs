//! Items that meet a state which another stream changes: rules, rates, switches.
//!
//! The other stream is sent to every partition, and each has a state of its own that all its items see. An item sees
//! what came before it in its partition; the two streams are not put in order of event time, so which of two that come
//! at about the same time sees the other depends on timing. The head of the stage leaves the other stream's watermarks out.
//! State: one per partition, as large as the closures let it
//! become.

use std::marker::PhantomData;

use millstream_engine::flow::{Emit, Operator, Side};
use millstream_engine::time::Timestamp;

/// Joins items on the left with a state made of the right.
#[derive(Debug)]
pub struct BroadcastJoin<S, C, F, U> {
    state: S,
    control: C,
    function: F,
    out: PhantomData<fn() -> U>,
}

impl<S, C, F, U> BroadcastJoin<S, C, F, U> {
    /// Begins with `state`; `control` changes it by an item on the right, `function` makes something of it and an item
    /// on the left.
    pub const fn new(state: S, control: C, function: F) -> Self {
        Self {
            state,
            control,
            function,
            out: PhantomData,
        }
    }
}

impl<S: Clone, C: Clone, F: Clone, U> Clone for BroadcastJoin<S, C, F, U> {
    fn clone(&self) -> Self {
        let (control, function) = (self.control.clone(), self.function.clone());
        Self::new(self.state.clone(), control, function)
    }
}

impl<L, R, S, C, F, U> Operator<Side<L, R>> for BroadcastJoin<S, C, F, U>
where
    S: Send + 'static,
    C: Fn(&mut S, R) + Send + 'static,
    F: Fn(&S, L) -> Option<U> + Send + 'static,
    U: 'static,
{
    type Out = U;

    #[inline]
    fn item<E: Emit<U>>(&mut self, time: Timestamp, item: Side<L, R>, out: &mut E) {
        match item {
            Side::Left(item) => {
                if let Some(item) = (self.function)(&self.state, item) {
                    out.emit(time, item);
                }
            }
            Side::Right(control) => (self.control)(&mut self.state, control),
        }
    }
}
