use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;

use super::*;

type Answer = (u64, Result<(), StateError>);

/// Answers in the order in which they came.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<Answer>>>);

impl Answers {
    fn batch(&self, n: u64, writes: Vec<StateWrite>) -> StateBatch {
        let answers = self.clone();
        StateBatch::new(writes).on_done(move |outcome| answers.0.lock().unwrap().push((n, outcome)))
    }

    fn taken(&self) -> Vec<Answer> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Holds the writer's thread until the sender is dropped.
fn hold(handle: &StateWriterHandle) -> crossbeam_channel::Sender<()> {
    let (release, held) = bounded::<()>(0);
    let (begun, begin) = bounded(1);
    let batch = StateBatch::new(Vec::new()).on_done(move |_| {
        begun.send(()).unwrap();
        let _ = held.recv();
    });
    handle.submit_blocking(batch).unwrap();
    begin.recv().unwrap();
    release
}

#[test]
fn batches_are_answered_in_order_and_flush_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(folder.path());
    let (handle, thread) = start(writer).unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let answers = Answers::default();
    for n in 0..1_000u64 {
        let writes = vec![put(table, b"n", &n.to_be_bytes())];
        handle.submit_blocking(answers.batch(n, writes)).unwrap();
    }
    handle.flush().unwrap();
    let taken = answers.taken();
    assert!(taken.iter().all(|(_, outcome)| outcome.is_ok()));
    assert!(taken.iter().map(|(n, _)| *n).eq(0..1_000));
    assert_eq!(
        store.get(table, b"n").unwrap().unwrap(),
        999u64.to_be_bytes()
    );
    handle.sync().unwrap();
    thread.close().unwrap();
    let refused = handle.try_submit(answers.batch(7, Vec::new())).unwrap_err();
    assert!(matches!(refused.reason, StateError::Closed));
    assert!(refused.batch.done.is_some() && answers.taken().is_empty());
    assert!(matches!(handle.flush(), Err(StateError::Closed)));
}

#[test]
fn a_full_queue_and_a_hopeless_batch_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let small = StateOptions {
        queue_batches: 2,
        ..options()
    };
    let (_store, writer) = StateStore::open(folder.path(), small).unwrap();
    let (handle, thread) = start(writer).unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let held = hold(&handle);
    let answers = Answers::default();
    let batch = |n| answers.batch(n, vec![put(table, b"k", b"v")]);
    handle.try_submit(batch(1)).unwrap();
    handle.try_submit(batch(2)).unwrap();
    let refused = handle.try_submit(batch(3)).unwrap_err();
    assert!(refused.reason.is_retryable());
    assert!(matches!(
        refused.reason,
        StateError::Full { batches: 2, .. }
    ));
    assert_eq!(handle.queued(), (2, 2));
    let hopeless = answers.batch(4, vec![put(table, &[0; 600], b"")]);
    let hopeless = handle.try_submit(hopeless).unwrap_err();
    assert!(matches!(
        hopeless.reason,
        StateError::RowKey { length: 600, .. }
    ));
    drop(held);
    handle.submit_blocking(*refused.batch).unwrap();
    handle.flush().unwrap();
    let order: Vec<u64> = answers.taken().into_iter().map(|(n, _)| n).collect();
    assert_eq!(order, [1, 2, 3]);
    drop(thread);
}

/// Bytes are bounded from submission to answer; a batch over the bound is taken alone.
#[test]
fn bytes_on_their_way_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let small = StateOptions {
        queue_bytes_max: 100_000,
        ..options()
    };
    let (store, writer) = StateStore::open(folder.path(), small).unwrap();
    let (handle, thread) = start(writer).unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let answers = Answers::default();
    let batch = |n: u64, bytes: usize| {
        answers.batch(n, vec![put(table, &n.to_be_bytes(), &vec![1; bytes])])
    };
    let held = hold(&handle);
    handle.try_submit(batch(1, 500_000)).unwrap();
    assert!(handle.queued_bytes().0 > 500_000);
    let refused = handle.try_submit(batch(2, 10)).unwrap_err();
    assert!(matches!(
        refused.reason,
        StateError::Full { batches: 1, .. }
    ));
    let waiting = {
        let (handle, batch) = (handle.clone(), *refused.batch);
        std::thread::spawn(move || handle.submit_blocking(batch))
    };
    drop(held);
    waiting.join().unwrap().unwrap();
    handle.flush().unwrap();
    assert_eq!(handle.queued_bytes(), (0, 100_000));
    // A refusal takes nothing of the bound, and whoever waits for room is let go when the thread ends.
    let held = hold(&handle);
    handle.try_submit(batch(3, 90_000)).unwrap();
    let waiting = {
        let (handle, batch) = (handle, batch(4, 90_000));
        std::thread::spawn(move || handle.submit_blocking(batch).is_ok())
    };
    let closing = std::thread::spawn(move || thread.close());
    drop(held);
    closing.join().unwrap().unwrap();
    let is_taken = waiting.join().unwrap();
    let answers = answers.taken();
    assert_eq!(answers.len(), 3 + usize::from(is_taken));
    let stored = answers.iter().filter(|(_, outcome)| outcome.is_ok());
    assert_eq!(store.count(table).unwrap(), stored.count() as u64);
}

/// What was queued when the thread was told to end is committed first; every batch is answered once.
#[test]
fn closing_drains_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(folder.path());
    let (handle, thread) = start(writer).unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let held = hold(&handle);
    let answers = Answers::default();
    for n in 0..100u64 {
        let writes = vec![put(table, &n.to_be_bytes(), b"v")];
        handle.try_submit(answers.batch(n, writes)).unwrap();
    }
    let closing = std::thread::spawn(move || thread.close());
    drop(held);
    closing.join().unwrap().unwrap();
    let taken = answers.taken();
    assert!(taken.len() == 100 && taken.iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!(store.count(table).unwrap(), 100);
}

