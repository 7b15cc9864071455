//! Endpoints that cannot be described together.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sse_runtime::{Stream, openapi::Api, sse_endpoint};

#[sse_endpoint("/clock")]
async fn clock() -> impl Stream<Item = u64> {
    yield_!(1);
}

mod other {
    use super::*;

    #[sse_endpoint("/other")]
    pub(super) async fn clock() -> impl Stream<Item = u64> {
        yield_!(1);
    }

    #[sse_endpoint("/clock")]
    pub(super) async fn time() -> impl Stream<Item = u64> {
        yield_!(1);
    }
}

/// Returns the panic message of `add`.
fn message(add: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(add)).unwrap_err();
    *panic.downcast::<String>().unwrap()
}

#[test]
fn endpoints_with_the_same_name_panic() {
    let api = Api::new("Clocks", "1.0.0");
    drop(api.of(clock));
    let message = message(|| drop(api.of(other::clock)));
    assert!(
        message
            .starts_with("two endpoints have the same name: `clock` (GET /clock, added at tests/")
    );
    assert!(message.contains(") and `clock` (GET /other, added at tests/"));
    assert!(message.ends_with("; choose another name with `api.named(\"…\", …)`"));
    drop(api.named("other_clock", other::clock));
    assert_eq!(
        api.document()["paths"]["/other"]["get"]["operationId"],
        "other_clock"
    );
}

#[test]
fn endpoints_with_the_same_path_panic() {
    let api = Api::new("Clocks", "1.0.0");
    drop(api.of(clock));
    let message = message(|| drop(api.of(other::time)));
    assert!(
        message.starts_with("two endpoints have the same method and path: `clock` (GET /clock")
    );
    assert!(message.contains(") and `time` (GET /clock, added at tests/"));
    assert!(message.contains("`api.at(\"/prefix\")`"));
    drop(api.at("/v1/").of(other::time));
    assert_eq!(
        api.document()["paths"]["/v1/clock"]["get"]["operationId"],
        "time"
    );
}

/// axum serves the root of a nested router at the prefix itself.
#[test]
fn root_of_a_nested_router_has_no_slash() {
    #[sse_endpoint("/")]
    async fn root() -> impl Stream<Item = u64> {
        yield_!(1);
    }

    let api = Api::new("Clocks", "1.0.0");
    drop(api.at("/v1").of(root));
    assert!(api.document()["paths"]["/v1"]["get"].is_object());
}

/// A trait of the user with a method for every type must not be called in place of ours.
#[test]
fn methods_for_all_types_do_not_interfere() {
    trait Everything {
        fn schema(&self) -> u8 {
            1
        }
        fn events(&self) -> u8 {
            1
        }
        fn argument(&self) -> u8 {
            1
        }
    }
    impl<T: ?Sized> Everything for T {}

    #[sse_endpoint("/ticks/{from}")]
    async fn ticks(axum::extract::Path(from): axum::extract::Path<u64>) -> impl Stream<Item = u64> {
        yield_!(from);
    }

    let api = Api::new("Ticks", "1.0.0");
    drop(api.of(ticks));
    assert_eq!((api.schema(), api.events(), api.argument()), (1, 1, 1));
    assert_eq!(api.untyped(), [""; 0]);
}
