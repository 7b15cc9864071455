//! Tests the examples' pages in both browsers, with a light and a dark color scheme, on a narrow and a
//! wide screen. Each page must show its content, log no errors to the console, and be accessible by
//! keyboard and screen reader. Also takes the screenshots for the docs.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use thirtyfour::{
    By, Key, WebDriver, WebElement, error::WebDriverResult,
    extensions::query::ElementQueryable as _,
};
use tokio::time::{sleep, timeout};

use crate::{
    browser::{Browser, Scheme},
    client::{PATIENCE, Programs},
    examples::Example,
    table::{Cell, Table},
};

/// The page of an example, and how to check that it works.
#[derive(Clone, Copy)]
struct Page {
    example: &'static str,
    /// Selectors of the buttons that start the page.
    start: &'static [&'static str],
    /// A script that returns true once the page shows its content.
    is_running: &'static str,
}

const PAGES: [Page; 5] = [
    Page {
        example: "clock",
        start: &[],
        is_running: "return document.querySelector('#state').textContent === 'live'
            && /^\\d\\d:/.test(document.querySelector('#time').textContent)",
    },
    Page {
        example: "chat",
        start: &["#reset", "#examples button"],
        is_running: "return document.querySelector('#log').innerText.length > 250",
    },
    Page {
        example: "progress",
        start: &["#start"],
        is_running: "return [...document.querySelectorAll('.percent')]
            .some((percent) => parseInt(percent.textContent) >= 20)",
    },
    Page {
        example: "metrics",
        start: &["[aria-label='Open /clock']"],
        is_running: "return document.querySelector('[data-of=events_total]').textContent >= 2",
    },
    Page {
        example: "ticker",
        start: &[],
        is_running: "const lines = [...document.querySelectorAll('path.stroke')];
            return lines.length > 0 && lines.every((line) => line.getAttribute('d')?.length > 250)",
    },
];

/// The sizes of a phone and a laptop.
pub(crate) const SIZES: [(u32, u32); 2] = [(390, 780), (1280, 720)];

#[derive(Clone, Copy)]
enum Kind {
    Chromium,
    Firefox,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
        }
    }
}

/// Tests every page and saves the screenshots in `images`.
pub(crate) async fn test(
    programs: &Programs,
    server: &str,
    images: &Path,
) -> Result<Table, String> {
    fs::create_dir_all(images).map_err(to_text)?;
    let axe = programs.js.join("node_modules/axe-core/axe.min.js");
    let axe = fs::read_to_string(axe).map_err(to_text)?;
    let mut table = Table::new(PAGES.map(|page| page.example.to_owned()).to_vec());
    for (name, kind, scheme) in [
        ("Chromium, light", Kind::Chromium, Scheme::Light),
        ("Chromium, dark", Kind::Chromium, Scheme::Dark),
        ("Firefox, light", Kind::Firefox, Scheme::Light),
        ("Firefox, dark", Kind::Firefox, Scheme::Dark),
    ] {
        let browser = match kind {
            Kind::Chromium => Browser::chromium(String::new(), scheme).await,
            Kind::Firefox => Browser::firefox(String::new(), scheme).await,
        };
        let browser = match browser {
            Ok(browser) => browser,
            Err(error) => {
                table.column(name, vec![Cell::Skipped(error); PAGES.len()]);
                continue;
            }
        };
        // Start all examples before testing the first one. `ticker` is tested last, so it has some
        // prices to show by then.
        let mut examples = Vec::new();
        for page in PAGES {
            examples.push((page, Example::start(page.example, "0").await?));
        }
        let mut cells = Vec::new();
        for (page, example) in examples {
            let test = PageTest {
                driver: browser.driver(),
                kind,
                scheme,
                page,
                empty: server,
                axe: &axe,
            };
            cells.push(match test.all(&example.url, images).await {
                Ok(()) => Cell::Ok,
                Err(error) => {
                    println!("{name}, {}: {error}", page.example);
                    Cell::Failed(error)
                }
            });
        }
        browser.quit().await;
        table.column(name, cells);
    }
    Ok(table)
}

/// Tests one page in one browser.
struct PageTest<'a> {
    driver: &'a WebDriver,
    kind: Kind,
    scheme: Scheme,
    page: Page,
    /// The URL of an empty page.
    empty: &'a str,
    axe: &'a str,
}

