use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_engine::state::StateBatch;

use super::super::{AnyReader, HandedOver, Snapshot};
use super::{BY_TAG, Key, ROWS, Row, Stored};

const GROUPS: u8 = 4;
const BATCHES: usize = 300;

fn key(at: u8) -> Key {
    (at % 3, format!("{at}"))
}

/// Each batch moves all rows to the next tag; some are stored, some let go. A snapshot, taken on another thread at any
/// moment, has all rows under one tag, by key and by index, and goes on having them.
#[test]
fn a_snapshot_on_another_thread_has_nothing_of_half_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let (reader, board) = (stored.reader.clone(), Arc::clone(&stored.board));
    let mut table = stored.open(true, 0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let looking = threads.spawn(|| {
            let mut looks = 0;
            while !is_over.load(Ordering::Acquire) || looks == 0 {
                let readers: [(_, Arc<dyn AnyReader>); 1] = [("rows", Arc::new(reader.clone()))];
                let snapshot = Snapshot::of(&board, &readers, 1_000);
                let rows = snapshot.table(&ROWS).unwrap();
                let first = rows.scan().all().unwrap();
                for _ in 0..3 {
                    assert_eq!(rows.scan().all().unwrap(), first);
                    assert_eq!(
                        rows.get(&key(1)).unwrap(),
                        first.first().map(|(_, row)| row.clone())
                    );
                }
                if let Some((_, row)) = first.first() {
                    let tag = row.tag.unwrap();
                    assert!(
                        first.iter().all(|(_, other)| other.tag == Some(tag)),
                        "{first:?}"
                    );
                    assert_eq!(first.len(), 20);
                    let tagged = (tag, String::new())..(tag + 1, String::new());
                    let found = rows.by_range(&BY_TAG, tagged).unwrap();
                    assert_eq!(found.count().unwrap(), 20);
                    let others = (tag + 1, String::new())..(u8::MAX, String::new());
                    assert_eq!(rows.by_range(&BY_TAG, others).unwrap().count().unwrap(), 0);
                }
                looks += 1;
            }
        });
        for batch in 0..BATCHES {
            for at in 0..20 {
                let tag = Some((batch % usize::from(GROUPS)) as u8);
                table.put(&key(at), Row { tag, code: None });
                table.check().unwrap();
                table.keep();
            }
            {
                let _shown = stored.board.show_together();
                table.publish();
            }
            if batch % 3 == 0 {
                let mut writes = Vec::new();
                let handed_over = table.store(&mut writes).unwrap();
                stored.writer.step(vec![StateBatch::new(writes)]).unwrap();
                handed_over.iter().for_each(HandedOver::settle);
                if batch % 2 == 0 {
                    table.shrink(u64::MAX);
                }
            }
        }
        is_over.store(true, Ordering::Release);
        looking.join().unwrap();
    });
}

/// Each batch moves each row to another place in the index. Whoever reads the whole index meanwhile finds all of them.
#[test]
fn rows_that_move_in_an_index_are_found_while_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let stored = Stored::new(folder.path());
    let reader = stored.reader.clone();
    let mut table = stored.open(true, 0);
    let mut put_all = |tag: u8| {
        for at in 0..20 {
            let tag = Some(tag.wrapping_add(at) % 7);
            table.put(&key(at), Row { tag, code: None });
            table.check().unwrap();
            table.keep();
        }
        table.publish();
    };
    put_all(0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let looking = threads.spawn(|| {
            let mut looks = 0;
            while !is_over.load(Ordering::Acquire) || looks == 0 {
                let found = reader.by_range(&BY_TAG, ..).unwrap().all().unwrap();
                let mut keys: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
                keys.sort();
                assert!(keys.windows(2).all(|two| two[0] != two[1]), "{keys:?}");
                looks += 1;
            }
        });
        for batch in 0..BATCHES {
            put_all(batch as u8);
        }
        is_over.store(true, Ordering::Release);
        looking.join().unwrap();
    });
    let all = reader.by_range(&BY_TAG, ..).unwrap();
    assert_eq!(all.count().unwrap(), 20);
}