/// The thread is dropped while many send: each batch that was taken is answered, with success or `Closed`,
/// and exactly those with success are there.
#[test]
fn no_answer_is_lost_when_the_thread_ends_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(folder.path());
    let (handle, thread) = start(writer).unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let answers = Answers::default();
    let senders: Vec<_> = (0..3u64)
        .map(|sender| {
            let (handle, answers) = (handle.clone(), answers.clone());
            std::thread::spawn(move || {
                (0..)
                    .map(|n| sender << 32 | n)
                    .take_while(|&n| {
                        let writes = vec![put(table, &n.to_be_bytes(), b"v")];
                        handle.submit_blocking(answers.batch(n, writes)).is_ok()
                    })
                    .count()
            })
        })
        .collect();
    while store.count(table).unwrap() < 50 {
        std::thread::yield_now();
    }
    drop(thread);
    assert!(matches!(handle.flush(), Err(StateError::Closed)));
    let taken: usize = senders
        .into_iter()
        .map(|sender| sender.join().unwrap())
        .sum();
    let answers = answers.taken();
    assert_eq!(answers.len(), taken);
    let stored = answers
        .iter()
        .filter(|(_, outcome)| outcome.is_ok())
        .count();
    assert!(
        answers
            .iter()
            .all(|(_, outcome)| matches!(outcome, Ok(()) | Err(StateError::Closed)))
    );
    assert_eq!(store.count(table).unwrap(), stored as u64);
}

/// Rows of a dropped projection go while the thread has nothing else to do.
#[test]
fn drops_are_finished_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(folder.path());
    let (handle, _thread) = start(writer).unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let writes = (0..20_000u32).map(|n| put(table, &n.to_be_bytes(), b"v"));
    handle
        .submit_blocking(StateBatch::new(writes.collect()))
        .unwrap();
    handle.flush().unwrap();
    handle.drop_projection("p", 1).unwrap();
    while store.count(table).unwrap() > 0 {
        std::thread::yield_now();
    }
    handle.register_projection("p", 1, &["t"]).unwrap();
}

/// A failed commit stops the writer for good: later batches hear the first cause, and reads go on. What was
/// acknowledged is there when the state is opened again.
#[test]
fn a_full_map_stops_the_writer_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let small = StateOptions {
        map_bytes_max: 2 << 20,
        ..options()
    };
    let (store, writer) = StateStore::open(folder.path(), small).unwrap();
    let (handle, thread) = start(writer).unwrap();
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let answers = Answers::default();
    assert!(handle.stopped().is_none());
    for n in 0..64u64 {
        let writes = vec![put(table, &n.to_be_bytes(), &[1; 100_000])];
        handle.submit_blocking(answers.batch(n, writes)).unwrap();
        let _ = handle.flush();
    }
    let taken = answers.taken();
    let stored = taken
        .iter()
        .take_while(|(_, outcome)| outcome.is_ok())
        .count();
    assert!(stored > 0 && stored < 64);
    for (_, outcome) in &taken[stored..] {
        let Err(StateError::Stopped { cause }) = outcome else {
            panic!("success after a failure: {outcome:?}")
        };
        assert!(cause.to_string().contains("map"), "{cause}");
    }
    assert!(matches!(handle.flush(), Err(StateError::Stopped { .. })));
    assert!(matches!(handle.stopped(), Some(StateError::Stopped { .. })));
    let registered = handle.register_projection("q", 1, &["t"]);
    assert!(matches!(registered, Err(StateError::Stopped { .. })));
    assert_eq!(store.count(table).unwrap(), stored as u64);
    assert!(matches!(thread.close(), Err(StateError::Stopped { .. })));
    drop((store, handle));
    let (store, writer) = open(folder.path());
    assert_eq!(store.count(table).unwrap(), stored as u64);
    assert!(writer.stopped().is_none());
}

/// Story: nobody was told that the writer had stopped but those whose batches failed: an engine went on with a read side that
/// stood still for good.
#[test]
fn whoever_waits_for_a_failure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let small = StateOptions {
        map_bytes_max: 1 << 20,
        ..options()
    };
    let (_store, writer) = StateStore::open(folder.path(), small).unwrap();
    let (handle, stepped) = stepped(writer);
    let table = handle.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let mut stopped = Box::pin(handle.until_stopped());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(stopped.as_mut().poll(&mut context).is_pending());
    let too_much = vec![put(table, b"k", &[1; 4 << 20])];
    handle.try_submit(StateBatch::new(too_much)).unwrap();
    assert!(stepped.step());
    let std::task::Poll::Ready(StateError::Stopped { cause }) = stopped.as_mut().poll(&mut context)
    else {
        panic!("it waits on")
    };
    assert!(cause.to_string().contains("map"), "{cause}");
}

/// The same where its thread dies, as of an answer that panics.
#[test]
fn a_thread_that_dies_has_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, writer) = open(folder.path());
    let (handle, thread) = start(writer).unwrap();
    let angry = StateBatch::default().on_done(|_| panic!("an answer of the program's own"));
    handle.submit_blocking(angry).unwrap();
    // Once it is closed for good, all of it was dropped.
    assert!(matches!(thread.close(), Err(StateError::Closed)));
    let Some(StateError::Stopped { cause }) = handle.stopped() else {
        panic!("nobody is told")
    };
    assert!(matches!(*cause, StateError::Panicked), "{cause}");
}
