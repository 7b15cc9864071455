//! The clients by name, and their known deviations.

use crate::{
    browser::{Browser, Scheme},
    client::{Client, Programs},
    property::Property,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Chromium,
    Firefox,
    ChromiumFetch,
    FirefoxFetch,
    FetchEventSource,
    NodeEventSource,
    NodeParser,
    HttpxSse,
    SseclientPy,
    EventsourceClient,
    ReqwestEventsource,
    Curl,
}

/// A known reason why a cell isn't `ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The property does not apply to the client.
    NotApplicable(&'static str),
    /// The client fails with an error that starts with `seen`. The cell fails if the client passes,
    /// or fails in another way.
    Fault {
        seen: &'static str,
        reason: &'static str,
    },
}

const NO_RECONNECT: &str =
    "does not reconnect automatically; the calling code has to reconnect with the last id";
const ONLY_GET: &str = "`EventSource` sends only `GET` requests";

impl Column {
    pub(crate) const ALL: [Self; 12] = [
        Self::Chromium,
        Self::Firefox,
        Self::ChromiumFetch,
        Self::FirefoxFetch,
        Self::FetchEventSource,
        Self::NodeEventSource,
        Self::NodeParser,
        Self::HttpxSse,
        Self::SseclientPy,
        Self::EventsourceClient,
        Self::ReqwestEventsource,
        Self::Curl,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chromium => "Chromium EventSource",
            Self::Firefox => "Firefox EventSource",
            Self::ChromiumFetch => "Chromium fetch",
            Self::FirefoxFetch => "Firefox fetch",
            Self::FetchEventSource => "fetch-event-source",
            Self::NodeEventSource => "npm eventsource",
            Self::NodeParser => "npm eventsource-parser",
            Self::HttpxSse => "httpx-sse",
            Self::SseclientPy => "sseclient-py",
            Self::EventsourceClient => "eventsource-client",
            Self::ReqwestEventsource => "reqwest-eventsource",
            Self::Curl => "curl",
        }
    }

    /// Returns whether the client reconnects automatically after a stream has ended.
    pub(crate) fn reconnects(self) -> bool {
        match self {
            Self::Chromium
            | Self::Firefox
            | Self::FetchEventSource
            | Self::NodeEventSource
            | Self::EventsourceClient
            | Self::ReqwestEventsource => true,
            Self::ChromiumFetch
            | Self::FirefoxFetch
            | Self::NodeParser
            | Self::HttpxSse
            | Self::SseclientPy
            | Self::Curl => false,
        }
    }

    pub(crate) fn known(self, property: Property) -> Option<Known> {
        use Known::{Fault, NotApplicable};
        use Property as P;

        match (self, property) {
            (_, P::Resume | P::IdAlone | P::Retry | P::Restart | P::Log) if !self.reconnects() => {
                Some(NotApplicable(NO_RECONNECT))
            }
            (Self::Chromium | Self::Firefox | Self::NodeEventSource, P::Post) => {
                Some(NotApplicable(ONLY_GET))
            }
            (
                Self::Firefox
                | Self::NodeEventSource
                | Self::EventsourceClient
                | Self::ReqwestEventsource,
                P::IdAlone,
            ) => Some(Fault {
                seen: "id on reconnect: \"1\"",
                reason: "remembers only the ids of events, not those of keep-alives (which a filtered topic sends); \
                         `keep_alive_event` turns the keep-alive into an event",
            }),
            (Self::FetchEventSource, P::Done | P::Stop) => Some(Fault {
                seen: "reconnected after the 204",
                reason: "reconnects forever after a `204` unless its `onopen` and `onerror` callbacks throw; \
                         abort it on `done`",
            }),
            (Self::EventsourceClient, P::Done | P::Stop) => Some(Fault {
                seen: "reconnected after the 204",
                reason: "reconnects forever after a `204`; drop it on `done`",
            }),
            (Self::ReqwestEventsource, P::Refused) => Some(Fault {
                seen: "did not reconnect: Stopped",
                reason: "stops unless the status is `200`; \
                         the calling code has to reconnect after the time in `Retry-After`",
            }),
            (Self::EventsourceClient, P::Retry) => Some(Fault {
                seen: "reconnected after ",
                reason: "waits for a random time between 50% and 100% of `retry`",
            }),
            _ => None,
        }
    }

    /// Starts the client. Pages load their scripts from `server`.
    pub(crate) async fn start(self, programs: &Programs, server: &str) -> Result<Client, String> {
        let chromium = async || Browser::chromium(server.to_owned(), Scheme::Light).await;
        let firefox = async || Browser::firefox(server.to_owned(), Scheme::Light).await;
        Ok(match self {
            Self::Chromium => Client::Page(chromium().await?, "eventSource"),
            Self::Firefox => Client::Page(firefox().await?, "eventSource"),
            Self::ChromiumFetch => Client::Page(chromium().await?, "parser"),
            Self::FirefoxFetch => Client::Page(firefox().await?, "parser"),
            Self::FetchEventSource => Client::Page(chromium().await?, "fetchEventSource"),
            Self::NodeEventSource => Client::Node(programs.clone(), "eventSource"),
            Self::NodeParser => Client::Node(programs.clone(), "parser"),
            Self::HttpxSse => Client::Python(programs.clone(), "httpx_sse_client.py"),
            Self::SseclientPy => Client::Python(programs.clone(), "sseclient_client.py"),
            Self::EventsourceClient => Client::LaunchDarkly,
            Self::ReqwestEventsource => Client::ReqwestEventsource,
            Self::Curl => Client::Curl,
        })
    }
}
