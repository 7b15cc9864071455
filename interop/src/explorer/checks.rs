//! The checks, one method each.

use std::{collections::HashSet, process::Stdio};

use serde_json::{Value, json};
use sse_runtime::Topic;
use thirtyfour::{By, Key, WebElement};
use tokio::{process::Command, time::timeout};

use super::{
    Explorer,
    page::Frame,
    server::{self, Answer, Call},
};
use crate::{
    browser::Scheme,
    client::PATIENCE,
    pages::{SIZES, reaches_all, to_text, violations},
};

impl Explorer<'_> {
    /// Runs axe before the page connects and while it shows each kind of frame, and takes the
    /// screenshots. The page is in an `iframe`, because a browser window cannot be as narrow as a
    /// phone.
    pub(super) async fn accessible(&self) -> Result<(), String> {
        for (width, height) in SIZES {
            let empty = format!("{}/empty", self.url);
            self.driver.goto(&empty).await.map_err(to_text)?;
            let frame = "document.head.innerHTML = '<style>:root { color-scheme: light dark } body { margin: 0 }</style>';
                document.body.innerHTML = arguments[0];";
            let html = format!(
                "<iframe title=explorer src={}/framed#answer width={width} height={height} style='border:0;display:block'></iframe>",
                self.url
            );
            self.run(frame, json!(html)).await?;
            let frame = self.driver.find(By::Css("iframe")).await.map_err(to_text)?;
            frame.clone().enter_frame().await.map_err(to_text)?;
            self.until("return document.querySelector('#path')?.textContent !== ''")
                .await?;
            let dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
            let is_dark = self.run(dark, Value::Null).await? == Value::Bool(true);
            if is_dark != matches!(self.scheme, Scheme::Dark) {
                return Err(format!("the color scheme is not {}", self.scheme.name()));
            }
            self.has_no_violations(width).await?;

            // A gap, and then a resumed stream.
            let (room, topic) = self.room(Answer::all()).await?;
            self.write("#fields input", &room).await?;
            self.write("#last", "never-sent-1").await?;
            self.click("#connect").await?;
            self.events(6).await?;
            self.until("return document.querySelector('.comment') !== null")
                .await?;
            self.drop_while(&topic, &Answer::all()).await?;
            self.events(11).await?;
            self.note("live from here").await?;
            self.screenshot(&frame, width).await?;
            let open = "for (const it of document.querySelectorAll('#code, #events, .frame')) it.open = true";
            self.run(open, Value::Null).await?;
            self.has_no_violations(width).await?;

            // Unknown events, an error in the stream, and a problem before it.
            self.run("location.hash = 'fails'", Value::Null).await?;
            self.click("#connect").await?;
            self.says("#state", "the server ended the stream").await?;
            self.events(3).await?;
            self.has_no_violations(width).await?;
            self.run("location.hash = 'answer'", Value::Null).await?;
            self.write("#fields input", "404").await?;
            self.click("#connect").await?;
            self.until("return document.querySelector('.note.bad[open] .body') !== null")
                .await?;
            self.has_no_violations(width).await?;
            self.driver.enter_parent_frame().await.map_err(to_text)?;
        }
        // Chromium reports the status 404.
        self.console().await?;
        Ok(())
    }

    /// Checks the page with axe, and that it does not scroll sideways.
    pub(super) async fn has_no_violations(&self, width: u32) -> Result<(), String> {
        let over = "return document.documentElement.scrollWidth - innerWidth";
        let over = self.run(over, Value::Null).await?;
        if over.as_i64().is_none_or(|over| over > 0) {
            return Err(format!("the page is {over} pixels wider than {width}"));
        }
        violations(self.driver, self.axe).await
    }

    pub(super) async fn screenshot(&self, frame: &WebElement, width: u32) -> Result<(), String> {
        let show = "document.querySelector('#stream').scrollIntoView({ block: 'end' })";
        self.run(show, Value::Null).await?;
        self.driver.enter_parent_frame().await.map_err(to_text)?;
        let kind = if self.is_chromium {
            "chromium"
        } else {
            "firefox"
        };
        let scheme = self.scheme.name();
        let image = format!("explorer-{kind}-{scheme}-{width}.png");
        let taken = frame.screenshot(&self.images.join(image)).await;
        taken.map_err(to_text)?;
        frame.clone().enter_frame().await.map_err(to_text)
    }

    /// Publishes `events` while the page is disconnected, and then lets it resume.
    pub(super) async fn drop_while(
        &self,
        topic: &Topic<Answer>,
        events: &[Answer],
    ) -> Result<(), String> {
        self.choose("#away", "60 s").await?;
        self.click("#drop").await?;
        self.says("#state", "reconnecting in").await?;
        self.nobody_reads(topic).await?;
        for event in events {
            topic.publish(event).await.map_err(to_text)?;
        }
        // Resume now instead of waiting for a minute.
        self.click("#drop").await
    }

    pub(super) async fn keyboard(&self) -> Result<(), String> {
        let (room, _topic) = self.room(Answer::all()).await?;
        self.open("/", "answer").await?;
        // The controls of a closed section cannot be reached, although they have a layout.
        let open = "document.querySelector('#code').open = true";
        self.run(open, Value::Null).await?;
        reaches_all(self.driver).await?;
        self.write("#fields input", &room).await?;
        let input = self.driver.find(By::Css("#fields input")).await;
        let input = input.map_err(to_text)?;
        input.send_keys(Key::Enter).await.map_err(to_text)?;
        self.events(5).await?;
        Ok(())
    }

    pub(super) async fn shows_frames(&self) -> Result<(), String> {
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
    pub(super) async fn parses(&self) -> Result<(), String> {
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

    pub(super) async fn folds(&self) -> Result<(), String> {
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
    pub(super) async fn resumes(&self) -> Result<(), String> {
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

    pub(super) async fn gap(&self) -> Result<(), String> {
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

    pub(super) async fn filters(&self) -> Result<(), String> {
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
    pub(super) async fn stops(&self) -> Result<(), String> {
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

    pub(super) async fn posts(&self) -> Result<(), String> {
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

    pub(super) async fn problem(&self) -> Result<(), String> {
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

    pub(super) async fn unknown(&self) -> Result<(), String> {
        self.open("/", "fails").await?;
        self.click("#connect").await?;
        let events = self.events(3).await?;
        let unknown: Vec<bool> = events.iter().map(|event| event.is("unknown")).collect();
        expect(&unknown, &vec![false, true, false])?;
        expect(&events[1].tags, &vec!["not in the document".to_owned()])?;
        expect(&events[2].is("error"), &true)?;
        self.says("#state", "the server ended the stream").await
    }

    pub(super) async fn reconnects(&self) -> Result<(), String> {
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

    /// Runs the copied commands, and compares their output with the page's frames.
    pub(super) async fn curl(&self) -> Result<(), String> {
        let (room, topic) = self.room(Answer::all()).await?;
        topic.finish().await.map_err(to_text)?;
        self.connect(&room).await?;
        let events = self.events(6).await?;
        let first = events[0].id.clone().unwrap_or_default();
        self.write("#last", first.trim_start_matches('#')).await?;
        self.click("#connect").await?;
        self.says("#state", "the server ended the stream").await?;
        let rest = self.events(5).await?;
        let output = output(&self.copied("curl").await?).await?;
        expect(&output, &data_of(&rest))?;

        self.open("/", "ask").await?;
        let prompt = "it's \"quoted\", $HOME, `id`, \\ and !\n\tnew line";
        self.run(
            "const body = document.querySelector('#fields textarea'), headers = document.querySelector('#headers');
            [body.value, headers.value] = arguments[0];
            body.dispatchEvent(new Event('input', { bubbles: true }));",
            json!([json!({ "prompt": prompt }).to_string(), "X-Note: 'a' \"b\" $HOME"]),
        )
        .await?;
        self.click("#connect").await?;
        let events = self.events(3).await?;
        expect(&events[0].data, &json!({ "text": prompt }).to_string())?;
        let output = self::output(&self.copied("curl").await?).await?;
        expect(&output, &data_of(&events))
    }

    pub(super) async fn typescript(&self) -> Result<(), String> {
        self.open("/", "answer").await?;
        self.write("#fields input", "7").await?;
        let code = self.copied("typescript").await?;
        let expected = "for await (const event of connect(location.origin).answer({ room: 7 })) {";
        if !code.contains(expected) {
            return Err(code);
        }
        self.write("#last", "a-1").await?;
        self.write("#headers", "X-Note: a").await?;
        let code = self.copied("typescript").await?;
        let expected =
            r#".answer({ room: 7 }, { lastEventId: "a-1", headers: {"X-Note":"a"} })) {"#;
        if !code.contains(expected) {
            return Err(code);
        }
        self.open("/", "ask").await?;
        let code = self.copied("typescript").await?;
        if !code.contains(".ask({ body: {") {
            return Err(code);
        }
        Ok(())
    }

    pub(super) async fn documents(&self) -> Result<(), String> {
        let contract = "return document.querySelector('#contract').innerText";
        let text = async |page: &str, operation: &str| {
            self.open(page, operation).await?;
            let text = self.run(contract, Value::Null).await?;
            Ok::<_, String>(text.as_str().unwrap_or_default().to_owned())
        };
        for (page, operation, shown) in [
            (
                "/fastapi",
                "items_shops__shop__items_get",
                vec![
                    "Streams every item that is added to a shop.",
                    "Only items of this kind.",
                    "any name",
                    "name: string;",
                    "discount?: number | null; // In percent.",
                ],
            ),
            (
                "/fastapi",
                "answers_answers_post",
                vec!["Body application/json", "{ text: string }"],
            ),
            (
                "/fastapi",
                "log_log_get",
                vec!["any name", "string // text"],
            ),
            (
                "/aspnet",
                "GetAdoptions",
                vec!["Kitten", "Puppy", "shelter", "mother?: null | Pet;"],
            ),
            (
                "/others",
                "get /answers",
                vec![
                    "any name",
                    "{ kind: \"token\"; text: string } | { kind: \"finished\" }",
                ],
            ),
            ("/others", "get /tokens", vec!["token", "end", "null"]),
            (
                "/others",
                "get /files/{*path}",
                vec![
                    "addString",
                    "Plain text.",
                    "string // text",
                    "addJson",
                    "{ number: number } & { pair?: [string, boolean | null] } & ({ [key: string]: number } | (\"a\" | 1)[])",
                ],
            ),
        ] {
            let text = text(page, operation).await?;
            for part in shown {
                if !text.contains(part) {
                    return Err(format!("{part} is missing from {page} {operation}: {text}"));
                }
            }
        }
        // `Last-Event-ID` has a field of its own, even if the document lists it as a parameter.
        let fields = "return document.querySelectorAll('#fields input').length";
        self.open("/fastapi", "items_shops__shop__items_get")
            .await?;
        expect(&self.run(fields, Value::Null).await?, &json!(2))?;
        self.open("/others", "get /files/{*path}").await?;
        self.write("#fields input", "a/b c?.txt").await?;
        let code = self.copied("curl").await?;
        if !code.contains("/files/a/b%20c%3F.txt'") {
            return Err(code);
        }
        // The server's URL has a path, and a parameter of the path item has several values.
        self.open("/aspnet", "GetAdoptions").await?;
        self.write("#fields input", "a b,c&d").await?;
        let expected = format!(
            "'{}/pets/v2/adoptions?shelter=a%20b&shelter=c%26d'",
            self.url
        );
        let code = self.copied("curl").await?;
        if !code.contains(&expected) {
            return Err(format!("{expected} is missing from {code}"));
        }
        Ok(())
    }

    pub(super) async fn many(&self) -> Result<(), String> {
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

    /// Checks the log for violations in Chromium. Firefox's log cannot be read, but its page is the
    /// same.
    pub(super) async fn policy(&self) -> Result<(), String> {
        let (room, _topic) = self.room(Answer::all()).await?;
        self.connect(&room).await?;
        self.events(5).await?;
        self.click(".frame.event > summary").await?;
        let forbidden = "return new Promise((done) => {
            addEventListener('securitypolicyviolation', ({ effectiveDirective }) => done(effectiveDirective));
            document.body.setAttribute('style', 'color: red');
        })";
        let console = self.console().await?;
        expect(&console, &Vec::new())?;
        // The policy is in effect.
        expect(
            &self.run(forbidden, Value::Null).await?,
            &json!("style-src-attr"),
        )?;
        self.console().await?;
        Ok(())
    }
}

/// Runs a command in a shell and returns the data of the events that it prints.
async fn output(command: &str) -> Result<Vec<String>, String> {
    let shell = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, shell).await;
    let output = output
        .map_err(|_| format!("did not exit: {command}"))?
        .map_err(to_text)?;
    let text = String::from_utf8(output.stdout).map_err(to_text)?;
    let data = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data).to_owned());
    Ok(data.collect())
}

fn data_of(events: &[Frame]) -> Vec<String> {
    events.iter().map(|event| event.data.clone()).collect()
}

fn expect<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("expected {expected:?}, found {found:?}"))
}
