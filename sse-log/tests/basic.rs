//! Tests topics that are reopened after a restart.

mod support;

use std::time::Duration;

use sse_log::Log;
use sse_runtime::{
    EventId, Start, Topic,
    topic::{GapReason, Presence, PresenceError, PublishError},
};
use support::{open, open_numbers, parts, publish_all, read_all, read_to, recv, values};
use tempfile::tempdir;

#[tokio::test]
async fn events_survive_a_restart_with_their_ids() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    let ids = publish_all(&numbers, 0..100).await;
    drop((log, numbers));

    let (_log, numbers) = open_numbers(&path).await;
    let events = read_all(&numbers).await;
    assert_eq!(values(&events), Vec::from_iter(0..100));
    assert!(events.iter().map(|(id, _)| id).eq(&ids));
}

#[tokio::test]
async fn client_resumes_after_a_restart_without_a_gap() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    let ids = publish_all(&numbers, 0..10).await;
    drop((log, numbers));

    let (_log, numbers) = open_numbers(&path).await;
    let new = publish_all(&numbers, 10..12).await;
    for (index, id) in ids.iter().enumerate() {
        let rest = read_to(&numbers, id.clone(), &new[1]).await;
        assert_eq!(values(&rest), Vec::from_iter(index as u64 + 1..12));
    }
}

#[tokio::test]
async fn topics_of_a_log_are_independent() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let one: Topic<u64> = Topic::open(&log, "one").await.unwrap();
    let other: Topic<String> = Topic::open(&log, "other").await.unwrap();
    let (of_one, of_other) = tokio::join!(publish_all(&one, 0..20), async {
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            ids.push(other.publish(&name.to_owned()).await.unwrap());
        }
        ids
    });
    drop((log, one, other));

    let log = open(&path).await;
    let one: Topic<u64> = Topic::open(&log, "one").await.unwrap();
    let other: Topic<String> = Topic::open(&log, "other").await.unwrap();
    let (one, other) = (read_all(&one).await, read_all(&other).await);
    assert_eq!(values(&one), Vec::from_iter(0..20));
    assert!(one.iter().map(|(id, _)| id).eq(&of_one));
    assert!(other.iter().map(|(_, name)| name).eq(["a", "b", "c"]));
    assert!(other.iter().map(|(id, _)| id).eq(&of_other));
}

#[tokio::test]
async fn finished_topic_is_finished_after_a_restart() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    let ids = publish_all(&numbers, 0..3).await;
    let key = 7;
    let keyed = numbers.publish_with_key(key, &3).await.unwrap();
    numbers.finish().await.unwrap();
    drop((log, numbers));

    let (log, numbers) = open_numbers(&path).await;
    let mut reader = numbers.subscribe(ids[2].clone());
    assert_eq!(recv(&mut reader).await, Some(Ok((keyed.clone(), 3))));
    assert_eq!(recv(&mut reader).await, None);
    drop(reader);
    let mut reader = numbers.subscribe(keyed);
    assert_eq!(recv(&mut reader).await, None);
    assert!(numbers.is_finished());
    let published = numbers.publish(&4).await;
    assert!(matches!(published, Err(PublishError::Finished)));
    numbers.finish().await.unwrap();
    drop((log, numbers, reader));

    let (_log, numbers) = open_numbers(&path).await;
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2, 3]);
}

/// The node does not know yet that the topic is finished, so the log has to reject the event.
#[tokio::test]
async fn event_after_the_end_is_rejected() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    publish_all(&numbers, 0..2).await;
    let (finished, late) = tokio::join!(numbers.finish(), numbers.publish(&2));
    finished.unwrap();
    assert!(matches!(late, Err(PublishError::Finished)), "{late:?}");
    drop((log, numbers));

    let (_log, numbers) = open_numbers(&path).await;
    assert!(numbers.is_finished());
    assert_eq!(values(&read_all(&numbers).await), [0, 1]);
}

#[tokio::test]
async fn id_from_a_deleted_log_is_from_another_epoch() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    let old = publish_all(&numbers, 0..3).await;
    drop((log, numbers));
    // Reopening the log waits until it has been closed.
    drop(open(&path).await);
    std::fs::remove_file(&path).unwrap();

    let (_log, numbers) = open_numbers(&path).await;
    let new = publish_all(&numbers, 10..11).await;
    let mut reader = numbers.subscribe(old[0].clone());
    let gap = recv(&mut reader).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);
    assert_eq!(recv(&mut reader).await, Some(Ok((new[0].clone(), 10))));
}

