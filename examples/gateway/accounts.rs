//! The gateway's clients, and the tokens that they use.

use std::{
    collections::HashMap,
    marker::PhantomData,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};
use sse_runtime::{CloseReason, Connection};

use crate::error::{ApiError, Failure, Protocol};

/// A client's name and API key, as in `alice:sk-1234`.
#[derive(Clone)]
pub(crate) struct Credentials {
    name: String,
    key: String,
}

impl FromStr for Credentials {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, key) = text
            .split_once(':')
            .ok_or("expected a name and an API key, separated by a colon")?;
        Ok(Self {
            name: name.to_owned(),
            key: key.to_owned(),
        })
    }
}

/// The accounts of all clients, by API key.
#[derive(Clone)]
pub(crate) struct Accounts(Arc<HashMap<String, Arc<Account>>>);

struct Account {
    name: String,
    tokens_left: AtomicU64,
}

impl Accounts {
    pub(crate) fn new(clients: Vec<Credentials>, budget: u64) -> Self {
        let accounts = clients.into_iter().map(|client| {
            let account = Account {
                name: client.name,
                tokens_left: AtomicU64::new(budget),
            };
            (client.key, Arc::new(account))
        });
        Self(Arc::new(accounts.collect()))
    }
}

/// Returns the API key, which OpenAI's clients send as `authorization: Bearer KEY`, and Anthropic's
/// as `x-api-key: KEY`.
pub(crate) fn api_key(headers: &HeaderMap) -> Option<&str> {
    let header = |name| headers.get(name)?.to_str().ok();
    let bearer = header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| header("x-api-key"))
}

/// The client that has sent the request. A request with an unknown API key is rejected with a `401`
/// in the format of the protocol `P`.
pub(crate) struct Client<P> {
    account: Arc<Account>,
    protocol: PhantomData<P>,
}

impl<P, S> FromRequestParts<S> for Client<P>
where
    P: Protocol,
    S: Send + Sync,
    Accounts: FromRef<S>,
{
    type Rejection = ApiError<P>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError<P>> {
        let Accounts(accounts) = Accounts::from_ref(state);
        let account = api_key(&parts.headers).and_then(|key| accounts.get(key));
        Ok(Self {
            account: account.ok_or(Failure::UnknownKey)?.clone(),
            protocol: PhantomData,
        })
    }
}

/// Counts the tokens of an answer, and takes them from the client's budget.
#[derive(Clone)]
pub(crate) struct Meter {
    account: Arc<Account>,
    tokens: Arc<AtomicU64>,
}

impl<P> Client<P> {
    /// Starts to count the tokens of an answer. Once its stream has closed, for whatever reason,
    /// prints how many there were.
    ///
    /// # Errors
    ///
    /// Returns an error if the client has already spent its budget.
    pub(crate) fn meter(self, connection: &Connection) -> Result<Meter, Failure> {
        if self.account.tokens_left.load(Relaxed) == 0 {
            return Err(Failure::BudgetSpent);
        }
        let meter = Meter {
            account: self.account,
            tokens: Arc::default(),
        };
        let closing = meter.clone();
        connection.on_close(async move |reason| closing.print(reason));
        Ok(meter)
    }
}

impl Meter {
    /// Counts a token of a streamed answer. The upstream's models may put several tokens into one
    /// event, so this is an estimate. Some upstreams report the exact number in the last event.
    ///
    /// # Errors
    ///
    /// Returns an error if the client has no token left.
    pub(crate) fn spend_token(&self) -> Result<(), Failure> {
        let take = |left: u64| left.checked_sub(1);
        let taken = self
            .account
            .tokens_left
            .fetch_update(Relaxed, Relaxed, take);
        taken.map_err(|_| Failure::BudgetSpent)?;
        self.tokens.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Counts the tokens of an answer that is already complete. If it exceeds the client's budget,
    /// the client still receives it, but no further answer.
    pub(crate) fn spend_whole(&self, tokens: u64) {
        let take = |left: u64| Some(left.saturating_sub(tokens));
        // `take` always returns a value, so the update cannot fail.
        let _ = self
            .account
            .tokens_left
            .fetch_update(Relaxed, Relaxed, take);
        self.tokens.fetch_add(tokens, Relaxed);
    }

    fn print(&self, reason: CloseReason) {
        let Account { name, tokens_left } = &*self.account;
        let (tokens, left) = (self.tokens.load(Relaxed), tokens_left.load(Relaxed));
        let how = match reason {
            CloseReason::Rejected => "not_streamed",
            reason => reason.as_str(),
        };
        println!("{name}: {tokens} tokens, {left} left; {how}");
    }
}
