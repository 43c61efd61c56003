//! What is appended without waiting is taken or handed back.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::mailbox::{LaneReceiver, Mailbox, MailboxLimits};
use crate::time::SystemClock;

/// An appender to a mailbox with room for one append.
fn appender() -> (Appender, Arc<Mailbox>, LaneReceiver<AppendRequest>) {
    let limits = MailboxLimits {
        items_max: 1.try_into().unwrap(),
        ..MailboxLimits::default()
    };
    let mailbox = Mailbox::new(limits, Arc::new(SystemClock::new()));
    let (sender, receiver) = mailbox.lane();
    let appender = Appender::new(vec![sender]).refusing(&["owned"]);
    (appender, mailbox, receiver)
}

fn events(text: &str) -> Vec<NewEvent> {
    vec![NewEvent::json("Noted", text)]
}

type Tried<'a> = Pin<Box<dyn Future<Output = Result<Appended, TryAppendError>> + 'a>>;

fn tried<'a>(appender: &'a Appender, stream: &str, events: Vec<NewEvent>) -> Tried<'a> {
    let stream = stream.parse().unwrap();
    Box::pin(appender.try_append(stream, Expected::Any, events))
}

fn poll(tried: &mut Tried<'_>) -> Poll<Result<Appended, TryAppendError>> {
    tried.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn refused(mut tried: Tried<'_>) -> TryAppendError {
    match poll(&mut tried) {
        Poll::Ready(Err(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn text(error: &TryAppendError) -> &[u8] {
    match &error.events.as_ref().expect("they come back")[..] {
        [
            NewEvent {
                payload: Payload::Bytes { bytes, .. },
                ..
            },
        ] => bytes,
        other => panic!("{other:?}"),
    }
}

/// Story: events for which the mailbox had no room were dropped, and there is no other way to have them again than to make them anew:
/// they cannot be cloned.
#[test]
fn what_is_not_taken_comes_back() {
    let (appender, mailbox, receiver) = appender();
    let mut taken = tried(&appender, "note-1", events("1"));
    assert!(poll(&mut taken).is_pending());
    let full = refused(tried(&appender, "note-1", events("2")));
    assert!(matches!(full.error, AppendError::Overloaded));
    assert_eq!(text(&full), b"2");

    let mut requests = Vec::new();
    receiver.drain(9, &mut requests);
    let again = full.events.unwrap();
    let mut again = tried(&appender, "note-1", again);
    assert!(poll(&mut again).is_pending(), "there is room for them now");

    let owned = refused(tried(&appender, "owned-1", events("3")));
    assert!(matches!(owned.error, AppendError::OwnedCategory { .. }));
    assert_eq!(text(&owned), b"3");
    let empty = refused(tried(&appender, "note-1", Vec::new()));
    assert!(matches!(empty.error, AppendError::Empty));

    // Taken, and the partition is gone before it has answered.
    drop(requests);
    let unknown = refused(taken);
    assert!(matches!(unknown.error, AppendError::OutcomeUnknown { .. }));
    assert!(unknown.events.is_none());

    mailbox.close();
    let closed = refused(tried(&appender, "note-1", events("4")));
    assert!(matches!(closed.error, AppendError::Closed));
    assert_eq!(text(&closed), b"4");
}
