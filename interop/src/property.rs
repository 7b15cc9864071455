//! The properties that each client is tested for.
//!
//! This file exceeds 450 lines because every property keeps its conversation with the server in one
//! place.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::{sync::watch, time::timeout};

use crate::{
    client::{Ask, Client, Message, PATIENCE, Reading, Received},
    examples,
    server::{self, Trials, Visits},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Property {
    Order,
    Many,
    Large,
    Names,
    Ids,
    Lines,
    Empty,
    Unicode,
    NoBreaks,
    Comments,
    Heartbeat,
    Error,
    Post,
    Leaving,
    Resume,
    IdAlone,
    Retry,
    Done,
    Stop,
    Refused,
    Restart,
    Log,
}

impl Property {
    pub(crate) const ALL: [Self; 22] = [
        Self::Order,
        Self::Many,
        Self::Large,
        Self::Names,
        Self::Ids,
        Self::Lines,
        Self::Empty,
        Self::Unicode,
        Self::NoBreaks,
        Self::Comments,
        Self::Heartbeat,
        Self::Error,
        Self::Post,
        Self::Leaving,
        Self::Resume,
        Self::IdAlone,
        Self::Retry,
        Self::Done,
        Self::Stop,
        Self::Refused,
        Self::Restart,
        Self::Log,
    ];

    /// The groups of properties that the summary table combines into one column each.
    pub(crate) const GROUPS: [(&'static str, &'static [Self]); 5] = [
        (
            "reads every event",
            &[
                Self::Order,
                Self::Many,
                Self::Large,
                Self::Names,
                Self::Ids,
                Self::Lines,
                Self::Empty,
                Self::Unicode,
                Self::NoBreaks,
                Self::Comments,
                Self::Heartbeat,
                Self::Error,
            ],
        ),
        ("`POST`", &[Self::Post]),
        ("disconnect noticed", &[Self::Leaving]),
        (
            "resumes",
            &[
                Self::Resume,
                Self::IdAlone,
                Self::Retry,
                Self::Restart,
                Self::Log,
            ],
        ),
        ("stops at the end", &[Self::Done, Self::Stop]),
    ];

    /// Returns the title of the row in the docs.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Order => "every event once, in order",
            Self::Many => "10,000 events at once",
            Self::Large => "an event of 1 MiB",
            Self::Names => "named events",
            Self::Ids => "ids",
            Self::Lines => "multi-line text",
            Self::Empty => "an empty event",
            Self::Unicode => "Unicode, including U+2028 and similar characters in JSON",
            Self::NoBreaks => "U+2028 and similar characters in `Text`",
            Self::Comments => "keep-alive comments are ignored",
            Self::Heartbeat => "keep-alive events are received",
            Self::Error => "`event: error` is received",
            Self::Post => "a stream in response to a `POST`",
            Self::Leaving => "a disconnect is noticed immediately",
            Self::Resume => "reconnects with the last id",
            Self::IdAlone => "remembers an id without an event",
            Self::Retry => "waits for the `retry` time",
            Self::Done => "stops at `Event::done()`",
            Self::Stop => "stops at `end = \"stop\"`",
            Self::Refused => "when rejected by a limit, reconnects or receives a `503`",
            Self::Restart => "lost events are reported after a restart",
            Self::Log => "nothing is lost after a restart with a log",
        }
    }

    /// Returns the last segment of the endpoint's path.
    fn path(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Many => "many",
            Self::Large => "large",
            Self::Names => "names",
            Self::Ids => "ids",
            Self::Lines => "lines",
            Self::Empty => "empty",
            Self::Unicode => "unicode",
            Self::NoBreaks => "no_breaks",
            Self::Comments => "comments",
            Self::Heartbeat => "heartbeat",
            Self::Error => "error",
            Self::Post => "post",
            Self::Leaving => "leaving",
            Self::Resume => "resume",
            Self::IdAlone => "id_alone",
            Self::Retry => "retry",
            Self::Done => "done",
            Self::Stop => "stop",
            Self::Refused => "refused",
            Self::Restart => "prices",
            Self::Log => "stored_prices",
        }
    }
}

/// A test of one client for one property.
struct Trial<'a> {
    client: &'a Client,
    /// Whether the client reconnects automatically after a stream has ended.
    reconnects: bool,
    url: String,
    visits: watch::Receiver<Visits>,
}

