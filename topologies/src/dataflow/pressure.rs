//! Where the pressure in a dataflow comes from: which stage the others wait for.
//!
//! A stage that is blocked waits for room in a mailbox of one that follows it, or, if it ends in a sink, for what is
//! outside. So the search goes along the edges, from the stage that waits most to the one that makes it wait, until
//! that does not wait itself.

use millstream_engine::flow::StageLoad;

/// Share of the time blocked up to which a stage does not count as waiting.
const CALM: f64 = 0.05;

/// The partition that holds the others back; `edges` are pairs of names of stages. `None` if nothing waits.
pub(super) fn bottleneck(loads: &[StageLoad], edges: &[(String, String)]) -> Option<StageLoad> {
    let mut waiting = loads
        .iter()
        .max_by(|a, b| a.blocked_share().total_cmp(&b.blocked_share()))
        .filter(|load| load.blocked_share() > CALM)?;
    // Each turn goes on along an edge, and edges form no cycle.
    for _ in 0..=edges.len() {
        let Some(follower) = busiest_follower(waiting, loads, edges) else {
            break;
        };
        // Whoever's mailbox is full is not idle: one that was idle for most of that time is not waited for.
        let at_work = 1.0 - follower.idle_share();
        if at_work < waiting.blocked_share() / 2.0 {
            break;
        }
        if follower.blocked_share() <= follower.busy_share() {
            return Some(follower.clone());
        }
        waiting = follower;
    }
    Some(waiting.clone())
}

fn busiest_follower<'a>(
    stage: &StageLoad,
    loads: &'a [StageLoad],
    edges: &[(String, String)],
) -> Option<&'a StageLoad> {
    let follows = |load: &&StageLoad| {
        let mut to = edges.iter().filter(|(from, _)| *from == stage.stage);
        to.any(|(_, to)| *to == load.stage)
    };
    // One that never began has no times and is not waited for.
    let began = |load: &&StageLoad| !(load.busy + load.idle + load.blocked).is_zero();
    loads
        .iter()
        .filter(follows)
        .filter(began)
        .min_by(|a, b| a.idle_share().total_cmp(&b.idle_share()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load(stage: &str, partition: usize, busy: u64, idle: u64, blocked: u64) -> StageLoad {
        StageLoad {
            stage: stage.to_owned(),
            partition,
            busy: Duration::from_secs(busy),
            idle: Duration::from_secs(idle),
            blocked: Duration::from_secs(blocked),
            ..StageLoad::default()
        }
    }

    fn edges(edges: &[(&str, &str)]) -> Vec<(String, String)> {
        let edge = |&(from, to): &(&str, &str)| (from.to_owned(), to.to_owned());
        edges.iter().map(edge).collect()
    }

    fn found(loads: &[StageLoad], between: &[(&str, &str)]) -> Option<(String, usize)> {
        let found = bottleneck(loads, &edges(between))?;
        Some((found.stage, found.partition))
    }

    const LINE: [(&str, &str); 2] = [("source", "middle"), ("middle", "sink")];

    #[test]
    fn nobody_waits() {
        let loads = [load("source", 0, 9, 1, 0), load("middle", 0, 9, 1, 0)];
        assert_eq!(found(&loads, &LINE), None);
        assert_eq!(found(&[], &[]), None);
    }

    #[test]
    fn a_stage_at_work_behind_ones_that_wait() {
        let loads = [
            load("source", 0, 1, 0, 9),
            load("middle", 0, 2, 0, 8),
            load("sink", 0, 10, 0, 0),
        ];
        assert_eq!(found(&loads, &LINE), Some(("sink".to_owned(), 0)));
        let loads = [
            load("source", 0, 1, 0, 9),
            load("middle", 0, 10, 0, 0),
            load("sink", 0, 3, 7, 0),
        ];
        assert_eq!(found(&loads, &LINE), Some(("middle".to_owned(), 0)));
    }

    #[test]
    fn the_busiest_partition_of_a_stage_not_the_busy_source_beside() {
        let loads = [
            load("other", 0, 10, 0, 0),
            load("source", 0, 4, 0, 6),
            load("middle", 0, 2, 8, 0),
            load("middle", 1, 9, 1, 0),
        ];
        assert_eq!(found(&loads, &LINE), Some(("middle".to_owned(), 1)));
    }

    #[test]
    fn a_sink_that_waits_for_what_is_outside() {
        let loads = [
            load("source", 0, 0, 0, 10),
            load("middle", 0, 0, 0, 10),
            load("sink", 0, 0, 1, 9),
        ];
        assert_eq!(found(&loads, &LINE), Some(("sink".to_owned(), 0)));
        // It has a side output as well, whose reader has nothing to do.
        let between = [("source", "sink"), ("sink", "late")];
        let loads = [
            load("source", 0, 0, 0, 10),
            load("sink", 0, 0, 1, 9),
            load("late", 0, 0, 10, 0),
        ];
        assert_eq!(found(&loads, &between), Some(("sink".to_owned(), 0)));
    }
}
