//! Task-locals that a middleware sets, and that a stream reads.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use http_body::Frame;
use sse_runtime::{Stream, sse_endpoint};
use support::{Client, SseRouterExt as _, serve, serve_plain};
use tokio::task::yield_now;

tokio::task_local! {
    static TENANT: String;
}

/// Sets the task-local only until the response's head has been created.
async fn with_tenant_in_head(request: Request, next: Next) -> Response {
    TENANT.scope("acme".to_owned(), next.run(request)).await
}

/// Sets the task-local until the response's body has ended.
async fn with_tenant(request: Request, next: Next) -> Response {
    let tenant = "acme".to_owned();
    let response = TENANT.scope(tenant.clone(), next.run(request)).await;
    response.map(|body| Body::new(InTenant { body, tenant }))
}

/// A body that sets the task-local whenever it is polled.
struct InTenant {
    body: Body,
    tenant: String,
}

impl http_body::Body for InTenant {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, tenant } = self.get_mut();
        TENANT.sync_scope(tenant.clone(), || Pin::new(body).poll_frame(cx))
    }
}

fn tenant() -> String {
    TENANT
        .try_with(Clone::clone)
        .unwrap_or_else(|_| "none".to_owned())
}

/// Reads the task-local before its first event, and once more after it has been polled again.
#[sse_endpoint("/tenant")]
async fn tenants() -> impl Stream<Item = String> {
    yield_!(tenant());
    yield_now().await;
    yield_!(tenant());
}

async fn events(app: Router, server: Server) -> Vec<String> {
    let addr = match server {
        Server::Ours => serve(app).await,
        Server::Axum => serve_plain(app).await,
    };
    let mut client = Client::get(addr, "/tenant").await;
    client.head().await;
    let mut text = String::new();
    while let Some(chunk) = client.chunk().await.unwrap() {
        text += &chunk;
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| data.trim_matches('"').to_owned()).collect()
}

#[derive(Clone, Copy)]
enum Server {
    Ours,
    Axum,
}

#[tokio::test]
async fn task_local_of_a_middleware_ends_with_the_head() {
    for server in [Server::Ours, Server::Axum] {
        let app = Router::new()
            .sse(tenants)
            .layer(from_fn(with_tenant_in_head));
        assert_eq!(events(app, server).await, ["acme", "none"]);
    }
}

#[tokio::test]
async fn wrapped_body_keeps_the_task_local() {
    for server in [Server::Ours, Server::Axum] {
        let app = Router::new().sse(tenants).layer(from_fn(with_tenant));
        assert_eq!(events(app, server).await, ["acme", "acme"]);
    }
}
