//! Danger: while an outbox was full the version that answers stood still and the candidate did not, so that a switch waited for its
//! whole deadline for what could not come.

use super::*;

/// Goal: a switch while the outside is away and the outbox is full ends; each effect is sent once, by the version whose event it is,
/// and the new version waits for room as the old one did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_switched_while_the_outbox_is_full() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    outside.odd("a.0: 1 (0)", [Then::Wait]);
    let bounded = DeliveryConfig {
        stored_max: Some(1),
        ..quick()
    };
    let topology = two_delivering(Mailing::default(), &outside, bounded);
    let engine = open_with(folder.path(), config(), topology).await;
    let add = || async { engine.send::<Tally>("a", Ask::Add(1)).await.unwrap() };
    add().await;
    outside.until(|outside| outside.calls().len() == 1).await;
    let mails = engine.outbox(&MAILS).unwrap();
    for _ in 0..10 {
        add().await;
    }
    let second = engine.version::<Mailing<2>>().unwrap();
    let seen = engine.durable();
    within(second.query(&TOTALS).at_least(&seen).get("a"))
        .await
        .unwrap();
    assert!(mails.waiting() < 11, "the version that answers waits");
    let rebuild = engine.rebuild("mailing").unwrap();
    assert_eq!(within(rebuild.switch()).await.unwrap(), 2);
    assert_eq!(mails.waiting(), 11, "all that is the old version's");
    let total = engine.query(&TOTALS).at_least(&seen).get("a");
    assert_eq!(within(total).await.unwrap(), Some(11));
    let later = add().await.token();
    let soon = std::time::Duration::from_millis(20);
    let waited = engine.query(&TOTALS).at_least(&later).deadline(soon);
    assert!(waited.get("a").await.unwrap_err().is_retryable());
    assert_eq!(mails.waiting(), 11, "there is no room");

    outside.let_go();
    outside.until(|outside| outside.taken().len() == 12).await;
    until("all are delivered", || mails.waiting() == 0).await;
    let expected: Vec<_> = (0..12).map(|version| mail("a", version, 1, 0)).collect();
    assert_eq!(outside.mails()["a"], expected);
    assert_eq!(outside.calls().len(), 12, "none twice");
    drop((mails, second, rebuild));
    close(engine).await;
}
