//! Checks what the page shows of streams.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{data_of, expect, output};
use crate::{
    explorer::{
        Explorer,
        server::{self, Answer, Call},
    },
    pages::to_text,
};

impl Explorer<'_> {
    pub(in crate::explorer) async fn shows_frames(&self) -> Result<(), String> {
        let (room, _topic) = self.room(Answer::all()).await?;
        self.connect(&room).await?;
        let events = self.events(5).await?;
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        expect(
            &names,
            &vec!["token", "token", "token", "tool-call", "finished"],
        )?;
        expect(&events[0].data.as_str(), &r#"{"text":"1"}"#)?;
        let ids: HashSet<&String> = events
            .iter()
            .filter_map(|event| event.id.as_ref())
            .collect();
        expect(&ids.len(), &5)?;
        expect(&events[0].time.len(), &"00:00:00.000".len())?;
        self.until("return document.querySelector('.frame.comment') !== null")
            .await?;
        let frames = self.frames().await?;
        let retry = frames
            .iter()
            .flat_map(|frame| &frame.tags)
            .any(|tag| tag == "retry 3,000 ms");
        expect(&retry, &true)?;
        // The table of events counts them by name.
        let count = "return document.querySelector('[data-name=token] .count').textContent === '3'";
        self.until(count).await?;
        self.says("#numbers", "5 events").await?;
        self.says("#state", "open: HTTP 200").await
    }

    /// Reads a stream with all kinds of line breaks, and also parses it split at every position.
    pub(in crate::explorer) async fn parses(&self) -> Result<(), String> {
        self.open("/", "raw").await?;
        self.click("#connect").await?;
        self.note("The server ended the stream").await?;
        let frames = self.frames().await?;
        let frames: Vec<(&str, Option<&str>, &str)> = frames
            .iter()
            .filter(|frame| !frame.is("note"))
            .map(|frame| {
                (
                    frame.name.as_str(),
                    frame.id.as_deref(),
                    frame.data.as_str(),
                )
            })
            .collect();
        let expected = vec![
            ("comment", None, "a comment"),
            ("event", None, ""),
            ("message", None, "one\n two €😀"),
            ("ignored", None, "id: a\0b"),
            ("ignored", None, "retry: 1s"),
            ("named:", Some("7"), ""),
            ("id", Some("(empty)"), ""),
        ];
        expect(&frames, &expected)?;
        let incomplete =
            "return document.querySelector('.note.wait .body').innerText.includes('incomplete')";
        self.until(incomplete).await?;
        let pieces = "const text = arguments[0], all = [];
            for (let at = 0; at <= text.length; at += 1) {
                const frames = [], { push } = parser((frame) => frames.push(frame));
                push(text.slice(0, at));
                push(text.slice(at));
                all.push(JSON.stringify(frames));
            }
            return [...new Set(all)].length";
        let ways = self.run(pieces, json!(server::RAW)).await?;
        expect(&ways, &json!(1))
    }

    pub(in crate::explorer) async fn folds(&self) -> Result<(), String> {
        let (room, _topic) = self.room(vec![Answer::ToolCall(Call::nested())]).await?;
        self.connect(&room).await?;
        self.events(1).await?;
        self.click(".frame.event > summary").await?;
        self.until("return document.querySelector('.json') !== null")
            .await?;
        let shown = "return document.querySelector('.json').innerText";
        let before = self.run(shown, Value::Null).await?;
        let before = before.as_str().unwrap_or_default().to_owned();
        if !before.contains("\"at\": 18446744073709551615") || !before.contains("\"deep\"") {
            return Err(format!("the JSON is shown as {before}"));
        }
        // The summary of `arguments`, the second object.
        self.click(".json details details > summary").await?;
        let after = self.run(shown, Value::Null).await?;
        let after = after.as_str().unwrap_or_default();
        if after.contains("\"deep\"") || !after.contains("\"at\"") {
            return Err(format!("the folded JSON is shown as {after}"));
        }
        Ok(())
    }

    /// Publishes events while the page is disconnected. The page must receive them exactly once.
    pub(in crate::explorer) async fn resumes(&self) -> Result<(), String> {
        let token = |number: u32| Answer::Token {
            text: number.to_string(),
        };
        let (room, topic) = self.room((1..=3).map(token).collect()).await?;
        self.connect(&room).await?;
        let before = self.events(3).await?;
        self.drop_while(&topic, &[token(4), token(5)]).await?;
        let replayed = self.events(5).await?;
        self.note("live from here").await?;
        topic.publish(&token(6)).await.map_err(to_text)?;
        let events = self.events(6).await?;

        let texts: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        let expected: Vec<String> = (1..=6)
            .map(|number| format!(r#"{{"text":"{number}"}}"#))
            .collect();
        expect(&texts, &expected.iter().map(String::as_str).collect())?;
        let marked: Vec<bool> = events.iter().map(|event| event.is("replayed")).collect();
        expect(&marked, &vec![false, false, false, true, true, false])?;
        let last = before[2].id.clone().unwrap_or_default();
        let next = replayed[3].id.clone().unwrap_or_default();
        self.note(&format!("Dropped after id {last}")).await?;
        self.note(&format!("Last-Event-ID {last}")).await?;
        self.note(&format!("Continues with id {next}")).await
    }

    pub(in crate::explorer) async fn gap(&self) -> Result<(), String> {
        let (room, _topic) = self.room(Answer::all()).await?;
        self.open("/", "answer").await?;
        self.write("#fields input", &room).await?;
        self.write("#last", "never-sent-1").await?;
        self.click("#connect").await?;
        let events = self.events(6).await?;
        expect(&events[0].name.as_str(), &"gap")?;
        expect(&(events[0].is("gap"), events[1].is("gap")), &(true, false))?;
        let colors =
            "const color = (frame) => getComputedStyle(frame.querySelector('.name')).color;
            const [gap, token] = document.querySelectorAll('.frame.event');
            return color(gap) !== color(token)";
        self.until(colors).await
    }

    pub(in crate::explorer) async fn filters(&self) -> Result<(), String> {
        let (room, topic) = self.room(Answer::all()).await?;
        self.connect(&room).await?;
        self.events(5).await?;
        self.write("#text", "SEARCH").await?;
        expect(&self.names().await?, &vec!["tool-call".to_owned()])?;
        // The filter also applies to new events.
        for event in Answer::all() {
            topic.publish(&event).await.map_err(to_text)?;
        }
        self.says("#numbers", "10 events").await?;
        expect(&self.names().await?, &vec!["tool-call".to_owned(); 2])?;
        self.write("#text", "").await?;
        expect(&self.names().await?.len(), &10)?;
        self.click("[data-name=token]").await?;
        expect(&self.names().await?, &vec!["token".to_owned(); 6])?;
        let pressed = "return document.querySelector('[data-name=token]').ariaPressed === 'true'";
        self.until(pressed).await?;
        let others = "return document.querySelector('.frame.comment, .frame.note')";
        expect(&self.run(others, Value::Null).await?, &Value::Null)?;
        self.click("[data-name=token]").await?;
        expect(&self.names().await?.len(), &10)
    }

    /// Checks that the server notices when the page closes the connection.
    pub(in crate::explorer) async fn stops(&self) -> Result<(), String> {
        let (room, topic) = self.room(Answer::all()).await?;
        self.connect(&room).await?;
        self.events(5).await?;
        expect(&topic.subscribers(), &1)?;
        self.click("#stop").await?;
        self.says("#state", "stopped").await?;
        self.nobody_reads(&topic).await?;
        self.until("return document.querySelector('#stop').disabled")
            .await
    }

    pub(in crate::explorer) async fn posts(&self) -> Result<(), String> {
        self.open("/", "ask").await?;
        let example = "return document.querySelector('#fields textarea').value";
        let example = self.run(example, Value::Null).await?;
        let example: Value =
            serde_json::from_str(example.as_str().unwrap_or_default()).map_err(to_text)?;
        expect(&example, &json!({ "prompt": "" }))?;
        let prompt = "it's €5";
        self.write("#fields textarea", &json!({ "prompt": prompt }).to_string())
            .await?;
        self.write("#headers", "X-Note: über\nX-Other: b").await?;
        self.click("#connect").await?;
        let events = self.events(3).await?;
        expect(
            &events[0].data.as_str(),
            &json!({ "text": prompt }).to_string().as_str(),
        )?;
        expect(&events[1].data.as_str(), &r#"{"text":"über"}"#)?;
        expect(&events[2].name.as_str(), &"finished")?;
        self.says("#state", "the server ended the stream").await?;

        self.open("/", "form").await?;
        self.write("#fields input", "1 + 1 = ü&é").await?;
        self.click("#connect").await?;
        let events = self.events(3).await?;
        expect(&events[0].data.as_str(), &r#"{"text":"1 + 1 = ü&é"}"#)?;
        expect(&events[1].data.as_str(), &r#"{"text":"slow"}"#)?;
        let output = output(&self.copied("curl").await?).await?;
        expect(&output, &data_of(&events))
    }

    pub(in crate::explorer) async fn problem(&self) -> Result<(), String> {
        self.connect("404").await?;
        self.says("#state", "failed: HTTP 404 Not Found").await?;
        self.until("return document.querySelector('.note.bad[open] .body') !== null")
            .await?;
        let text = "return document.querySelector('.note.bad').innerText";
        let text = self.run(text, Value::Null).await?;
        let text = text.as_str().unwrap_or_default();
        for part in [
            "application/problem+json",
            "\"no_room\"",
            "\"room\": 404",
            "content-length",
        ] {
            if !text.contains(part) {
                return Err(format!("{part} is missing from {text}"));
            }
        }
        // Chromium reports the status.
        self.console().await?;
        Ok(())
    }

    pub(in crate::explorer) async fn unknown(&self) -> Result<(), String> {
        self.open("/", "fails").await?;
        self.click("#connect").await?;
        let events = self.events(3).await?;
        let unknown: Vec<bool> = events.iter().map(|event| event.is("unknown")).collect();
        expect(&unknown, &vec![false, true, false])?;
        expect(&events[1].tags, &vec!["not in the document".to_owned()])?;
        expect(&events[2].is("error"), &true)?;
        self.says("#state", "the server ended the stream").await
    }

    pub(in crate::explorer) async fn reconnects(&self) -> Result<(), String> {
        let (room, topic) = self.room(vec![Answer::Finished]).await?;
        topic.finish().await.map_err(to_text)?;
        self.open("/", "answer").await?;
        self.write("#fields input", &room).await?;
        self.click("#again").await?;
        self.click("#connect").await?;
        let events = self.events(2).await?;
        expect(&events[1].is("done"), &true)?;
        self.says("#state", "reconnecting in").await?;
        self.click("#drop").await?;
        self.says("#state", "over: HTTP 204").await
    }

    pub(in crate::explorer) async fn many(&self) -> Result<(), String> {
        self.open("/", "many").await?;
        self.click("#connect").await?;
        self.says("#numbers", "5,000 events").await?;
        let last = "const texts = document.querySelectorAll('.frame.event .data');
            return texts[texts.length - 1]?.textContent === '5000'";
        self.until(last).await?;
        let rows = "return document.querySelectorAll('.frame').length";
        let following = self.run(rows, Value::Null).await?.as_u64();
        expect(&following.is_some_and(|rows| rows <= 200), &true)?;
        // Scrolling up stops following, and shows all frames that are kept.
        self.run(
            "document.querySelector('#frames').scrollTop -= 400",
            Value::Null,
        )
        .await?;
        self.until("return !document.querySelector('#follow').hidden")
            .await?;
        expect(&self.run(rows, Value::Null).await?.as_u64(), &Some(2000))?;
        self.click("#follow").await?;
        self.until("return document.querySelector('#follow').hidden")
            .await?;
        self.until(
            "const frames = document.querySelector('#frames');
            return frames.scrollHeight - frames.scrollTop - frames.clientHeight < 2",
        )
        .await
    }
}
