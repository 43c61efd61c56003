//! What a join of windows makes of one key's items of one window.

use std::slice;

use super::run::Held;
use super::{FullOuter, Inner, JoinResult, LeftOuter};
use crate::window::Window;

#[derive(Debug)]
enum Kind<'a, T> {
    Plain(slice::Iter<'a, T>),
    /// Without those that were late for the window: that came with a limit of this or more.
    Held(slice::Iter<'a, Held<T>>, i64),
    /// The same of several slices, one after another.
    Divided(
        slice::Iter<'a, Held<T>>,
        slice::Iter<'a, &'a [Held<T>]>,
        i64,
    ),
}

/// One side's items of a window, in the order of arrival (tumbling) or of time (sliding).
#[derive(Debug)]
pub struct Items<'a, T>(Kind<'a, T>);

impl<T> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Kind::Plain(items) => Kind::Plain(items.clone()),
            Kind::Held(items, over) => Kind::Held(items.clone(), *over),
            Kind::Divided(items, rest, over) => Kind::Divided(items.clone(), rest.clone(), *over),
        })
    }
}

impl<'a, T> Items<'a, T> {
    #[inline(always)]
    pub(super) fn plain(items: &'a [T]) -> Self {
        Self(Kind::Plain(items.iter()))
    }

    pub(super) fn held(items: &'a [Held<T>], over: i64) -> Self {
        Self(Kind::Held(items.iter(), over))
    }

    pub(super) fn divided(slices: &'a [&'a [Held<T>]], over: i64) -> Self {
        Self(Kind::Divided([].iter(), slices.iter(), over))
    }
}

impl<'a, T> Iterator for Items<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        match &mut self.0 {
            Kind::Plain(items) => items.next(),
            Kind::Held(items, over) => items.find(|held| held.limit < *over).map(|held| &held.item),
            Kind::Divided(items, rest, over) => loop {
                if let Some(held) = items.find(|held| held.limit < *over) {
                    break Some(&held.item);
                }
                *items = rest.next()?.iter();
            },
        }
    }
}

/// What is made of both sides' items of one key and window; not both are empty.
pub trait GroupResult<K, L, R>: Clone + Send + 'static {
    /// What is given out.
    type Out;

    /// Gives results of one window to `give`.
    fn group(
        &self,
        key: &K,
        window: Window,
        left: Items<'_, L>,
        right: Items<'_, R>,
        give: impl FnMut(Self::Out),
    );
}

macro_rules! pairs {
    ($result:ident) => {
        /// All pairs of one key in one window, and items that met none as the kind of the join says.
        impl<K, L, R, F: Clone + Send + 'static> GroupResult<K, L, R> for $result<F>
        where
            Self: JoinResult<K, L, R>,
        {
            type Out = <Self as JoinResult<K, L, R>>::Out;

            #[inline]
            fn group(
                &self,
                key: &K,
                _window: Window,
                left: Items<'_, L>,
                right: Items<'_, R>,
                give: impl FnMut(Self::Out),
            ) {
                pairs(self, key, left, right, give);
            }
        }
    };
}

pairs!(Inner);
pairs!(LeftOuter);
pairs!(FullOuter);

#[inline]
fn pairs<K, L, R, G: JoinResult<K, L, R>>(
    result: &G,
    key: &K,
    left: Items<'_, L>,
    right: Items<'_, R>,
    mut give: impl FnMut(G::Out),
) {
    if G::RIGHT && left.clone().next().is_none() {
        right
            .filter_map(|item| result.right_alone(key, item))
            .for_each(give);
        return;
    }
    if G::LEFT && right.clone().next().is_none() {
        left.filter_map(|item| result.left_alone(key, item))
            .for_each(give);
        return;
    }
    for left in left {
        for right in right.clone() {
            give(result.pair(key, left, right));
        }
    }
}

/// One result of all items of both sides: `|key, window, left, right|`.
#[derive(Debug, Clone, Copy)]
pub struct CoGroup<F>(pub F);

impl<K, L, R, U, F> GroupResult<K, L, R> for CoGroup<F>
where
    F: Fn(&K, Window, Items<'_, L>, Items<'_, R>) -> U + Clone + Send + 'static,
{
    type Out = U;

    fn group(
        &self,
        key: &K,
        window: Window,
        left: Items<'_, L>,
        right: Items<'_, R>,
        mut give: impl FnMut(U),
    ) {
        give((self.0)(key, window, left, right));
    }
}
