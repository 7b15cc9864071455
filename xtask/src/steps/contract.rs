//! The step that tests the OpenAPI documents and the TypeScript client.

use super::{Step, interop::GECKODRIVER};

/// Returns the step that tests the documents and the TypeScript client. If `only` is not empty, the step runs only the
/// checks that match it. The `contract` program itself installs the packages from npm and
/// `PyPI`.
pub(crate) fn contract(only: &[&str]) -> Step {
    let mut args = vec!["run", "--locked", "--package", "contract", "--"];
    args.extend(only);
    Step::cargo("contract", &args)
        .tool(GECKODRIVER)
        .needs("node", "nodejs")
        .needs("npm", "npm")
        .needs("chromium", "chromium")
        .needs("chromedriver", "chromium-driver")
        .needs("firefox-esr", "firefox-esr")
}
