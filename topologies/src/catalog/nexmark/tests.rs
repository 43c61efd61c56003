//! The generator and the direct computations give the figures that are known of the reference, exactly.

use millstream_engine::time::Timestamp;

use super::direct::{
    Variant, checksum, q0, q1, q2, q3, q4, q5, q6, q6_panes, q7, q8, q8_flink, q9, q9_flink, q11,
    q12, q13,
};
use super::{NexmarkConfig, NexmarkConfigError, NexmarkEvent, NexmarkSource};

fn events(count: u64, generators: u32) -> Vec<NexmarkEvent> {
    let config = NexmarkConfig::of(count).generators(generators);
    let source = NexmarkSource::new(&config).unwrap();
    source.map(|generated| generated.event).collect()
}

#[test]
fn the_first_events_are_those_of_the_reference() {
    let first = events(100_000, 1);
    let base = NexmarkConfig::default().base_time;
    let person = first[0].person().unwrap();
    assert_eq!((person.id, person.date_time), (1_000, base));
    assert_eq!(
        [&person.name, &person.city, &person.state],
        ["Peter Jones", "Portland", "WY"]
    );
    let auction = first[1].auction().unwrap();
    assert_eq!((auction.id, auction.seller), (1_000, 1_000));
    assert_eq!(
        (auction.category, auction.initial_bid, auction.reserve),
        (13, 28_873, 29_448)
    );
    assert_eq!(
        auction.expires.as_micros() - auction.date_time.as_micros(),
        11_000
    );
    let bid = first[4].bid().unwrap();
    assert_eq!(
        (bid.auction, bid.bidder, bid.price),
        (1_000, 1_001, 32_530_001)
    );
}

#[test]
fn sums_over_bids_are_those_of_the_reference() {
    for generators in [1, 100] {
        let events = events(100_000, generators);
        let mut sums = [0; 3];
        for bid in events.iter().filter_map(NexmarkEvent::bid) {
            sums[0] += bid.price;
            sums[1] += bid.auction;
            sums[2] += bid.bidder;
        }
        assert_eq!(sums, [667_953_890_778, 363_648_112, 172_130_989]);
    }
}

#[test]
fn stateless_queries_and_joins_count_as_published() {
    for generators in [1, 100] {
        let events = events(100_000, generators);
        assert_eq!(q0(&events).len(), 100_000);
        assert_eq!(q1(&events).len(), 92_000);
        assert_eq!(q2(&events).len(), 351);
        assert_eq!(q3(&events).len(), 580);
        assert_eq!(q7(&events).len(), 1);
        assert_eq!(q8(&events).len(), 6_000);
        assert_eq!(q8_flink(&events).len(), 902);
        assert_eq!(q11(&events).len(), 1_919);
        assert_eq!(q13(&events).len(), 92_000);
    }
}

#[test]
fn windows_and_winning_bids_count_as_published() {
    let hundred = events(100_000, 100);
    assert_eq!(q5(&hundred, 5).len(), 12);
    assert_eq!(q5(&hundred, 2).len(), 53);
    assert_eq!(q9(&hundred).len(), 3_493);
    assert_eq!(q9_flink(&hundred).len(), 3_825);
    let one = events(100_000, 1);
    assert_eq!(q5(&one, 5).len(), 5);
    assert_eq!(q5(&one, 2).len(), 15);
    assert_eq!(q9(&one).len(), 3_120);
    assert_eq!(q9_flink(&one).len(), 4_052);
}

#[test]
fn the_smaller_runs_count_as_published() {
    let events = events(10_000, 100);
    assert_eq!(q4(&events).len(), 40);
    assert_eq!(q6_panes(&events), 401);
    assert_eq!(q6(&events).len(), 298);
    assert_eq!(q9(&events).len(), 298);
}

#[test]
fn processing_time_is_that_of_the_caller() {
    let events = events(10_000, 1);
    let at = |seconds| move |event| (Timestamp::from_seconds(seconds), event);
    let bidders = q11(&events).len();
    let together: Vec<_> = events.iter().cloned().map(at(3)).collect();
    assert_eq!(q12(&together).len(), bidders);
    let mut twice = together;
    twice.extend(events.into_iter().map(at(10)));
    assert_eq!(q12(&twice).len(), 2 * bidders);
}

#[test]
fn the_order_of_events_does_not_matter() {
    let mut events = events(20_000, 100);
    let queries = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13];
    let both = [Variant::Beam, Variant::Flink];
    let sums = |events: &[NexmarkEvent]| {
        let each = queries.iter().flat_map(|query| both.map(|v| (*query, v)));
        each.map(|(query, variant)| checksum(query, variant, events).unwrap())
            .collect::<Vec<_>>()
    };
    let forward = sums(&events);
    events.reverse();
    assert_eq!(forward, sums(&events));
    assert!(checksum(12, Variant::Beam, &events).is_none());
}

