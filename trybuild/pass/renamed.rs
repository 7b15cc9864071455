//! The runtime crate, imported under another name.
#![deny(warnings)]

extern crate sse_runtime as renamed;

mod prelude {
    pub use renamed::*;
}

mod by_root {
    use renamed::{Stream, sse_endpoint};

    #[sse_endpoint("/root", crate = crate::prelude)]
    pub async fn root() -> Result<impl Stream<Item = Result<u32, String>>, String> {
        let one: u32 = "1".parse().map_err(|_| String::new())?;
        yield_!(one);
        yield_!("2".parse::<u32>().map_err(|_| String::new())?);
        yield_all!(tokio_stream::iter([3]));
    }
}

mod by_name {
    use renamed::{Stream, sse_endpoint};

    #[sse_endpoint("/name", crate = "::renamed")]
    pub async fn name() -> impl Stream<Item = u32> {
        yield_!(1);
    }

    #[sse_endpoint("/other", crate = ::renamed)]
    pub async fn other() -> impl Stream<Item = u32> {
        yield_!(1);
    }
}

fn main() {
    use renamed::SseRouterExt;
    let _: axum::Router = axum::Router::new()
        .sse(by_root::root)
        .sse(by_name::name)
        .sse(by_name::other);
}
