//! Moments of the past, as a person writes them.

use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::time::Timestamp;
use millstream_operators::past::At;

/// What is said where a moment is not understood.
const FORMS: &str = "a moment is a version (17), a position (2:1234), recorded=TIME or event=TIME, \
    with a time like 2024-02-29T12:00:00Z";

/// The text of an argument as a moment.
pub(super) fn moment(text: &str) -> Result<At, String> {
    let (kind, value) = text.split_once('=').unwrap_or(("", text));
    let moment = match kind {
        "recorded" => At::RecordedTime(time(value)?),
        "event" => At::EventTime(time(value)?),
        "version" => At::Version(value.parse().map_err(|_| FORMS)?),
        "position" => position(value).ok_or(FORMS)?.into(),
        "" => {
            let version = value.parse().ok().map(At::Version);
            let found = version.or_else(|| position(value).map(At::from));
            found.ok_or_else(|| unnamed(value))?
        }
        _ => return Err(FORMS.to_owned()),
    };
    Ok(moment)
}

/// The log knows two times of an event, and which one is meant is not guessed.
fn unnamed(value: &str) -> String {
    match value.parse::<Timestamp>() {
        Ok(_) => format!(
            "say which time is meant: recorded={value} for what the log held then, or event={value} for what had \
             happened by then"
        ),
        Err(_) => FORMS.to_owned(),
    }
}

fn time(value: &str) -> Result<Timestamp, String> {
    let parsed = value.parse::<Timestamp>();
    parsed.map_err(|error| error.to_string())
}

fn position(value: &str) -> Option<Position> {
    let (partition, offset) = value.split_once(':')?;
    Some(Position {
        partition: PartitionId(partition.parse().ok()?),
        offset: Offset(offset.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_names() {
        let noon = "2024-02-29T12:00:00Z";
        let time: Timestamp = noon.parse().unwrap();
        let place = At::from(Position {
            partition: PartitionId(2),
            offset: Offset(1_234),
        });
        for (text, expected) in [
            ("17", At::Version(17)),
            ("version=17", At::Version(17)),
            ("2:1234", place.clone()),
            ("position=2:1234", place),
            (&format!("recorded={noon}"), At::RecordedTime(time)),
            (&format!("event={noon}"), At::EventTime(time)),
        ] {
            assert_eq!(moment(text), Ok(expected), "{text}");
        }
        assert!(moment(noon).unwrap_err().contains("recorded="));
        for bad in [
            "",
            "-1",
            "2:",
            ":3",
            "2:x",
            "70000:1",
            "recorded=",
            "event=monday",
            "when=3",
            "soon",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
