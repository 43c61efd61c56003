//! Danger: whoever asks a process to end does not want to wait for it, and asks once more.

use std::path::Path;
use std::process::Command;
use std::task::{Context, Poll, Waker};

use millstream::prelude::*;

use crate::processes::{self, Victim};
use crate::support::*;

/// Names the folder to the process that is asked.
const ASKED: &str = "MILLSTREAM_ENGINE_ASKED";

/// Whether the engine takes commands no more.
fn is_closed(engine: &Engine) -> bool {
    let (handle, id) = (engine.aggregate::<Tally>(), id_in(1, 0));
    let mut sent = Box::pin(handle.try_send_with(&id, Ask::Nothing, CommandOptions::default()));
    // Looked at once: an open partition leaves it waiting.
    let polled = sent.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(refused)) = polled else {
        return false;
    };
    matches!(refused.error, CommandError::Closed)
}

/// The process that is asked: an aggregate in it does not return, so that its end waits for the deadline. Does nothing by itself.
#[test]
fn asked() {
    let Ok(folder) = std::env::var(ASKED) else {
        return;
    };
    runtime().block_on(async {
        let engine = open(Path::new(&folder)).await;
        let sent = engine.send::<Tally>(&id_in(1, 0), Ask::Add(7)).await;
        sent.unwrap();
        let _held = held(&engine, &id_in(0, 0)).await;
        let mut running = Box::pin(engine.run_until_signal());
        let polled = std::future::poll_fn(|context| Poll::Ready(running.as_mut().poll(context)));
        assert!(polled.await.is_pending());
        processes::acknowledge(format_args!("hears {}", std::process::id()));
        let closing = engine.clone();
        tokio::spawn(async move {
            until("it shuts down", || is_closed(&closing)).await;
            processes::acknowledge("ending");
        });
        let ended = running.await;
        processes::acknowledge(format_args!("ended: {ended:?}"));
    });
}

fn interrupt(process: &str) {
    let sent = Command::new("kill").args(["-INT", process]).status();
    assert!(sent.unwrap().success());
}

/// Story: the second Ctrl-C did nothing, since the first one had taken its meaning, and whoever waited for something that hung had to
/// find another way. What was acknowledged is there all the same.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_twice_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::start("signals::asked", ASKED, folder.path());
    let hears = victim.next_line().unwrap();
    let process = hears.strip_prefix("hears ").unwrap();
    interrupt(process);
    assert_eq!(victim.next_line().as_deref(), Some("ending"));
    interrupt(process);
    assert_eq!(victim.next_line(), None, "it waited");
    assert_eq!(victim.wait().code(), Some(1));
    let engine = open(folder.path()).await;
    assert_eq!(sum(&engine, &id_in(1, 0)).await, 7);
    close(engine).await;
}