/// Tests a client for a property. Returns an error that describes the first deviation.
pub(crate) async fn judge(
    property: Property,
    client: &Client,
    name: &str,
    reconnects: bool,
    server: &str,
    trials: &Trials,
) -> Result<(), String> {
    let trial_name = format!("{}-{}", name.replace(' ', "-"), property.path());
    let mut trial = Trial {
        client,
        reconnects,
        url: format!("{server}/{trial_name}/{}", property.path()),
        visits: trials.watch(&trial_name),
    };
    match property {
        Property::Order => trial.numbers(server::ORDERED).await,
        Property::Many => trial.numbers(server::MANY).await,
        Property::Large => trial.texts(&[&server::big()]).await,
        Property::Names => trial.names().await,
        Property::Ids => trial.ids().await,
        Property::Lines => trial.texts(&[server::LINES_READ]).await,
        Property::Empty => trial.empty().await,
        Property::Unicode => trial.unicode().await,
        Property::NoBreaks => trial.texts(&[server::NO_BREAKS]).await,
        Property::Comments => trial.comments().await,
        Property::Heartbeat => trial.heartbeat().await,
        Property::Error => trial.error().await,
        Property::Post => trial.post().await,
        Property::Leaving => trial.leaving().await,
        Property::Resume => trial.resume().await,
        Property::IdAlone => trial.id_alone().await,
        Property::Retry => trial.retry().await,
        Property::Done | Property::Stop => trial.done().await,
        Property::Refused => trial.refused().await,
        Property::Restart => examples::restart(client).await,
        Property::Log => examples::restart_with_log(client).await,
    }
}

