//! The program's function without its types, and a call of it that ends whatever the function does.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::codec::from_slice;
use millstream_engine::runtime::in_step;
use millstream_engine::stage::{caught_by_joining, panic_message};

use super::super::Row;
use super::format::{self, EffectPlace};
use super::{DeliveryConfig, Effect, EffectId, Outbox};

/// What a call comes to.
pub(super) type Outcome = Result<(), String>;
type Call = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The program's function, without its types.
#[derive(Clone)]
pub struct Deliver(Arc<dyn Fn(Due) -> Call + Send + Sync>);

impl fmt::Debug for Deliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deliver").finish()
    }
}

impl Deliver {
    /// A call that ends: with an error if it panics or takes too long.
    pub(super) async fn call(self, due: Due, limit: Duration) -> Outcome {
        // The function may panic before it gives a future.
        let call = as_steps(async move { (self.0)(due).await });
        let mut call = tokio::spawn(caught_by_joining(call));
        match tokio::time::timeout(limit, &mut call).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(ended)) => Err(match ended.try_into_panic() {
                Ok(panic) => format!("it panicked: {}", panic_message(&*panic)),
                Err(_cancelled) => "its task was cancelled".to_owned(),
            }),
            Err(_elapsed) => {
                call.abort();
                Err(format!("it took longer than {limit:?}"))
            }
        }
    }
}

/// The same future, each poll of which is seen by who watches over the runtime's threads: it may hang in one.
async fn as_steps<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    poll_fn(|context| in_step(|| call.as_mut().poll(context))).await
}

/// An effect that is to be delivered, as it is stored.
pub(super) struct Due {
    pub(super) id: EffectId,
    pub(super) place: EffectPlace,
    pub(super) attempt: u32,
    pub(super) stored: Vec<u8>,
}

impl Due {
    fn effect<E: Row>(&self) -> Result<Effect<E>, String> {
        let stored = format::read(&self.stored).ok_or("it is damaged, or of a later version")?;
        let value = from_slice(stored.value).map_err(|cause| cause.to_string())?;
        Ok(Effect {
            id: self.id,
            position: self.place.position,
            index: self.place.index,
            key: stored.key.to_owned(),
            recorded_at: stored.recorded_at,
            event_time: stored.event_time,
            attempt: self.attempt,
            value,
        })
    }
}

/// How the effects of an outbox are delivered.
#[derive(Clone, Debug)]
pub struct Delivering {
    /// Name of the outbox.
    pub outbox: &'static str,
    /// Type of its effects.
    pub effect: std::any::TypeId,
    /// Limits.
    pub config: DeliveryConfig,
    /// What is called.
    pub deliver: Deliver,
}

impl Delivering {
    /// Has `deliver` called for each effect of an outbox.
    pub fn new<E, F, C>(
        outbox: &Outbox<E>,
        config: DeliveryConfig,
        deliver: impl Fn(Effect<E>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        E: Row,
        F: Future<Output = Result<(), C>> + Send + 'static,
        C: fmt::Display + Send,
    {
        let deliver = Arc::new(deliver);
        let call = move |due: Due| -> Call {
            let deliver = Arc::clone(&deliver);
            Box::pin(async move {
                let effect = due.effect();
                let effect =
                    effect.map_err(|cause| format!("an effect cannot be read: {cause}"))?;
                // Text at once: an error need not outlive the call.
                deliver(effect).await.map_err(|cause| cause.to_string())
            })
        };
        Self {
            outbox: outbox.name(),
            effect: std::any::TypeId::of::<E>(),
            config,
            deliver: Deliver(Arc::new(call)),
        }
    }
}
