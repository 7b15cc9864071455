//! Reports the names and locations of two endpoints with the same method and path.
//!
//! axum's panic message says only that the routes overlap. A router does not expose its routes, so
//! this module cannot detect an overlap in advance. Instead, it catches axum's panic and panics
//! with a message that names both endpoints. axum's message is printed first, because the panic
//! hook runs before the panic can be caught. With `panic = "abort"`, the panic cannot be caught, so
//! only axum's message is printed.

use std::{
    any::Any,
    collections::HashMap,
    panic::{self, AssertUnwindSafe, Location},
    sync::{LazyLock, Mutex, PoisonError},
};

use axum::{Router, http::Method, routing::MethodRouter};

use crate::config::Endpoint;

/// An endpoint that is about to be mounted on a router.
pub(crate) struct RouteConflict {
    method: Method,
    path: &'static str,
    mounted: Mounted,
}

#[derive(Clone, Copy)]
struct Mounted {
    name: &'static str,
    at: &'static Location<'static>,
}

/// The endpoint most recently mounted for each method and path, across the whole process. It is
/// used only to name the first endpoint once axum has reported an overlap. In a process with
/// several routers, an entry may belong to another router. The panic message therefore includes the
/// location where the first endpoint was mounted.
static MOUNTED: LazyLock<Mutex<HashMap<(Method, &'static str), Mounted>>> =
    LazyLock::new(Mutex::default);

impl RouteConflict {
    /// Records an endpoint that is about to be mounted, along with the caller's location.
    #[track_caller]
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        Self {
            method: endpoint.method.clone(),
            path: endpoint.path,
            mounted: Mounted {
                name: endpoint.name,
                at: Location::caller(),
            },
        }
    }

    /// Adds the endpoint to a router. Panics with a message that names both endpoints if axum
    /// reports an overlap.
    #[track_caller]
    pub(crate) fn mount<S>(self, router: Router<S>, routes: MethodRouter<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        // Unwind safety: the closure owns the router, so it cannot be observed after a panic.
        let mount = AssertUnwindSafe(|| router.route(self.path, routes));
        match panic::catch_unwind(mount) {
            Ok(mounted) => {
                self.remember();
                mounted
            }
            Err(panic) => self.explain(panic),
        }
    }

    fn remember(self) {
        mounted().insert((self.method, self.path), self.mounted);
    }

    #[track_caller]
    fn explain(self, panic: Box<dyn Any + Send>) -> ! {
        if is_overlap(&*panic) {
            panic!("{}", self.problem());
        }
        panic::resume_unwind(panic)
    }

    fn problem(&self) -> String {
        let Self {
            method,
            path,
            mounted: Mounted { name, at },
        } = self;
        let first = mounted().get(&(method.clone(), *path)).copied();
        // An entry with the same location belongs to another router built by the same code, so it
        // is not the endpoint reported by axum.
        let first = first.filter(|first| first.at != *at);
        match first {
            Some(first) if first.name == *name => format!(
                "`{method} {path}` is already served by the `{name}` endpoint ({}); mount it only once, or change \
                 the path or method of one of them",
                first.at
            ),
            Some(first) => format!(
                "`{method} {path}` is already served by the `{}` endpoint ({}), so `{name}` cannot be mounted; \
                 change the path or method of one of them",
                first.name, first.at
            ),
            None => format!(
                "`{method} {path}` is already served by another route, so the `{name}` endpoint cannot be mounted; \
                 change the path or method of one of them"
            ),
        }
    }
}

fn mounted() -> std::sync::MutexGuard<'static, HashMap<(Method, &'static str), Mounted>> {
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether the panic is the one that axum raises for two handlers with the same method and
/// path.
fn is_overlap(panic: &(dyn Any + Send)) -> bool {
    panic
        .downcast_ref::<String>()
        .is_some_and(|message| message.starts_with("Overlapping method route."))
}
