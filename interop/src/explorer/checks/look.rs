//! Checks how the page looks, and its use with a keyboard.

use serde_json::{Value, json};
use sse_runtime::Topic;
use thirtyfour::{By, Key, WebElement};

use super::expect;
use crate::{
    browser::Scheme,
    explorer::{Explorer, server::Answer},
    pages::{SIZES, reaches_all, to_text, violations},
};

impl Explorer<'_> {
    /// Runs axe before the page connects and while it shows each kind of frame, and takes the
    /// screenshots. The page is in an `iframe`, because a browser window cannot be as narrow as a
    /// phone.
    pub(in crate::explorer) async fn accessible(&self) -> Result<(), String> {
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
    pub(in crate::explorer) async fn has_no_violations(&self, width: u32) -> Result<(), String> {
        let over = "return document.documentElement.scrollWidth - innerWidth";
        let over = self.run(over, Value::Null).await?;
        if over.as_i64().is_none_or(|over| over > 0) {
            return Err(format!("the page is {over} pixels wider than {width}"));
        }
        violations(self.driver, self.axe).await
    }

    pub(in crate::explorer) async fn screenshot(
        &self,
        frame: &WebElement,
        width: u32,
    ) -> Result<(), String> {
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
    pub(in crate::explorer) async fn drop_while(
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

    pub(in crate::explorer) async fn keyboard(&self) -> Result<(), String> {
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

    /// Checks the log for violations in Chromium. Firefox's log cannot be read, but its page is the
    /// same.
    pub(in crate::explorer) async fn policy(&self) -> Result<(), String> {
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
