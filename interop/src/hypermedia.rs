//! Tests htmx 2 with its extension, htmx 4, and Turbo, which insert HTML fragments from a stream
//! into a page. All of them run in Chromium.

use std::{future::pending, time::Duration};

use axum::{Router, extract::Path, http::StatusCode, response::Html};
use serde::Serialize;
use serde_json::Value;
use sse_runtime::{Event, LastEventId, SseRouterExt as _, Stream, sse_endpoint};
use tokio::time::{sleep, timeout};

use crate::{
    browser::{Browser, Scheme},
    client::PATIENCE,
    column::Known,
    property::same,
    server::{Trials, Visit, Visits},
    table::Cell,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    Htmx2,
    Htmx4,
    Turbo,
}

/// The properties that each library is tested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trait {
    Fragments,
    KeepAlive,
    LateStart,
    Resume,
    Error,
    Close,
    NoContent,
}

impl Trait {
    pub(crate) const ALL: [Self; 7] = [
        Self::Fragments,
        Self::KeepAlive,
        Self::LateStart,
        Self::Resume,
        Self::Error,
        Self::Close,
        Self::NoContent,
    ];

    /// Returns the title of the row in the docs.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Fragments => "every fragment once, in order",
            Self::KeepAlive => "keep-alives after an id and `retry`",
            Self::LateStart => "`retry` and keep-alives before a late first event",
            Self::Resume => "reconnects with the last id",
            Self::Error => "`event: error` reaches the page",
            Self::Close => "stops at `done`",
            Self::NoContent => "stops at `204`",
        }
    }

    /// Returns the last segment of the endpoint's path.
    fn path(self) -> &'static str {
        match self {
            Self::Fragments => "fragments",
            Self::KeepAlive => "fragments_keep_alive",
            Self::LateStart => "fragments_late",
            Self::Resume => "fragments_resume",
            Self::Error => "fragments_error",
            Self::Close | Self::NoContent => "fragments_done",
        }
    }

    /// Returns the numbers of the list items that the page must show once every event has arrived.
    fn items(self) -> &'static str {
        match self {
            Self::Resume => "123456",
            _ => "123",
        }
    }
}

/// Returns a list item in the format that this trial's library reads.
fn item(trial: &str, number: u32) -> Html<String> {
    let item = format!("<li>{number}</li>");
    Html(if trial.starts_with(Library::Turbo.name()) {
        format!(
            "<turbo-stream action='append' target='list'><template>{item}</template></turbo-stream>"
        )
    } else {
        item
    })
}

