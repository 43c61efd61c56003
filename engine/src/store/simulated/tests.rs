use super::*;
use crate::store::Writer;

fn open(disk: &SimulatedDisk, durability: Durability) -> (Environment, Writer) {
    let options = EnvironmentOptions {
        durability,
        ..EnvironmentOptions::with_databases(&["rows"])
    };
    let environment = Environment::simulated(disk, &options);
    let writer = environment.writer().unwrap();
    (environment, writer)
}

fn put(environment: &Environment, writer: &mut Writer, key: &[u8]) -> Result<(), StoreError> {
    let table = environment.table("rows").unwrap();
    let mut txn = writer.begin()?;
    txn.put(table, key, b"value")?;
    txn.commit()
}

fn keys(environment: &Environment) -> Vec<Vec<u8>> {
    let table = environment.table("rows").unwrap();
    let found = environment.read(|reader| {
        let entries = reader.range(table, Bound::Unbounded, Bound::Unbounded);
        let keys = entries.unwrap().map(|entry| entry.unwrap().0.to_vec());
        keys.collect()
    });
    found.unwrap()
}

#[test]
fn the_last_commits_since_the_sync_go_with_the_power_and_no_others() {
    let disk = SimulatedDisk::new();
    let (environment, mut writer) = open(&disk, Durability::NoMetaSync);
    put(&environment, &mut writer, b"a").unwrap();
    writer.sync().unwrap();
    put(&environment, &mut writer, b"b").unwrap();
    put(&environment, &mut writer, b"c").unwrap();
    disk.crash(1);
    assert!(put(&environment, &mut writer, b"d").is_err());
    let (environment, _writer) = open(&disk, Durability::NoMetaSync);
    assert_eq!(keys(&environment), [b"a", b"b"]);
    // A kill alone makes nothing durable.
    disk.crash(5);
    let (environment, _writer) = open(&disk, Durability::NoMetaSync);
    assert_eq!(keys(&environment), [b"a"]);
}

#[test]
fn full_durability_loses_nothing() {
    let disk = SimulatedDisk::new();
    let (environment, mut writer) = open(&disk, Durability::Full);
    put(&environment, &mut writer, b"a").unwrap();
    disk.crash(5);
    let (environment, _writer) = open(&disk, Durability::Full);
    assert_eq!(keys(&environment), [b"a"]);
}

#[test]
fn a_commit_that_failed_may_be_there_and_stops_the_writer() {
    for is_kept in [false, true] {
        let disk = SimulatedDisk::new();
        let (environment, mut writer) = open(&disk, Durability::Full);
        put(&environment, &mut writer, b"a").unwrap();
        disk.fail(0, DiskFault::Commit { is_kept });
        assert!(put(&environment, &mut writer, b"b").is_err());
        assert!(matches!(
            put(&environment, &mut writer, b"c"),
            Err(StoreError::Stopped { .. })
        ));
        assert_eq!(keys(&environment), [b"a"]);
        disk.crash(0);
        let (environment, _writer) = open(&disk, Durability::Full);
        assert_eq!(keys(&environment).len(), 1 + usize::from(is_kept));
    }
}

#[test]
fn a_full_disk_stores_nothing_until_there_is_room() {
    let disk = SimulatedDisk::new();
    let (environment, mut writer) = open(&disk, Durability::Full);
    put(&environment, &mut writer, b"a").unwrap();
    disk.set_room(Some(disk.bytes()));
    let failed = put(&environment, &mut writer, b"b");
    assert!(matches!(failed, Err(StoreError::DiskFull { .. })));
    disk.crash(0);
    disk.set_room(None);
    let (environment, mut writer) = open(&disk, Durability::Full);
    put(&environment, &mut writer, b"b").unwrap();
    assert_eq!(keys(&environment), [b"a", b"b"]);
}
