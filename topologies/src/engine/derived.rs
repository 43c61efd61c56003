//! Answers made of a projection's rows, kept until one of them changes.

use std::hash::Hash;
use std::sync::Arc;

use millstream_operators::projection::{Derived, Projection, QueryError, TrackedRows};

use super::Engine;

impl Engine {
    /// A function of the rows of projection `P` and an argument, whose answers are kept until a row that they were made of
    /// changes. `name` is the label of its hits and misses in the metrics; `answers_max` bounds how many are kept.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::catalog::bank::{Account, AccountCommand, BALANCES, Balances, Cents, Channel};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let topology = Topology::named("bank").aggregate::<Account>().projection(Balances).build()?;
    /// # let engine = Engine::open(folder.path()).run(topology).await?;
    /// # for id in ["41", "42"] {
    /// #     let open = AccountCommand::Open { overdraft_limit: Cents::ZERO };
    /// #     engine.send::<Account>(id, open).await?;
    /// # }
    /// let households = engine.derived::<Balances, Vec<&str>, i64>("household", 1_000, |rows, members| {
    ///     let balances = rows.table(&BALANCES)?;
    ///     let keys: Vec<_> = members.iter().map(|member| (*member).into()).collect();
    ///     let of_members = balances.get_many(&keys)?.into_iter().flatten();
    ///     Ok(of_members.map(|balance| balance.hundredths()).sum())
    /// })?;
    ///
    /// let deposit = AccountCommand::Deposit { amount: Cents::new(100), channel: Channel::Cash, reference: 1 };
    /// let ack = engine.send::<Account>("42", deposit).await?;
    /// let deadline = std::time::Duration::from_secs(5);
    /// let sum = households.at_least(&vec!["41", "42"], &ack.token(), deadline).await?;
    /// assert_eq!(*sum, 100);
    /// # engine.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Of a projection with several versions it stays with the version that `P` is, as a reader that is kept does.
    ///
    /// # Errors
    /// [`QueryError::UnknownProjection`]; [`QueryError::OtherVersion`] if this version does not run.
    pub fn derived<P, A, T>(
        &self,
        name: &'static str,
        answers_max: usize,
        compute: impl Fn(&TrackedRows, &A) -> Result<T, QueryError> + Send + Sync + 'static,
    ) -> Result<Derived<A, T>, QueryError>
    where
        P: Projection,
        A: Clone + Eq + Hash + Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        let version = self.version::<P>()?;
        let shown = version.shown().ok_or(QueryError::Dropped {
            projection: P::NAME,
            version: P::VERSION,
        })?;
        Ok(Derived::of(
            name,
            Arc::clone(&shown.board),
            shown.readers.clone(),
            answers_max,
            compute,
        ))
    }
}