#[tokio::test]
async fn event_with_a_key_is_stored_once() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    let id = numbers.publish_with_key(1, &10).await.unwrap();
    let other = numbers.publish_with_key(2, &20).await.unwrap();
    // The two events are committed in one batch.
    let again = || numbers.publish_with_key(3, &30);
    let (third, same) = tokio::join!(again(), again());
    assert_eq!(third.unwrap(), same.unwrap());
    assert_eq!(numbers.publish_with_key(1, &10).await.unwrap(), id);
    drop((log, numbers));

    let (_log, numbers) = open_numbers(&path).await;
    assert_eq!(numbers.publish_with_key(2, &20).await.unwrap(), other);
    assert_eq!(numbers.publish_with_key(1, &10).await.unwrap(), id);
    assert_eq!(values(&read_all(&numbers).await), [10, 20, 30]);
}

#[tokio::test]
async fn id_with_a_wrong_mark_is_not_resumed() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    let ids = publish_all(&numbers, 0..5).await;
    drop((log, numbers));

    let (_log, numbers) = open_numbers(&path).await;
    let (epoch, number, mark) = parts(&ids[2].to_string());
    let first = if mark.starts_with('0') { '1' } else { '0' };
    let wrong = format!("{epoch}-{number}.{first}{}", &mark[1..]);
    let unmarked = format!("{epoch}-{number}");
    for (id, reason) in [
        (wrong, GapReason::RolledBack),
        (unmarked, GapReason::Unknown),
    ] {
        let mut reader = numbers.subscribe(EventId::new(id).unwrap());
        let gap = recv(&mut reader).await.unwrap().unwrap_err();
        assert_eq!(gap.reason(), reason);
        assert_eq!(recv(&mut reader).await, Some(Ok((ids[0].clone(), 0))));
    }
}

/// A backup of the log is restored, so the log has lost events and a client is ahead of it.
#[tokio::test]
async fn client_ahead_of_a_restored_log_is_rolled_back() {
    let directory = tempdir().unwrap();
    let (path, backup) = (
        directory.path().join("log"),
        directory.path().join("backup"),
    );
    let (log, numbers) = open_numbers(&path).await;
    publish_all(&numbers, 0..3).await;
    drop((log, numbers));
    drop(open(&path).await);
    let (log, numbers) = {
        // Opening the log has waited until it was closed, so the file can be copied.
        let opened = open_numbers(&path).await;
        std::fs::copy(&path, &backup).unwrap();
        opened
    };
    let lost = publish_all(&numbers, 3..6).await;
    drop((log, numbers));

    let (_log, numbers) = open_numbers(&backup).await;
    let mut ahead = numbers.subscribe(lost[1].clone());
    let gap = recv(&mut ahead).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
    let new = publish_all(&numbers, 100..103).await;
    let mut taken = numbers.subscribe(lost[0].clone());
    let gap = recv(&mut taken).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
    assert_eq!(
        values(&read_to(&numbers, Start::First, &new[2]).await),
        [0, 1, 2, 100, 101, 102]
    );
}

#[tokio::test]
async fn event_that_cannot_be_decoded_is_a_gap() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let texts: Topic<String> = Topic::open(&log, "mixed").await.unwrap();
    texts.publish(&"a".to_owned()).await.unwrap();
    drop((log, texts));

    let log = open(&path).await;
    let numbers: Topic<u64> = Topic::open(&log, "mixed").await.unwrap();
    let id = numbers.publish(&7).await.unwrap();
    let mut reader = numbers.subscribe(Start::First);
    let gap = recv(&mut reader).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::Unreadable);
    assert_eq!(recv(&mut reader).await, Some(Ok((id, 7))));
}

/// The topic keeps one more event than its limit. The mark of this event determines whether a
/// client whose last id has the same number can resume.
#[tokio::test]
async fn events_over_the_limit_are_removed_but_one() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let three = async |log: &Log| -> Topic<u64> {
        Topic::builder().keep(3).open(log, "numbers").await.unwrap()
    };
    let numbers = three(&log).await;
    let ids = publish_all(&numbers, 0..10).await;
    drop((log, numbers));

    let (log, numbers) = open_numbers(&path).await;
    let events = read_all(&numbers).await;
    assert_eq!(values(&events), [6, 7, 8, 9]);
    let mut too_old = numbers.subscribe(ids[4].clone());
    let gap = recv(&mut too_old).await.unwrap().unwrap_err();
    assert_eq!((gap.reason(), gap.missed()), (GapReason::TooOld, Some(1)));
    drop((log, numbers, too_old));

    let log = open(&path).await;
    let numbers = three(&log).await;
    let rest = read_to(&numbers, ids[6].clone(), &ids[9]).await;
    assert_eq!(values(&rest), [7, 8, 9]);
    let (epoch, number, _) = parts(&ids[6].to_string());
    let other = parts(&ids[5].to_string()).2;
    let wrong = EventId::new(format!("{epoch}-{number}.{other}")).unwrap();
    let mut reader = numbers.subscribe(wrong);
    let gap = recv(&mut reader).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
}

