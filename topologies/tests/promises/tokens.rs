//! Promise: a token that left the process comes back as it was, or is refused with the reason.

use std::os::unix::fs::PermissionsExt;

use millstream::prelude::*;
use millstream::{OpenError, TokenKey, UnsealError};

use crate::support::*;

async fn filled(folder: &std::path::Path, events: usize) -> Engine {
    let engine = open(folder).await;
    for n in 0..events {
        engine
            .send::<Tally>(&format!("t{n}"), Ask::Add(1))
            .await
            .unwrap();
    }
    engine
}

/// Goal: over a restart with the key in the folder a text gives its token, which queries take and which adds up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_tokens_survive_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(folder.path(), 10).await;
    let (all, ack) = (
        engine.durable(),
        engine.send::<Tally>("x", Ask::Add(1)).await.unwrap(),
    );
    let texts = [Token::default(), all.clone(), ack.token()].map(|token| engine.seal(&token));
    assert!(texts[2].len() <= 40, "{}", texts[2]);
    close(engine).await;
    let key = std::fs::metadata(folder.path().join("token.key")).unwrap();
    assert_eq!((key.permissions().mode() & 0o777, key.len()), (0o600, 32));
    let engine = open(folder.path()).await;
    let mut merged = Token::default();
    for text in &texts {
        let token = engine.unseal(text).unwrap();
        assert_eq!(engine.seal(&token), *text);
        merged.merge(&token);
    }
    assert_eq!(merged, engine.durable());
    let row = engine
        .query(&SUMS)
        .at_least(&merged)
        .deadline(PATIENCE)
        .get("x")
        .await
        .unwrap();
    assert_eq!(row.unwrap().sum, 1);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_do_not_belong_here_are_refused() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = filled(own.path(), 5).await;
    let text = engine.seal(&engine.durable());
    for bad in [
        "",
        "hello",
        "AAAA",
        &text[1..],
        &format!("{text}AAAA"),
        "\u{1f600}",
    ] {
        let refused = engine.unseal(bad);
        assert!(refused.is_err(), "{bad} is {refused:?}");
    }
    close(engine).await;
    // Another store with the same key.
    let key = std::fs::read(own.path().join("token.key")).unwrap();
    let key = TokenKey::new(key.try_into().unwrap());
    let start = |folder: &std::path::Path, key| {
        let builder = Engine::open(folder).config(config()).token_key(key);
        builder.run(topology())
    };
    let elsewhere = start(other.path(), key).await.unwrap();
    assert_eq!(elsewhere.unseal(&text), Err(UnsealError::Foreign));
    close(elsewhere).await;
    assert!(
        !other.path().join("token.key").exists(),
        "a key was made although one was given"
    );
    // The same store with another key.
    let engine = start(own.path(), TokenKey::new([1; 32])).await.unwrap();
    assert_eq!(engine.unseal(&text), Err(UnsealError::Forged));
    close(engine).await;
    // A file that is no key is not replaced.
    std::fs::write(own.path().join("token.key"), "short").unwrap();
    let opened = try_open(own.path(), config(), topology()).await;
    assert!(
        matches!(opened, Err(OpenError::TokenKey { .. })),
        "{opened:?}"
    );
}

/// A backup is restored: the store is the same and its log shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_longer_log_are_ahead() {
    let folder = tempfile::tempdir().unwrap();
    close(filled(folder.path(), 5).await).await;
    let backup = tempfile::tempdir().unwrap();
    for part in ["log", "state"] {
        std::fs::create_dir(backup.path().join(part)).unwrap();
        let (from, to) = (folder.path().join(part), backup.path().join(part));
        std::fs::copy(from.join("data.mdb"), to.join("data.mdb")).unwrap();
    }
    std::fs::copy(
        folder.path().join("token.key"),
        backup.path().join("token.key"),
    )
    .unwrap();
    let engine = open(folder.path()).await;
    let old = engine.seal(&engine.durable());
    let ack = engine.send::<Tally>("t0", Ask::Add(1)).await.unwrap();
    let new = engine.seal(&ack.token());
    close(engine).await;
    let engine = open(backup.path()).await;
    assert!(engine.unseal(&old).is_ok());
    let ahead = engine.unseal(&new);
    assert!(
        matches!(ahead, Err(UnsealError::Ahead { position, .. }) if Some(position) == ack.position),
        "{ahead:?}"
    );
    close(engine).await;
}
