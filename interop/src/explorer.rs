//! Tests the explorer page (`sse-runtime/src/openapi/explorer.html`) in both browsers, with a light
//! and a dark color scheme, on a narrow and a wide screen. The page reads real endpoints that match
//! its document, and is subject to its real Content-Security-Policy.

mod checks;
mod page;
mod server;

use std::{fs, path::Path};

use thirtyfour::WebDriver;
use tokio::net::TcpListener;

use self::server::Rooms;
use crate::{
    browser::{Browser, Scheme},
    client::Programs,
    pages::to_text,
    table::{Cell, Table},
};

/// A property of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Accessible,
    Keyboard,
    Frames,
    Parses,
    Folds,
    Resumes,
    Gap,
    Filters,
    Stops,
    Posts,
    Problem,
    Unknown,
    Reconnects,
    Curl,
    TypeScript,
    Documents,
    Many,
    Policy,
}

impl Check {
    const ALL: [Self; 18] = [
        Self::Accessible,
        Self::Keyboard,
        Self::Frames,
        Self::Parses,
        Self::Folds,
        Self::Resumes,
        Self::Gap,
        Self::Filters,
        Self::Stops,
        Self::Posts,
        Self::Problem,
        Self::Unknown,
        Self::Reconnects,
        Self::Curl,
        Self::TypeScript,
        Self::Documents,
        Self::Many,
        Self::Policy,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Accessible => "axe finds no violations at 390 and 1280 pixels",
            Self::Keyboard => "Tab reaches every control, and Enter connects",
            Self::Frames => "shows the time, id, name and data of each frame",
            Self::Parses => "parses streams according to the HTML standard",
            Self::Folds => "folds JSON and keeps the digits of large integers",
            Self::Resumes => "drops and resumes without loss or repetition",
            Self::Gap => "highlights a gap",
            Self::Filters => "filters by name and by text",
            Self::Stops => "stops the stream",
            Self::Posts => "sends a body and headers",
            Self::Problem => "shows a problem response",
            Self::Unknown => "marks unknown events and errors in the stream",
            Self::Reconnects => "reconnects like a browser until a 204",
            Self::Curl => "copies a curl command that receives the same events",
            Self::TypeScript => "copies a loop for the generated client",
            Self::Documents => "reads documents of FastAPI, ASP.NET Core and huma",
            Self::Many => "shows many events and keeps the latest ones",
            Self::Policy => "works under its Content-Security-Policy",
        }
    }
}

/// Runs all checks in both browsers and saves the screenshots in `images`.
pub(crate) async fn test(programs: &Programs, images: &Path) -> Result<Table, String> {
    fs::create_dir_all(images).map_err(to_text)?;
    let axe = programs.js.join("node_modules/axe-core/axe.min.js");
    let axe = fs::read_to_string(axe).map_err(to_text)?;
    let rooms = Rooms::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(to_text)?;
    let url = format!("http://{}", listener.local_addr().map_err(to_text)?);
    let app = server::app(rooms.clone(), programs).await?;
    tokio::spawn(sse_runtime::serve(listener, app));

    let titles = Check::ALL.map(|check| check.title().to_owned());
    let mut table = Table::new(titles.to_vec());
    for (name, is_chromium, scheme) in [
        ("Chromium, light", true, Scheme::Light),
        ("Chromium, dark", true, Scheme::Dark),
        ("Firefox, light", false, Scheme::Light),
        ("Firefox, dark", false, Scheme::Dark),
    ] {
        let browser = if is_chromium {
            Browser::chromium(String::new(), scheme).await
        } else {
            Browser::firefox(String::new(), scheme).await
        };
        let browser = match browser {
            Ok(browser) => browser,
            Err(error) => {
                table.column(name, vec![Cell::Skipped(error); Check::ALL.len()]);
                continue;
            }
        };
        let explorer = Explorer {
            driver: browser.driver(),
            is_chromium,
            scheme,
            url: &url,
            rooms: &rooms,
            axe: &axe,
            images,
        };
        let mut cells = Vec::new();
        for check in Check::ALL {
            cells.push(match explorer.check(check).await {
                Ok(()) => Cell::Ok,
                Err(error) => {
                    println!("{name}, {}: {error}", check.title());
                    Cell::Failed(error)
                }
            });
        }
        browser.quit().await;
        table.column(name, cells);
    }
    Ok(table)
}

/// The page in one browser.
struct Explorer<'a> {
    driver: &'a WebDriver,
    is_chromium: bool,
    scheme: Scheme,
    url: &'a str,
    rooms: &'a Rooms,
    axe: &'a str,
    images: &'a Path,
}

impl Explorer<'_> {
    async fn check(&self, check: Check) -> Result<(), String> {
        match check {
            Check::Accessible => self.accessible().await,
            Check::Keyboard => self.keyboard().await,
            Check::Frames => self.shows_frames().await,
            Check::Parses => self.parses().await,
            Check::Folds => self.folds().await,
            Check::Resumes => self.resumes().await,
            Check::Gap => self.gap().await,
            Check::Filters => self.filters().await,
            Check::Stops => self.stops().await,
            Check::Posts => self.posts().await,
            Check::Problem => self.problem().await,
            Check::Unknown => self.unknown().await,
            Check::Reconnects => self.reconnects().await,
            Check::Curl => self.curl().await,
            Check::TypeScript => self.typescript().await,
            Check::Documents => self.documents().await,
            Check::Many => self.many().await,
            Check::Policy => self.policy().await,
        }
    }
}
