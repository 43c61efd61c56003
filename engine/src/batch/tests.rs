//! The controller on synthetic receivers whose costs are known.

use std::time::Duration;

use super::*;

/// A small generator of its own, so that the numbers never change with a library.
struct Noise(u64);

impl Noise {
    /// Uniform in `0.0..1.0`.
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A cost of F + n·V with up to 10 % noise either way and, once in 50, a lost core of 4 ms.
    fn cost(&mut self, items: usize, fixed: f64, per_item: f64) -> Duration {
        let exact = fixed + items as f64 * per_item;
        let lost = if self.next() < 0.02 { 4e-3 } else { 0.0 };
        Duration::from_secs_f64(exact * (0.9 + 0.2 * self.next()) + lost)
    }
}

fn run(controller: &mut BatchController, noise: &mut Noise, batches: usize, cost: (f64, f64)) {
    for _ in 0..batches {
        let items = controller.batch_items(1_000_000);
        controller.observe(items, noise.cost(items, cost.0, cost.1));
    }
}

fn assert_near(actual: f64, expected: f64, tolerance: f64) {
    let error = (actual - expected).abs() / expected;
    assert!(
        error <= tolerance,
        "{actual:e} is not within {tolerance} of {expected:e}"
    );
}

#[test]
fn fixed_and_item_costs_are_recovered_without_noise() {
    let mut controller = BatchController::new(BatchLimits::default());
    for _ in 0..100 {
        let items = controller.batch_items(1_000_000);
        controller.observe(items, Duration::from_nanos(30_000 + 100 * items as u64));
    }
    assert_near(controller.fixed_seconds(), 30e-6, 0.01);
    assert_near(controller.item_seconds(), 100e-9, 0.01);
    assert_near(controller.target_items() as f64, 3_000.0, 0.02);
}

#[test]
fn fixed_and_item_costs_are_recovered_from_noise() {
    for seed in 0..20 {
        let mut noise = Noise(seed);
        let mut controller = BatchController::new(BatchLimits::default());
        run(&mut controller, &mut noise, 2_000, (10e-6, 200e-9));
        assert_near(controller.item_seconds(), 200e-9, 0.25);
        let n = controller.target_items() as f64;
        let amortised = 10e-6 / n + 200e-9;
        assert!(amortised <= 200e-9 * 1.15, "seed {seed}: n = {n}");
        assert!(n * 200e-9 <= 1.0e-3 * 1.1, "seed {seed}: n = {n}");
    }
}

#[test]
fn light_load_of_varying_size_teaches_as_well() {
    let mut noise = Noise(7);
    let mut controller = BatchController::new(BatchLimits::default());
    for _ in 0..1_000 {
        let backlog = 1 + (noise.next() * 40.0) as usize;
        let items = controller.batch_items(backlog);
        assert!(items <= backlog);
        let exact = 5e-6 + items as f64 * 1e-6;
        controller.observe(
            items,
            Duration::from_secs_f64(exact * (0.95 + 0.1 * noise.next())),
        );
    }
    assert_near(controller.fixed_seconds(), 5e-6, 0.3);
    assert_near(controller.item_seconds(), 1e-6, 0.1);
}

#[test]
fn costs_that_change_are_followed() {
    let mut noise = Noise(3);
    let mut controller = BatchController::new(BatchLimits::default());
    run(&mut controller, &mut noise, 500, (10e-6, 200e-9));
    let before = controller.target_items();
    // Everything becomes ten times dearer per item: the smallest sensible batch shrinks.
    run(&mut controller, &mut noise, 500, (10e-6, 2e-6));
    assert_near(controller.item_seconds(), 2e-6, 0.5);
    assert!(controller.target_items() < before);
    run(&mut controller, &mut noise, 500, (80e-6, 200e-9));
    assert!(
        controller.target_items() > 4 * before.min(500),
        "{}",
        controller.target_items()
    );
}