#[sse_endpoint("/{trial}/fragments")]
async fn fragments(Path(trial): Path<String>, _visit: Visit) -> impl Stream<Item = Html<String>> {
    for number in 1..=3 {
        yield_!(item(&trial, number));
    }
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/fragments_keep_alive", retry = "1s", keep_alive = "100ms")]
async fn fragments_keep_alive(
    Path(trial): Path<String>,
    _visit: Visit,
) -> impl Stream<Item = Html<String>> {
    for number in 1..=3 {
        yield_!(Event::json(item(&trial, number)).id(number));
        sleep(Duration::from_millis(350)).await;
    }
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/fragments_late", retry = "1s", keep_alive = "100ms")]
async fn fragments_late(
    Path(trial): Path<String>,
    _visit: Visit,
) -> impl Stream<Item = Html<String>> {
    sleep(Duration::from_millis(350)).await;
    for number in 1..=3 {
        yield_!(item(&trial, number));
    }
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/fragments_resume", retry = "100ms")]
async fn fragments_resume(
    Path(trial): Path<String>,
    _visit: Visit,
    last: LastEventId<u32>,
) -> impl Stream<Item = Html<String>> {
    let seen = last.ok().unwrap_or(0);
    for number in seen + 1..=seen + 3 {
        yield_!(Event::json(item(&trial, number)).id(number));
    }
    if seen > 0 {
        pending::<()>().await;
    }
}

#[derive(Debug, Serialize)]
struct Failed {
    title: &'static str,
}

#[sse_endpoint("/{trial}/fragments_error", retry = "10m")]
async fn fragments_error(
    Path(trial): Path<String>,
    _visit: Visit,
) -> impl Stream<Item = Result<Html<String>, Failed>> {
    for number in 1..=3 {
        yield_!(item(&trial, number));
    }
    return Err(Failed {
        title: "on purpose",
    });
}

#[sse_endpoint("/{trial}/fragments_done", retry = "100ms")]
async fn fragments_done(
    Path(trial): Path<String>,
    _visit: Visit,
) -> impl Stream<Item = Html<String>> {
    for number in 1..=3 {
        yield_!(Event::json(item(&trial, number)).id(number));
    }
    yield_!(Event::done());
}

pub(crate) fn routes() -> Router<Trials> {
    Router::new()
        .sse(fragments)
        .sse(fragments_keep_alive)
        .sse(fragments_late)
        .sse(fragments_resume)
        .sse(fragments_error)
        .sse(fragments_done)
}

impl Library {
    pub(crate) const ALL: [Self; 3] = [Self::Htmx2, Self::Htmx4, Self::Turbo];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Htmx2 => "htmx 2",
            Self::Htmx4 => "htmx 4",
            Self::Turbo => "Turbo",
        }
    }

    fn known(self, one: Trait) -> Option<Known> {
        use Known::{Fault, NotApplicable};

        match (self, one) {
            (Self::Turbo, Trait::Error) => Some(NotApplicable("reads only unnamed events")),
            (Self::Turbo, Trait::Close) => Some(NotApplicable(
                "has no attribute for this; its `EventSource` stops at the `204`",
            )),
            (Self::Htmx2, Trait::NoContent) => Some(Fault {
                seen: "reconnected without an id after the 204",
                reason: "opens a new `EventSource` without an id after a `204`, so the stream starts again; `sse-close=\"done\"` prevents this",
            }),
            (Self::Htmx4, Trait::NoContent) => Some(Fault {
                seen: "reconnected after the 204",
                reason: "treats a `204` as an error and retries forever; `hx-sse:close=\"done\"` prevents this",
            }),
            _ => None,
        }
    }

    /// Returns a page that adds list items from the stream at `url`. If `closes` is set, it stops
    /// at `done`.
    fn page(self, url: &str, closes: bool) -> String {
        match self {
            Self::Htmx2 => {
                let close = if closes { "sse-close='done'" } else { "" };
                format!(
                    "<!doctype html>
                    <script src='/npm/htmx.org/dist/htmx.js'></script>
                    <script src='/npm/htmx-ext-sse/dist/sse.js'></script>
                    <ul id='list' hx-ext='sse' sse-connect='{url}' {close} sse-swap='message' hx-swap='beforeend'></ul>
                    <script>
                        list.addEventListener('htmx:sseError', ({{ detail }}) => window.failure ??= detail.error.data);
                    </script>"
                )
            }
            Self::Htmx4 => {
                let close = if closes { "hx-sse:close='done'" } else { "" };
                format!(
                    "<!doctype html>
                    <script src='/npm/htmx4/dist/htmx.js'></script>
                    <script src='/npm/htmx4/dist/ext/hx-sse.js'></script>
                    <ul id='list' hx-sse:connect='{url}' {close} hx-swap='beforeend'></ul>
                    <script>
                        list.addEventListener('error', ({{ detail }}) => window.failure ??= detail.data);
                    </script>"
                )
            }
            Self::Turbo => format!(
                "<!doctype html>
                <script type='module' src='/npm/@hotwired/turbo/dist/turbo.es2017-esm.js'></script>
                <turbo-stream-source src='{url}'></turbo-stream-source>
                <ul id='list'></ul>"
            ),
        }
    }

    /// Runs every trial in the same browser, one after another.
    pub(crate) async fn cells(self, server: &str, trials: &Trials) -> Vec<Cell> {
        let browser = match Browser::chromium(server.to_owned(), Scheme::Light).await {
            Ok(browser) => browser,
            Err(error) => return vec![Cell::Skipped(error); Trait::ALL.len()],
        };
        let mut cells = Vec::new();
        for one in Trait::ALL {
            let known = self.known(one);
            let judged = match known {
                Some(Known::NotApplicable(_)) => Ok(()),
                _ => self.judge(one, &browser, server, trials).await,
            };
            let cell = Cell::of(judged, known);
            if let Cell::Failed(error) = &cell {
                println!("{}, {}: {error}", self.name(), one.title());
            }
            cells.push(cell);
        }
        browser.quit().await;
        cells
    }

    async fn judge(
        self,
        one: Trait,
        browser: &Browser,
        server: &str,
        trials: &Trials,
    ) -> Result<(), String> {
        let trial = format!("{}-{one:?}", self.name()).replace(' ', "-");
        let mut visits = trials.watch(&trial);
        let page = self.page(&format!("/{trial}/{}", one.path()), one == Trait::Close);
        let text = |error: thirtyfour::error::WebDriverError| error.to_string();
        let driver = browser.driver();
        driver.goto(format!("{server}/")).await.map_err(text)?;
        let write = "document.open(); document.write(arguments[0]); document.close();";
        driver
            .execute(write, vec![page.into()])
            .await
            .map_err(text)?;
        eventually(browser, "list.textContent", one.items()).await?;
        match one {
            Trait::Fragments | Trait::KeepAlive | Trait::LateStart => {
                same("requests", &visits.borrow().requests.len(), &1)
            }
            Trait::Resume => {
                let visits = visits.borrow();
                let ids = visits.requests.iter();
                let ids: Vec<_> = ids
                    .map(|request| request.last_event_id.as_deref())
                    .collect();
                same("ids", ids.as_slice(), &[None, Some("3")])
            }
            Trait::Error => {
                let problem = r#"{"title":"on purpose"}"#;
                eventually(browser, "window.failure", problem).await
            }
            Trait::Close => {
                let reconnects = |visits: &Visits| visits.requests.len() > 1;
                let reconnected = timeout(QUIET_PERIOD, visits.wait_for(reconnects)).await;
                same("reconnected after `done`", &reconnected.is_ok(), &false)
            }
            Trait::NoContent => {
                let stopped = |visits: &Visits| {
                    let again = visits.requests.get(1);
                    again.is_some_and(|again| again.status == Some(StatusCode::NO_CONTENT))
                };
                let stopped = timeout(PATIENCE, visits.wait_for(stopped)).await;
                stopped.map_err(|_| "no 204").map(drop)?;
                let reconnects = |visits: &Visits| visits.requests.len() > 2;
                let reconnected = timeout(QUIET_PERIOD, visits.wait_for(reconnects)).await;
                match reconnected {
                    Err(_) => Ok(()),
                    Ok(Ok(visits)) if visits.requests[2].last_event_id.is_none() => {
                        Err("reconnected without an id after the 204".to_owned())
                    }
                    Ok(_) => Err("reconnected after the 204".to_owned()),
                }
            }
        }
    }
}

/// How long to wait before concluding that a client does not reconnect. This is many times the
/// `retry` time.
const QUIET_PERIOD: Duration = Duration::from_secs(3);

/// Waits until the expression has this value in the page.
pub(crate) async fn eventually(
    browser: &Browser,
    expression: &str,
    expected: &str,
) -> Result<(), String> {
    let script = format!("try {{ return {expression} }} catch {{ return null }}");
    let mut seen = Value::Null;
    let found = timeout(PATIENCE, async {
        loop {
            let value = browser.driver().execute(&script, Vec::new()).await;
            seen = value
                .and_then(|value| value.convert::<Value>())
                .map_err(|error| error.to_string())?;
            if seen == expected {
                return Ok(());
            }
            // Poll, since the driver cannot wait for a value.
            sleep(Duration::from_millis(50)).await;
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_) => Err(format!("{expression}: {seen} instead of {expected:?}")),
    }
}
