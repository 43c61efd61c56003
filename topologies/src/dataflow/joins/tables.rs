//! Joins of tables that are given as changes.

use std::fmt;

use millstream_engine::flow::{Identity, Operator, Then};
use millstream_operators::join::{
    ForeignJoin, ForeignKeys, FullOuter, Inner, JoinResult, LeftOuter, Reference, Settle, Settling,
    TableJoin, Update,
};
use millstream_operators::{Key, Savable};

use super::{JoinedStream, Meeting, meet};
use crate::dataflow::keyed::KeyedStream;
use crate::dataflow::origin::{InletOrigin, Origin};
use crate::dataflow::site::Note;
use crate::dataflow::stream::Stream;
use crate::dataflow::windowed::place;

/// What a foreign key join gives: a stream keyed as its left table.
pub type ForeignJoinedStream<K, U> = Stream<InletOrigin<Settling<K, U>>, Then<Identity, Settle<K>>>;

/// Two tables that are to be joined by key.
#[must_use = "a join does nothing before `inner`, `left` or `full`"]
pub struct TableJoining<A, B> {
    left: A,
    right: B,
}

/// What a join of tables gives.
pub type JoinedTables<K, L, R, G> = JoinedStream<Update<K, L>, Update<K, R>, TableJoin<K, L, R, G>>;

impl<P, O, K, L, F> KeyedStream<P, O, F>
where
    P: Origin,
    O: Operator<P::Item, Out = Update<K, L>> + Clone,
    K: Key,
    L: Send + 'static,
    F: Fn(&Update<K, L>) -> K + Clone + Send + 'static,
{
    /// Joins two tables, given as changes, by key; both streams must be keyed by their updates' keys. The result is a
    /// table again.
    pub const fn join_tables<P2, O2, F2>(
        self,
        right: KeyedStream<P2, O2, F2>,
    ) -> TableJoining<Self, KeyedStream<P2, O2, F2>> {
        TableJoining { left: self, right }
    }

    /// Joins each row with the row of `right` whose key `foreign` gives. The result is a table with the left keys. The
    /// left stage and the last one have this stream's partitions, the stage of the join has those of `right`.
    pub const fn join_foreign<P2, O2, F2, FK, G>(
        self,
        right: KeyedStream<P2, O2, F2>,
        foreign: G,
    ) -> ForeignJoining<Self, KeyedStream<P2, O2, F2>, G>
    where
        G: Fn(&L) -> FK + Clone + Send + 'static,
    {
        let left = self;
        ForeignJoining {
            left,
            right,
            foreign,
        }
    }
}

impl<P, O, K, L, R, F, P2, O2, F2> TableJoining<KeyedStream<P, O, F>, KeyedStream<P2, O2, F2>>
where
    P: Origin,
    O: Operator<P::Item, Out = Update<K, L>> + Clone,
    K: Key,
    L: Savable,
    R: Savable,
    F: Fn(&Update<K, L>) -> K + Clone + Send + 'static,
    P2: Origin,
    O2: Operator<P2::Item, Out = Update<K, R>> + Clone,
    F2: Fn(&Update<K, R>) -> K + Clone + Send + 'static,
{
    /// A row for each key that both tables have.
    pub fn inner<U, G>(self, function: G) -> JoinedTables<K, L, R, Inner<G>>
    where
        G: Fn(&K, &L, &R) -> U + Clone + Send + 'static,
    {
        self.with(Inner(function))
    }

    /// A row for each key that the left table has.
    pub fn left<U, G>(self, function: G) -> JoinedTables<K, L, R, LeftOuter<G>>
    where
        G: Fn(&K, &L, Option<&R>) -> U + Clone + Send + 'static,
    {
        self.with(LeftOuter(function))
    }

    /// A row for each key that either table has.
    pub fn full<U, G>(self, function: G) -> JoinedTables<K, L, R, FullOuter<G>>
    where
        G: Fn(&K, Option<&L>, Option<&R>) -> U + Clone + Send + 'static,
    {
        self.with(FullOuter(function))
    }

    fn with<G: JoinResult<K, L, R>>(self, result: G) -> JoinedTables<K, L, R, G> {
        let operator = TableJoin::new(result);
        let notes = Meeting::AtTheMoment.notes(&place("a join", self.left.state.as_deref()));
        let mut stream = meet(self.left, self.right, "table-join", operator);
        stream.site.notes.extend(notes);
        stream
    }
}

/// Two tables that are to be joined by a foreign key.
#[must_use = "a join does nothing before `inner` or `left`"]
pub struct ForeignJoining<A, B, FF> {
    left: A,
    right: B,
    foreign: FF,
}

impl<P, O, K, FK, L, R, F, P2, O2, F2, FF>
    ForeignJoining<KeyedStream<P, O, F>, KeyedStream<P2, O2, F2>, FF>
where
    P: Origin,
    O: Operator<P::Item, Out = Update<K, L>> + Clone,
    K: Key,
    FK: Key,
    L: Savable,
    R: Savable,
    F: Fn(&Update<K, L>) -> K + Clone + Send + 'static,
    P2: Origin,
    O2: Operator<P2::Item, Out = Update<FK, R>> + Clone,
    F2: Fn(&Update<FK, R>) -> FK + Clone + Send + 'static,
    FF: Fn(&L) -> FK + Clone + Send + 'static,
{
    /// A row for each left row whose right row is there: `function(left key, left row, right row)`.
    pub fn inner<U, G>(self, function: G) -> ForeignJoinedStream<K, U>
    where
        U: Send + 'static,
        G: Fn(&K, &L, &R) -> U + Clone + Send + 'static,
    {
        self.with(Inner(function))
    }

    /// A row for each left row, with the right row if it is there.
    pub fn left<U, G>(self, function: G) -> ForeignJoinedStream<K, U>
    where
        U: Send + 'static,
        G: Fn(&K, &L, Option<&R>) -> U + Clone + Send + 'static,
    {
        self.with(LeftOuter(function))
    }

    fn with<G>(self, result: G) -> ForeignJoinedStream<K, G::Out>
    where
        G: JoinResult<K, L, R>,
        G::Out: Send + 'static,
    {
        let (partitions, name) = (self.left.partitions, self.left.state.clone());
        let part = |part: &str| name.as_ref().map(|name| format!("{name}/{part}"));
        let (left, _, _) = self.left.exchange("foreign-keys");
        let references = left
            .then(ForeignKeys::new(self.foreign))
            .with_state(
                "a join",
                part("keys").or_else(|| Some("foreign-keys".to_owned())),
            )
            .key_by(|reference: &Reference<K, FK, L>| reference.foreign.clone())
            .partitions(self.right.partitions);
        let mut references = references;
        references.state = part("rows").or_else(|| Some("foreign-join".to_owned()));
        let reason = "its results come as the rows of the two tables do";
        let settled = meet(
            references,
            self.right,
            "foreign-join",
            ForeignJoin::new(result),
        )
        .noted(Note::content("a join by a foreign key", reason))
        .key_by(|settling: &Settling<K, G::Out>| settling.key.clone())
        .partitions(partitions);
        let (stream, _, _) = settled.exchange("foreign-settle");
        let name = name.or_else(|| Some("foreign-results".to_owned()));
        stream.then(Settle::new()).with_state("a join", name)
    }
}

impl<A, B> fmt::Debug for TableJoining<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableJoining").finish_non_exhaustive()
    }
}

impl<A, B, FF> fmt::Debug for ForeignJoining<A, B, FF> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignJoining").finish_non_exhaustive()
    }
}
