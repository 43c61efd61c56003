use super::*;
use crate::event::Metadata;
use crate::log::Head;
use crate::log::frame::{Draft, Encoding, FrameBuilder, FrameHash, Kind};

const ONE: CommandId = CommandId(Uuid::from_u128(1));
const OTHER: CommandId = CommandId(Uuid::from_u128(2));

/// A log of these frames, all of one partition.
struct Stored(Vec<Frame>);

impl LogReader for Stored {
    fn partitions(&self) -> u16 {
        1
    }

    fn head(&self, _: PartitionId) -> Result<Head, LogError> {
        let last = self.0.last().map(Frame::header);
        Ok(last.map_or_else(Head::default, |last| Head {
            next: last.end(),
            hash: last.hash,
        }))
    }

    fn read(&self, _: PartitionId, from: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
        let frames = self.0.iter();
        let behind = frames.skip_while(|frame| frame.header().end() <= from);
        Ok(behind.cloned().collect())
    }
}

/// A frame at `first` of one event per version, of `account-0` and `account-1` in turn, with this list of commands.
fn frame(first: u64, events: u64, at: Timestamp, commands: &[u8]) -> Frame {
    let mut builder = FrameBuilder::new();
    let kind = builder.kind(&Kind {
        category: "account".into(),
        event_type: "Moved".into(),
        schema_version: 1,
        encoding: Encoding::Opaque,
    });
    for slot in 0..events {
        let stream = ["0", "1"][(slot % 2) as usize];
        let draft = Draft {
            kind,
            stream,
            hash: account(slot % 2),
            version: slot / 2,
            event_time: None,
            id: None,
            metadata: Metadata::default(),
            payload: b"1",
        };
        builder.push(at, &draft).unwrap();
    }
    let (partition, ids) = (PartitionId(0), Uuid::nil());
    let attachments = [(COMMANDS, commands)];
    let sealed = builder.seal(
        partition,
        Offset(first),
        ids,
        FrameHash::default(),
        &attachments,
    );
    Frame::parse(&sealed.unwrap().bytes).unwrap()
}

fn account(number: u64) -> u64 {
    stream_hash(&format!("account-{number}"))
}

/// As it was stored from the first version on: id, slot, events, version.
fn entry(id: u8, slot: u8, events: u8, version: u8) -> Vec<u8> {
    let mut bytes = [0; 32];
    for (at, byte) in [(15, id), (19, slot), (23, events), (31, version)] {
        bytes[at] = byte;
    }
    bytes.to_vec()
}

fn seen(first: u64, version: u64) -> Seen {
    Seen {
        first: Offset(first),
        events: 1,
        version,
    }
}

fn moment(recorded: i64, monotonic: u64) -> Moment {
    Moment {
        recorded: Timestamp::from_seconds(recorded),
        monotonic: Duration::from_secs(monotonic),
    }
}

/// Goal: a list of ids as it was always stored says which stream each was for, wherever in the frame its events are.
#[test]
fn stored_ids_are_known_with_the_streams_of_their_events() {
    let at = Timestamp::from_seconds(7);
    let near = [
        entry(1, 0, 1, 0),
        entry(1, 1, 1, 0),
        entry(2, 3, 1, 1),
        entry(2, 90, 1, 45),
    ];
    // No writer of ours gives them out of order; what is read does not depend on it.
    let back = [entry(3, 61, 1, 30), entry(3, 20, 1, 10)];
    let log = Stored(vec![
        frame(0, 100, at, &near.concat()),
        frame(100, 100, at, &back.concat()),
    ]);
    let now = moment(8, 0);
    let window = DedupWindow::load(DedupLimits::default(), &log, PartitionId(0), now).unwrap();
    assert_eq!(window.len(), 6);
    let third = CommandId(Uuid::from_u128(3));
    let known = [
        (0, ONE, seen(0, 0)),
        (1, ONE, seen(1, 0)),
        (1, OTHER, seen(3, 1)),
        (0, OTHER, seen(90, 45)),
        (1, third, seen(161, 30)),
        (0, third, seen(120, 10)),
    ];
    for (number, id, seen) in known {
        assert_eq!(window.get(account(number), id), Some(seen));
    }
    assert_eq!(window.get(account(2), ONE), None);
}