#[tokio::test]
async fn end_of_a_topic_does_not_replace_an_event() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let numbers: Topic<u64> = Topic::builder().keep(1).open(&log, "n").await.unwrap();
    let ids = publish_all(&numbers, 0..5).await;
    numbers.finish().await.unwrap();
    drop((log, numbers));

    let log = open(&path).await;
    let numbers: Topic<u64> = Topic::builder().keep(1).open(&log, "n").await.unwrap();
    let mut reader = numbers.subscribe(ids[3].clone());
    assert_eq!(recv(&mut reader).await, Some(Ok((ids[4].clone(), 4))));
    assert_eq!(recv(&mut reader).await, None);
}

#[tokio::test]
async fn bytes_over_the_limit_are_removed_but_one_event() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let texts: Topic<String> = Topic::builder()
        .keep_bytes(2_500)
        .open(&log, "t")
        .await
        .unwrap();
    for digit in 0..10 {
        texts
            .publish(&digit.to_string().repeat(1_000))
            .await
            .unwrap();
    }
    drop((log, texts));

    let log = open(&path).await;
    let texts: Topic<String> = Topic::open(&log, "t").await.unwrap();
    let events = read_all(&texts).await;
    let digits: Vec<_> = events.iter().map(|(_, text)| &text[..1]).collect();
    assert_eq!(digits, ["7", "8", "9"]);
}

#[tokio::test]
async fn events_over_the_age_are_removed_but_one() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let age = Duration::from_millis(300);
    let numbers: Topic<u64> = Topic::builder()
        .keep_for(age)
        .open(&log, "n")
        .await
        .unwrap();
    publish_all(&numbers, 0..5).await;
    tokio::time::sleep(2 * age).await;
    publish_all(&numbers, 5..6).await;
    drop((log, numbers));

    let log = open(&path).await;
    let numbers: Topic<u64> = Topic::open(&log, "n").await.unwrap();
    assert_eq!(values(&read_all(&numbers).await), [4, 5]);
}

/// The age is measured from the time at which the event was published, not the time at which the
/// log was opened.
#[tokio::test]
async fn event_ages_while_the_log_is_closed() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let age = Duration::from_millis(300);
    let (log, numbers) = open_numbers(&path).await;
    publish_all(&numbers, 0..5).await;
    drop((log, numbers));
    tokio::time::sleep(2 * age).await;

    let log = open(&path).await;
    let numbers: Topic<u64> = Topic::builder()
        .keep_for(age)
        .open(&log, "numbers")
        .await
        .unwrap();
    let id = numbers.publish(&5).await.unwrap();
    assert_eq!(values(&read_to(&numbers, Start::First, &id).await), [5]);
}

#[tokio::test]
async fn event_over_the_size_limit_is_rejected() {
    let directory = tempdir().unwrap();
    let builder = Log::builder().max_event_bytes(1_000);
    let log = builder.open(directory.path().join("log")).await.unwrap();
    let texts: Topic<String> = Topic::open(&log, "t").await.unwrap();
    let rejected = texts.publish(&"a".repeat(2_000)).await;
    let Err(PublishError::TooLarge { len, max, .. }) = rejected else {
        panic!("{rejected:?}");
    };
    assert!((2_000..2_100).contains(&len), "{len}");
    assert_eq!(max, 1_000);
    texts.publish(&"a".repeat(900)).await.unwrap();
    assert!(log.is_healthy());
}

#[tokio::test]
async fn large_log_is_read_in_pages() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let texts: Topic<String> = Topic::open(&log, "t").await.unwrap();
    let text = |digit: usize| digit.to_string().repeat(300_000);
    for digit in 0..10 {
        texts.publish(&text(digit)).await.unwrap();
    }
    drop((log, texts));

    let log = open(&path).await;
    let texts: Topic<String> = Topic::open(&log, "t").await.unwrap();
    let events = read_all(&texts).await;
    assert!(
        events
            .iter()
            .map(|(_, text)| text)
            .eq(&Vec::from_iter((0..10).map(text)))
    );
}

#[tokio::test]
async fn empty_file_becomes_a_log() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, "").unwrap();
    let (_log, numbers) = open_numbers(&path).await;
    publish_all(&numbers, 0..1).await;
}

#[tokio::test]
async fn presence_cannot_be_opened() {
    let directory = tempdir().unwrap();
    let log = open(&directory.path().join("log")).await;
    let opened = Presence::<String>::open(&log, "lobby", Duration::ZERO).await;
    let error = opened.unwrap_err();
    assert!(matches!(error, PresenceError::NotShared), "{error}");
    assert!(error.to_string().contains("Presence::new"), "{error}");
}
