//! What is asked of each client, and how its answer is judged.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::{sync::watch, time::timeout};

use crate::{
    client::{Ask, Client, PATIENCE, Reading, Received, Told},
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
}

impl Property {
    pub(crate) const ALL: [Self; 21] = [
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
    ];

    /// What the README's small table makes one of.
    pub(crate) const GROUPS: [(&'static str, &'static [Self]); 5] = [
        (
            "reads all of it",
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
        ("its leaving is noticed", &[Self::Leaving]),
        (
            "comes back where it was",
            &[Self::Resume, Self::IdAlone, Self::Retry, Self::Restart],
        ),
        ("stops when told", &[Self::Done, Self::Stop]),
    ];

    /// As the tables have it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Order => "every event once, in order",
            Self::Many => "10,000 events at once",
            Self::Large => "an event of 1 MiB",
            Self::Names => "named events",
            Self::Ids => "ids",
            Self::Lines => "text of several lines",
            Self::Empty => "an empty event",
            Self::Unicode => "Unicode; U+2028 and the like in JSON",
            Self::NoBreaks => "U+2028 and the like in `Text`",
            Self::Comments => "the keep-alive's comments unseen",
            Self::Heartbeat => "the keep-alive's event seen",
            Self::Error => "`event: error` seen",
            Self::Post => "a stream that answers a `POST`",
            Self::Leaving => "its leaving noticed at once",
            Self::Resume => "comes back with the last id",
            Self::IdAlone => "an id without an event is remembered",
            Self::Retry => "waits for as long as `retry` says",
            Self::Done => "`Event::done()` stops it",
            Self::Stop => "`end = \"stop\"` stops it",
            Self::Refused => "refused by a limit: returns, or receives `503`",
            Self::Restart => "a restart of the server, no loss untold",
        }
    }

    /// The last part of its endpoint's path.
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
        }
    }
}

/// One client at one property.
struct Trial<'a> {
    client: &'a Client,
    /// Whether it comes back by itself when a stream has ended.
    comes_back: bool,
    url: String,
    visits: watch::Receiver<Visits>,
}

/// What came of it: nothing, if all was right.
pub(crate) async fn judge(
    property: Property,
    client: &Client,
    name: &str,
    comes_back: bool,
    server: &str,
    trials: &Trials,
) -> Result<(), String> {
    let trial_name = format!("{}-{}", name.replace(' ', "-"), property.path());
    let mut trial = Trial {
        client,
        comes_back,
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
    }
}

impl Trial<'_> {
    async fn read(&self) -> Result<Reading, String> {
        self.client.read(Ask::get(self.url.clone())).await
    }

    /// Until the server has seen what `seen` looks for.
    async fn server_sees(
        &mut self,
        what: &str,
        seen: impl FnMut(&Visits) -> bool,
    ) -> Result<Visits, String> {
        match timeout(PATIENCE, self.visits.wait_for(seen)).await {
            Ok(Ok(visits)) => Ok(visits.clone()),
            Ok(Err(_)) => Err("the server has gone".to_owned()),
            Err(_) => Err(format!("{what}: not in {PATIENCE:?}")),
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

    /// Nothing between two events that are several comments apart.
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
        self.server_sees("the generator dropped", gone).await?;
        // Still there, as it was before: it is its leaving that was noticed.
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
            .map(|asked| asked.last_event_id.as_deref().unwrap_or_default())
            .collect();
        same("ids it came with", ids.as_slice(), &["", "3"])
    }

    async fn id_alone(&mut self) -> Result<(), String> {
        let _reading = self.read().await?;
        let comes_back = |visits: &Visits| visits.requests.len() > 1;
        let visits = self.server_sees("it comes back", comes_back).await?;
        let again = &visits.requests[1];
        let id = again.last_event_id.as_deref().unwrap_or_default();
        same("id it came with", id, "2")
    }

    async fn retry(&mut self) -> Result<(), String> {
        let mut reading = self.read().await?;
        reading.events(2).await?;
        let visits = self.visits.borrow().clone();
        let (Some(end), Some(again)) = (visits.ended.first(), visits.requests.get(1)) else {
            return Err("it did not come back".to_owned());
        };
        let waited = again.at.duration_since(*end);
        if waited < server::RETRY {
            return Err(format!("it came back after {waited:.1?}"));
        }
        Ok(())
    }

    async fn done(&mut self) -> Result<(), String> {
        let mut reading = self.read().await?;
        expect(&reading.event().await?, "message", "1")?;
        expect(&reading.event().await?, "done", "null")?;
        self.stops(reading).await
    }

    /// A `200` is for a client that returns after it, and stops at any other status. All others need the status.
    async fn refused(&mut self) -> Result<(), String> {
        let mut reading = self.read().await?;
        let returns = |visits: &Visits| visits.requests.len() > 1;
        let stops = async {
            loop {
                match reading.next().await {
                    Ok(Told::Event(_)) => {}
                    Ok(told) => return format!("{told:?}"),
                    // It may have ended with an exception.
                    Err(error) => return error,
                }
            }
        };
        let stopped = tokio::select! {
            returned = self.visits.wait_for(returns) => return returned.map(drop).map_err(|error| error.to_string()),
            stopped = stops => stopped,
        };
        if self.comes_back {
            return Err(format!("it does not return: {stopped}"));
        }
        let visits = self.visits.borrow();
        let status = visits.requests.first().and_then(|asked| asked.status);
        same("status", &status, &Some(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// It comes back once, is answered 204, and stays away. One that does not come back sees no more than the end.
    async fn stops(&mut self, mut reading: Reading) -> Result<(), String> {
        if !self.comes_back {
            return same("what follows", &reading.next().await?, &Told::Ended);
        }
        let told_to_stop = |visits: &Visits| {
            let again = visits.requests.get(1);
            again.is_some_and(|again| again.status == Some(StatusCode::NO_CONTENT))
        };
        self.server_sees("the 204", told_to_stop).await?;
        // That nothing happens is told by the clock alone: many times what it was told to wait.
        let comes_again = |visits: &Visits| visits.requests.len() > 2;
        let again = timeout(Duration::from_secs(3), self.visits.wait_for(comes_again)).await;
        if again.is_ok() {
            return Err("it came back after the 204".to_owned());
        }
        Ok(())
    }
}

fn expect(event: &Received, name: &str, data: &str) -> Result<(), String> {
    same("name", event.name.as_str(), name)?;
    same("data", event.data.as_str(), data)
}

/// `seen`, which must be `expected`. What is long is cut.
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

/// What is on the wire, up to `end`.
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
        Err(_) => Err(format!("no {end:?} in {PATIENCE:?}")),
    }
}
