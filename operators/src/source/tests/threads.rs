//! Files that are read by threads, and pipes, which are read at all.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use millstream_engine::mailbox::Wake;
use millstream_engine::time::{Clock as _, SystemClock};

use super::*;

/// A source on a thread, and what tells that its mailbox was woken.
struct Threaded<F> {
    source: Checked<F>,
    mailbox: Arc<Mailbox>,
    woken: Receiver<()>,
}

struct Woken(Sender<()>);

impl Wake for Woken {
    fn wake(&self) {
        let _ = self.0.try_send(());
    }
}

impl<F: LineFormat> Threaded<F> {
    fn new(path: &Path, format: F, options: FileOptions) -> Self {
        let mailbox = mailbox();
        let (sender, woken) = bounded(1);
        mailbox.attach(Arc::new(Woken(sender)));
        let path = path.to_path_buf();
        let source = FileSource::new(path, format, KeepBadLines, options, None);
        let mut source = source.on_a_thread();
        source.open(&mailbox).unwrap();
        Self {
            source,
            mailbox,
            woken,
        }
    }

    /// Pulls all there is, as a stage does: once per wake-up, until `is_enough`.
    fn pull_until(&mut self, is_enough: impl Fn(&[Sale], Pulled) -> bool) -> Vec<Sale> {
        let mut found = Vec::new();
        loop {
            self.woken.recv().unwrap();
            self.mailbox.begin_turn();
            let (items, pulled) = pull(&mut self.source, 7);
            found.extend(items.into_iter().map(Result::unwrap));
            if is_enough(&found, pulled) {
                return found;
            }
        }
    }
}

fn many(count: u64) -> (Vec<Sale>, String) {
    let sales: Vec<_> = (0..count).map(|cents| sale("green tea", cents)).collect();
    let line = |sale: &Sale| format!("{},{}\n", sale.product, sale.cents);
    let lines: String = sales.iter().map(line).collect();
    (sales, format!("product,cents\n{lines}"))
}

#[test]
fn a_thread_reads_the_same_and_from_any_position() {
    let (sales, text) = many(50_000);
    let (_folder, path) = file(&text);
    let mut all = Threaded::new(&path, csv(), FileOptions::default());
    let found = all.pull_until(|_, pulled| pulled == Pulled::End);
    assert_eq!(found, sales);
    assert_eq!(all.source.position().offset, text.len() as u64);
    let from = FilePosition {
        offset: text.find("green tea,777\n").unwrap() as u64,
        line: 779,
    };
    let options = FileOptions {
        from,
        ..FileOptions::default()
    };
    let mut rest = Threaded::new(&path, csv(), options);
    let found = rest.pull_until(|_, pulled| pulled == Pulled::End);
    assert_eq!(found, &sales[777..]);
    assert_eq!(rest.source.position(), all.source.position());
}

#[test]
fn a_reader_ends_when_its_source_is_gone() {
    let (_, text) = many(100_000);
    let (_folder, path) = file(&text);
    let threaded = Threaded::new(&path, csv(), FileOptions::default());
    threaded.woken.recv().unwrap();
    let Threaded {
        source, mailbox, ..
    } = threaded;
    drop(source);
    // The thread holds the mailbox for as long as it lives.
    let clock = SystemClock::new();
    while Arc::strong_count(&mailbox) > 1 {
        let waited = clock.monotonic();
        assert!(
            waited < Duration::from_secs(300),
            "the thread goes on without its source"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_thread_that_fails_says_why() {
    let path = PathBuf::from("/nowhere/sales.csv");
    let mut threaded = Threaded::new(&path, csv(), FileOptions::default());
    let fault = loop {
        threaded.woken.recv().unwrap();
        threaded.mailbox.begin_turn();
        let mut out = |_: Timestamp, _| {};
        match threaded.source.pull(1, &mut out) {
            Ok(pulled) => assert_eq!(pulled, Pulled::Pending),
            Err(fault) => break fault,
        }
    };
    assert!(fault.0.starts_with("/nowhere/sales.csv: "), "{fault}");
}

#[test]
fn a_file_that_is_followed_by_a_thread_is_looked_at_when_the_source_is_pulled() {
    let (_folder, path) = file("product,cents\ntea,1\nmi");
    let mut threaded = Threaded::new(&path, csv(), follow());
    let waits = |_: &[Sale], pulled| matches!(pulled, Pulled::PendingFor(_));
    assert_eq!(threaded.pull_until(waits), [sale("tea", 1)]);
    append(&path, "lk,2\n");
    // The time to look again has come.
    threaded.mailbox.wake();
    assert_eq!(threaded.pull_until(waits), [sale("milk", 2)]);
}

/// A pipe's lines come when they are written, and waiting for them holds nobody up.
#[cfg(unix)]
#[test]
fn a_pipe_is_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let mut threaded = Threaded::new(&path, csv(), FileOptions::default());
    assert_eq!(pull(&mut threaded.source, 7), (vec![], Pulled::Pending));
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    pipe.write_all(b"product,cents\ntea,1\nmi").unwrap();
    let one = |found: &[Sale], _| found.len() == 1;
    assert_eq!(threaded.pull_until(one), [sale("tea", 1)]);
    assert_eq!(pull(&mut threaded.source, 7), (vec![], Pulled::Pending));
    pipe.write_all(b"lk,2\nlast,3").unwrap();
    drop(pipe);
    let ended = |_: &[Sale], pulled| pulled == Pulled::End;
    assert_eq!(
        threaded.pull_until(ended),
        [sale("milk", 2), sale("last", 3)]
    );
}

/// A stage that began anew before its first checkpoint opened a pipe once more and missed what the run before had read.
#[cfg(unix)]
#[test]
fn a_pipe_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let mut first = Threaded::new(&path, csv(), FileOptions::default());
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    pipe.write_all(b"product,cents\ntea,1\n").unwrap();
    let one = |found: &[Sale], _| found.len() == 1;
    assert_eq!(first.pull_until(one), [sale("tea", 1)]);
    drop(first);
    pipe.write_all(b"milk,2\n").unwrap();
    // Read on the spot: the first turn says it, whoever else may still have the pipe open.
    let mut second = source(&path, csv(), FileOptions::default());
    let mut out = |_: Timestamp, _| {};
    let fault = second.pull(1, &mut out).unwrap_err();
    assert!(fault.0.contains("opened this pipe before"), "{fault}");
}
