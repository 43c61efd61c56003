//! Storing the rows of a table.

use std::task::{Context, Waker};

use millstream_engine::mailbox::Wake;
use millstream_engine::state::{
    StateBatch, StateError, StateOptions, StateStore, StateWriter, StateWriterHandle, stepped,
};

use super::*;
use crate::projection::{Table, TableReader};

const NUMBERS: Table<u64, u64> = Table::named("numbers");

/// A table sink at work. What is given with it ends the state's writer when it is dropped.
fn table_sink(folder: &Path, wiring: &mut Wiring) -> (TableSink<u64, u64>, impl Sized + use<>) {
    let begin = |writer| millstream_engine::state::start(writer).unwrap();
    table_sink_over(folder, wiring, begin)
}

/// A table sink over a state whose writer is put to work so.
fn table_sink_over<T>(
    folder: &Path,
    wiring: &mut Wiring,
    begin: impl FnOnce(StateWriter) -> (StateWriterHandle, T),
) -> (TableSink<u64, u64>, T) {
    let options = StateOptions {
        map_bytes_max: 1 << 30,
        ..StateOptions::default()
    };
    let (store, mut writer) = StateStore::open(folder, options).unwrap();
    let registered = writer
        .register_projection("numbers", 1, &["numbers"])
        .unwrap();
    let (writer, thread) = begin(writer);
    let place = TablePlace::new(&NUMBERS, registered.tables[0], &store);
    let access = TableAccess {
        store,
        writer,
        places: [("numbers", place)].into(),
    };
    wiring.resources = Arc::new(Resources::new().with(access));
    let mut sink = TableSink::new(NUMBERS, TableSinkOptions::default());
    sink.open(wiring).unwrap();
    (sink, thread)
}

#[test]
fn a_failed_store_after_the_last_flush_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let (mut sink, _thread) = table_sink(folder.path(), &mut wiring(&clock));
    sink.item(Timestamp::EPOCH, (1, Some(2)), &mut Discard);
    sink.end(&mut Discard);
    sink.flush(true).unwrap();
    sink.end_batch(Err(StateError::Closed));
    assert!(sink.is_blocked(), "the failure was not told");
    let fault = sink.flush(true).unwrap_err();
    assert!(fault.0.starts_with("rows could not be stored"), "{fault}");
}

struct Told(crossbeam_channel::Sender<()>);

impl Wake for Told {
    fn wake(&self) {
        // One that is told already looks again.
        let _ = self.0.try_send(());
    }
}

/// Story: while rows were stored, the sink looked every two milliseconds whether it could store the next.
#[test]
fn the_end_of_a_store_wakes_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let mut wiring = wiring(&clock);
    let (mut sink, _thread) = table_sink(folder.path(), &mut wiring);
    let (tell, told) = crossbeam_channel::bounded(1);
    wiring.mailbox.attach(Arc::new(Told(tell)));
    let wait = || {
        let is_told = told.recv_timeout(Duration::from_secs(60));
        is_told.expect("nobody woke the sink");
        wiring.mailbox.begin_turn();
    };
    // Whoever is attached is woken at once.
    wait();
    let give = |sink: &mut TableSink<u64, u64>, number| {
        clock.advance(Duration::from_secs(1));
        sink.begin(&turn(&clock));
        sink.item(Timestamp::EPOCH, (number, Some(number)), &mut Discard);
        sink.flush(true).unwrap();
    };
    give(&mut sink, 1);
    // It is not known yet that the first ones are stored.
    sink.item(Timestamp::EPOCH, (2, Some(2)), &mut Discard);
    assert_eq!(sink.next_due(), None);
    wait();
    sink.flush(true).unwrap();
    let next = clock
        .now()
        .saturating_add(TableSinkOptions::default().store_every);
    assert_eq!(sink.next_due(), Some(next));
    give(&mut sink, 3);
    assert_eq!(sink.next_due(), None);
    wait();
    sink.flush(true).unwrap();
    assert_eq!(sink.next_due(), None, "all is stored");
}

