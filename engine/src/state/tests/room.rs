//! Batches for which there is no room: who waits is told of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use super::*;

/// Counts how often it was told.
#[derive(Default)]
struct Told(AtomicUsize);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Told {
    fn new() -> (Arc<Self>, Waker) {
        let told = Arc::new(Self::default());
        (Arc::clone(&told), Waker::from(told))
    }

    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn stepped_with(folder: &Path, options: StateOptions) -> (StateWriterHandle, SteppedStateWriter) {
    stepped(StateStore::open(folder, options).unwrap().1)
}

/// A writer whose queue has one place, which is taken.
fn full(folder: &Path) -> (StateWriterHandle, SteppedStateWriter) {
    let one = StateOptions {
        queue_batches: 1,
        ..options()
    };
    let (handle, writer) = stepped_with(folder, one);
    handle.try_submit(StateBatch::new(Vec::new())).unwrap();
    (handle, writer)
}

#[track_caller]
fn refuse(handle: &StateWriterHandle, batch: StateBatch, room: &Waker) -> StateBatch {
    let refused = handle.try_submit_or_wake(batch, room).unwrap_err();
    assert!(matches!(refused.reason, StateError::Full { .. }));
    *refused.batch
}

/// Who offers it again and again meanwhile is told once, and who finds the place taken is told again.
#[test]
fn all_who_wait_for_a_place_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, writer) = full(folder.path());
    let (one, wake_one) = Told::new();
    let (other, wake_other) = Told::new();
    let mut batch = StateBatch::new(Vec::new());
    for _ in 0..3 {
        batch = refuse(&handle, batch, &wake_one);
    }
    let second = refuse(&handle, StateBatch::new(Vec::new()), &wake_other);
    assert_eq!((one.times(), other.times()), (0, 0));
    assert!(writer.step());
    assert_eq!((one.times(), other.times()), (1, 1));
    handle.try_submit_or_wake(batch, &wake_one).unwrap();
    let second = refuse(&handle, second, &wake_other);
    assert!(writer.step());
    assert_eq!((one.times(), other.times()), (1, 2));
    handle.try_submit_or_wake(second, &wake_other).unwrap();
    assert!(writer.step() && !writer.step());
    assert_eq!((one.times(), other.times()), (1, 2), "nobody waits");
}

/// A place is free once a batch is taken from the queue, its bytes are once it is answered.
#[test]
fn who_waits_for_bytes_is_told_when_they_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let small = StateOptions {
        queue_bytes_max: 100_000,
        ..options()
    };
    let (handle, writer) = stepped_with(folder.path(), small);
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let batch = |n: u8| StateBatch::new(vec![put(table, &[n], &[1; 90_000])]);
    let (told, room) = Told::new();
    let again: Arc<Mutex<Vec<bool>>> = Arc::default();
    let first = {
        // Before the answer: the place alone is free.
        let (handle, again, waiting) = (handle.clone(), Arc::clone(&again), batch(2));
        let (room, is_told) = (room.clone(), Arc::clone(&told));
        batch(1).on_done(move |_| {
            again.lock().unwrap().push(is_told.times() > 0);
            let taken = handle.try_submit_or_wake(waiting, &room);
            again.lock().unwrap().push(taken.is_ok());
        })
    };
    handle.try_submit(first).unwrap();
    let third = refuse(&handle, batch(3), &room);
    assert!(writer.step());
    assert_eq!(*again.lock().unwrap(), [true, true]);
    let third = refuse(&handle, third, &room);
    let before = told.times();
    assert!(writer.step());
    assert!(told.times() > before);
    handle.try_submit_or_wake(third, &room).unwrap();
    assert!(writer.step());
    assert_eq!(handle.queued_bytes(), (0, 100_000));
}

#[test]
fn who_waits_is_told_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, writer) = full(folder.path());
    let (told, room) = Told::new();
    let batch = refuse(&handle, StateBatch::new(Vec::new()), &room);
    writer.kill();
    assert_eq!(told.times(), 1);
    let refused = handle.try_submit_or_wake(batch, &room).unwrap_err();
    assert!(matches!(refused.reason, StateError::Closed));
    assert_eq!(told.times(), 1, "nothing more comes of it");
}

/// A writer that has failed takes batches and answers them with the failure.
#[test]
fn who_waits_for_one_that_failed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let small = StateOptions {
        map_bytes_max: 2 << 20,
        queue_batches: 1,
        ..options()
    };
    let (handle, writer) = stepped_with(folder.path(), small);
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let (told, room) = Told::new();
    let too_much = vec![put(table, b"k", &vec![1; 4 << 20])];
    handle.try_submit(StateBatch::new(too_much)).unwrap();
    let answer: Arc<Mutex<Option<Result<(), StateError>>>> = Arc::default();
    let answered = Arc::clone(&answer);
    let batch = StateBatch::new(vec![put(table, b"k", b"v")]);
    let batch = batch.on_done(move |outcome| *answered.lock().unwrap() = Some(outcome));
    let batch = refuse(&handle, batch, &room);
    assert!(writer.step());
    assert_eq!(told.times(), 1);
    handle.try_submit_or_wake(batch, &room).unwrap();
    assert!(writer.step());
    let answer = answer.lock().unwrap().take();
    assert!(
        matches!(answer, Some(Err(StateError::Stopped { .. }))),
        "{answer:?}"
    );
}

#[test]
fn who_wants_it_synced_is_told_of_room() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, writer) = full(folder.path());
    let (told, room) = Told::new();
    let synced: Arc<Mutex<Vec<bool>>> = Arc::default();
    let sync = || {
        let synced = Arc::clone(&synced);
        handle.try_sync_or_wake(
            move |outcome| synced.lock().unwrap().push(outcome.is_ok()),
            &room,
        )
    };
    assert!(!sync());
    assert!(writer.step());
    assert_eq!(told.times(), 1);
    assert!(sync() && writer.step());
    assert_eq!(*synced.lock().unwrap(), [true], "told once");
}

/// Many threads with their own wakers, and one place: nobody looks by itself, so one who is not told waits for ever.
#[test]
fn nobody_is_forgotten_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let one = StateOptions {
        queue_batches: 1,
        ..options()
    };
    let (_store, writer) = StateStore::open(folder.path(), one).unwrap();
    let (handle, thread) = start(writer).unwrap();
    let senders = (0..4).map(|_| {
        let handle = handle.clone();
        std::thread::spawn(move || {
            let (tell, told) = crossbeam_channel::bounded(1);
            let room = Waker::from(Arc::new(Unblock(tell)));
            for _ in 0..100 {
                let mut batch = StateBatch::new(Vec::new());
                while let Err(refused) = handle.try_submit_or_wake(batch, &room) {
                    assert!(matches!(refused.reason, StateError::Full { .. }));
                    batch = *refused.batch;
                    told.recv_timeout(std::time::Duration::from_secs(60))
                        .expect("nobody told of room");
                }
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    for sender in senders {
        sender.join().unwrap();
    }
    thread.close().unwrap();
}

struct Unblock(crossbeam_channel::Sender<()>);

impl Wake for Unblock {
    fn wake(self: Arc<Self>) {
        // One that is told already looks again.
        let _ = self.0.try_send(());
    }
}
