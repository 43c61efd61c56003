//! Files that a restart goes on with, and what has become of them in the meantime.
//!
//! The story: positions were bytes without a file. After a rotation a restart skipped so many bytes of the new file, often
//! into the middle of a record, and never read the rest of the old one; a file that was cut ended in silence.

mod rotations;

use std::time::{Duration, SystemTime};

use millstream_engine::flow::Fault;

use super::*;

fn line(product: &str, cents: u64) -> String {
    serde_json::to_string(&sale(product, cents)).unwrap() + "\n"
}

fn saved<F: LineFormat>(source: &Checked<F>) -> Vec<u8> {
    Source::position(source).unwrap().unwrap()
}

/// A run that begins at a position.
fn resumed<F: LineFormat>(
    path: &Path,
    format: F,
    options: FileOptions,
    position: &[u8],
) -> Checked<F> {
    let mut source = FileSource::new(path.to_path_buf(), format, KeepBadLines, options, None);
    source.seek(position).unwrap();
    source.open(&mailbox()).unwrap();
    source
}

fn json() -> JsonLinesFormat {
    JsonLinesFormat::default()
}

fn good<F: LineFormat>(source: &mut Checked<F>) -> Vec<Sale> {
    let found = pull(source, 10).0.into_iter();
    found.map(Result::unwrap).collect()
}

/// All that is there, over as many looks as a rotation needs.
fn looks<F: LineFormat>(source: &mut Checked<F>) -> Vec<Sale> {
    (0..5).flat_map(|_| good(source)).collect()
}

fn fault<F: LineFormat>(mut source: Checked<F>) -> Fault {
    let mut out = |_: Timestamp, _| {};
    loop {
        match source.pull(10, &mut out) {
            Ok(pulled) => assert_eq!(pulled, Pulled::More),
            Err(fault) => return fault,
        }
    }
}

/// Says when a file was last written to.
fn written(path: &Path, second: u64) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    let when = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    file.set_modified(when).unwrap();
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let (folder, path) = file(&(line("tea", 1) + &line("milk", 2)));
    let mut first = source(&path, json(), follow());
    assert_eq!(good(&mut first).len(), 2);
    let position = saved(&first);
    drop(first);
    append(&path, &line("unread", 3));
    std::fs::rename(&path, folder.path().join("sales.1")).unwrap();
    // Longer than the position, and no record begins there.
    std::fs::write(&path, line("another file by now", 4).repeat(3)).unwrap();
    let mut second = resumed(&path, json(), follow(), &position);
    let found = looks(&mut second);
    let another = sale("another file by now", 4);
    let expected = [sale("unread", 3), another.clone(), another.clone(), another];
    assert_eq!(found, expected);
    assert_eq!(second.position().line, 4);
    // And over one more restart in the new one.
    append(&path, &line("last", 5));
    let mut third = resumed(&path, json(), follow(), &saved(&second));
    assert_eq!(looks(&mut third), [sale("last", 5)]);
}

#[test]
fn a_renamed_file_is_found_while_nothing_has_its_name() {
    let text = "product,cents\ntea,1\n";
    let (folder, path) = file(text);
    let mut first = source(&path, csv(), follow());
    assert_eq!(good(&mut first).len(), 1);
    let position = saved(&first);
    append(&path, "unread,2\n");
    std::fs::rename(&path, folder.path().join("anything")).unwrap();
    let mut second = resumed(&path, csv(), follow(), &position);
    assert_eq!(looks(&mut second), [sale("unread", 2)]);
    // It begins as the old one did.
    std::fs::write(&path, format!("{text}milk,3\n")).unwrap();
    assert_eq!(looks(&mut second), [sale("tea", 1), sale("milk", 3)]);
}

#[test]
fn files_that_had_the_name_in_between_are_read_in_their_order() {
    let (folder, path) = file(&line("first", 1));
    let rotated = |name: &str| folder.path().join(name);
    std::fs::write(rotated("sales.9"), line("read long ago", 0)).unwrap();
    written(&rotated("sales.9"), 10);
    std::fs::write(rotated("sales.lock"), "no records").unwrap();
    let mut held_back = source(&path, json(), follow());
    assert_eq!(good(&mut held_back), [sale("first", 1)]);
    let position = saved(&held_back);
    append(&path, &line("rest", 2));
    std::fs::rename(&path, rotated("sales.3")).unwrap();
    written(&rotated("sales.3"), 20);
    std::fs::write(rotated("sales.2"), line("second", 3)).unwrap();
    written(&rotated("sales.2"), 30);
    std::fs::write(rotated("sales.1"), line("third", 4)).unwrap();
    written(&rotated("sales.1"), 40);
    std::fs::write(&path, line("fourth", 5)).unwrap();
    let expected = [
        sale("rest", 2),
        sale("second", 3),
        sale("third", 4),
        sale("fourth", 5),
    ];
    let twelve =
        |source: &mut Checked<_>| -> Vec<Sale> { (0..12).flat_map(|_| good(source)).collect() };
    assert_eq!(twelve(&mut held_back), expected);
    let mut restarted = resumed(&path, json(), follow(), &position);
    assert_eq!(twelve(&mut restarted), expected);
}

