//! The page for trying out streams.

use axum::{
    http::{
        HeaderValue,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    routing::{MethodRouter, get},
};

/// The page. `{{document}}` stands for the URL of the document.
const PAGE: &str = include_str!("explorer.html");

/// Allows the page's own script and style sheet, and requests to its own origin.
///
/// Source: [Content Security Policy Level 3](https://www.w3.org/TR/CSP3/).
const POLICY: &str = concat!(
    "default-src 'none'; script-src 'sha256-",
    "GiOxKxqCY7VNX/y6r/WnVSAkwqjpULR0SFeq3859Neg=",
    "'; style-src 'sha256-",
    "H+IJeh175GRg9+d7VSGkDp3HfQtdP8aCeMLk/0t1eGA=",
    "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Returns a `GET` route that responds with the page.
pub(super) fn page<S>(document: &str) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let page = PAGE.replace("{{document}}", &escaped(document));
    get(async move || {
        let headers = [
            (
                CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        ];
        (headers, page)
    })
}

/// Escapes text for a double-quoted attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn hash(element: &str) -> String {
        let (_, after) = PAGE.split_once(&format!("<{element}>")).unwrap();
        let (content, after) = after.split_once(&format!("</{element}>")).unwrap();
        assert!(
            !after.contains(&format!("<{element}")),
            "the policy contains one hash per element"
        );
        BASE64_STANDARD.encode(Sha256::digest(content))
    }

    #[test]
    fn policy_allows_script_and_style_of_the_page() {
        for element in ["script", "style"] {
            let source = format!("{element}-src 'sha256-{}'", hash(element));
            assert!(POLICY.contains(&source), "the policy must contain {source}");
        }
    }

    #[test]
    fn url_of_the_document_is_escaped() {
        assert_eq!(escaped("/a\"><b&c"), "/a&quot;&gt;&lt;b&amp;c");
        assert!(PAGE.contains("content=\"{{document}}\""));
    }
}
