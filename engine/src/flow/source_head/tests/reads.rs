//! Positions of other sources.

use super::*;
use crate::checkpoint::{CheckpointError, Epoch, Part};
use crate::flow::NoWatermarks;

/// Reads what its names say, and stands at the number it was given.
struct Named {
    reads: Vec<String>,
    stands: u8,
}

impl Source for Named {
    type Item = ();

    fn pull<E: Emit<()>>(&mut self, _items_max: usize, _out: &mut E) -> Result<Pulled, Fault> {
        Ok(Pulled::Pending)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(vec![self.stands]))
    }

    fn reads(&self) -> Vec<String> {
        self.reads.clone()
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.stands = position[0];
        Ok(())
    }
}

fn head(reads: &[&str], stands: u8) -> SourceHead<Named, NoWatermarks> {
    let source = Named {
        reads: reads.iter().map(|&name| name.to_owned()).collect(),
        stands,
    };
    let split = Split {
        source,
        policy: NoWatermarks,
        number: 0,
        of: None,
        resumed: Timestamp::MIN,
    };
    let mailbox = Mailbox::new(MailboxLimits::default(), clock() as _);
    SourceHead::new(vec![split], SourceOptions::default(), &mailbox)
}

fn saved(reads: &[&str]) -> Vec<Part> {
    let mut saving = Saving::new(Epoch(1));
    Head::<Heard>::save(&head(reads, 7), &mut saving).unwrap();
    saving.into_parts()
}

/// Where the source of `now` stands that begins with what one of `before` has saved.
fn restored(before: &[&str], now: &[&str]) -> Result<u8, Fault> {
    let saves = [vec![(Epoch(1), saved(before))]];
    let mut restoring = Restoring::of_saves(&saves, 0, 1);
    let mut head = head(now, 0);
    Head::<Heard>::restore(&mut head, &mut restoring)?;
    Ok(head.splits[0].split.source.stands)
}

/// Story: a source that was declared before another one of its kind took over that one's name and position, so that it read
/// nothing of what came before, and the other one everything once more.
#[test]
fn a_position_of_a_source_that_read_something_else_is_refused() {
    let expected = CheckpointError::OtherSource {
        stored: "payments".to_owned(),
        now: "refunds, returns".to_owned(),
    };
    let refused = restored(&["payments"], &["refunds", "returns"]);
    assert_eq!(refused, Err(expected.into()));
}

#[test]
fn what_is_read_may_grow_and_shrink_and_not_be_known() {
    for now in [&["payments"][..], &["refunds", "payments"], &[]] {
        assert_eq!(restored(&["payments", "returns"], now), Ok(7), "{now:?}");
    }
    assert_eq!(restored(&[], &["refunds"]), Ok(7));
}

/// Versions before saved no names, and read what is saved now.
#[test]
fn names_are_saved_only_where_there_are_some() {
    let holds = |parts: &[Part]| {
        let bytes = parts[0].bytes.clone().unwrap();
        let bytes = bytes.to_vec().unwrap();
        bytes.windows(5).any(|window| window == b"reads")
    };
    assert!(!holds(&saved(&[])) && holds(&saved(&["payments"])));
}
