//! What decides when a kind of window gives results out: what must be known of it before it runs.

use super::{Count, Global, Session, Sliding, TimeDomain, Triggered, Tumbling};

/// What decides when results come, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The watermark closes windows: without one, nothing but the end of the input does.
    pub by_watermark: bool,
    /// The end of the input gives out windows that would have had more items if there were more.
    pub by_end: bool,
    /// The engine's clock decides, of some or all results.
    pub by_clock: bool,
    /// Items that are late but allowed revise results, the more often the later they are read.
    pub is_revised: bool,
    /// What is in the results, or how many there are, depends on the order in which items come.
    pub by_arrival: bool,
}

/// A kind of window that says what decides when its results come.
pub trait Timed {
    /// It.
    fn timing(&self) -> Timing;
}

const fn in_domain(domain: TimeDomain, lateness: i64) -> Timing {
    match domain {
        TimeDomain::Event => Timing {
            by_watermark: true,
            by_end: true,
            by_clock: false,
            is_revised: lateness > 0,
            by_arrival: false,
        },
        TimeDomain::Processing => Timing {
            by_watermark: false,
            by_end: true,
            by_clock: true,
            is_revised: false,
            by_arrival: false,
        },
    }
}

impl Timed for Tumbling {
    fn timing(&self) -> Timing {
        in_domain(self.span.domain, self.span.lateness)
    }
}

impl Timed for Sliding {
    fn timing(&self) -> Timing {
        in_domain(self.span.domain, self.span.lateness)
    }
}

impl Timed for Session {
    fn timing(&self) -> Timing {
        in_domain(self.domain, self.lateness)
    }
}

impl Timed for Count {
    fn timing(&self) -> Timing {
        Timing {
            by_end: self.unfinished,
            by_arrival: true,
            ..Timing::default()
        }
    }
}

impl Timed for Global {
    fn timing(&self) -> Timing {
        Timing {
            by_end: true,
            ..Timing::default()
        }
    }
}

impl<W: Timed> Timed for Triggered<W> {
    fn timing(&self) -> Timing {
        let timing = self.window.timing();
        Timing {
            by_clock: timing.by_clock || self.trigger.early_every.is_some(),
            by_arrival: timing.by_arrival || self.trigger.early_count.is_some(),
            ..timing
        }
    }
}
