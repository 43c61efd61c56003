//! `projection list`: which there are, and what cannot be read of them.

use super::*;

/// Counts nothing: only how far it has come is looked at.
struct Seen;

impl Projection for Seen {
    const NAME: &'static str = "seen";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Counter::CATEGORY;
    type Event = Counted;
    type Tables = (Table<String, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named("nothing"),)
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, Counted>,
        _: &mut (TableMut<String, u64>,),
    ) -> Result<(), Infallible> {
        Ok(())
    }
}

#[tokio::test]
async fn projections_are_listed_with_rows_and_progress() {
    let folder = tempfile::tempdir().unwrap();
    counted(folder.path()).await;
    let text = output(&["projection", "list", "DATA"], folder.path()).unwrap();
    let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let expected = [
        "totals", "2", "yes", "sums", "(1)", "12", "0:5/5", "0", "0.0ns", "1", "-", "-",
    ];
    assert_eq!(row, expected);
    let listed = json(&output(&["projection", "list", "DATA", "--json"], folder.path()).unwrap());
    assert_eq!(listed[0]["tables"][0]["rows"], 1);
    assert_eq!(listed[0]["partitions"][0]["standing"], "valid");

    // The state of another log: said, not taken for progress.
    let other = tempfile::tempdir().unwrap();
    opaque_log(&other.path().join("log"));
    std::fs::create_dir(other.path().join("state")).unwrap();
    let state = |folder: &Path| folder.join("state").join("data.mdb");
    std::fs::copy(state(folder.path()), state(other.path())).unwrap();
    let text = output(&["projection", "list", "DATA"], other.path()).unwrap();
    assert!(text.contains("0:5/0 (ahead of this log) 1:0/12"), "{text}");
}

/// Story: one frame that could not be read was the end of the whole list, of projections too that have long left it behind.
#[tokio::test]
async fn projections_are_listed_beside_one_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let both = Topology::named("counters")
        .aggregate::<Counter>()
        .projection(Totals)
        .projection(Seen)
        .build()
        .unwrap();
    let engine = Engine::open(folder.path()).partitions(1).run(both);
    let engine = engine.await.unwrap();
    let noted = |note: &str| Counted::Added {
        amount: 1,
        note: note.to_owned(),
    };
    let sent = engine.send::<Counter>("a", noted("first to be damaged"));
    let first = sent.await.unwrap().token();
    let long = std::time::Duration::from_secs(60);
    engine.projected(&first, long).await.unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);
    let engine = open_counters(folder.path()).await;
    engine
        .send::<Counter>("a", noted("to be damaged too"))
        .await
        .unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);

    let log = folder.path().join("log");
    damage(&log, "first to be damaged");
    let (text, error) = failing(&["projection", "list", "DATA"], folder.path());
    assert_eq!(row(&text, "totals")[6..9], ["0:2/2", "0", "0.0ns"]);
    assert_eq!(row(&text, "seen")[6..9], ["0:1/2", "(unreadable)", "1"]);
    let cause = "not all can be read: seen version 1: partition 0, frame at offset 0: ";
    assert!(error.starts_with(cause), "{error}");
    assert!(!error.contains("totals"), "{error}");
    let (lines, again) = failing(&["projection", "list", "DATA", "--json"], folder.path());
    assert_eq!(again, error);
    let listed = json(&lines);
    let named = |name: &str| listed.iter().find(|one| one["projection"] == name).unwrap();
    let standing = |name: &str| &named(name)["partitions"][0]["standing"];
    assert_eq!(
        (standing("totals"), standing("seen")),
        (&"valid".into(), &"unreadable".into())
    );
    assert_eq!(named("totals")["unreadable"], serde_json::json!([]));
    let cause = named("seen")["unreadable"][0].as_str().unwrap();
    assert!(error.ends_with(cause), "{error}");

    // Nor how far the log goes, and so how far they are behind.
    damage(&log, "to be damaged too");
    let (text, error) = failing(&["projection", "list", "DATA"], folder.path());
    assert_eq!(
        row(&text, "seen")[6..10],
        ["0:1/?", "(unreadable)", "?", "?"]
    );
    for one in ["seen version 1", "totals version 2"] {
        let cause = format!("{one}: partition 0, frame at offset 1: ");
        assert!(error.contains(&cause), "{error}");
    }
}

/// The cells of a projection, split at blanks.
fn row<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let mut rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.first() == Some(&name));
    row.unwrap_or_else(|| panic!("{name} is not in {text}"))
}
