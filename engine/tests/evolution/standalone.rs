//! Values that carry their own dictionary.

use super::super::*;

#[test]
fn standalone_values_come_back_and_errors_name_their_byte() {
    let events = [
        binary::First::Closed,
        binary::First::Deposited { amount: 7 },
        binary::First::Opened {
            owner: "Ada".to_owned(),
        },
    ];
    let (mut writer, mut reader) = (StandaloneWriter::new(), StandaloneReader::new());
    for event in events.iter().chain(&events) {
        let mut bytes = vec![9];
        writer.append(event, &mut bytes).unwrap();
        assert_eq!(to_vec(event).unwrap(), bytes[1..]);
        assert_eq!(&from_slice::<binary::First>(&bytes[1..]).unwrap(), event);
        assert_eq!(&reader.decode::<binary::First>(&bytes[1..]).unwrap(), event);
        bytes.push(0);
        assert_eq!(
            reader.decode::<binary::First>(&bytes[1..]).unwrap_err(),
            DecodeError::TrailingBytes {
                offset: bytes.len() - 2
            }
        );
    }
    assert_eq!(to_vec(&7_u8).unwrap(), [1, 0, 7]);
    assert_eq!(from_slice::<u8>(&[1, 2, 1, 0, 7]).unwrap(), 7);
    assert_eq!(
        from_slice::<u8>(&[2, 0, 7]).unwrap_err(),
        DecodeError::UnknownFormat { found: 2, known: 1 }
    );
    for end in 0..2 {
        from_slice::<u8>(&[1, 0, 7][..end]).unwrap_err();
    }
}

#[test]
fn a_standalone_reader_meets_more_dictionaries_than_it_remembers() {
    let (mut writer, mut reader) = (StandaloneWriter::new(), StandaloneReader::new());
    // Each subset of six optional fields is a shape of its own.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        c: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        d: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        e: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        f: Option<u8>,
    }
    for round in 0..3 {
        for bits in 0..64_u8 {
            let field = |bit: u8| (bits & (1 << bit) != 0).then_some(bits ^ round);
            let row = Row {
                a: field(0),
                b: field(1),
                c: field(2),
                d: field(3),
                e: field(4),
                f: field(5),
            };
            let mut bytes = Vec::new();
            writer.append(&row, &mut bytes).unwrap();
            assert_eq!(reader.decode::<Row>(&bytes).unwrap(), row);
        }
    }
}