impl Trial<'_> {
    async fn read(&self) -> Result<Reading, String> {
        self.client.read(Ask::get(self.url.clone())).await
    }

    /// Waits until `seen` returns true for the requests that the server has received.
    async fn server_sees(
        &mut self,
        what: &str,
        seen: impl FnMut(&Visits) -> bool,
    ) -> Result<Visits, String> {
        match timeout(PATIENCE, self.visits.wait_for(seen)).await {
            Ok(Ok(visits)) => Ok(visits.clone()),
            Ok(Err(_)) => Err("the server has stopped".to_owned()),
            Err(_) => Err(format!("no {what} within {PATIENCE:?}")),
        }
    }

    async fn numbers(&self, count: u32) -> Result<(), String> {
        let mut reading = self.read().await?;
        for number in 1..=count {
            expect(&reading.event().await?, "message", &number.to_string())?;
        }
        Ok(())
    }

    async fn texts(&self, texts: &[&str]) -> Result<(), String> {
        let mut reading = self.read().await?;
        for text in texts {
            expect(&reading.event().await?, "message", text)?;
        }
        Ok(())
    }

    async fn names(&self) -> Result<(), String> {
        let mut reading = self.read().await?;
        expect(&reading.event().await?, "message", "1")?;
        expect(&reading.event().await?, "word", "2")?;
        expect(&reading.event().await?, "tool-call", "3")?;
        expect(&reading.event().await?, "message", "4")
    }

    async fn ids(&self) -> Result<(), String> {
        let events = self.read().await?.events(3).await?;
        let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
        same("ids", ids.as_slice(), &["1", "b-2", "3~%C3%A4"])
    }

    async fn empty(&self) -> Result<(), String> {
        let mut reading = self.read().await?;
        expect(&reading.event().await?, "message", "")?;
        expect(&reading.event().await?, "word", "")?;
        expect(&reading.event().await?, "message", "last")
    }

    async fn unicode(&self) -> Result<(), String> {
        let mut reading = self.read().await?;
        let json = reading.event().await?.data;
        let text: String = serde_json::from_str(&json).map_err(|error| error.to_string())?;
        same("JSON", text.as_str(), server::UNICODE)?;
        expect(&reading.event().await?, "message", server::TEXT)
    }

    /// Expects the client to ignore several comments between two events.
    async fn comments(&self) -> Result<(), String> {
        let (seen, raw) = tokio::join!(
            async { self.read().await?.events(2).await },
            raw(&self.url, "data: 2\n\n")
        );
        let comments = raw?.lines().filter(|line| *line == ":").count();
        same("comments on the wire", &(comments > 0), &true)?;
        let seen = seen?;
        expect(&seen[0], "message", "1")?;
        expect(&seen[1], "message", "2")
    }

    async fn heartbeat(&self) -> Result<(), String> {
        let mut reading = self.read().await?;
        expect(&reading.event().await?, "message", "1")?;
        expect(&reading.event().await?, "heartbeat", "null")?;
        loop {
            let event = reading.event().await?;
            if event.name != "heartbeat" {
                return expect(&event, "message", "2");
            }
        }
    }

    async fn error(&self) -> Result<(), String> {
        let mut reading = self.read().await?;
        expect(&reading.event().await?, "message", "1")?;
        expect(
            &reading.event().await?,
            "error",
            r#"{"title":"on purpose"}"#,
        )
    }

    async fn post(&self) -> Result<(), String> {
        let ask = Ask {
            method: "POST",
            ..Ask::get(self.url.clone())
        };
        let mut reading = self.client.read(ask).await?;
        for number in ["1", "2", "3"] {
            expect(&reading.event().await?, "message", number)?;
        }
        Ok(())
    }

    async fn leaving(&mut self) -> Result<(), String> {
        let ask = Ask {
            leave_after: Some(1),
            ..Ask::get(self.url.clone())
        };
        let mut reading = self.client.read(ask).await?;
        expect(&reading.event().await?, "message", "1")?;
        let gone = |visits: &Visits| visits.alive == 0;
        self.server_sees("dropped generator", gone).await?;
        // The client is still running, so the server has noticed that the stream was closed, not
        // that the process exited.
        drop(reading);
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), String> {
        let mut reading = self.read().await?;
        for number in 1..=6_u32 {
            expect(&reading.event().await?, "message", &number.to_string())?;
        }
        let visits = self.visits.borrow().clone();
        let ids: Vec<_> = visits
            .requests
            .iter()
            .map(|request| request.last_event_id.as_deref().unwrap_or_default())
            .collect();
        same("ids of the requests", ids.as_slice(), &["", "3"])
    }

    async fn id_alone(&mut self) -> Result<(), String> {
        let _reading = self.read().await?;
        let reconnects = |visits: &Visits| visits.requests.len() > 1;
        let visits = self.server_sees("reconnect", reconnects).await?;
        let again = &visits.requests[1];
        let id = again.last_event_id.as_deref().unwrap_or_default();
        same("id on reconnect", id, "2")
    }

    async fn retry(&mut self) -> Result<(), String> {
        let mut reading = self.read().await?;
        reading.events(2).await?;
        let visits = self.visits.borrow().clone();
        let (Some(end), Some(again)) = (visits.ended.first(), visits.requests.get(1)) else {
            return Err("did not reconnect".to_owned());
        };
        let waited = again.at.duration_since(*end);
        if waited < server::RETRY {
            return Err(format!("reconnected after {waited:.1?}"));
        }
        Ok(())
    }

    async fn done(&mut self) -> Result<(), String> {
        let mut reading = self.read().await?;
        expect(&reading.event().await?, "message", "1")?;
        expect(&reading.event().await?, "done", "null")?;
        self.stops(reading).await
    }

    /// Expects a client that reconnects automatically to reconnect after it has been rejected.
    /// Every other client must receive a `503`.
    async fn refused(&mut self) -> Result<(), String> {
        let mut reading = self.read().await?;
        let reconnects = |visits: &Visits| visits.requests.len() > 1;
        let stops = async {
            loop {
                match reading.next().await {
                    Ok(Message::Event(_)) => {}
                    Ok(message) => return format!("{message:?}"),
                    // The program may have exited with an exception.
                    Err(error) => return error,
                }
            }
        };
        let stopped = tokio::select! {
            reconnected = self.visits.wait_for(reconnects) => return reconnected.map(drop).map_err(|error| error.to_string()),
            stopped = stops => stopped,
        };
        if self.reconnects {
            return Err(format!("did not reconnect: {stopped}"));
        }
        let visits = self.visits.borrow();
        let status = visits.requests.first().and_then(|request| request.status);
        same("status", &status, &Some(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// Expects the client to reconnect once, receive a 204, and stay disconnected. If the client
    /// does not reconnect automatically, expects it to report that the stream has ended.
    async fn stops(&mut self, mut reading: Reading) -> Result<(), String> {
        if !self.reconnects {
            return same("next message", &reading.next().await?, &Message::Ended);
        }
        let stopped = |visits: &Visits| {
            let again = visits.requests.get(1);
            again.is_some_and(|again| again.status == Some(StatusCode::NO_CONTENT))
        };
        self.server_sees("204", stopped).await?;
        // Wait much longer than the `retry` time to check that the client does not reconnect.
        let reconnects = |visits: &Visits| visits.requests.len() > 2;
        let again = timeout(Duration::from_secs(3), self.visits.wait_for(reconnects)).await;
        if again.is_ok() {
            return Err("reconnected after the 204".to_owned());
        }
        Ok(())
    }
}

fn expect(event: &Received, name: &str, data: &str) -> Result<(), String> {
    same("name", event.name.as_str(), name)?;
    same("data", event.data.as_str(), data)
}

/// Returns an error if `seen` isn't `expected`. Long values are truncated in the message.
pub(crate) fn same<T: PartialEq + std::fmt::Debug + ?Sized>(
    what: &str,
    seen: &T,
    expected: &T,
) -> Result<(), String> {
    if seen == expected {
        return Ok(());
    }
    let short = |value: &T| {
        let all = format!("{value:?}");
        match all.char_indices().nth(120) {
            Some((end, _)) => format!("{}… ({} bytes)", &all[..end], all.len()),
            None => all,
        }
    };
    let (seen, expected) = (short(seen), short(expected));
    Err(format!("{what}: {seen} instead of {expected}"))
}

/// Reads the raw stream up to `end`.
async fn raw(url: &str, end: &str) -> Result<String, String> {
    let read = async {
        let mut response = reqwest::get(url).await?;
        let mut all = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            all.extend_from_slice(&chunk);
            if all.ends_with(end.as_bytes()) {
                break;
            }
        }
        Ok::<_, reqwest::Error>(all)
    };
    match timeout(PATIENCE, read).await {
        Ok(Ok(all)) => Ok(String::from_utf8_lossy(&all).into_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no {end:?} within {PATIENCE:?}")),
    }
}
