use proptest::prelude::*;

use super::*;
use crate::log::frame::{Encoding, Kind};
use crate::time::Timestamp;

pub(super) fn letter(projection: u32, partition: u16, offset: u64) -> DeadLetter {
    DeadLetter {
        projection: ProjectionId(projection),
        stage: "project".into(),
        version: 3,
        key: "account-42".into(),
        status: DeadLetterStatus::Retrying { at: Timestamp(99) },
        cause: vec!["no such account".into(), "lookup failed".into()],
        attempts: 2,
        first_failed: Timestamp(-5),
        last_failed: Timestamp(7),
        position: Position {
            partition: PartitionId(partition),
            offset: Offset(offset),
        },
        kind: Kind {
            category: "account".into(),
            event_type: "Deposited".into(),
            schema_version: 2,
            encoding: Encoding::Json,
        },
        dictionary: vec![1, 2],
        payload: b"{}".to_vec(),
        earlier: vec![EarlierTries {
            attempts: 1,
            last_failed: Timestamp(3),
            cause: "no such account".into(),
            redriven_by: "ann".into(),
        }],
        redrives: 1,
        followers_bytes: 300,
        followers: 2,
        class: "error".into(),
        follower_offsets: vec![Offset(offset + 1), Offset(offset + 9)],
    }
}

pub(super) fn store_letters(writer: &mut StateWriter, letters: &[DeadLetter]) {
    let writes = letters.iter().cloned().map(Box::new);
    commit(writer, writes.map(StateWrite::DeadLetter).collect());
}

#[test]
fn letters_are_listed_by_projection_in_position_order() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let mut same_event = letter(2, 0, 300);
    same_event.key = "account-43".into();
    let mut sorted = vec![
        letter(1, 0, 5),
        letter(2, 0, 4),
        letter(2, 0, 300),
        same_event,
        letter(2, 1, 2),
        letter(3, 0, 0),
    ];
    sorted.sort_by_key(DeadLetter::id);
    let shuffled: Vec<_> = sorted.iter().rev().cloned().collect();
    store_letters(&mut writer, &shuffled);
    let all = store.dead_letters(None, None, 100).unwrap();
    assert_eq!(all, sorted);
    assert_eq!(store.dead_letter_count(None).unwrap(), 6);
    let projection = Some(ProjectionId(2));
    assert_eq!(store.dead_letter_count(projection).unwrap(), 4);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = store.dead_letters(projection, after, 3).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id());
        paged.extend(page);
    }
    assert_eq!(paged, sorted[1..5]);
    let before = Some(sorted[0].id());
    assert_eq!(
        store.dead_letters(projection, before, 1).unwrap(),
        sorted[1..2]
    );
    let behind = Some(sorted[5].id());
    assert_eq!(store.dead_letters(projection, behind, 9).unwrap(), []);
    assert_eq!(store.dead_letters(None, None, 0).unwrap(), []);
}

#[test]
fn a_letter_is_found_changed_and_deleted_by_its_printed_id() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let mut one = letter(7, 3, 12);
    store_letters(&mut writer, std::slice::from_ref(&one));
    let printed = one.id().to_string();
    assert!(printed.starts_with("7-3-12-"), "{printed}");
    let id: DeadLetterId = printed.parse().unwrap();
    assert_eq!(store.dead_letter(id).unwrap(), Some(one.clone()));
    one.status = DeadLetterStatus::Dead;
    one.attempts = 9;
    assert_eq!(one.id(), id);
    store_letters(&mut writer, std::slice::from_ref(&one));
    assert_eq!(store.dead_letter(id).unwrap(), Some(one));
    commit(&mut writer, vec![StateWrite::DeleteDeadLetter(id)]);
    assert_eq!(store.dead_letter(id).unwrap(), None);
    assert_eq!(store.dead_letter_count(None).unwrap(), 0);
    for bad in [
        "",
        "1",
        "1-2-3",
        "1-2-3-zz",
        "1-2-3-4-5",
        "70000-70000-1-0",
        "-1-2-3-4",
    ] {
        let error = bad.parse::<DeadLetterId>().unwrap_err();
        assert!(error.to_string().contains("looks like"), "{bad}");
    }
}

#[test]
fn long_causes_and_many_followers_are_bounded() {
    let mut long = letter(1, 0, 1);
    long.cause = vec!["ä".repeat(9_001); 40];
    long.follower_offsets = (0..10_000).map(Offset).collect();
    long.followers = 10_000;
    let kept = DeadLetter::decode(long.id(), &long.encode()).unwrap();
    assert_eq!(kept.cause.len(), CAUSES_MAX);
    assert!(kept.cause.iter().all(|text| text.len() == 4_096));
    assert_eq!(kept.follower_offsets.len(), FOLLOWERS_MAX);
    assert_eq!(kept.followers, 10_000);
}

proptest! {
    #[test]
    fn hostile_bytes_are_no_letter_and_no_panic(cut in 0usize..300, flip in 0usize..300, bit in 0u8..8) {
        let whole = letter(1, 2, 3);
        let mut bytes = whole.encode();
        prop_assert_eq!(DeadLetter::decode(whole.id(), &bytes), Some(whole.clone()));
        let at = flip % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let _ = DeadLetter::decode(whole.id(), &bytes);
    }
}

/// Bytes of a text without any.
const EMPTY: usize = 4;

/// Goal: letters that were stored before there were classes of causes are read.
#[test]
fn letters_of_version_2_have_no_class() {
    let expected = DeadLetter {
        class: "".into(),
        ..letter(2, 0, 300)
    };
    let mut bytes = expected.encode();
    // Before redrives, bytes of followers, their count and two offsets.
    let at = bytes.len() - 2 * 8 - 8 - 12 - EMPTY;
    bytes.drain(at..at + EMPTY);
    bytes[0] = 2;
    assert_eq!(DeadLetter::decode(expected.id(), &bytes), Some(expected));
}

/// Goal: letters that were stored before there were redrives are read.
#[test]
fn letters_of_version_1_have_no_earlier_tries() {
    let expected = DeadLetter {
        class: "".into(),
        earlier: Vec::new(),
        redrives: 0,
        followers_bytes: 0,
        ..letter(2, 0, 300)
    };
    let mut bytes = expected.encode();
    // Before the count of followers and two offsets: the number of earlier tries, an empty class, redrives, bytes of followers.
    let at = bytes.len() - 8 - 2 * 8 - 13 - EMPTY;
    let removed: Vec<_> = bytes.drain(at..at + 13 + EMPTY).collect();
    assert_eq!((bytes[0], removed), (3, vec![0; 13 + EMPTY]));
    bytes[0] = 1;
    assert_eq!(
        DeadLetter::decode(expected.id(), &bytes),
        Some(expected.clone())
    );
    bytes[0] = 4;
    assert_eq!(DeadLetter::decode(expected.id(), &bytes), None);
}

#[test]
fn the_latest_tries_are_remembered() {
    let mut found = letter(2, 0, 300);
    let tries = |attempts| EarlierTries {
        attempts,
        last_failed: Timestamp(1),
        cause: "x".into(),
        redriven_by: "ann".into(),
    };
    for attempts in 2..40 {
        found.remember(tries(attempts));
    }
    let kept: Vec<_> = (24..40).map(tries).collect();
    assert_eq!(found.earlier, kept);
    assert_eq!(kept.len(), EARLIER_MAX);
    assert_eq!(DeadLetter::decode(found.id(), &found.encode()), Some(found));
}
