//! Which items a join gives results for, and what it makes of them.
//!
//! The kind of a join is the wrapper around its closure, so that what an inner join does not need is compiled away.

/// What a join makes of the items that meet, and of those that meet none.
pub trait JoinResult<K, L, R>: Clone + Send + 'static {
    /// What is given out.
    type Out;
    /// Whether a left item without a partner gives a result.
    const LEFT: bool;
    /// Whether a right item without a partner gives a result.
    const RIGHT: bool;

    /// Of two items that meet.
    fn pair(&self, key: &K, left: &L, right: &R) -> Self::Out;

    /// Of a left item that met none; `None` unless [`LEFT`](Self::LEFT).
    fn left_alone(&self, key: &K, left: &L) -> Option<Self::Out>;

    /// Of a right item that met none; `None` unless [`RIGHT`](Self::RIGHT).
    fn right_alone(&self, key: &K, right: &R) -> Option<Self::Out>;
}

/// Pairs only: `|key, left, right|`.
#[derive(Debug, Clone, Copy)]
pub struct Inner<F>(pub F);

/// Pairs, and left items that met none: `|key, left, Option<right>|`.
#[derive(Debug, Clone, Copy)]
pub struct LeftOuter<F>(pub F);

/// Pairs, and items of both sides that met none: `|key, Option<left>, Option<right>|`; never `None` twice.
#[derive(Debug, Clone, Copy)]
pub struct FullOuter<F>(pub F);

impl<K, L, R, U, F> JoinResult<K, L, R> for Inner<F>
where
    F: Fn(&K, &L, &R) -> U + Clone + Send + 'static,
{
    type Out = U;
    const LEFT: bool = false;
    const RIGHT: bool = false;

    #[inline(always)]
    fn pair(&self, key: &K, left: &L, right: &R) -> U {
        (self.0)(key, left, right)
    }

    #[inline(always)]
    fn left_alone(&self, _key: &K, _left: &L) -> Option<U> {
        None
    }

    #[inline(always)]
    fn right_alone(&self, _key: &K, _right: &R) -> Option<U> {
        None
    }
}

impl<K, L, R, U, F> JoinResult<K, L, R> for LeftOuter<F>
where
    F: Fn(&K, &L, Option<&R>) -> U + Clone + Send + 'static,
{
    type Out = U;
    const LEFT: bool = true;
    const RIGHT: bool = false;

    #[inline(always)]
    fn pair(&self, key: &K, left: &L, right: &R) -> U {
        (self.0)(key, left, Some(right))
    }

    #[inline(always)]
    fn left_alone(&self, key: &K, left: &L) -> Option<U> {
        Some((self.0)(key, left, None))
    }

    #[inline(always)]
    fn right_alone(&self, _key: &K, _right: &R) -> Option<U> {
        None
    }
}

impl<K, L, R, U, F> JoinResult<K, L, R> for FullOuter<F>
where
    F: Fn(&K, Option<&L>, Option<&R>) -> U + Clone + Send + 'static,
{
    type Out = U;
    const LEFT: bool = true;
    const RIGHT: bool = true;

    #[inline(always)]
    fn pair(&self, key: &K, left: &L, right: &R) -> U {
        (self.0)(key, Some(left), Some(right))
    }

    #[inline(always)]
    fn left_alone(&self, key: &K, left: &L) -> Option<U> {
        Some((self.0)(key, Some(left), None))
    }

    #[inline(always)]
    fn right_alone(&self, key: &K, right: &R) -> Option<U> {
        Some((self.0)(key, None, Some(right)))
    }
}