/// Story: a sink for whose rows the state's writer had no room asked every two milliseconds.
#[test]
fn room_in_the_state_wakes_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let mut wiring = wiring(&clock);
    let mut handle = None;
    let (mut sink, steps) = table_sink_over(folder.path(), &mut wiring, |writer| {
        let (writer, steps) = stepped(writer);
        handle = Some(writer.clone());
        (writer, steps)
    });
    let (tell, told) = crossbeam_channel::bounded(1);
    wiring.mailbox.attach(Arc::new(Told(tell)));
    let is_woken = || {
        wiring.mailbox.begin_turn();
        told.try_recv().is_ok()
    };
    assert!(is_woken(), "whoever is attached is woken at once");
    let fill = || {
        let state = handle.as_ref().unwrap();
        while state.try_submit(StateBatch::default()).is_ok() {}
    };
    fill();
    clock.advance(Duration::from_secs(1));
    sink.begin(&turn(&clock));
    sink.item(Timestamp::EPOCH, (1, Some(1)), &mut Discard);
    sink.flush(true).unwrap();
    let next = clock.now().saturating_add(Duration::from_secs(1));
    assert_eq!(sink.next_due(), Some(next), "it looks by itself soon");
    assert!(!is_woken() && steps.step());
    assert!(is_woken(), "nobody told the sink of room");
    // One that waits for room is told as well.
    fill();
    sink.end(&mut Discard);
    sink.flush(true).unwrap();
    assert!(sink.is_blocked());
    // Room for those before, of which it knows.
    for was_told in [true, false] {
        let mut waits = Vec::new();
        sink.blocked(&mut waits);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(waits[0].as_mut().poll(&mut context).is_ready(), was_told);
        if !was_told {
            assert!(steps.step());
            assert!(waits[0].as_mut().poll(&mut context).is_ready());
        }
    }
    sink.flush(true).unwrap();
    while steps.step() {}
    sink.flush(true).unwrap();
    assert!(!sink.is_blocked(), "not stored");
}

/// Story: once its readers had moved to a table that is made anew, they gave rows that the run before had in memory, until the
/// sink of that table was open, which may be behind the state of all that comes before it.
#[test]
fn readers_that_move_see_nothing_of_the_run_before() {
    let folder = tempfile::tempdir().unwrap();
    let options = StateOptions {
        map_bytes_max: 1 << 30,
        ..StateOptions::default()
    };
    let (store, mut writer) = StateStore::open(folder.path(), options).unwrap();
    let names = ["numbers", "numbers anew"];
    let registered = writer.register_projection("numbers", 1, &names).unwrap();
    let (writer, _thread) = millstream_engine::state::start(writer).unwrap();
    let place = |at: usize| TablePlace::new(&NUMBERS, registered.tables[at], &store);
    let first = place(0);
    let mut wiring = wiring(&Arc::new(ManualClock::new(Timestamp::EPOCH)));
    let access = TableAccess {
        store: store.clone(),
        writer,
        places: [("numbers", first.clone())].into(),
    };
    wiring.resources = Arc::new(Resources::new().with(access));
    let mut sink = TableSink::new(NUMBERS, TableSinkOptions::default());
    sink.open(&wiring).unwrap();
    sink.item(Timestamp::EPOCH, (1, Some(2)), &mut Discard);
    sink.flush(true).unwrap();
    let reader = first.reader();
    let reader = reader.as_any().downcast_ref::<TableReader<u64, u64>>();
    let reader = reader.unwrap();
    assert_eq!(reader.get(&1).unwrap(), Some(2));
    let moved = first.moved_to(&place(1));
    assert_eq!(moved.id, registered.tables[1]);
    assert_eq!(reader.get(&1).unwrap(), None);
}
