//! Headless browsers, driven through `WebDriver`.

use std::{net::TcpListener, process::Stdio, time::Duration};

use serde::de::DeserializeOwned;
use thirtyfour::{
    Capabilities, ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver, WindowHandle,
    error::WebDriverResult,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// The maximum time to wait for a driver or a page.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    /// The driver's process, which is killed on drop.
    process: Child,
}

impl Browser {
    pub(crate) async fn chromium() -> Result<Self, String> {
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ] {
            text(capabilities.add_arg(argument))?;
        }
        Self::start("chromedriver", capabilities.into()).await
    }

    pub(crate) async fn firefox() -> Result<Self, String> {
        let mut capabilities = DesiredCapabilities::firefox();
        text(capabilities.set_headless())?;
        Self::start("geckodriver", capabilities.into()).await
    }

    async fn start(program: &str, capabilities: Capabilities) -> Result<Self, String> {
        // If another process binds the port before the driver does, the driver fails to start.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let process = Command::new(program)
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
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
            driver: text(driver)?,
            process,
        })
    }

    /// Opens the page at `url` and runs the body of an `async` function in it. The server's modules
    /// are available to the function as `streams` and `cases`. `result` returns its result.
    pub(crate) async fn open(&self, url: &str, body: &str) -> Result<(), String> {
        text(self.driver.goto(url).await)?;
        self.begin(body).await
    }

    /// Runs the body of an `async` function in the current page.
    pub(crate) async fn begin(&self, body: &str) -> Result<(), String> {
        let script = format!(
            "window.result = undefined;
            (async () => {{
                const streams = await import('/js/streams.js');
                const cases = await import('/js/cases.js');
                {body}
            }})().then(
                (value) => {{ window.result = {{ value: value ?? null }}; }},
                (error) => {{ window.result = {{ error: String(error) }}; }},
            );"
        );
        text(self.driver.execute(script, Vec::new()).await)?;
        Ok(())
    }

    /// Waits for the result of the function that was started last.
    pub(crate) async fn result<T: DeserializeOwned>(&self) -> Result<T, String> {
        let result = self.wait_for("window.result").await?;
        match result.get("error") {
            Some(error) => Err(error.to_string()),
            None => {
                serde_json::from_value(result["value"].clone()).map_err(|error| error.to_string())
            }
        }
    }

    /// Waits until an expression is truthy, and returns its value.
    pub(crate) async fn wait_for(&self, expression: &str) -> Result<serde_json::Value, String> {
        let waited = timeout(PATIENCE, async {
            loop {
                let script = format!("return ({expression}) || null;");
                let value = text(self.driver.execute(script, Vec::new()).await)?;
                if !value.json().is_null() {
                    return Ok(value.json().clone());
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        waited
            .await
            .map_err(|_| format!("`{expression}` is still falsy"))?
    }

    /// Cuts Chromium off from the network, or reconnects it.
    pub(crate) async fn set_offline(&self, offline: bool) -> Result<(), String> {
        let tools = self.driver.cdp();
        let conditions = serde_json::json!({
            "offline": offline,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": -1,
        });
        text(
            tools
                .send_raw("Network.enable", serde_json::json!({}))
                .await,
        )?;
        let emulated = tools.send_raw("Network.emulateNetworkConditions", conditions);
        text(emulated.await)?;
        Ok(())
    }

    /// Opens another tab and switches to it. Returns the previous tab.
    pub(crate) async fn new_tab(&self) -> Result<WindowHandle, String> {
        let before = text(self.driver.window().await)?;
        let tab = text(self.driver.new_tab().await)?;
        self.switch(tab).await?;
        Ok(before)
    }

    pub(crate) async fn switch(&self, tab: WindowHandle) -> Result<(), String> {
        text(self.driver.switch_to_window(tab).await)
    }

    pub(crate) async fn close(&self, tab: WindowHandle) -> Result<(), String> {
        self.switch(tab).await?;
        text(self.driver.close_window().await)
    }

    pub(crate) async fn quit(mut self) {
        let _ = timeout(PATIENCE, self.driver.quit()).await;
        let _ = self.process.kill().await;
    }
}

fn text<T>(result: WebDriverResult<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
