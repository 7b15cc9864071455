//! Headless browsers, driven through `WebDriver`.

use std::{net::TcpListener, time::Duration};

use serde_json::json;
use thirtyfour::{
    ChromiumLikeCapabilities as _, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver,
    common::capabilities::firefox::FirefoxPreferences,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::client::{Ask, Message, PATIENCE, Reading};

pub(crate) struct Browser {
    driver: WebDriver,
    /// The URL that pages load their scripts from.
    scripts: String,
    /// The driver's process, which is killed on drop.
    process: Child,
}

/// The preferred color scheme that the browser reports to pages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Browser {
    pub(crate) async fn chromium(scripts: String, scheme: Scheme) -> Result<Self, String> {
        let mut capabilities = DesiredCapabilities::chrome();
        let preferred = match scheme {
            Scheme::Light => "--blink-settings=preferredColorScheme=1",
            Scheme::Dark => "--blink-settings=preferredColorScheme=0",
        };
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1400,1000",
            preferred,
        ] {
            let added = capabilities.add_arg(argument);
            added.map_err(|error| error.to_string())?;
        }
        let log = capabilities.set_browser_log_level(LoggingPrefsLogLevel::All);
        log.map_err(|error| error.to_string())?;
        Self::start("chromedriver", capabilities, scripts).await
    }

    pub(crate) async fn firefox(scripts: String, scheme: Scheme) -> Result<Self, String> {
        let mut capabilities = DesiredCapabilities::firefox();
        let mut preferences = FirefoxPreferences::new();
        let preferred = match scheme {
            Scheme::Dark => 1,
            Scheme::Light => 0,
        };
        preferences
            .set("ui.systemUsesDarkTheme", preferred)
            .and_then(|()| preferences.set("ui.useOverlayScrollbars", 1))
            .and_then(|()| capabilities.set_preferences(preferences))
            .and_then(|()| capabilities.add_arg("--width=1400"))
            .and_then(|()| capabilities.add_arg("--height=1000"))
            .and_then(|()| capabilities.set_headless())
            .map_err(|error| error.to_string())?;
        Self::start("geckodriver", capabilities, scripts).await
    }

    async fn start<C>(program: &str, capabilities: C, scripts: String) -> Result<Self, String>
    where
        C: Into<thirtyfour::Capabilities>,
    {
        let port = free_port()?;
        let process = Command::new(program)
            .arg(format!("--port={port}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let listens = timeout(PATIENCE, async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                // Poll, since the driver does not signal when it is listening.
                sleep(Duration::from_millis(20)).await;
            }
        });
        listens
            .await
            .map_err(|_| format!("{program} is not listening"))?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await;
        Ok(Self {
            driver: driver.map_err(|error| error.to_string())?,
            scripts,
            process,
        })
    }

    pub(crate) fn driver(&self) -> &WebDriver {
        &self.driver
    }

    /// Opens a page at the stream's origin and starts `client` in it.
    pub(crate) async fn read(&self, client: &str, ask: Ask) -> Result<Reading, String> {
        let origin = ask.url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let opened = self.driver.goto(format!("{origin}/")).await;
        opened.map_err(|error| error.to_string())?;
        let asked = json!({
            "client": client,
            "url": ask.url,
            "method": ask.method,
            "leaveAfter": ask.leave_after,
        });
        let start = "window.request = arguments[0];
            const script = document.createElement('script');
            script.type = 'module';
            script.src = arguments[1];
            document.head.append(script);";
        let page = format!("{}/page.js", self.scripts);
        let started = self.driver.execute(start, vec![asked, page.into()]).await;
        started.map_err(|error| error.to_string())?;
        let driver = self.driver.clone();
        Ok(Reading::task(async move |reporter| {
            loop {
                let script = "return (window.messages ?? []).splice(0);";
                let messages = driver.execute(script, Vec::new()).await;
                match messages.and_then(|messages| messages.convert::<Vec<Message>>()) {
                    Ok(messages) => messages
                        .into_iter()
                        .for_each(|message| reporter.send(message)),
                    Err(error) => return reporter.send(Message::Stopped(error.to_string())),
                }
                sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    pub(crate) async fn quit(mut self) {
        let _ = timeout(PATIENCE, self.driver.quit()).await;
        let _ = self.process.kill().await;
    }
}

/// Finds a free port. If another process binds the port before the driver does, the driver fails to
/// start.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .map(|addr| addr.port())
        .map_err(|error| error.to_string())
}