impl PageTest<'_> {
    async fn all(&self, url: &str, images: &Path) -> Result<(), String> {
        let tested = async {
            self.pictures(url, images).await?;
            // Discard the messages so far, since a page may log additional messages in a frame.
            self.console().await?;
            self.axe(url).await?;
            self.keyboard(url).await
        };
        let tested = tested.await;
        // Leave the page before its server stops, since the page would otherwise log errors.
        self.driver.goto(self.empty).await.map_err(to_text)?;
        tested?;
        let console = self.console().await?;
        if console.is_empty() {
            return Ok(());
        }
        Err(console.join("; "))
    }

    /// Takes the screenshots. The page is in a frame, because a browser window cannot be as narrow
    /// as a phone.
    async fn pictures(&self, url: &str, images: &Path) -> Result<(), String> {
        let example = self.page.example;
        for (width, height) in SIZES {
            // The frame's parent needs a local origin, because pages from other origins may not send
            // requests to this machine.
            self.driver.goto(self.empty).await.map_err(to_text)?;
            let frame = "document.head.innerHTML = '<style>:root { color-scheme: light dark } body { margin: 0 }</style>';
                document.body.innerHTML = arguments[0];";
            let html = format!(
                "<iframe title={example} src={url}/ width={width} height={height} style='border:0;display:block'></iframe>"
            );
            self.ask_with(frame, html.into()).await?;
            let frame = self.driver.find(By::Css("iframe")).await.map_err(to_text)?;
            frame.clone().enter_frame().await.map_err(to_text)?;
            self.start(async |button| button.click().await).await?;
            self.running().await?;
            let is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
            let is_dark = self.ask(is_dark).await? == Value::Bool(true);
            if is_dark != matches!(self.scheme, Scheme::Dark) {
                return Err(format!("the color scheme is not {}", self.scheme.name()));
            }
            let over = "return document.documentElement.scrollWidth - innerWidth";
            let over = self.ask(over).await?;
            if over.as_i64().is_none_or(|over| over > 0) {
                return Err(format!("the page is {over} pixels wider than {width}"));
            }
            self.driver.enter_parent_frame().await.map_err(to_text)?;
            let (kind, scheme) = (self.kind.name(), self.scheme.name());
            let image = images.join(format!("{example}-{kind}-{scheme}-{width}.png"));
            frame.screenshot(&image).await.map_err(to_text)?;
        }
        Ok(())
    }

    /// Returns the console messages logged since the last call. Only Chromium's driver supports
    /// this.
    async fn console(&self) -> Result<Vec<String>, String> {
        if let Kind::Firefox = self.kind {
            return Ok(Vec::new());
        }
        let log = self.driver.browser_log().await.map_err(to_text)?;
        Ok(log.into_iter().map(|entry| entry.message).collect())
    }

    /// Waits for the buttons, which a script may create, and presses the clickable ones. Some
    /// buttons, such as "New chat", may be hidden at first.
    async fn start(
        &self,
        press: impl AsyncFn(&WebElement) -> WebDriverResult<()>,
    ) -> Result<(), String> {
        for start in self.page.start {
            let button = self.driver.query(By::Css(*start)).first().await;
            let button = button.map_err(to_text)?;
            if button.is_clickable().await.map_err(to_text)? {
                press(&button).await.map_err(to_text)?;
            }
        }
        Ok(())
    }

    /// Checks accessibility with axe, before the page is started and while it is running.
    async fn axe(&self, url: &str) -> Result<(), String> {
        self.driver.goto(url).await.map_err(to_text)?;
        violations(self.driver, self.axe).await?;
        self.start(async |button| button.click().await).await?;
        self.running().await?;
        violations(self.driver, self.axe).await
    }

    /// Checks that Tab reaches every control, and that pressing Enter starts the page.
    async fn keyboard(&self, url: &str) -> Result<(), String> {
        self.driver.goto(url).await.map_err(to_text)?;
        reaches_all(self.driver).await?;
        self.start(async |button| button.send_keys(Key::Enter).await)
            .await?;
        self.running().await
    }

    async fn running(&self) -> Result<(), String> {
        let running = timeout(PATIENCE, async {
            while self.ask(self.page.is_running).await? != Value::Bool(true) {
                // Poll, since the driver cannot wait for a condition.
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        });
        running
            .await
            .unwrap_or_else(|_| Err("the page shows no content".to_owned()))
    }

    async fn ask(&self, script: &str) -> Result<Value, String> {
        self.ask_with(script, json!(null)).await
    }

    async fn ask_with(&self, script: &str, argument: Value) -> Result<Value, String> {
        let result = self.driver.execute(script, vec![argument]).await;
        result.map(|value| value.json().clone()).map_err(to_text)
    }
}

/// Runs axe, and returns an error that lists the violations.
pub(crate) async fn violations(driver: &WebDriver, axe: &str) -> Result<(), String> {
    // Contrast can only be checked while no transition is running. Stale content is
    // intentionally pale.
    let run = "const done = arguments[arguments.length - 1];
        const settled = async () => {
            while (document.querySelector('.stale')) await new Promise((next) => setTimeout(next, 20));
            const moves = document.getAnimations().filter(({ effect }) => effect.getComputedTiming().endTime !== Infinity);
            await Promise.allSettled(moves.map(({ finished }) => finished));
        };
        settled().then(() => axe.run()).then(({ violations }) => done(violations.map(({ id, nodes }) =>
            `${id}: ${nodes.map((node) => node.html + ' ' + node.failureSummary).join('; ')}`)));";
    driver.execute(axe, Vec::new()).await.map_err(to_text)?;
    let found = driver.execute_async(run, Vec::new()).await;
    match found.map_err(to_text)?.json() {
        Value::Array(found) if found.is_empty() => Ok(()),
        found => Err(found.to_string()),
    }
}

/// Presses Tab until every control has received the focus.
pub(crate) async fn reaches_all(driver: &WebDriver) -> Result<(), String> {
    const ALL: &str = "button, a[href], input, select, textarea, summary, [tabindex='0']";
    let ask = async |script: &str| {
        let result = driver.execute(script, vec![ALL.into()]).await;
        let result = result.map_err(to_text)?.json().as_u64();
        Ok::<_, String>(result.unwrap_or_default())
    };
    let usable = "return [...document.querySelectorAll(arguments[0])].filter((it) => it.offsetParent && !it.disabled).length";
    let usable = ask(usable).await?;
    // Marks each element that receives the focus, and counts these elements.
    let mark = "document.activeElement.dataset.focused = '';
        return document.querySelectorAll('[data-focused]:is(' + arguments[0] + ')').length";
    let mut reached = ask(mark).await?;
    for _ in 0..2 * usable + 2 {
        if reached >= usable {
            break;
        }
        let focused = driver.active_element().await.map_err(to_text)?;
        focused.send_keys(Key::Tab).await.map_err(to_text)?;
        reached = ask(mark).await?;
    }
    if reached < usable {
        return Err(format!("Tab reaches {reached} of {usable} controls"));
    }
    Ok(())
}

pub(crate) fn to_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
