use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// What a test waits for something that comes.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime(threads: usize, spares: usize) -> Runtime {
    let threads = NonZeroUsize::new(threads).unwrap();
    Runtime::with(RuntimeConfig { threads, spares }).unwrap()
}

/// A step that has begun and does not come back before something is sent, or the sender is gone.
fn hang(runtime: &Runtime) -> Sender<()> {
    let (end, ended) = channel::<()>();
    let (begun, has_begun) = channel();
    runtime.handle().spawn(async move {
        in_step(|| {
            begun.send(()).unwrap();
            let _ = ended.recv();
        });
    });
    has_begun.recv_timeout(PATIENCE).unwrap();
    end
}

/// A step that comes back.
fn step(runtime: &Runtime) -> Receiver<u32> {
    let (say, said) = channel();
    runtime
        .handle()
        .spawn(async move { in_step(|| say.send(7).unwrap()) });
    said
}

#[test]
fn a_spare_takes_the_place_of_each_thread_that_hangs() {
    let runtime = runtime(1, 2);
    let first = hang(&runtime);
    assert!(runtime.keepers.are_needed(1, PATIENCE));
    let second = hang(&runtime);
    assert!(runtime.keepers.are_needed(2, PATIENCE));
    assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
    drop(first);
    assert!(runtime.keepers.are_needed(1, PATIENCE));
    assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
    drop(second);
    assert!(runtime.keepers.are_needed(0, PATIENCE));
    assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
}

#[test]
fn more_that_hang_than_there_are_spares_leave_nothing_and_it_goes_on_when_one_is_back() {
    let runtime = runtime(1, 1);
    let (first, second) = (hang(&runtime), hang(&runtime));
    let said = step(&runtime);
    drop(first);
    assert_eq!(said.recv_timeout(PATIENCE), Ok(7));
    assert!(runtime.keepers.are_needed(1, PATIENCE));
    drop(second);
    assert!(runtime.keepers.are_needed(0, PATIENCE));
}

#[test]
fn it_ends_while_spares_are_held_and_while_they_are_needed() {
    let held = runtime(2, 3);
    assert_eq!(step(&held).recv_timeout(PATIENCE), Ok(7));
    drop(held);
    let needed = runtime(1, 1);
    let end = hang(&needed);
    assert!(needed.keepers.are_needed(1, PATIENCE));
    needed.shutdown_background();
    drop(end);
}

#[test]
fn without_spares_it_is_a_runtime_as_any() {
    let runtime = runtime(2, 0);
    let end = hang(&runtime);
    assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
    drop(end);
    assert_eq!(runtime.block_on(async { 6 * 7 }), 42);
}
