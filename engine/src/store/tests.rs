use super::*;
use std::ops::Bound;

fn small(names: &[&str]) -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::with_databases(names)
    }
}

#[test]
fn what_is_committed_is_read_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment::open(folder.path(), small(&["a", "b"])).unwrap();
    let a = environment.table("a").unwrap();
    let mut writer = environment.writer().unwrap();
    assert!(matches!(environment.writer(), Err(StoreError::WriterTaken)));
    let mut txn = writer.begin().unwrap();
    for key in 0..1_000_u64 {
        txn.put_append(a, &key.to_be_bytes(), &key.to_le_bytes())
            .unwrap();
    }
    assert!(matches!(
        txn.put_append(a, &5_u64.to_be_bytes(), b""),
        Err(StoreError::KeyOrder)
    ));
    assert!(matches!(
        txn.put(a, b"", b""),
        Err(StoreError::KeyLength { length: 0 })
    ));
    txn.commit().unwrap();
    drop(writer);
    drop(environment);
    let environment = Environment::open(folder.path(), small(&["a", "b"])).unwrap();
    let a = environment.table("a").unwrap();
    environment
        .read(|r| {
            assert_eq!(r.len(a).unwrap(), 1_000);
            assert_eq!(
                r.get(a, &7_u64.to_be_bytes()).unwrap(),
                Some(&7_u64.to_le_bytes()[..])
            );
            assert_eq!(r.last(a).unwrap().unwrap().0, 999_u64.to_be_bytes());
            let (low, high) = (10_u64.to_be_bytes(), 20_u64.to_be_bytes());
            let bounds = (Bound::Included(&low[..]), Bound::Excluded(&high[..]));
            let up: Vec<_> = r
                .range(a, bounds.0, bounds.1)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let mut down: Vec<_> = r
                .range_reverse(a, bounds.0, bounds.1)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(up.len(), 10);
            down.reverse();
            assert_eq!(up, down);
            let beyond = 5_000_u64.to_be_bytes();
            let all = r
                .range_reverse(a, Bound::Unbounded, Bound::Excluded(&beyond))
                .unwrap();
            assert_eq!(all.count(), 1_000);
        })
        .unwrap();
    let report = environment.check(structure::Scope::Full).unwrap();
    assert_eq!(
        (report.entries, report.databases, report.leaves_skipped),
        (1_000, 2, 0)
    );
}
