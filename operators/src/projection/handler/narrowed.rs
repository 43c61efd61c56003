//! Handlers of parts of events, and of some events.

use super::{Handler, WritersOf};
use crate::projection::{ProjectedEvent, Reads};

/// A handler of what is found in other events: see [`Handler::of`].
#[derive(Clone, Copy, Debug)]
pub struct Of<H, E, F> {
    pub(super) handler: H,
    pub(super) part: F,
    pub(super) events: std::marker::PhantomData<fn(&E)>,
}

impl<W, E, H, F> Handler<W> for Of<H, E, F>
where
    E: 'static,
    H: Handler<E>,
    F: for<'w> Fn(&'w W) -> Option<&'w E> + Send + Sync + 'static,
{
    type Tables = H::Tables;
    type Error = H::Error;

    fn tables(&self) -> Self::Tables {
        self.handler.tables()
    }

    fn reads(&self) -> Reads {
        self.handler.reads()
    }

    #[inline]
    fn handle(
        &self,
        event: &ProjectedEvent<'_, W>,
        tables: &mut WritersOf<H, E>,
    ) -> Result<(), Self::Error> {
        match (self.part)(event.payload) {
            Some(part) => self.handler.handle(&event.with(part), tables),
            None => Ok(()),
        }
    }

    fn handle_batch(
        &self,
        events: &[ProjectedEvent<'_, W>],
        tables: &mut WritersOf<H, E>,
    ) -> Result<(), Self::Error> {
        let parts = events.iter();
        let parts = parts.filter_map(|event| Some(event.with((self.part)(event.payload)?)));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() {
            return Ok(());
        }
        self.handler.handle_batch(&parts, tables)
    }
}

/// A handler of some events: see [`Handler::only`].
#[derive(Clone, Copy, Debug)]
pub struct Only<H, F> {
    pub(super) handler: H,
    pub(super) holds: F,
}

impl<E, H, F> Handler<E> for Only<H, F>
where
    H: Handler<E>,
    F: Fn(&ProjectedEvent<'_, E>) -> bool + Send + Sync + 'static,
{
    type Tables = H::Tables;
    type Error = H::Error;

    fn tables(&self) -> Self::Tables {
        self.handler.tables()
    }

    fn reads(&self) -> Reads {
        self.handler.reads()
    }

    #[inline]
    fn handle(
        &self,
        event: &ProjectedEvent<'_, E>,
        tables: &mut WritersOf<H, E>,
    ) -> Result<(), Self::Error> {
        if (self.holds)(event) {
            self.handler.handle(event, tables)?;
        }
        Ok(())
    }

    fn handle_batch(
        &self,
        events: &[ProjectedEvent<'_, E>],
        tables: &mut WritersOf<H, E>,
    ) -> Result<(), Self::Error> {
        let taken = events.iter().filter(|event| (self.holds)(event));
        let taken: Vec<_> = taken.copied().collect();
        if taken.is_empty() {
            return Ok(());
        }
        self.handler.handle_batch(&taken, tables)
    }
}
