//! Detects attributes from other crates that are on the wrong side of `#[sse_endpoint]`, or that do
//! not belong on an endpoint at all.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Attribute, Path, Stmt, parse::Parser as _};

/// Crates whose `main` and `test` attributes run the function themselves.
const RUNTIMES: [&str; 7] = [
    "actix_rt",
    "actix_web",
    "async_std",
    "ntex",
    "rocket",
    "smol_potat",
    "tokio",
];

/// Attributes from other web frameworks that turn a function into a route.
const ROUTES: [&str; 10] = [
    "connect", "delete", "endpoint", "get", "head", "options", "patch", "post", "put", "trace",
];
const FRAMEWORKS: [&str; 5] = ["actix_web", "ntex", "poem", "rocket", "salvo"];

/// Returns a message that explains why an attribute cannot be below `#[sse_endpoint]` and how to
/// fix the problem. Returns `None` if the attribute can be there.
pub(crate) fn below(path: &Path) -> Option<String> {
    without_place(path).or_else(|| {
        // utoipa's attribute generates items that must be next to the outer function rather than
        // inside it. It also knows nothing about the events of a stream.
        let is_utoipa = names(path) == ["utoipa", "path"];
        is_utoipa.then(|| {
            "`#[utoipa::path]` does not know an endpoint's events; remove it, describe the endpoint with `sse_runtime::openapi::Api`, and merge the documents with `Api::extend`".to_owned()
        })
    })
}

/// Returns a message explaining why the attribute is never allowed on an endpoint, or `None` if it
/// is allowed.
fn without_place(path: &Path) -> Option<String> {
    let names = names(path);
    let first_is = |crates: &[&str]| crates.iter().any(|name| names[0] == *name);
    let problem = match names.last()?.as_str() {
        "sse_endpoint" => "this function is already an endpoint; remove this attribute",
        "debug_handler" | "debug_middleware" => {
            "this attribute is for plain handlers, not for endpoints; remove it"
        }
        "main" | "test" if first_is(&RUNTIMES) => {
            "the router runs this endpoint; remove this attribute"
        }
        name if first_is(&FRAMEWORKS) && ROUTES.contains(&name) => {
            "an endpoint is already a route; remove this attribute, and mount the endpoint with `.sse(…)`"
        }
        "async_trait" => "`#[async_trait]` is only for traits; remove this attribute",
        _ => return None,
    };
    Some(problem.to_owned())
}

fn names(path: &Path) -> Vec<String> {
    let segments = path.segments.iter();
    segments.map(|segment| segment.ident.to_string()).collect()
}

/// Returns an error if an attribute above `#[sse_endpoint]` has rewritten the body.
///
/// Such an attribute is recognized by the spans of the tokens that it generated. An attribute that
/// also generated the function's name is allowed, because it generates whole endpoints.
pub(crate) fn above(name: &Ident, statements: &[Stmt]) -> Option<syn::Error> {
    if source(name.span()).is_some_and(|source| is_attribute(&source)) {
        return None;
    }
    let ours = source(Span::call_site());
    let body = statements.iter().map(Stmt::to_token_stream).collect();
    let at = find(body, &|span| {
        source(span).is_some_and(|source| is_attribute(&source) && Some(&source) != ours.as_ref())
    })?;
    let attribute = source(at)?;
    let attribute = Attribute::parse_outer.parse_str(&attribute).ok();
    let attribute = attribute.and_then(|mut attributes| attributes.pop());
    let problem = attribute.and_then(|attribute| without_place(attribute.path()));
    Some(syn::Error::new(
        at,
        problem.unwrap_or_else(|| {
            "this attribute rewrites the function before `#[sse_endpoint]` reads it; move the attribute below `#[sse_endpoint]`"
                .to_owned()
        }),
    ))
}

fn source(span: Span) -> Option<String> {
    span.source_text()
}

fn is_attribute(source: &str) -> bool {
    source.starts_with("#[")
}

/// Returns the span of the first token that satisfies the predicate.
fn find(tokens: TokenStream, is_it: &impl Fn(Span) -> bool) -> Option<Span> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Group(group) => find(group.stream(), is_it),
        token => Some(token.span()).filter(|span| is_it(*span)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misplaced_attributes_are_recognized_by_path() {
        for path in [
            "debug_handler",
            "axum::debug_handler",
            "axum_macros::debug_handler",
            "tokio::main",
            "tokio::test",
            "actix_web::main",
            "utoipa::path",
            "rocket::get",
            "sse_endpoint",
            "sse_runtime::sse_endpoint",
        ] {
            assert!(below(&syn::parse_str(path).unwrap()).is_some(), "{path}");
        }
        for path in [
            "doc",
            "instrument",
            "tracing::instrument",
            "test",
            "path",
            "get",
            "my::main",
            "fastrace::trace",
        ] {
            assert!(below(&syn::parse_str(path).unwrap()).is_none(), "{path}");
        }
    }
}
