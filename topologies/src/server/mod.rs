//! What a running engine shows to the outside. So far: its metrics.
//!
//! Place: started by the command line's `--serve` and by programs that embed the engine, *before* the
//! engine opens its data, because handles taken earlier stay silent.

mod listener;
mod metrics;
#[cfg(test)]
mod tests;

pub use metrics::{
    DEFAULT_METRICS_ADDRESS, LocalMetrics, MetricsServer, ServeMetricsError, serve_metrics,
};
