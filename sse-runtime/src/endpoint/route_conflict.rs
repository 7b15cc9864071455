//! Two that answer one method on one path: axum's panic says that there are two, this one says which, and where.
//!
//! axum has no way to ask what a router answers, so its own panic is caught, and followed by ours. Both are printed, ours
//! last, and ours is what arrives where panics are caught. With `panic = "abort"` axum's is the only one.

use std::{
    any::Any,
    collections::HashMap,
    panic::{self, AssertUnwindSafe, Location},
    sync::{LazyLock, Mutex, PoisonError},
};

use axum::{Router, http::Method, routing::MethodRouter};

use crate::config::Endpoint;

/// An endpoint on its way onto a router.
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

/// The endpoint that was mounted last on each method and path, in the whole process: read only where axum has found that
/// there are two, to name the first. Of several routers it may be that of another one, which is why it says where.
static MOUNTED: LazyLock<Mutex<HashMap<(Method, &'static str), Mounted>>> =
    LazyLock::new(Mutex::default);

impl RouteConflict {
    /// An endpoint that is mounted where the caller is.
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

    /// Puts it on a router, and says more than axum where there is no room for it.
    #[track_caller]
    pub(crate) fn mount<S>(self, router: Router<S>, routes: MethodRouter<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        // The router is gone after a panic.
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
        all().insert((self.method, self.path), self.mounted);
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
        let first = all().get(&(method.clone(), *path)).copied();
        // The same line again is another router that is built by the same function.
        let first = first.filter(|first| first.at != *at);
        match first {
            Some(first) if first.name == *name => format!(
                "`{method} {path}` belongs to the endpoint `{name}` already ({}); mount it once, or give one of the two \
                 another path or method",
                first.at
            ),
            Some(first) => format!(
                "`{method} {path}` belongs to the endpoint `{}` already ({}), so `{name}` cannot have it; give one of them \
                 another path or method",
                first.name, first.at
            ),
            None => format!(
                "something else answers `{method} {path}` already, so the endpoint `{name}` cannot; give one of them \
                 another path or method"
            ),
        }
    }
}

fn all() -> std::sync::MutexGuard<'static, HashMap<(Method, &'static str), Mounted>> {
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is axum's word for two handlers of one method on one path.
fn is_overlap(panic: &(dyn Any + Send)) -> bool {
    panic
        .downcast_ref::<String>()
        .is_some_and(|message| message.starts_with("Overlapping method route."))
}
