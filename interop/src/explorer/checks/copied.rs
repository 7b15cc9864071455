//! Checks the commands and the code that the page copies.

use serde_json::json;

use super::{data_of, expect, output};
use crate::{
    explorer::{Explorer, server::Answer},
    pages::to_text,
};

impl Explorer<'_> {
    /// Runs the copied commands, and compares their output with the page's frames.
    pub(in crate::explorer) async fn curl(&self) -> Result<(), String> {
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

    pub(in crate::explorer) async fn typescript(&self) -> Result<(), String> {
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
}
