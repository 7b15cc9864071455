//! The step that tests real clients and proxies.

use super::Step;
use crate::tool::{Source, Tool};

/// The program that drives Firefox.
pub(super) const GECKODRIVER: Tool = Tool {
    package: "geckodriver",
    name: "geckodriver",
    version: "0.37.1",
    source: Source::CratesIo,
};

/// Returns the step that tests real clients and proxies. If `only` is not empty, the step tests
/// only the clients and proxies that match it. The `interop` program itself installs the packages
/// from npm and `PyPI`.
pub(crate) fn interop(only: &[&str]) -> Step {
    let mut args = vec!["run", "--locked", "--package", "interop", "--"];
    args.extend(only);
    // When the proxies are installed, Debian may also start them as services. These services are
    // harmless, because the tests use their own configuration and ports.
    Step::cargo("interop", &args)
        .tool(GECKODRIVER)
        .needs("curl", "curl")
        .needs("chromium", "chromium")
        .needs("chromedriver", "chromium-driver")
        .needs("firefox-esr", "firefox-esr")
        .needs("nginx", "nginx-light")
        .needs("haproxy", "haproxy")
        .needs("caddy", "caddy")
        .needs("apache2", "apache2-bin")
        .needs("varnishd", "varnish")
        .needs("redis-server", "redis-server")
        .needs("go", "golang-go")
        .needs("javac", "default-jdk-headless")
}