/// Goal: a list that no writer made is an error, also where it names an event that the frame does not hold.
#[test]
fn a_malformed_list_is_an_error() {
    let cut = entry(1, 0, 1, 0)[1..].to_vec();
    for commands in [entry(1, 4, 1, 0), entry(1, 3, 2, 0), entry(1, 0, 0, 0), cut] {
        let log = Stored(vec![frame(0, 4, Timestamp::EPOCH, &commands)]);
        let now = Moment::default();
        let window = DedupWindow::load(DedupLimits::default(), &log, PartitionId(0), now);
        assert!(matches!(window, Err(LogError::Chain { .. })), "{window:?}");
    }
}

/// Goal: one id is forgotten for each stream by itself, and an entry that is forgotten takes none that is younger with it.
#[test]
fn an_id_is_forgotten_for_each_stream_by_itself() {
    let limits = DedupLimits {
        ids_max: 3,
        ..DedupLimits::default()
    };
    let mut window = DedupWindow::new(limits);
    let at = Moment::default();
    for (offset, stream) in [(0, 8), (1, 9), (2, 8)] {
        window.insert(stream, ONE, seen(offset, offset), at);
    }
    window.forget(Offset(3), at);
    assert_eq!(window.len(), 2);
    assert_eq!(window.get(8, ONE), Some(seen(2, 2)));
    window.insert(8, OTHER, seen(3, 3), at);
    window.forget(Offset(4), at);
    assert_eq!(window.get(8, ONE), Some(seen(2, 2)));
    assert_eq!(window.get(9, ONE), Some(seen(1, 1)));
    window.insert(8, OTHER, seen(4, 4), at);
    window.forget(Offset(5), at);
    assert_eq!(window.get(9, ONE), None);
    for offset in 5..1_000 {
        window.insert(7, OTHER, seen(offset, offset), at);
        window.forget(Offset(offset + 1), at);
    }
    assert_eq!((window.len(), window.get(8, ONE)), (1, None));
    assert_eq!(window.get(7, OTHER), Some(seen(999, 999)));
}

/// Goal: an id is forgotten when it is too old by recorded time and by monotonic time, exactly; by one of them it is not.
#[test]
fn an_id_is_too_old_when_both_times_say_so() {
    let limits = DedupLimits {
        age_max: Duration::from_secs(60),
        ..DedupLimits::default()
    };
    for (recorded, monotonic, is_known) in [
        (7_200, 0, true),
        (7_200, 60, true),
        (7_200, 61, false),
        (0, 7_200, true),
        (60, 7_200, true),
        (61, 7_200, false),
    ] {
        let mut window = DedupWindow::new(limits);
        window.insert(8, ONE, seen(0, 0), moment(1_000, 5));
        window.forget(Offset(1), moment(1_000 + recorded, 5 + monotonic));
        let found = window.get(8, ONE).is_some();
        assert_eq!(found, is_known, "{recorded} s, {monotonic} s");
    }
}

/// Goal: after a restart an id is as old as it was at the log's last event, whatever the clock says, or younger if that
/// event has a time that is yet to come; from there monotonic time counts.
#[test]
fn a_window_that_is_loaded_goes_on_with_the_ages_it_had() {
    let limits = DedupLimits {
        age_max: Duration::from_secs(60),
        ..DedupLimits::default()
    };
    let one = |first, at, id| frame(first, 1, Timestamp::from_seconds(at), &entry(id, 0, 1, 0));
    let log = Stored(vec![one(0, 100, 1), one(1, 140, 2), one(2, 170, 3)]);
    let load = |now: i64| {
        let now = moment(now, 7);
        DedupWindow::load(limits, &log, PartitionId(0), now).unwrap()
    };
    let known = |window: &DedupWindow| {
        let ids = (1..=3).map(|id| CommandId(Uuid::from_u128(id)));
        ids.map(|id| window.get(account(0), id).is_some())
            .collect::<Vec<_>>()
    };
    // The first is 70 s older than the last.
    for now in [170, 180, 1_000_000] {
        assert_eq!(known(&load(now)), [false, true, true], "{now}");
    }
    // The last was recorded ahead of its time.
    for now in [160, 100, 0] {
        assert_eq!(known(&load(now)), [true, true, true], "{now}");
    }
    // The second is 30 s old, and stays so while no engine runs.
    let mut window = load(1_000_000);
    window.forget(Offset(3), moment(1_000_000, 7 + 30));
    assert_eq!(known(&window), [false, true, true]);
    window.forget(Offset(3), moment(1_000_000, 7 + 31));
    assert_eq!(known(&window), [false, false, true]);
    window.forget(Offset(3), moment(1_000_000, 7 + 61));
    assert!(window.is_empty());
}
