use super::dead_letters::{letter, store_letters};
use super::*;
use crate::store::SimulatedDisk;
use crate::time::Timestamp;

fn seen(letter: &DeadLetter) -> Vec<SeenLetter> {
    vec![SeenLetter::from(letter)]
}

/// Story: letters that had been let go of were there again after a power failure, and nobody knew any more that they were to go.
#[test]
fn what_was_let_go_of_stays_gone_after_a_power_failure() {
    let disk = SimulatedDisk::new();
    let (_store, mut writer) = StateStore::open_simulated(&disk, options()).unwrap();
    let letters = [letter(1, 0, 5), letter(1, 0, 6)];
    store_letters(&mut writer, &letters);
    writer.sync().unwrap();
    let (handle, stepped) = stepped(writer);
    assert_eq!(handle.let_go(seen(&letters[0])).unwrap(), 1);
    disk.crash(disk.unsynced());
    drop((handle, stepped));
    let (store, _writer) = StateStore::open_simulated(&disk, options()).unwrap();
    let left = store.dead_letters(None, None, 10).unwrap();
    assert_eq!(left, letters[1..]);
}

/// Story: after a restart the number of a letter was that of another one, which went in its place.
#[test]
fn a_letter_that_is_another_by_now_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let first = letter(1, 0, 5);
    let mut changes: Vec<DeadLetter> = vec![first.clone(); 4];
    changes[0].payload = b"{ }".to_vec();
    changes[1].cause.push("and another cause".to_owned());
    changes[2].kind.event_type = "Withdrawn".into();
    changes[3].kind.encoding = crate::log::frame::Encoding::Binary;
    for changed in changes {
        assert_eq!(changed.id(), first.id());
        store_letters(&mut writer, std::slice::from_ref(&changed));
        assert_eq!(writer.let_go(&seen(&first)).unwrap(), 0);
        assert_eq!(store.dead_letter(first.id()).unwrap(), Some(changed));
    }
    // The same item, found again.
    let mut again = first.clone();
    (again.first_failed, again.last_failed) = (Timestamp(70), Timestamp(70));
    store_letters(&mut writer, &[again]);
    assert_eq!(writer.let_go(&seen(&first)).unwrap(), 1);
    assert_eq!(store.dead_letter(first.id()).unwrap(), None);
    assert_eq!(writer.let_go(&seen(&first)).unwrap(), 0);
}
