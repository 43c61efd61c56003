//! A version that does not answer, and that another projection looks into: whoever waits for that one waits for this one. It
//! had a tenth of the processors while events were appended, and left at once at a shutdown, so that the other one ended without
//! the rest of the log.

use super::*;

/// A board of a projection that reads these.
fn reader(world: &World, name: &'static str, reads: &[&Version]) -> Arc<ProgressBoard> {
    let feed = Arc::clone(&world.log.feed);
    let board = ProgressBoard::of_version(name, 1, feed, world.log.clock());
    for read in reads {
        read.board.set_readers(vec![Arc::downgrade(&board)]);
    }
    board
}

/// Events that a version applies in 20 ms in which some are appended, at a microsecond an event.
fn applied_beside_traffic(world: &mut World, one: &mut Version) -> u64 {
    let (start, before) = (world.log.clock.monotonic(), applied(one));
    while world.log.clock.monotonic() < start + Duration::from_millis(20) {
        world.append(1, 1);
        match one.step(0) {
            Step::IdleUntil(wait) => world.log.clock.advance(wait),
            _ => world.log.clock.advance(Duration::from_micros(1)),
        }
        while world.steps.step() {}
    }
    applied(one) - before
}

/// Goal: it takes all the time that it needs if one that reads it answers or is waited for, by way of others as well, and its
/// share otherwise. Method: the clock of the events.
#[test]
fn what_answers_is_made_of_is_not_paced() {
    let mut world = World::new();
    for _ in 0..250 {
        world.append(1, 1_000);
    }
    let config = ProjectionConfig {
        publish_every_ms: 1,
        ..ProjectionConfig::default()
    };
    let mut read = world.version::<1, true>(&config);
    read.board.set_active(false);
    read.board.set_pacer(Arc::new(Pacer::new(20, 1)));
    let between = reader(&world, "between", &[&read]);
    let last = reader(&world, "last", &[]);
    between.set_readers(vec![Arc::downgrade(&last)]);
    let boards = [between, last];
    let mut whole = |world: &mut World, answers: [bool; 2]| {
        for (board, answers) in boards.iter().zip(answers) {
            board.set_active(answers);
        }
        applied_beside_traffic(world, &mut read) > 15_000
    };
    // It is seen that events come.
    whole(&mut world, [false, false]);
    assert!(!whole(&mut world, [false, false]));
    assert!(whole(&mut world, [true, false]));
    assert!(!whole(&mut world, [false, false]));
    assert!(whole(&mut world, [false, true]));
    boards[1].hurry(true);
    assert!(whole(&mut world, [false, false]));
    boards[1].hurry(false);
    assert!(!whole(&mut world, [false, false]));
    drop(boards);
    assert!(applied_beside_traffic(&mut world, &mut read) < 10_000);
}

/// Steps until nothing more comes of it; gives whether all actors have ended.
fn ends(world: &World, one: &mut Version) -> bool {
    for _ in 0..1_000 {
        let steps: Vec<_> = (0..one.cores.len()).map(|at| one.step(at)).collect();
        while world.steps.step() {}
        world.log.clock.advance(Duration::from_millis(2));
        if steps.iter().all(|step| matches!(step, Step::Done)) {
            return true;
        }
    }
    false
}

/// Goal: at a shutdown it comes to the end of the log, behind the versions that it may not overtake: the one that answers, and one
/// between them that nobody asks, which ends where it stands. One that nobody reads leaves at once.
#[test]
fn what_answers_is_made_of_is_there_to_the_end() {
    for is_read in [true, false] {
        let mut world = World::new();
        let config = ProjectionConfig::default();
        let mut read = world.version::<1, true>(&config);
        let mut between = world.version::<2, true>(&config);
        let mut answers = world.version::<3, true>(&config);
        let reads: &[&Version] = if is_read { &[&read] } else { &[] };
        let board = reader(&world, "reads", reads);
        read.board.set_active(false);
        read.board.stay_below(Some(Arc::clone(&between.board)));
        between.board.set_active(false);
        between.board.stay_below(Some(Arc::clone(&answers.board)));
        for key in 0..KEYS {
            world.append(key, 10);
        }
        world.log.feed.close();
        for one in [&mut read, &mut between, &mut answers] {
            one.cores.iter_mut().for_each(|core| core.stop());
        }
        assert_eq!(ends(&world, &mut read), !is_read);
        assert_eq!(applied(&read), 0);
        assert!(ends(&world, &mut between));
        assert_eq!(applied(&between), 0);
        assert_eq!(ends(&world, &mut read), !is_read);
        assert_eq!(applied(&read), 0, "the one that answers shows nothing yet");
        assert!(ends(&world, &mut answers));
        assert_eq!(applied(&answers), 10 * KEYS);
        assert!(ends(&world, &mut read));
        assert_eq!(stored(&read), if is_read { 10 * KEYS } else { 0 });
        drop(board);
    }
}

/// Story: a version that is read and was built from the beginning, as after it was dropped at rest, came to the end of the log at a
/// shutdown as well, however long that was: it held the shutdown until the deadline, which then failed.
#[test]
fn what_is_read_and_far_from_the_end_does_not_hold_up_a_shutdown() {
    // Either side of what counts as keeping up.
    for (frames, comes_to_the_end) in [(16, true), (17, false)] {
        let mut world = World::new();
        let config = ProjectionConfig::default();
        let mut read = world.version::<1, true>(&config);
        let _board = reader(&world, "reads", &[&read]);
        read.board.set_active(false);
        for _ in 0..frames {
            world.append(1, 1_000);
        }
        world.log.feed.close();
        read.cores.iter_mut().for_each(|core| core.stop());
        assert!(ends(&world, &mut read));
        let end = if comes_to_the_end { frames * 1_000 } else { 0 };
        assert_eq!((applied(&read), stored(&read)), (end, end));
    }
}
