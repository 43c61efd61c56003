use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;

/// What a test waits for something that comes.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime(threads: usize, spares: usize) -> Runtime {
    let threads = NonZeroUsize::new(threads).unwrap();
    Runtime::with(RuntimeConfig { threads, spares }).unwrap()
}

/// A step that has begun and does not come back before something is sent, or the sender is gone.
fn hang(runtime: &Runtime) -> Sender<()> {
    let (end, ended) = bounded::<()>(1);
    let (begun, has_begun) = bounded(1);
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
    let (say, said) = bounded(1);
    runtime
        .handle()
        .spawn(async move { in_step(|| say.send(7).unwrap()) });
    said
}

#[test]
fn a_spare_takes_the_place_of_each_thread_that_hangs() {
    let runtime = runtime(1, 2);
    let threads = runtime.block_on(async { Threads::present().unwrap() });
    let told = || (threads.hung(), threads.spares_left());
    assert_eq!(told(), (0, 2));
    let first = hang(&runtime);
    assert!(runtime.keepers.are_needed(1, PATIENCE));
    assert_eq!(told(), (1, 1));
    let second = hang(&runtime);
    assert!(runtime.keepers.are_needed(2, PATIENCE));
    assert_eq!(told(), (2, 0));
    assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
    drop(first);
    assert!(runtime.keepers.are_needed(1, PATIENCE));
    assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
    drop(second);
    assert!(runtime.keepers.are_needed(0, PATIENCE));
    assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
    assert_eq!(told(), (0, 2));
    drop(runtime);
    assert_eq!(told(), (0, 2), "what is over hangs nowhere");
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

/// Story: the task that looked was in the queue of a thread whose next step hung, and no spare was ever let go.
#[test]
fn steps_that_hang_together_have_a_spare_each() {
    for _ in 0..20 {
        let runtime = runtime(2, 4);
        let ends: Vec<_> = (0..5).map(|_| hang(&runtime)).collect();
        assert!(runtime.keepers.are_needed(5, PATIENCE));
        assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
        drop(ends);
        assert!(runtime.keepers.are_needed(0, PATIENCE));
    }
}

/// Threads that have done nothing else are held for good: nothing waits in their queues.
#[test]
fn all_spares_are_held_before_anything_else_runs() {
    for _ in 0..20 {
        let runtime = runtime(1, 3);
        assert_eq!(runtime.keepers.held(), 3);
        assert_eq!(step(&runtime).recv_timeout(PATIENCE), Ok(7));
    }
}

/// What a thread had woken last when a keeper took it to hold it goes on elsewhere.
#[test]
fn tasks_go_on_while_spares_that_were_needed_are_held_again() {
    let runtime = runtime(2, 2);
    for _ in 0..20 {
        let ends = [hang(&runtime), hang(&runtime)];
        assert!(runtime.keepers.are_needed(2, PATIENCE));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                runtime.handle().spawn(async {
                    for _ in 0..2_000 {
                        tokio::task::yield_now().await;
                        tokio::spawn(async {}).await.unwrap();
                    }
                })
            })
            .collect();
        drop(ends);
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert!(runtime.keepers.are_needed(0, PATIENCE));
    }
}

#[test]
fn an_engine_counts_the_threads_that_work() {
    let runtime = runtime(3, 2);
    assert_eq!(runtime.block_on(async { working_threads() }), 3);
    let other = Builder::new_multi_thread().worker_threads(2).build();
    assert_eq!(other.unwrap().block_on(async { working_threads() }), 2);
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
