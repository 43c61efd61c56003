//! A lane of a mailbox: what one item costs to be queued and drained, alone and in batches.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::time::SystemClock;

/// Bytes that an item counts for.
const ITEM_BYTES: usize = 64;

fn lane(criterion: &mut Criterion) {
    let mailbox = Mailbox::new(MailboxLimits::default(), Arc::new(SystemClock::new()));
    let (sender, receiver) = mailbox.lane::<u64>();
    let mut group = criterion.benchmark_group("mailbox");
    for items in [1_u64, 64, 1_024] {
        let mut drained = Vec::with_capacity(items as usize);
        group.throughput(Throughput::Elements(items));
        group.bench_function(BenchmarkId::new("send-and-drain", items), |bencher| {
            bencher.iter(|| {
                for item in 0..items {
                    sender.try_send(item, ITEM_BYTES).expect("there is room");
                }
                drained.clear();
                receiver.drain(items as usize, &mut drained);
                black_box(&drained).len()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = lane
}
criterion_main!(benches);
