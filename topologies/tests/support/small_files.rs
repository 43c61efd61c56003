//! How engines of tests are configured.

use std::time::Duration;

use millstream::prelude::*;

/// So many partitions, and small files, so that a test costs little.
pub(crate) fn small_files(partitions: u16) -> EngineConfig {
    let mut config = EngineConfig {
        partitions: Some(partitions),
        // Others may keep the machine busy.
        shutdown_deadline: Duration::from_secs(120),
        ..EngineConfig::default()
    };
    config.log.map_bytes_max = 8 << 30;
    config.log.preallocate_step_bytes = 1 << 20;
    config.state.map_bytes_max = 8 << 30;
    config.state.preallocate_step_bytes = 1 << 20;
    config
}
