//! The generator as a source: its partitions share its generators out.

use millstream_engine::flow::{
    Emit, Fault, Pulled, SeekError, Source, Wiring, number_position, position_number,
};
use millstream_engine::time::Timestamp;

use super::super::config::NexmarkConfig;
use super::super::event::NexmarkEvent;
use super::super::generator::NexmarkSource;
use crate::dataflow::SourcePlan;

/// The events of a configuration. Replayable from any event.
#[derive(Clone, Debug)]
pub struct NexmarkPlan {
    config: NexmarkConfig,
}

impl NexmarkPlan {
    /// All events of `config`.
    #[must_use]
    pub fn new(config: &NexmarkConfig) -> Self {
        let config = config.clone();
        Self { config }
    }
}

/// The events of one partition.
#[derive(Debug)]
pub struct NexmarkSplit {
    events: NexmarkSource,
    watermark: Timestamp,
}

impl Source for NexmarkSplit {
    type Item = NexmarkEvent;

    fn watermark(&self) -> Option<Timestamp> {
        Some(self.watermark)
    }

    #[inline]
    fn pull<E: Emit<NexmarkEvent>>(
        &mut self,
        items_max: usize,
        out: &mut E,
    ) -> Result<Pulled, Fault> {
        let events = &mut self.events;
        if !events.take_each(items_max, |made| out.emit(made.time, made.event)) {
            return Ok(Pulled::End);
        }
        self.watermark = events.watermark();
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(number_position(self.events.given())))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.events.seek(position_number(position)?);
        self.watermark = self.events.watermark();
        Ok(())
    }
}

impl SourcePlan for NexmarkPlan {
    type Source = NexmarkSplit;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        Ok(wiring.partitions)
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<NexmarkSplit, Fault> {
        let (split, splits) = (split as u32, wiring.partitions as u32);
        let events = NexmarkSource::of_partition(&self.config, split, splits)
            .map_err(|error| Fault(error.to_string()))?;
        let watermark = events.watermark();
        Ok(NexmarkSplit { events, watermark })
    }

    fn splits_depend_on_count(&self) -> bool {
        true
    }
}
