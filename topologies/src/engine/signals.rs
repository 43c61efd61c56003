//! Signals that ask a process to end.

use tokio::signal::ctrl_c;

/// Resolves at Ctrl-C, or SIGTERM where there is one.
pub(crate) async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = ctrl_c().await;
}

/// Ends the process at Ctrl-C, while it is shutting down. If nobody had asked for that, the first one is told so, and the second one
/// ends it. SIGTERM is not looked at: those who send it have SIGKILL, and some repeat it by themselves.
pub(super) async fn end_at_once(is_asked: bool) -> std::convert::Infallible {
    if !is_asked && ctrl_c().await.is_ok() {
        tracing::warn!("shutting down already; once more to end at once");
    }
    if ctrl_c().await.is_err() {
        return std::future::pending().await;
    }
    tracing::error!(
        "ended at once: what was acknowledged is in the log; what is derived from it is made anew from there, and effects that \
         were under way are delivered again"
    );
    std::process::exit(1)
}
