//! Reads and operates the page.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};
use sse_runtime::Topic;
use thirtyfour::By;
use tokio::time::{Duration, sleep, timeout};

use super::{Explorer, server::Answer};
use crate::{client::PATIENCE, pages::to_text};

/// Returns all rendered frames. Their text is what the page shows.
const FRAMES: &str = "return [...document.querySelectorAll('.frame')].map((frame) => ({
    classes: [...frame.classList],
    name: frame.querySelector('.name').textContent,
    id: frame.querySelector('.id')?.textContent ?? null,
    time: frame.querySelector('time').textContent,
    tags: [...frame.querySelectorAll('.tag')].map((tag) => tag.textContent),
    data: [...frame.querySelector('.data').childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join(''),
}))";

#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct Frame {
    pub(super) classes: HashSet<String>,
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) time: String,
    pub(super) tags: Vec<String>,
    pub(super) data: String,
}

impl Frame {
    pub(super) fn is(&self, class: &str) -> bool {
        self.classes.contains(class)
    }
}

impl Explorer<'_> {
    /// Creates a room that holds `events`.
    pub(super) async fn room(
        &self,
        events: Vec<Answer>,
    ) -> Result<(String, Topic<Answer>), String> {
        static LAST: AtomicU64 = AtomicU64::new(1000);
        let room = LAST.fetch_add(1, Ordering::Relaxed).to_string();
        let topic = self.rooms.topic(&room).await.map_err(to_text)?;
        for event in events {
            topic.publish(&event).await.map_err(to_text)?;
        }
        Ok((room, topic))
    }

    pub(super) async fn open(&self, page: &str, operation: &str) -> Result<(), String> {
        // A navigation that only changes the fragment would not load the page again.
        let empty = format!("{}/empty", self.url);
        self.driver.goto(empty).await.map_err(to_text)?;
        let operation = operation.replace(' ', "%20").replace('/', "%2F");
        let url = format!("{}{page}#{operation}", self.url);
        self.driver.goto(url).await.map_err(to_text)?;
        self.until("return document.querySelector('#path')?.textContent !== ''")
            .await
    }

    /// Opens the page and connects to a room.
    pub(super) async fn connect(&self, room: &str) -> Result<(), String> {
        self.open("/", "answer").await?;
        self.write("#fields input", room).await?;
        self.click("#connect").await
    }

    pub(super) async fn click(&self, selector: &str) -> Result<(), String> {
        let element = self.driver.find(By::Css(selector)).await.map_err(to_text)?;
        element.click().await.map_err(to_text)
    }

    /// Replaces the text of a field. An empty `text` clears it.
    pub(super) async fn write(&self, selector: &str, text: &str) -> Result<(), String> {
        let field = self.driver.find(By::Css(selector)).await.map_err(to_text)?;
        field.clear().await.map_err(to_text)?;
        if text.is_empty() {
            // Not every driver sends an event for `clear`.
            let event = "document.querySelector(arguments[0]).dispatchEvent(new Event('input', { bubbles: true }))";
            self.run(event, selector.into()).await?;
            return Ok(());
        }
        field.send_keys(text).await.map_err(to_text)
    }

    pub(super) async fn choose(&self, selector: &str, value: &str) -> Result<(), String> {
        let choose = "const select = document.querySelector(arguments[0][0]);
            select.value = arguments[0][1];";
        self.run(choose, json!([selector, value])).await?;
        Ok(())
    }

    /// Presses a copy button and returns the copied text.
    pub(super) async fn copied(&self, what: &str) -> Result<String, String> {
        let prepare = "document.querySelector('#code').open = true;
            Object.defineProperty(navigator, 'clipboard', { configurable: true, value: { writeText: async (text) => { window.copied = text; } } });";
        self.run(prepare, Value::Null).await?;
        self.click(&format!("#{what} + button")).await?;
        let copied = self.run("return window.copied", Value::Null).await?;
        let copied = copied.as_str().map(str::to_owned);
        copied.ok_or_else(|| "nothing was copied".to_owned())
    }

    /// Waits for at least `count` events and returns all of them.
    pub(super) async fn events(&self, count: usize) -> Result<Vec<Frame>, String> {
        let shown = format!("return document.querySelectorAll('.frame.event').length >= {count}");
        if let Err(error) = self.until(&shown).await {
            return Err(format!("{error}; frames: {:?}", self.frames().await));
        }
        let mut frames = self.frames().await?;
        frames.retain(|frame| frame.is("event"));
        Ok(frames)
    }

    pub(super) async fn names(&self) -> Result<Vec<String>, String> {
        let events = self.events(0).await?;
        Ok(events.into_iter().map(|event| event.name).collect())
    }

    pub(super) async fn frames(&self) -> Result<Vec<Frame>, String> {
        let frames = self.run(FRAMES, Value::Null).await?;
        serde_json::from_value(frames).map_err(to_text)
    }

    /// Waits until the page shows a note that contains `text`.
    pub(super) async fn note(&self, text: &str) -> Result<(), String> {
        self.until(&format!(
            "return [...document.querySelectorAll('.note .data')].some((note) => note.textContent.includes({}))",
            json!(text)
        ))
        .await
    }

    /// Waits until an element contains `text`.
    pub(super) async fn says(&self, selector: &str, text: &str) -> Result<(), String> {
        let says = format!(
            "return document.querySelector('{selector}').textContent.includes({})",
            json!(text)
        );
        self.until(&says).await
    }

    /// Waits until a script returns true. The script is polled, since the driver cannot wait.
    pub(super) async fn until(&self, script: &str) -> Result<(), String> {
        let until = timeout(PATIENCE / 4, async {
            while self.run(script, Value::Null).await? != Value::Bool(true) {
                sleep(Duration::from_millis(30)).await;
            }
            Ok(())
        });
        until
            .await
            .unwrap_or_else(|_| Err(format!("still not true: {script}")))
    }

    pub(super) async fn nobody_reads(&self, topic: &Topic<Answer>) -> Result<(), String> {
        let mut readers = self.rooms.readers();
        let left = timeout(PATIENCE, readers.wait_for(|_| topic.subscribers() == 0));
        match left.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err("the connection is still open".to_owned()),
        }
    }

    pub(super) async fn run(&self, script: &str, argument: Value) -> Result<Value, String> {
        let result = self.driver.execute(script, vec![argument]).await;
        result.map(|value| value.json().clone()).map_err(to_text)
    }

    /// Returns the console messages logged since the last call. Only Chromium's driver supports
    /// this.
    pub(super) async fn console(&self) -> Result<Vec<String>, String> {
        if !self.is_chromium {
            return Ok(Vec::new());
        }
        let log = self.driver.browser_log().await.map_err(to_text)?;
        Ok(log.into_iter().map(|entry| entry.message).collect())
    }
}
