//! Fail points of a dataflow with checkpoints: everything that its process does from the start to the shutdown.
//!
//! A first process dies in the middle, where a checkpoint is complete and nothing was let out; the second one, which has the
//! fail point, begins from that; the third is left alone.

use std::sync::Arc;

use millstream_engine::fail_points::{
    CHECKPOINT_BEFORE_TOLD, CHECKPOINT_SAVED, LOG_SINK_BEFORE_APPEND, LOG_SINK_OWED, Point,
    RESTORE_AGAIN,
};

use super::{Act, End, end_of, order};
use crate::engine::data_in;
use crate::flows::{KINDS, Kind};
use crate::outcome;
use crate::plan::Plan;
use crate::rounds::{Folder, left, undisturbed, verify};
use crate::victim;

/// Between them they have every kind of sink, and one of them has results that can be compared one by one.
const MET_BY: [Kind; 2] = [Kind::InOrder, Kind::Arrival];

/// A plan of one of these kinds.
fn plan(seed: u64, number: u64) -> Arc<Plan> {
    let kind = MET_BY[(number % MET_BY.len() as u64) as usize];
    let kinds = KINDS.len() as u64;
    let at = KINDS.iter().position(|one| *one == kind).unwrap() as u64;
    let first = seed.wrapping_add(number.wrapping_mul(kinds)) / kinds * kinds;
    Arc::new(Plan::of(first.wrapping_add(at)))
}

/// Gives whether the process died of it.
pub(super) fn dies(seed: u64, number: u64, point: Point, passing: u64) -> bool {
    let mut orders = order(point, Act::Die, passing);
    if point == RESTORE_AGAIN {
        // Something must fail before.
        orders = format!("{},{orders}", order(CHECKPOINT_SAVED, Act::Fail, 1));
    }
    run(&plan_for(point, seed, number), point, &orders) == End::Died
}

pub(super) fn fails(seed: u64, number: u64, point: Point, passing: u64) -> End {
    run(
        &plan_for(point, seed, number),
        point,
        &order(point, Act::Fail, passing),
    )
}

/// The plan that comes to a point.
fn plan_for(point: Point, seed: u64, number: u64) -> Arc<Plan> {
    // The other one may have nothing for its log sink in the beginning.
    let number = if point == LOG_SINK_OWED {
        number | 1
    } else {
        number
    };
    plan(seed, number)
}

fn run(plan: &Arc<Plan>, point: Point, orders: &str) -> End {
    let expected = undisturbed(plan);
    let folder = Folder::new();
    let first = if plan.seed.is_multiple_of(2) || point == LOG_SINK_OWED {
        // The log is owed something for certain, unless nothing comes to it for a while.
        let append = order(LOG_SINK_BEFORE_APPEND, Act::Die, 1);
        format!("{append},{}", order(CHECKPOINT_BEFORE_TOLD, Act::Die, 30))
    } else {
        order(CHECKPOINT_BEFORE_TOLD, Act::Die, 3)
    };
    let halves = victim::start_with(plan, 0, folder.path(), (Some(8), &first));
    assert_eq!(end_of(halves, "the first process"), End::Died);
    let second = victim::start_with(plan, 1, folder.path(), (None, orders));
    let end = end_of(second, point.name);
    let third = victim::start_with(plan, 2, folder.path(), (None, ""));
    let last = end_of(third, "the last process");
    assert_eq!(last, End::Finished(0), "after {}", point.name);
    left(plan, folder.path()).compare(&expected, plan);
    assert_eq!(
        outcome::hidden_files(folder.path()),
        0,
        "files have no name"
    );
    verify(&data_in(folder.path()));
    end
}
