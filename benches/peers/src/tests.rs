//! Every peer gives the rows of the definition, with one worker and with two.

use clap::Parser;

use crate::{Options, Tally, answer};

fn options(peer: &str, query: &str, workers: u32, more: &[&str]) -> Options {
    let workers = workers.to_string();
    let first = [
        "peers",
        peer,
        "--query",
        query,
        "--workers",
        &workers,
        "--checksum",
    ];
    Options::try_parse_from(first.iter().chain(more)).unwrap()
}

fn run(peer: &str, query: &str, workers: u32, more: &[&str]) -> Tally {
    let options = options(peer, query, workers, more);
    options.check().unwrap();
    answer(&options).unwrap()
}

fn agree(peer: &str, queries: &[&str], workers: &[u32]) {
    // With one generator these events span 30 seconds, with a hundred as well.
    for generators in ["1", "100"] {
        for query in queries {
            let more = ["--events", "300000", "--generators", generators];
            let expected = run("direct", query, 1, &more);
            assert!(expected.rows > 0);
            for workers in workers {
                let given = run(peer, query, *workers, &more);
                assert_eq!(given, expected, "{peer} {query} {workers} {generators}");
            }
        }
    }
}

#[test]
fn timely_agrees() {
    agree(
        "timely",
        &["q0", "q1", "q2", "q3", "q5", "q7", "q8", "keyed"],
        &[1, 2],
    );
}

#[test]
fn renoir_agrees() {
    agree(
        "renoir",
        &["q0", "q1", "q2", "q3", "q5", "q8", "keyed"],
        &[1, 2],
    );
}

#[test]
fn loops_agree() {
    agree("loop", &["q0", "q1", "q2", "q3", "q5", "q7", "q8"], &[1]);
    agree("loop", &["keyed"], &[1, 2]);
}

#[test]
fn every_step_of_the_sliding_windows_agrees() {
    for every in ["1", "2", "10"] {
        let more = ["--events", "200000", "--every", every];
        let expected = run("direct", "q5", 1, &more);
        for (peer, workers) in [("loop", 1), ("timely", 2), ("renoir", 2)] {
            assert_eq!(run(peer, "q5", workers, &more), expected, "{peer} {every}");
        }
    }
}

#[test]
fn nothing_gives_nothing() {
    for peer in ["timely", "renoir", "loop"] {
        for query in ["q0", "q3", "q5", "q8", "keyed"] {
            assert_eq!(
                run(peer, query, 1, &["--events", "0"]).rows,
                0,
                "{peer} {query}"
            );
        }
    }
}

#[test]
fn what_a_peer_cannot_do_is_refused() {
    for (peer, query, workers) in [("loop", "q5", 2), ("loop", "keyed", 3), ("renoir", "q7", 1)] {
        assert!(options(peer, query, workers, &[]).check().is_err());
    }
    assert!(
        options("timely", "q5", 1, &["--every", "3"])
            .check()
            .is_err()
    );
    assert!(options("timely", "q0", 0, &[]).check().is_err());
}
