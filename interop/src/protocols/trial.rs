//! The trials of the "Protocols" page's endpoints, and the model that the endpoints query.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::handlers::model::{Answer, Model, ModelError};
use crate::answers::{FAILURE, PIECES};

/// A way in which an answer can proceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    Leave,
    Complete,
    Error,
    Resume,
}

impl Trial {
    pub(crate) const ALL: [Self; 4] = [Self::Leave, Self::Complete, Self::Error, Self::Resume];

    /// Returns the title of the column in the docs.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Leave => "the model stops when the client cancels",
            Self::Complete => "a complete answer",
            Self::Error => "an error in the middle",
            Self::Resume => "resumes after the connection is cut",
        }
    }

    /// Returns the first path segment.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Resume => "resume",
        }
    }
}

/// The signals between a test and the model.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    /// Notified when an answer of the trial [`Leave`](Trial::Leave) is dropped.
    pub(crate) dropped: Arc<Notify>,
    /// Cancelled once the trial [`Leave`](Trial::Leave) has a result. The other trials wait for
    /// this, since the client must cancel while its process is running.
    pub(crate) left: CancellationToken,
    /// How long the model pauses in the trial [`Complete`](Trial::Complete).
    pause: Duration,
    is_cut: Arc<AtomicBool>,
    /// Notified when the client has resumed the answer.
    resumed: Arc<Notify>,
}

impl Signals {
    pub(crate) fn with_pause(pause: Duration) -> Self {
        Self {
            pause,
            ..Self::default()
        }
    }

    pub(crate) fn set_cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// A middleware that lets the model continue once the client has resumed the answer.
    pub(crate) async fn watch(
        State(signals): State<Self>,
        request: Request,
        next: Next,
    ) -> Response {
        let resumes = signals.is_cut.load(Ordering::Relaxed);
        let response = next.run(request).await;
        if resumes {
            signals.resume();
        }
        response
    }

    /// Lets the model continue.
    pub(crate) fn resume(&self) {
        self.resumed.notify_one();
    }

    /// Returns the model for a trial.
    pub(crate) fn model(&self, trial: Trial) -> Model {
        let signals = self.clone();
        Model::new(move |_| {
            let (pieces, answer) = mpsc::channel(1);
            tokio::spawn(signals.clone().write(trial, pieces));
            let answer: Answer = Box::pin(ReceiverStream::new(answer));
            answer
        })
    }

    async fn write(self, trial: Trial, answer: mpsc::Sender<Result<String, ModelError>>) {
        if trial != Trial::Leave {
            self.left.cancelled().await;
        }
        let [first, rest @ ..] = PIECES.map(|piece| Ok(piece.to_owned()));
        // Sending fails once the answer has been dropped.
        let mut sent = answer.send(first).await;
        match trial {
            Trial::Leave => {
                answer.closed().await;
                self.dropped.notify_one();
                return;
            }
            Trial::Error => {
                let error = Err(ModelError(FAILURE.to_owned()));
                sent = sent.and(answer.send(error).await);
            }
            Trial::Complete | Trial::Resume => {
                match trial {
                    Trial::Resume => self.resumed.notified().await,
                    _ => sleep(self.pause).await,
                }
                for piece in rest {
                    sent = sent.and(answer.send(piece).await);
                }
            }
        }
        if sent.is_err() {
            println!("{trial:?}: the answer was dropped before its end");
        }
    }
}
