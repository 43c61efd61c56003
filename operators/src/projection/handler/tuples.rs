//! Tuples of handlers.

use super::{Handler, HandlerError};
use crate::projection::{ProjectedEvent, Reads, TableSet};

macro_rules! handlers {
    ($($handler:ident $at:tt),+) => {
        /// Each in turn, from the first, with tables of its own. The first error is that of all.
        impl<E, $($handler: Handler<E>),+> Handler<E> for ($($handler,)+) {
            type Tables = ($($handler::Tables,)+);
            type Error = HandlerError;

            fn tables(&self) -> Self::Tables {
                ($(self.$at.tables(),)+)
            }

            fn reads(&self) -> Reads {
                Reads::none()$(.and(self.$at.reads()))+
            }

            #[inline]
            fn handle(
                &self,
                event: &ProjectedEvent<'_, E>,
                tables: &mut <Self::Tables as TableSet>::Writers,
            ) -> Result<(), HandlerError> {
                $(
                    self.$at
                        .handle(event, &mut tables.$at)
                        .map_err(|cause| HandlerError::of(&self.$at.tables(), cause))?;
                )+
                Ok(())
            }

            fn handle_batch(
                &self,
                events: &[ProjectedEvent<'_, E>],
                tables: &mut <Self::Tables as TableSet>::Writers,
            ) -> Result<(), HandlerError> {
                $(
                    self.$at
                        .handle_batch(events, &mut tables.$at)
                        .map_err(|cause| HandlerError::of(&self.$at.tables(), cause))?;
                )+
                Ok(())
            }
        }
    };
}

handlers!(H0 0);
handlers!(H0 0, H1 1);
handlers!(H0 0, H1 1, H2 2);
handlers!(H0 0, H1 1, H2 2, H3 3);
handlers!(H0 0, H1 1, H2 2, H3 3, H4 4);
handlers!(H0 0, H1 1, H2 2, H3 3, H4 4, H5 5);
