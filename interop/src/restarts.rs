//! Tests the pages of the examples that store their events in a log. While a browser shows the page,
//! the server is killed and restarted on the same file.

use serde_json::{Value, json};
use thirtyfour::WebDriver;
use tokio::time::{Duration, sleep, timeout};

use crate::{
    browser::{Browser, Scheme},
    client::PATIENCE,
    examples::Example,
    table::{Cell, Table},
};

/// A page, and the scripts that control and check it.
struct Page {
    example: &'static str,
    title: &'static str,
    /// A script that starts the page.
    start: &'static str,
    /// A script that returns true once the server should be killed.
    is_running: &'static str,
    /// A script that returns true once the page has noticed that the server is gone.
    is_away: &'static str,
    /// A script that returns true once the page shows the expected result.
    is_over: &'static str,
}

const PAGES: [Page; 2] = [
    Page {
        example: "ticker",
        title: "`ticker` continues without a gap",
        start: "window.prices = 0;
            new MutationObserver(() => window.prices += 1)
                .observe(document.querySelector('#charts'), { subtree: true, childList: true, characterData: true });",
        is_running: "return window.prices > 2",
        is_away: "const away = document.querySelector('#state').textContent !== 'live';
            if (away) window.prices = 0;
            return away",
        // The page draws a `line.gap` element at each gap.
        is_over: "if (document.querySelector('line.gap')) throw new Error('the page shows a gap');
            return document.querySelector('#state').textContent === 'live' && window.prices > 2",
    },
    Page {
        example: "chat",
        title: "an unfinished answer in `chat` ends with a message",
        start: "document.querySelector('#examples button').click()",
        is_running: "return document.querySelector('#log').innerText.length > 150",
        is_away: "return document.querySelector('#log').innerText.includes('reconnecting')",
        is_over: "return document.querySelector('#log').innerText
            .includes('The server stopped while it was writing.')",
    },
];

/// Tests every page in both browsers.
pub(crate) async fn test() -> Result<Table, String> {
    let mut table = Table::new(PAGES.map(|page| page.title.to_owned()).to_vec());
    for name in ["Chromium", "Firefox"] {
        let browser = match name {
            "Chromium" => Browser::chromium(String::new(), Scheme::Light).await,
            _ => Browser::firefox(String::new(), Scheme::Light).await,
        };
        let browser = match browser {
            Ok(browser) => browser,
            Err(error) => {
                table.column(name, vec![Cell::Skipped(error); PAGES.len()]);
                continue;
            }
        };
        let mut cells = Vec::new();
        for page in PAGES {
            cells.push(match restart(browser.driver(), &page).await {
                Ok(()) => Cell::Ok,
                Err(error) => {
                    println!("{name}, {}: {error}", page.title);
                    Cell::Failed(error)
                }
            });
        }
        browser.quit().await;
        table.column(name, cells);
    }
    Ok(table)
}

async fn restart(driver: &WebDriver, page: &Page) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = directory.path().join("events.redb");
    let server = Example::start_with(page.example, "0", Some(&file)).await?;
    let opened = driver.goto(format!("{}/", server.url)).await;
    opened.map_err(|error| error.to_string())?;
    ask(driver, page.start).await?;
    until(driver, page.is_running).await?;
    let port = server.kill().await?;
    until(driver, page.is_away).await?;
    let _server = Example::start_with(page.example, &port, Some(&file)).await?;
    until(driver, page.is_over).await
}

/// Waits until a script returns true.
async fn until(driver: &WebDriver, script: &str) -> Result<(), String> {
    let waiting = timeout(PATIENCE, async {
        while ask(driver, script).await? != Value::Bool(true) {
            // Poll, because the driver cannot wait for a condition.
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    });
    let waited = waiting.await;
    waited.unwrap_or_else(|_| Err(format!("timed out: {script}")))
}

async fn ask(driver: &WebDriver, script: &str) -> Result<Value, String> {
    let result = driver.execute(script, vec![json!(null)]).await;
    let result = result.map_err(|error| error.to_string())?;
    Ok(result.json().clone())
}
