//! Checks documents that other tools have written.

use serde_json::{Value, json};

use super::expect;
use crate::explorer::Explorer;

impl Explorer<'_> {
    pub(in crate::explorer) async fn documents(&self) -> Result<(), String> {
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
}
