//! Tests the JavaScript of the "Recipes" page: the scripts in browsers, and the configuration in
//! Vite's development server.

use std::{fs, net::TcpListener, time::Duration};

use axum::{
    Router,
    extract::Path,
    http::header,
    response::{Html, IntoResponse},
    routing::get,
};
use serde_json::Value;
use sse_runtime::{Event, LastEventId, Server, SseRouterExt as _, Stream, sse_endpoint};
use thirtyfour::WebDriver;
use tokio::{
    process::{Child, Command},
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    browser::{Browser, Scheme},
    client::{Ask, Client, Message, PATIENCE, Programs},
    pages::to_text,
    property::same,
    server::{Trials, Visit, Visits},
    snippets::snippet,
    table::{Cell, Table},
};

const PAGE: &str = "sse-runtime/docs/recipes.md";

/// How long Firefox lets a service worker run that only forwards a stream.
const WORKER: Duration = Duration::from_secs(30);

/// Sends an event every 100 ms. The ids continue after the client's last id.
#[sse_endpoint("/{trial}/clock", retry = "100ms")]
async fn clock(_visit: Visit, last: LastEventId<u32>) -> impl Stream<Item = u32> {
    let seen = last.ok().unwrap_or(0);
    for number in seen + 1.. {
        yield_!(Event::json(&number).id(number));
        sleep(Duration::from_millis(100)).await;
    }
}

/// A page that runs the script for the back/forward cache.
async fn page(Path(trial): Path<String>) -> Result<Html<String>, String> {
    let script = snippet(PAGE, "back_forward_cache.js")?;
    let script = script.replace("/clock?", &format!("/{trial}/clock?"));
    Ok(Html(format!(
        "<!doctype html><title>clock</title>
        <script>window.shown = []; const show = (value) => shown.push(value);
        addEventListener('pageshow', ({{ persisted }}) => window.persisted = persisted);
        {script}</script>"
    )))
}

/// A page that opens its stream only once the service worker controls the page.
async fn controlled(Path(_trial): Path<String>) -> Html<&'static str> {
    Html(
        "<!doctype html><title>clock</title>
        <script>
        navigator.serviceWorker.register('service_worker.js');
        navigator.serviceWorker.ready.then(() => {
            if (!navigator.serviceWorker.controller) return location.reload();
            window.source = new EventSource('clock');
        });
        </script>",
    )
}

/// The service worker from the page, or, in the trial `forwarding`, one that forwards all requests.
async fn service_worker(Path(trial): Path<String>) -> Result<impl IntoResponse, String> {
    let script = if trial == "forwarding" {
        "addEventListener('fetch', (event) => event.respondWith(fetch(event.request)));".to_owned()
    } else {
        snippet(PAGE, "service_worker.js")?
    };
    Ok(([(header::CONTENT_TYPE, "text/javascript")], script))
}

pub(crate) fn routes() -> Router<Trials> {
    Router::new()
        .sse(clock)
        .route("/{trial}/page", get(page))
        .route("/{trial}/controlled", get(controlled))
        .route("/{trial}/service_worker.js", get(service_worker))
}

/// Runs all tests at the same time.
pub(crate) async fn test(
    programs: &Programs,
    server: &str,
    trials: &Trials,
) -> Result<Table, String> {
    let (one, two) = (server.to_owned(), server.to_owned());
    let (first, second, vite) = (trials.clone(), trials.clone(), programs.clone());
    let tests = [
        (
            "a page in Chromium's back/forward cache holds no stream, and resumes",
            tokio::spawn(async move { back_forward_cache(&one, &first).await }),
        ),
        (
            "a stream in Firefox outlives the service worker",
            tokio::spawn(async move { outlive_worker(&two, &second).await }),
        ),
        (
            "Vite's proxy forwards events, and the end of the server",
            tokio::spawn(async move { proxied(&vite).await }),
        ),
    ];
    let mut table = Table::new(tests.iter().map(|(title, _)| (*title).to_owned()).collect());
    let mut cells = Vec::new();
    for (title, test) in tests {
        let judged = test.await.map_err(|error| error.to_string())?;
        if let Err(error) = &judged {
            println!("{title}: {error}");
        }
        cells.push(Cell::of(judged, None));
    }
    table.column("recipes", cells);
    Ok(table)
}

async fn back_forward_cache(server: &str, trials: &Trials) -> Result<(), String> {
    let browser = Browser::chromium(String::new(), Scheme::Light).await?;
    let tested = async {
        let driver = browser.driver();
        let mut visits = trials.watch("cached");
        let url = format!("{server}/cached/page");
        driver.goto(&url).await.map_err(to_text)?;
        until(driver, "return shown.length >= 3").await?;
        let leave = "location.href = '/'";
        driver.execute(leave, Vec::new()).await.map_err(to_text)?;
        until(driver, "return document.title === 'interop'").await?;
        let left = timeout(PATIENCE, visits.wait_for(|visits| visits.alive == 0)).await;
        left.map_err(|_| "the page still holds its stream")?
            .map_err(to_text)?;

        driver.back().await.map_err(to_text)?;
        let is_resumed = "return window.persisted !== undefined && shown.length >= 6";
        until(driver, is_resumed).await?;
        let persisted = ask(driver, "return window.persisted").await?;
        same("from the cache", &persisted, &Value::Bool(true))?;
        let shown = ask(driver, "return shown").await?;
        let shown: Vec<u32> = serde_json::from_value(shown).map_err(to_text)?;
        let all: Vec<u32> = (1..).take(shown.len()).collect();
        same("events", shown.as_slice(), all.as_slice())?;
        // The page itself was requested only once.
        same("requests", &visits.borrow().requests.len(), &3)
    };
    let tested = tested.await;
    browser.quit().await;
    tested
}

