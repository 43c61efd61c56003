//! Frames whose events lie by kind, and the parts of them that are read.

use super::*;

/// Of three kinds, each with enough events to lie apart.
fn mixed() -> Vec<Planned> {
    (0..90)
        .map(|number| {
            let length = 20 + number as usize % 50;
            event(number as usize % 3, number, vec![number as u8; length])
        })
        .collect()
}

#[test]
fn few_events_lie_as_they_came_and_many_of_several_kinds_apart() {
    let one_kind: Vec<_> = (0..90)
        .map(|number| event(1, number, vec![7; 99]))
        .collect();
    assert_eq!(seal(&one_kind).bytes[0], FORMAT_VERSION);
    assert_eq!(seal(&mixed()[..20]).bytes[0], FORMAT_VERSION);
    assert_eq!(seal(&mixed()).bytes[0], APART);
}

/// A frame of each kind of damage: what is wanted is found, what is not is not looked at.
#[test]
fn damage_in_one_kind_is_nothing_to_a_reader_of_another() {
    let sealed = seal(&mixed());
    let of = |wanted: usize| move |kind: &Kind| *kind == kinds()[wanted];
    let whole = Frame::parse(&sealed.bytes).unwrap();
    // The last section is of the last kind.
    let mut bytes = sealed.bytes;
    *bytes.last_mut().unwrap() ^= 1;
    let fault = Frame::parse(&bytes).unwrap_err();
    assert!(matches!(fault, FrameError::Checksum { .. }), "{fault}");
    assert_eq!(
        Frame::parse_part(&bytes, FramePart::Kinds(&of(2))).unwrap_err(),
        fault
    );
    for wanted in 0..2 {
        let part = Frame::parse_part(&bytes, FramePart::Kinds(&of(wanted))).unwrap();
        let expected = whole.records().filter(|record| of(wanted)(record.kind));
        assert!(part.records().eq(expected));
    }
}

/// Bytes that an earlier program stored.
#[test]
fn stored_frames_of_both_formats_are_read() {
    let stored: [(&[u8], &[Planned]); 2] = [
        (include_bytes!("../stored/format_1.frame"), &mixed()[..20]),
        (include_bytes!("../stored/format_2.frame"), &mixed()),
    ];
    for ((bytes, events), format) in stored.into_iter().zip([FORMAT_VERSION, APART]) {
        assert_eq!(bytes[0], format);
        let frame = Frame::parse_verified(bytes).unwrap();
        assert_eq!(frame.attachment(9), Some(&b"extra"[..]));
        let sealed = seal(events);
        assert!(frame.records().eq(sealed.frame.records()));
        assert_eq!(frame.records().count(), events.len());
    }
}

/// Ids of commands are read with the events that they name, and frames without any cost nothing.
#[test]
fn of_a_part_only_that_is_read() {
    let mut builder = FrameBuilder::new();
    let mut read = |attachments: &[(u8, &[u8])], part: FramePart<'_>| {
        push(&mut builder, &mixed());
        let sealed = finish_with(&mut builder, attachments);
        assert_eq!(sealed.bytes[0], APART);
        let frame = Frame::parse_part(&sealed.bytes, part).unwrap();
        let has = |tag| frame.attachment(tag).is_some();
        (frame.records().count(), has(SHAPES), has(COMMANDS))
    };
    let both: [(u8, &[u8]); 2] = [(SHAPES, b"shapes"), (COMMANDS, &[1; 64])];
    let second = |kind: &Kind| *kind == kinds()[1];
    assert_eq!(read(&both, FramePart::Whole), (90, true, true));
    assert_eq!(read(&both, FramePart::Kinds(&second)), (30, true, false));
    assert_eq!(read(&both, FramePart::Commands), (90, false, true));
    assert_eq!(read(&both[..1], FramePart::Commands), (0, false, false));
}
