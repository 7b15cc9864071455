//! Datastar, htmx and Turbo, which run in Chromium.

use axum::{Router, middleware::from_fn_with_state, response::Html, routing::get};
use sse_runtime::Server;
use tokio::{net::TcpListener, time::timeout};

use super::{
    handlers::{datastar, htmx, model::Model, turbo},
    relay::Relay,
    trial::{Signals, Trial},
};
use crate::{
    answers::{FAILURE, PIECES},
    browser::{Browser, Scheme},
    client::PATIENCE,
    hypermedia::eventually,
    table::Cell,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Datastar,
    Htmx2,
    Htmx4,
    Turbo,
}

impl Page {
    pub(crate) const ALL: [Self; 4] = [Self::Datastar, Self::Htmx2, Self::Htmx4, Self::Turbo];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Datastar => "Datastar",
            Self::Htmx2 => "htmx 2",
            Self::Htmx4 => "htmx 4",
            Self::Turbo => "Turbo",
        }
    }

    fn app(self, model: Model) -> Router {
        match self {
            Self::Datastar => datastar::app(model),
            Self::Htmx2 | Self::Htmx4 => htmx::app(model),
            Self::Turbo => turbo::app(model),
        }
    }

    /// Returns a page that shows the answer, with scripts from the server at `scripts`.
    fn html(self, scripts: &str) -> String {
        let npm = format!("{scripts}/npm");
        let url = "/answers/1?question=What+is+SSE";
        match self {
            Self::Datastar => format!(
                "<!doctype html>
                <script type='module' src='{scripts}/datastar/starhtml/static/js/datastar-core.js'></script>
                <main data-signals=\"{{ question: 'What is SSE?', answer: '', error: '' }}\" data-init=\"@post('/answer')\">
                    <p id='answer' data-text='$answer + $error'></p>
                </main>"
            ),
            Self::Htmx2 => format!(
                "<!doctype html>
                <script src='{npm}/htmx.org/dist/htmx.js'></script>
                <script src='{npm}/htmx-ext-sse/dist/sse.js'></script>
                <p id='answer' hx-ext='sse' sse-connect='{url}' sse-swap='message' sse-close='done' hx-swap='beforeend'></p>"
            ),
            Self::Htmx4 => format!(
                "<!doctype html>
                <script src='{npm}/htmx4/dist/htmx.js'></script>
                <script src='{npm}/htmx4/dist/ext/hx-sse.js'></script>
                <p id='answer' hx-sse:connect='{url}' hx-sse:close='done' hx-swap='beforeend'></p>"
            ),
            Self::Turbo => format!(
                "<!doctype html>
                <script type='module' src='{npm}/@hotwired/turbo/dist/turbo.es2017-esm.js'></script>
                <turbo-stream-source src='{url}'></turbo-stream-source>
                <p id='answer'></p>"
            ),
        }
    }

    /// Runs the trials, one after another, in the same browser.
    pub(crate) async fn cells(self, scripts: &str) -> Vec<Cell> {
        let browser = match Browser::chromium(scripts.to_owned(), Scheme::Light).await {
            Ok(browser) => browser,
            Err(error) => return vec![Cell::Skipped(error); Trial::ALL.len()],
        };
        let mut cells = Vec::new();
        for trial in Trial::ALL {
            if (self, trial) == (Self::Datastar, Trial::Resume) {
                cells.push(Cell::NotApplicable("the client does not repeat a request"));
                continue;
            }
            let cell = Cell::of(self.judge(trial, &browser, scripts).await, None);
            if let Cell::Failed(error) = &cell {
                println!("{}, {}: {error}", self.name(), trial.title());
            }
            cells.push(cell);
        }
        browser.quit().await;
        cells
    }

    async fn judge(self, trial: Trial, browser: &Browser, scripts: &str) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let driven = |error: thirtyfour::error::WebDriverError| error.to_string();
        let signals = Signals::default();
        signals.left.cancel();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let server = listener.local_addr().map_err(text)?;
        let app = self.app(signals.model(trial));
        let app = app.layer(from_fn_with_state(signals.clone(), Signals::watch));
        let app = app.route("/", get(Html("<!doctype html><title>answers</title>")));
        tokio::spawn(Server::new(app).serve(listener));
        let relay = Relay::start(server).await.map_err(text)?;

        let driver = browser.driver();
        let home = format!("http://{}/", relay.addr);
        driver.goto(&home).await.map_err(driven)?;
        let page = self.html(scripts);
        let write = "document.open(); document.write(arguments[0]); document.close();";
        driver
            .execute(write, vec![page.into()])
            .await
            .map_err(driven)?;
        let answer = "answer.textContent";
        match trial {
            Trial::Leave => {
                eventually(browser, answer, PIECES[0]).await?;
                // Chromium may keep a page that was left in its back/forward cache, together with
                // the page's stream. Closing the tab closes the stream.
                let tab = driver.new_tab().await.map_err(driven)?;
                driver.close_window().await.map_err(driven)?;
                driver.switch_to_window(tab).await.map_err(driven)?;
                let dropped = timeout(PATIENCE, signals.dropped.notified()).await;
                dropped.map_err(|_| "the model did not stop".to_owned())
            }
            Trial::Complete => eventually(browser, answer, &PIECES.concat()).await,
            Trial::Error => {
                let failed = [PIECES[0], FAILURE].concat();
                eventually(browser, answer, &failed).await
            }
            Trial::Resume => {
                eventually(browser, answer, PIECES[0]).await?;
                signals.set_cut();
                relay.cut();
                eventually(browser, answer, &PIECES.concat()).await
            }
        }
    }
}