#[test]
fn without_the_old_file_the_new_one_is_read_from_its_beginning() {
    let (folder, path) = file(&line("tea", 1));
    let mut first = source(&path, json(), follow());
    assert_eq!(good(&mut first).len(), 1);
    let position = saved(&first);
    let new = folder.path().join("new");
    std::fs::write(&new, line("bread", 2) + &line("butter", 3)).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let mut second = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut second), [sale("bread", 2), sale("butter", 3)]);
    // The same file, cut and written to again while nobody looked.
    let position = saved(&second);
    std::fs::write(&path, line("x", 4)).unwrap();
    let mut third = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut third), [sale("x", 4)]);
    let position = saved(&third);
    std::fs::write(&path, line("y", 5) + &line("z", 6)).unwrap();
    let mut fourth = resumed(&path, json(), follow(), &position);
    assert_eq!(looks(&mut fourth), [sale("y", 5), sale("z", 6)]);
}

#[test]
fn a_copy_with_the_same_content_is_gone_on_with() {
    for options in [FileOptions::default(), follow()] {
        let (folder, path) = file(&line("tea", 1).repeat(500));
        let mut first = source(&path, json(), options.clone());
        assert_eq!(good(&mut first).len(), 500);
        let position = saved(&first);
        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&copy, &path).unwrap();
        append(&path, &line("milk", 2));
        let mut second = resumed(&path, json(), options, &position);
        assert_eq!(good(&mut second), [sale("milk", 2)]);
    }
}

#[test]
fn a_file_that_is_not_followed_must_be_the_same() {
    let (_folder, path) = file(&(line("tea", 1) + &line("milk", 2)));
    let mut first = source(&path, json(), FileOptions::default());
    assert_eq!(good(&mut first).len(), 2);
    let position = saved(&first);
    let again = || resumed(&path, json(), FileOptions::default(), &position);
    std::fs::write(&path, line("other", 1).repeat(9)).unwrap();
    let shown = fault(again()).0;
    assert!(shown.contains("holds something else there"), "{shown}");
    assert!(shown.contains("--anew"), "{shown}");
    std::fs::write(&path, line("tea", 1)).unwrap();
    let shown = fault(again()).0;
    assert!(shown.contains("has only 28 bytes"), "{shown}");
    // One whose position is of before marks, or of a user.
    let shown = fault(resumed(
        &path,
        json(),
        FileOptions::default(),
        &position[..16],
    ))
    .0;
    assert!(shown.contains("has only 28 bytes"), "{shown}");
}

/// What the position of an unread file says is what the checkpoint said.
#[test]
fn a_position_stays_until_the_file_is_opened() {
    let (_folder, path) = file(&line("tea", 1));
    let mut first = source(&path, json(), follow());
    assert_eq!(good(&mut first).len(), 1);
    let position = saved(&first);
    std::fs::remove_file(&path).unwrap();
    let mut second = resumed(&path, json(), follow(), &position);
    assert_eq!(good(&mut second), []);
    assert_eq!(saved(&second), position);
}

/// Stored by programs before positions had marks.
#[test]
fn a_position_without_a_mark_is_taken() {
    let text = line("tea", 1);
    let (_folder, path) = file(&(text.clone() + &line("milk", 2)));
    let mut position = (text.len() as u64).to_be_bytes().to_vec();
    position.extend(2_u64.to_be_bytes());
    let mut second = resumed(&path, json(), FileOptions::default(), &position);
    assert_eq!(good(&mut second), [sale("milk", 2)]);
    assert_eq!(second.position().line, 3);
    // It has one from then on.
    std::fs::write(&path, line("other", 1).repeat(9)).unwrap();
    let third = resumed(&path, json(), FileOptions::default(), &saved(&second));
    assert!(fault(third).0.contains("holds something else there"));
}
