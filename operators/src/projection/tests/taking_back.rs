//! Queries beside an actor that begins again: it takes back what it had shown and not stored.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::state::StateBatch;
use millstream_engine::time::Timestamp;

use super::super::{HandedOver, QueryError, TableMut};
use super::{Key, Row, Stored};

const ZERO: PartitionId = PartitionId(0);

fn key() -> Key {
    (0, "a".to_owned())
}

fn row(tag: u8) -> Row {
    Row {
        tag: Some(tag),
        code: None,
    }
}

/// All before this offset was seen.
fn token(next: u64) -> Token {
    let mut token = Token::default();
    token.observe(Position {
        partition: ZERO,
        offset: Offset(next - 1),
    });
    token
}

/// The row is shown as the event before `next` leaves it.
fn show(stored: &Stored, table: &mut TableMut<Key, Row>, next: u64) {
    table.put(&key(), row(next as u8));
    table.check().unwrap();
    table.keep();
    table.publish();
    stored.board.show(ZERO, Offset(next), Timestamp::EPOCH);
    stored.board.announce();
}

/// A table whose first event is stored and whose second one is not.
fn two_events(stored: &mut Stored) -> TableMut<Key, Row> {
    let mut table = stored.open(true, 0);
    show(stored, &mut table, 1);
    let mut writes = Vec::new();
    let handed_over = table.store(&mut writes).unwrap();
    stored.writer.step(vec![StateBatch::new(writes)]).unwrap();
    handed_over.iter().for_each(HandedOver::settle);
    show(stored, &mut table, 2);
    table
}

/// An actor goes on from the first event.
fn begin_again(stored: &Stored, table: TableMut<Key, Row>) -> TableMut<Key, Row> {
    let taking_back = stored.board.take_back();
    drop(table);
    let table = stored.open(false, 0);
    stored.board.show(ZERO, Offset(1), Timestamp::MIN);
    drop(taking_back);
    table
}

/// Whether there is an answer without more happening.
async fn now<T>(query: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        answer = query => Some(answer),
        () = ready(()) => None,
    }
}

/// Story: a query looked at the positions, and then the actor that had shown the rows began again: the answer was from before
/// what its token had seen. Goal: it waits until that is shown once more. A query without a token takes what is there.
#[tokio::test]
async fn what_is_taken_back_during_a_read_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let table = RefCell::new(Some(two_events(&mut stored)));
    let interrupted = |token| {
        let (stored, table) = (&stored, &table);
        stored.reader.at_least(&token).ask(
            !token.positions().is_empty(),
            move |reader: &super::TableReader<Key, Row>| {
                // Positions were looked at.
                let taken = table.borrow_mut().take();
                if let Some(taken) = taken {
                    let _gone = begin_again(stored, taken);
                }
                reader.get(&key())
            },
        )
    };
    let mut query = Box::pin(interrupted(token(2)));
    assert!(now(&mut query).await.is_none());
    let mut again = stored.open(false, 0);
    show(&stored, &mut again, 2);
    assert_eq!(query.await.unwrap(), Some(row(2)));
    *table.borrow_mut() = Some(again);
    let any = now(interrupted(Token::default())).await;
    assert_eq!(any.unwrap().unwrap(), Some(row(1)));
}

/// Goal: while rows are taken back a query that asks for something waits, also for what is stored, and says so when its time is
/// over; a query that asks for nothing does not wait, unless it is to tell whether the row is all that it should be.
#[tokio::test]
async fn queries_wait_for_what_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let table = two_events(&mut stored);
    let query = |next| stored.reader.at_least(&token(next));
    assert_eq!(query(1).get(key()).await.unwrap(), Some(row(2)));
    let taking_back = stored.board.take_back();
    let late = query(1).deadline(Duration::ZERO).get(key()).await;
    assert!(
        matches!(late, Err(QueryError::BeginsAgain { .. })),
        "{late:?}"
    );
    let eventual = now(stored.reader.query().get(key())).await;
    assert_eq!(eventual.unwrap().unwrap(), Some(row(2)));
    let mut whole = Box::pin(stored.reader.query().answer(key(), "a"));
    assert!(now(&mut whole).await.is_none());
    let mut both = [Box::pin(query(1).rows()), Box::pin(query(2).rows())];
    for query in &mut both {
        assert!(now(query).await.is_none());
    }
    drop(taking_back);
    let mut again = begin_again(&stored, table);
    assert_eq!(whole.await.unwrap().row, Some(row(1)));
    let [first, mut second] = both;
    assert_eq!(first.await.unwrap(), [(key(), row(1))]);
    assert!(now(&mut second).await.is_none());
    show(&stored, &mut again, 2);
    assert_eq!(second.await.unwrap(), [(key(), row(2))]);
}
