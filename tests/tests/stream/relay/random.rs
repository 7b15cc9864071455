//! Random streams, decoded by an independent parser before and after they are relayed.

use std::convert::Infallible;

use axum::body::Bytes;
use eventsource_stream::Eventsource as _;
use proptest::prelude::*;
use tokio_stream::StreamExt as _;

use super::{Chunks, How, ask};

/// Decodes a stream with an independent parser.
async fn decoded(bytes: &[u8]) -> Vec<(String, String, String)> {
    let mut bytes = bytes.to_vec();
    // `eventsource-stream` recognizes a CR as a line break only once it has seen the next byte. The
    // LF appended here does not add a line, because CRLF is a single line break.
    if bytes.ends_with(b"\r") {
        bytes.push(b'\n');
    }
    let chunks = tokio_stream::iter([Ok::<_, Infallible>(bytes)]);
    let events = chunks.eventsource().map(|event| {
        let event = event.unwrap();
        (event.event, event.data, event.id)
    });
    events.collect().await
}

/// Text made of the pieces that matter to a parser, except for the byte order mark, at which
/// `eventsource-stream` panics.
fn stream() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just("\n\n"),
        Just("data"),
        Just(":"),
        Just(" "),
        Just("data: x"),
        Just("id: 1"),
        Just("id: ☃"),
        Just("event: a"),
        Just("retry: 1"),
        Just(": c"),
        Just("é"),
        Just("\u{2028}"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn relayed_stream_has_the_same_events(text in stream(), cuts in prop::collection::vec(0_usize..200, 0..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let bytes = Bytes::from(text.clone());
            let mut upstream = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                upstream.push(Ok(bytes.slice(from..cut)));
                from = cut;
            }
            let again = |upstream: &Chunks| -> Chunks {
                upstream.iter().map(|chunk| Ok(chunk.as_ref().unwrap().clone())).collect()
            };
            let whole = ask("/relay", How::All, again(&upstream)).await.text().await;
            prop_assert!(!whole.contains('\r'));
            let events = decoded(text.as_bytes()).await;
            prop_assert_eq!(&decoded(whole.as_bytes()).await, &events);
            for how in [How::OneByOne, How::SkipComments, How::SkipCommentsOneByOne] {
                let relayed = ask("/relay", how, again(&upstream)).await.text().await;
                prop_assert_eq!(&decoded(relayed.as_bytes()).await, &events, "{:?}", how);
            }
            let reissued = ask("/relay", How::ReissueIds, again(&upstream)).await.text().await;
            let reissued = decoded(reissued.as_bytes()).await;
            let each = ask("/relay", How::ReissueIdsOneByOne, upstream).await.text().await;
            prop_assert_eq!(&decoded(each.as_bytes()).await, &reissued);
            let without_ids = |events: &[(String, String, String)]| -> Vec<_> {
                events.iter().map(|(name, data, _)| (name.clone(), data.clone())).collect()
            };
            prop_assert_eq!(without_ids(&reissued), without_ids(&events));
            Ok(())
        })?;
    }
}
