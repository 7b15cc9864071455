//! Lints that are off by default. The macro expansion does not trigger any of these lints.
#![deny(
    warnings,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    let_underscore_drop,
    macro_use_extern_crate,
    missing_debug_implementations,
    missing_docs,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unsafe_code,
    unused_extern_crates,
    unused_import_braces,
    unused_lifetimes,
    unused_macro_rules,
    unused_qualifications,
    unused_results,
    variant_size_differences,
    future_incompatible,
    keyword_idents,
    let_underscore,
    nonstandard_style,
    refining_impl_trait,
    rust_2018_idioms,
    rust_2021_compatibility,
    rust_2024_compatibility
)]

use axum::{Router, extract::Path, http::StatusCode};
use sse_runtime::{SseRouterExt, Stream, Text, sse_endpoint};

#[sse_endpoint("/plain/{room}", retry = "3s")]
async fn plain(Path(room): Path<u32>) -> impl Stream<Item = u32> {
    loop {
        tokio::task::yield_now().await;
        yield_!(room);
    }
}

#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = Result<Text<String>, String>> {
    yield_!(Text(String::new()));
    yield_all!(tokio_stream::iter([Ok::<_, String>(Text(String::new()))]));
    loop {
        tokio::task::yield_now().await;
        if "1".parse::<u32>().map_err(|error| error.to_string())? == 2 {
            return Err(String::new());
        }
    }
}

#[sse_endpoint("/refuses")]
async fn refuses() -> Result<impl Stream<Item = u32>, StatusCode> {
    let one: u32 = "1".parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    yield_!(one);
    yield_all!(tokio_stream::iter([1]));
}

/// A public endpoint.
#[sse_endpoint("/both")]
pub async fn both() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let one: u32 = "1".parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    tokio::select! {
        () = tokio::task::yield_now() => yield_!(one),
    }
    let two: u32 = "2".parse().map_err(|_| String::new())?;
    yield_!(two);
    if two == 3 {
        return;
    }
    return Err(String::new());
}

fn main() {
    let router: Router = Router::new().sse(plain).sse(fails).sse(refuses).sse(both);
    drop(router);
}
