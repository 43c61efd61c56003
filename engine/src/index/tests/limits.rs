//! Goal: sizes, budgets and filters keep what the docs of the module say.

use super::super::{IndexConfig, IndexEntry, IndexError, IndexWrite};
use super::{Fixture, small_config, spread};

fn written(writes: &[IndexWrite]) -> usize {
    writes
        .iter()
        .map(|write| match write {
            IndexWrite::Put { value, .. } => value.len(),
            IndexWrite::Delete { .. } => 64,
        })
        .sum()
}

#[test]
fn a_slice_keeps_its_budget_and_a_chunk_its_size() {
    let config = IndexConfig {
        tail_entries_max: 4_000,
        level_fanout: 3,
        chunk_bytes_max: 2_048,
    };
    let mut fixture = Fixture::new(config, spread);
    let budget = 10_000;
    for round in 0..20_u64 {
        fixture.push((0..4_000).map(|i| spread(round * 4_000 + i) % 3_000));
        while let Some(writes) = fixture.index.maintain(budget).unwrap() {
            let manifest = 40 + 64 * 20;
            assert!(
                written(&writes) <= budget + 2 * 2_048 + manifest,
                "{}",
                written(&writes)
            );
            for write in &writes {
                if let IndexWrite::Put { key, value } = write {
                    assert!(
                        key.run == 0 || value.len() <= 2_048,
                        "{key}: {}",
                        value.len()
                    );
                }
            }
            fixture.store.commit(writes);
            fixture.index.applied();
        }
    }
    let stats = fixture.index.stats();
    assert!(stats.level_runs.iter().all(|runs| *runs < 3), "{stats:?}");
    assert_eq!(stats.level_runs.len(), 3, "{stats:?}");
    assert!(stats.merge_bytes_total > 0 && stats.flush_bytes_total > 0);
}

/// A flush goes before the merge under way, which goes on afterwards.
#[test]
fn a_flush_does_not_wait_for_a_merge() {
    let mut fixture = Fixture::new(small_config(), spread);
    for _ in 0..3 {
        fixture.push(0..300);
        fixture.flush_all();
    }
    assert!(fixture.maintain(1), "the merge begins");
    fixture.push(0..300);
    for _ in 0..100 {
        if fixture.index.stats().tail_entries == 0 {
            break;
        }
        assert!(fixture.maintain(1_000));
    }
    assert_eq!(fixture.index.stats().level_runs, [4]);
    fixture.settle();
    assert_eq!(fixture.index.stats().level_runs, [1, 1]);
    assert_eq!(fixture.read(17, 0, 100), fixture.expected(17));
}

#[test]
fn a_hot_stream_is_small_and_read_in_pages() {
    let config = IndexConfig {
        tail_entries_max: 20_000,
        level_fanout: 4,
        chunk_bytes_max: 8_192,
    };
    let mut fixture = Fixture::new(config, spread);
    for _ in 0..200 {
        fixture.push((0..1_010).map(|i| if i % 101 == 100 { 1 } else { 0 }));
        fixture.maintain(1 << 20);
    }
    fixture.flush_all();
    fixture.settle();
    assert_eq!(fixture.expected(0).len(), 200_000);
    assert_eq!(fixture.read(0, 0, 1_000), fixture.expected(0));
    assert_eq!(
        fixture.read(0, 123_456, 5_000),
        fixture.expected(0)[123_456..]
    );
    let down = fixture.read_back(0, 150_000, 3_000);
    assert!(down.iter().rev().eq(&fixture.expected(0)[..=150_000]));
    let stats = fixture.index.stats();
    assert!(stats.run_bytes < 2 * stats.run_entries, "{stats:?}");
    assert!(
        stats.filter_bytes <= 512,
        "filters shrink to what is distinct: {stats:?}"
    );
}