/// Opens one page with each service worker. Firefox ends the stream that is forwarded by the worker,
/// and none that the worker leaves alone.
async fn outlive_worker(server: &str, trials: &Trials) -> Result<(), String> {
    let mut forwarded = trials.watch("forwarding");
    let direct = trials.watch("recipe");
    let browser = Browser::firefox(String::new(), Scheme::Light).await?;
    let tested = async {
        let driver = browser.driver();
        driver.goto(format!("{server}/")).await.map_err(to_text)?;
        let frames = "for (const trial of ['forwarding', 'recipe']) {
            const frame = document.createElement('iframe');
            frame.src = `/${trial}/controlled`;
            document.body.append(frame);
        }";
        driver.execute(frames, Vec::new()).await.map_err(to_text)?;
        for visits in [&mut forwarded, &mut direct.clone()] {
            let open = timeout(PATIENCE, visits.wait_for(|visits| visits.alive == 1)).await;
            open.map_err(|_| "no stream was opened")?.map_err(to_text)?;
        }
        let has_ended = |visits: &Visits| !visits.ended.is_empty();
        let ended = timeout(2 * WORKER, forwarded.wait_for(has_ended)).await;
        ended
            .map_err(|_| "Firefox no longer ends a stream that a worker forwards; update the page")?
            .map_err(to_text)?;
        // Both streams began within the same second, and the first does not begin again.
        sleep(Duration::from_secs(5)).await;
        same("forwarded streams", &forwarded.borrow().alive, &0)?;
        let direct = direct.borrow();
        same("streams that ended", &direct.ended.len(), &0)?;
        same("open streams", &direct.alive, &1)
    };
    let tested = tested.await;
    browser.quit().await;
    tested
}

/// Reads a stream through Vite's development server, and then stops the server.
async fn proxied(programs: &Programs) -> Result<(), String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(to_text)?;
    let addr = listener.local_addr().map_err(to_text)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let trials = Trials::default();
    let mut visits = trials.watch("vite");
    let app = Router::new().sse(clock).with_state(trials);
    // Dropping the runtime resets all connections, as killing a server does.
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new()?;
        let listener = listener.into_std()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                served = Server::new(app).signals(false).serve(listener) => served,
                _ = stopped => Ok(()),
            }
        })
    });

    let (url, _vite) = start_vite(programs, &format!("http://{addr}")).await?;
    let client = Client::Node(programs.clone(), "parser");
    let ask = |leave_after| Ask {
        leave_after,
        ..Ask::get(format!("{url}/vite/clock"))
    };

    // The client's disconnect reaches the generator.
    let mut reading = client.read(ask(Some(3))).await?;
    let events = reading.events(3).await?;
    same("id", events[2].id.as_str(), "3")?;
    let left = timeout(PATIENCE, visits.wait_for(|visits| visits.alive == 0)).await;
    left.map_err(|_| "the disconnect did not reach the server")?
        .map_err(to_text)?;

    // The end of the server reaches the client.
    let mut reading = client.read(ask(None)).await?;
    reading.events(3).await?;
    drop(stop);
    let server = tokio::task::spawn_blocking(move || server.join());
    let server = server.await.map_err(to_text)?;
    server
        .map_err(|_| "the server panicked")?
        .map_err(|error: std::io::Error| error.to_string())?;
    loop {
        match reading.next().await? {
            Message::Event(_) => {}
            Message::Ended | Message::Stopped(_) => return Ok(()),
        }
    }
}

/// Starts Vite with the configuration from the page. Returns its URL.
async fn start_vite(programs: &Programs, target: &str) -> Result<(String, Child), String> {
    let folder = programs.js.join("vite");
    fs::create_dir_all(&folder).map_err(to_text)?;
    let config = snippet(PAGE, "vite.config.js")?;
    let config = config
        .replace("http://127.0.0.1:3000", target)
        .replace("'/clock'", "'/vite/clock'");
    fs::write(folder.join("vite.config.js"), config).map_err(to_text)?;
    fs::write(folder.join("index.html"), "<!doctype html>").map_err(to_text)?;
    fs::write(folder.join("package.json"), r#"{"type":"module"}"#).map_err(to_text)?;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.map_err(to_text)?.port();
    let vite = Command::new(&programs.node)
        .arg(programs.js.join("node_modules/vite/bin/vite.js"))
        .args(["--host", "127.0.0.1", "--strictPort", "--port"])
        .arg(port.to_string())
        .current_dir(&folder)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let vite = vite.map_err(to_text)?;
    let url = format!("http://127.0.0.1:{port}");
    let started = timeout(PATIENCE, async {
        while reqwest::get(&url).await.is_err() {
            // Poll, because Vite's output is meant for people.
            sleep(Duration::from_millis(50)).await;
        }
    });
    started.await.map_err(|_| "Vite does not start")?;
    Ok((url, vite))
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
    let result = driver.execute(script, Vec::new()).await;
    result.map(|value| value.json().clone()).map_err(to_text)
}
