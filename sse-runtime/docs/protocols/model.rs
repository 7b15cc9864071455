// The language model that the endpoints query.

use std::{pin::Pin, sync::Arc};

use sse_runtime::Stream;

/// The pieces of an answer, as the model writes them. The model stops when this is dropped.
pub(crate) type Answer = Pin<Box<dyn Stream<Item = Result<String, ModelError>> + Send>>;

/// The model failed in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ModelError(pub(crate) String);

#[derive(Clone)]
pub(crate) struct Model(Arc<dyn Fn(String) -> Answer + Send + Sync>);

impl Model {
    /// Wraps a function that starts to answer a question, for example by calling an inference server.
    pub(crate) fn new(ask: impl Fn(String) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    pub(crate) fn answer(&self, question: String) -> Answer {
        (self.0)(question)
    }
}