#[test]
fn no_bound_is_passed() {
    let limits = BatchLimits {
        items_max: 500,
        ..BatchLimits::default()
    };
    let mut controller = BatchController::new(limits);
    run(&mut controller, &mut Noise(1), 300, (500e-6, 10e-9));
    assert_eq!(controller.target_items(), 500);

    // One millisecond of work: 100 items of 10 µs less the fixed cost.
    let mut controller = BatchController::new(BatchLimits::default());
    for _ in 0..300 {
        let items = controller.batch_items(10_000);
        controller.observe(items, Duration::from_micros(200 + 10 * items as u64));
    }
    assert!(
        (78..=82).contains(&controller.target_items()),
        "{}",
        controller.target_items()
    );

    controller.observe_bytes(10, 10 * 64 * 1_024);
    assert_eq!(controller.target_items(), 16);

    let limits = BatchLimits {
        latency_us_target: 300,
        ..BatchLimits::default()
    };
    let mut controller = BatchController::new(limits);
    for _ in 0..300 {
        let items = controller.batch_items(10_000);
        controller.observe(items, Duration::from_micros(200 + 10 * items as u64));
    }
    assert!(
        (9..=11).contains(&controller.target_items()),
        "{}",
        controller.target_items()
    );
}

/// Story: a fixed cost of more than the bound on work left no room for items, so batches were of one item for good: as much
/// above the bound, and a thousand times dearer per item.
#[test]
fn a_fixed_cost_above_the_bound_on_work_is_spread_over_as_much_work() {
    let mut controller = BatchController::new(BatchLimits::default());
    for _ in 0..500 {
        let items = controller.batch_items(1_000_000);
        controller.observe(items, Duration::from_micros(1_500 + items as u64));
    }
    let target = controller.target_items();
    assert!((1_000..=2_000).contains(&target), "{target}");
}

#[test]
fn an_idle_receiver_takes_what_is_there() {
    let mut controller = BatchController::new(BatchLimits::default());
    assert_eq!(controller.batch_items(0), 0);
    assert_eq!(controller.batch_items(1), 1);
    run(&mut controller, &mut Noise(5), 100, (50e-6, 100e-9));
    for backlog in [0, 1, 2, 100] {
        assert_eq!(controller.batch_items(backlog), backlog);
    }
}

#[test]
fn degenerate_costs_leave_sane_numbers() {
    for cost in [(0.0, 0.0), (0.0, 1e-9), (1e-3, 0.0), (5.0, 1.0)] {
        let mut controller = BatchController::new(BatchLimits::default());
        for _ in 0..200 {
            let items = controller.batch_items(50_000);
            assert!((1..=16_384).contains(&items));
            let seconds = cost.0 + cost.1 * items as f64;
            controller.observe(items, Duration::from_secs_f64(seconds));
        }
        assert!(controller.fixed_seconds().is_finite() && controller.fixed_seconds() >= 0.0);
        assert!(controller.item_seconds().is_finite() && controller.item_seconds() >= 0.0);
    }
}

#[test]
fn limits_out_of_range_are_named() {
    assert_eq!(BatchLimits::default().validate(), Ok(()));
    let limits = BatchLimits {
        items_min: 0,
        ..BatchLimits::default()
    };
    assert!(
        limits
            .validate()
            .unwrap_err()
            .to_string()
            .contains("items_min")
    );
}

#[test]
fn a_batch_is_two_columns() {
    let mut batch: Batch<&str> = [(Timestamp(2), "b"), (Timestamp(1), "a")]
        .into_iter()
        .collect();
    assert_eq!(batch.time_max(), Some(Timestamp(2)));
    assert_eq!(
        batch.iter().map(|(time, _)| time.0).collect::<Vec<_>>(),
        [2, 1]
    );
    batch.clear();
    assert!(batch.is_empty());
    assert_eq!(batch.time_max(), None);
}

/// Splits of a source are read in turn with one controller: over a thousand rounds each must have got about as much as
/// the others, however many there are.
#[test]
fn splits_that_take_turns_get_the_same() {
    for splits in [2, 3, 4, 5, 7, 8, 16] {
        let limits = BatchLimits {
            items_min: 4_096,
            items_max: 16_384,
            ..BatchLimits::default()
        };
        let mut controller = BatchController::new(limits);
        let mut given = vec![0_usize; splits];
        for turn in 0..splits * 1_000 {
            let items = controller.batch_items(usize::MAX);
            given[turn % splits] += items;
            let nanos = 20_000 + 25 * items as u64;
            controller.observe(items, Duration::from_nanos(nanos));
        }
        let (least, most) = (given.iter().min().unwrap(), given.iter().max().unwrap());
        assert!(most - least < most / 50, "{splits} splits: {given:?}");
    }
}
