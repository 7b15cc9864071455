//! What looks like a mistake that a warning is about, and is none.
#![deny(warnings)]

use axum::{
    Form, Json, Router,
    body::Bytes,
    extract::{RawForm, Request, rejection::JsonRejection},
};
use sse_runtime::{RouterExt, Stream, sse_endpoint};

#[sse_endpoint("/json", method = POST)]
async fn json(Json(question): Json<u32>) -> impl Stream<Item = u32> {
    yield_!(question);
}

#[sse_endpoint("/bytes", method = DELETE)]
async fn bytes(body: Bytes) -> impl Stream<Item = usize> {
    yield_!(body.len());
}

/// A form is the query of a GET.
#[sse_endpoint("/form")]
async fn form(Form(answers): Form<Vec<(String, u32)>>) -> impl Stream<Item = usize> {
    yield_!(answers.len());
}

#[sse_endpoint("/raw_form")]
async fn raw_form(RawForm(answers): RawForm) -> impl Stream<Item = usize> {
    yield_!(answers.len());
}

/// Whether there is a body is for the endpoint to see.
#[sse_endpoint("/optional")]
async fn optional(question: Option<Json<u32>>) -> impl Stream<Item = bool> {
    yield_!(question.is_some());
}

#[sse_endpoint("/fallible")]
async fn fallible(question: Result<Json<u32>, JsonRejection>) -> impl Stream<Item = bool> {
    yield_!(question.is_ok());
}

/// A request is its head as well.
#[sse_endpoint("/request")]
async fn request(request: Request) -> impl Stream<Item = String> {
    yield_!(request.uri().to_string());
}

fn main() {
    let _: Router = Router::new()
        .sse(json)
        .sse(bytes)
        .sse(form)
        .sse(raw_form)
        .sse(optional)
        .sse(fallible)
        .sse(request);
}
