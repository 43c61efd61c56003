//! Waits that end.

use std::time::Duration;

use millstream::prelude::*;

/// A hang is a failure.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let bound = Duration::from_secs(300);
    tokio::time::timeout(bound, future).await.expect("it hangs")
}

/// Ends it in order, and gives its folder free.
pub(crate) async fn close(engine: Engine) {
    within(engine.shutdown()).await.unwrap();
    drop(engine);
}