/// Goal: through all layers, filters pass absent hashes as often as the formula says.
#[test]
fn counted_false_positives_follow_the_formula() {
    let config = IndexConfig {
        tail_entries_max: 50_000,
        ..IndexConfig::default()
    };
    let mut fixture = Fixture::new(config, spread);
    fixture.push(0..50_000);
    fixture.settle();
    let bits = fixture.index.stats().filter_bytes as f64 * 8.0;
    let expected = (1.0 - (-7.0 * 50_000.0 / bits).exp()).powi(7);
    for stream in 1_000_000..1_200_000 {
        assert!(fixture.index.last(spread(stream), 1).unwrap().is_empty());
    }
    let stats = fixture.index.stats();
    assert_eq!(stats.bloom_checks_total, 200_000);
    let ratio = stats.bloom_false_positives_total as f64 / 200_000.0 / expected;
    assert!((0.8..1.2).contains(&ratio), "{ratio}: {stats:?}");
}

#[test]
fn what_is_there_is_never_a_false_positive() {
    let mut fixture = Fixture::new(small_config(), spread);
    for _ in 0..20 {
        fixture.push((0..300).map(|i| i % 40));
        fixture.maintain(usize::MAX);
    }
    fixture.settle();
    for from in 0..150 {
        for stream in 0..40 {
            fixture.index.scan(spread(stream), from, 3).unwrap();
            fixture.index.scan_back(spread(stream), from, 3).unwrap();
        }
    }
    let stats = fixture.index.stats();
    assert!(stats.bloom_checks_total > 10_000);
    assert_eq!(stats.bloom_false_positives_total, 0);
}

#[test]
fn recent_entries_are_answered_without_asking_runs() {
    let mut fixture = Fixture::new(small_config(), spread);
    fixture.push((0..2_000).map(|i| i % 10));
    fixture.settle();
    fixture.push((0..100).map(|i| i % 10));
    let newest = fixture.index.last(spread(3), 5).unwrap();
    assert!(
        newest
            .iter()
            .rev()
            .eq(fixture.expected(3).iter().rev().take(5).rev())
    );
    assert_eq!(fixture.index.stats().bloom_checks_total, 0);
}

#[test]
fn entries_fed_twice_are_held_once() {
    let mut fixture = Fixture::new(small_config(), spread);
    fixture.push((0..500).map(|i| i % 5));
    fixture.index.push(&fixture.log[200..]);
    fixture.flush_all();
    fixture.index.push(&fixture.log);
    assert_eq!(fixture.index.covered_until(), 500);
    assert_eq!(fixture.read(2, 0, 1_000), fixture.expected(2));
    assert_eq!(fixture.index.stats().tail_entries, 0);
}

#[test]
fn an_empty_index_has_nothing_to_say_or_do() {
    let fixture = Fixture::new(IndexConfig::default(), spread);
    assert_eq!(
        fixture.index.scan(1, 0, 10).unwrap(),
        Vec::<IndexEntry>::new()
    );
    assert_eq!(fixture.index.last(1, 0).unwrap(), Vec::<IndexEntry>::new());
    assert_eq!(fixture.index.covered_until(), 0);
    fixture.index.applied();
    fixture.index.push(&[]);
    fixture.flush_all();
    assert!(fixture.index.maintain(1).unwrap().is_none());
    assert!(fixture.store.keys().is_empty());
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let bad = IndexConfig {
        level_fanout: 1,
        ..IndexConfig::default()
    };
    let error = bad.validate().unwrap_err();
    assert!(matches!(
        error,
        IndexError::Config {
            field: "level_fanout",
            value: 1,
            ..
        }
    ));
    assert!(
        IndexConfig {
            chunk_bytes_max: 1_000,
            ..IndexConfig::default()
        }
        .validate()
        .is_err()
    );
    assert!(
        IndexConfig {
            tail_entries_max: 0,
            ..IndexConfig::default()
        }
        .validate()
        .is_err()
    );
    IndexConfig::default().validate().unwrap();
}
