//! A checkpoint that a killed process has left in the system's memory alone.
//!
//! The story: the process died between the manifest and the sync that was to follow it. The next one began from that
//! checkpoint and let out what it had held, at once. Then the power failed, which took the checkpoint, and a run from the one
//! before let out something else under the same ids. Found by seeds 2208 and 4791 of the simulation as it was then.

use millstream::dataflow::{Dataflow, Driver};
use millstream_engine::checkpoint::{InMemory, Standing};
use millstream_engine::flow::Resources;

use crate::simulation::{Input, Outside, Random, Shape};
use crate::windows::two_stages;

fn has_checkpoint(storage: &InMemory) -> bool {
    let standing = Standing::read(storage).unwrap();
    standing.readable().next().is_some()
}

/// Goal: nothing follows from a checkpoint that the power could still take.
/// Method: a run dies as soon as there is a manifest; the power fails as soon as the next one has begun.
#[test]
fn a_run_forces_the_checkpoint_that_it_begins_from_to_the_disk() {
    let mut random = Random(1);
    let mut input = Input::random(&mut random, 2);
    input.feed(50);
    let outside = Outside::new();
    let storage = InMemory::default();
    let make = || {
        let options = Shape::random(&mut Random(1)).options();
        let flow = Dataflow::build_with("sim", options, |flow| {
            two_stages(flow, &input.feed, &outside);
        });
        Driver::with_checkpoints(flow.unwrap(), 1, Resources::new(), storage.clone()).unwrap()
    };
    let mut driver = make();
    storage.set_slow(true);
    driver.ask_for_checkpoint();
    while !has_checkpoint(&storage) {
        driver.run_steps(1).unwrap();
    }
    drop(driver);
    storage.set_slow(false);
    storage.crash(0);
    assert!(storage.unsynced() > 0);
    drop(make());
    storage.crash(usize::MAX);
    assert!(has_checkpoint(&storage));
}