#[test]
fn partitions_share_the_events_of_all_generators() {
    for generators in [1, 7, 100] {
        // Not a multiple of the generators: the last one makes more.
        let config = NexmarkConfig::of(10_123).generators(generators);
        let mut whole = events(10_123, generators);
        let mut parts = Vec::new();
        for partition in 0..3 {
            let source = NexmarkSource::of_partition(&config, partition, 3).unwrap();
            assert_eq!(source.size_hint().1, Some(source.clone().count()));
            parts.extend(source.map(|generated| generated.event));
        }
        whole.sort();
        parts.sort();
        assert_eq!(whole.len(), 10_123);
        assert!(whole == parts, "{generators} generators");
    }
}

#[test]
fn times_never_decrease_and_are_their_own_watermark() {
    let mut source = NexmarkSource::new(&NexmarkConfig::of(5_050)).unwrap();
    let mut before = Timestamp::MIN;
    while source.size_hint().0 > 0 {
        let promised = source.watermark();
        let generated = source.next().unwrap();
        assert_eq!(generated.time, generated.event.time());
        assert_eq!((generated.watermark, promised), (generated.time, promised));
        assert!(generated.time >= before);
        before = generated.time;
    }
    assert_eq!(source.watermark(), Timestamp::MAX);
    assert!(source.next().is_none());
}

#[test]
fn groups_shuffle_what_they_hold_and_nothing_else() {
    let ordered = NexmarkConfig::of(10_000).generators(4);
    let shuffled = NexmarkConfig {
        out_of_order_group: 500,
        ..ordered
    };
    let all: Vec<_> = NexmarkSource::new(&shuffled).unwrap().collect();
    assert!(all.iter().any(|g| g.time > g.watermark));
    for (place, generated) in all.iter().enumerate() {
        let later = &all[place..];
        assert!(
            later
                .iter()
                .take(4_000)
                .all(|g| g.time >= generated.watermark)
        );
    }
    let mut events: Vec<_> = all.into_iter().map(|g| g.event).collect();
    // The second event of a generator is number 953 of its group of 500: its id ends in 453.
    assert_eq!(events[4].time(), events[5].time());
    assert_eq!(
        events[4].time().as_micros() - events[0].time().as_micros(),
        // 181.2 milliseconds, of which whole ones count.
        181_000
    );
    let mut plain: Vec<_> = NexmarkSource::new(&ordered)
        .unwrap()
        .map(|g| g.event)
        .collect();
    events.sort();
    plain.sort();
    assert!(events == plain);
}

#[test]
fn padding_changes_nothing_else() {
    let config = NexmarkConfig {
        padding: true,
        ..NexmarkConfig::of(5_000)
    };
    let mut padded: Vec<_> = NexmarkSource::new(&config)
        .unwrap()
        .map(|generated| generated.event)
        .collect();
    let mut bytes = 0;
    for event in &mut padded {
        let extra = match event {
            NexmarkEvent::Person(person) => &mut person.extra,
            NexmarkEvent::Auction(auction) => &mut auction.extra,
            NexmarkEvent::Bid(bid) => &mut bid.extra,
        };
        bytes += extra.len();
        extra.clear();
    }
    assert!(padded == events(5_000, 100));
    // About 68 bytes a bid, 110 a person and 390 an auction.
    assert!((80 * 5_000..95 * 5_000).contains(&bytes), "{bytes}");
}

#[test]
fn fewer_events_than_generators_and_none_at_all() {
    assert_eq!(events(7, 100).len(), 7);
    assert!(events(0, 100).is_empty());
    let source = NexmarkSource::new(&NexmarkConfig::of(0)).unwrap();
    assert_eq!(source.watermark(), Timestamp::MAX);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |config: NexmarkConfig| NexmarkSource::new(&config).unwrap_err();
    let default = NexmarkConfig::default;
    assert_eq!(
        refused(default().generators(0)),
        NexmarkConfigError::Generators(0)
    );
    for rate in [0, 2_000_001] {
        let config = NexmarkConfig {
            event_rate: rate,
            ..default()
        };
        assert_eq!(refused(config), NexmarkConfigError::EventRate(rate));
    }
    for group in [0, 953, 1_906, 1_000_001] {
        let config = NexmarkConfig {
            out_of_order_group: group,
            ..default()
        };
        assert_eq!(refused(config), NexmarkConfigError::OutOfOrderGroup(group));
    }
    let config = NexmarkConfig {
        base_time: Timestamp::from_micros(1),
        ..default()
    };
    assert!(matches!(refused(config), NexmarkConfigError::BaseTime(_)));
    let config = NexmarkConfig::of(u64::MAX);
    assert_eq!(refused(config), NexmarkConfigError::Events(u64::MAX));
}

#[test]
fn an_event_is_small() {
    assert_eq!(size_of::<NexmarkEvent>(), 56);
}
