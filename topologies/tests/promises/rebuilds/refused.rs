//! Candidates that are not switched to, and those that no topology may have.

use millstream::{RebuildError, TopologyFault};
use millstream_operators::projection::QueryError;

use super::*;

/// Goal: a candidate that does not come further is not switched to, and the version that answers goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_is_behind_is_not_switched_to() {
    struct Halts;
    impl Projection for Halts {
        const NAME: &'static str = Sums::NAME;
        const VERSION: u32 = 2;
        const ROWS: Rows = Rows::Global;
        const CATEGORY: &'static str = "tally";
        type Event = Happened;
        type Tables = (Table<String, SumRow>,);
        type Error = std::fmt::Error;
        fn tables(&self) -> Self::Tables {
            (SUMS,)
        }
        fn project(
            &self,
            event: &ProjectedEvent<'_, Happened>,
            tables: &mut (TableMut<String, SumRow>,),
        ) -> Result<(), Self::Error> {
            if event.id == "t3" {
                return Err(std::fmt::Error);
            }
            Sums.project(event, tables).map_err(|never| match never {})
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let halts = ProjectionConfig {
        parked_keys_max: 0,
        ..busy()
    };
    let topology = tallies().projection(Sums).candidate_with(Halts, halts);
    let engine = start(folder.path(), topology.build().unwrap()).await;
    fill(&engine, 10).await;
    let rebuild = engine.rebuild("sums").unwrap();
    let error = within(rebuild.switch()).await.unwrap_err();
    assert!(
        matches!(&error, RebuildError::Query(QueryError::Stopped { .. })),
        "{error}"
    );
    let error = within(rebuild.compare()).await.unwrap_err();
    assert!(matches!(error, RebuildError::Query(_)), "{error}");
    until("it is told that the version was given up", || {
        let progress = rebuild.progress().unwrap();
        progress.given_up.is_some() && progress.failures > 0
    })
    .await;
    assert_eq!(rebuild.active(), 1);
    check(&engine).await;
    rebuild.drop_version(2).await.unwrap();
    let _ = engine.shutdown().await;
}

#[test]
fn faults_of_candidates() {
    let built = tallies().candidate(SumsOf::<2>).build();
    let fault = TopologyFault::CandidateOfNone {
        name: "sums",
        version: 2,
    };
    assert_eq!(built.unwrap_err().faults, [fault]);
    let built = tallies()
        .projection(SumsOf::<1>)
        .candidate(SumsOf::<2>)
        .candidate(SumsOf::<1>)
        .build();
    let fault = TopologyFault::SameVersion {
        name: "sums",
        version: 1,
    };
    assert_eq!(built.unwrap_err().faults, [fault]);
}
