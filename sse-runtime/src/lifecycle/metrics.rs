//! [`Instruments`]: the metrics of an endpoint's streams, recorded through the `metrics` crate.
//!
//! OpenTelemetry's own names (such as the `http.route` label) are used where they exist. All other
//! names follow OpenTelemetry's naming rules.

#[cfg(feature = "metrics")]
pub(crate) use installed::Instruments;
#[cfg(not(feature = "metrics"))]
pub(crate) use nothing::Instruments;

#[cfg(feature = "metrics")]
mod installed {
    use std::{sync::Once, time::Duration};

    use metrics::{
        Counter, Gauge, Histogram, Label, Unit, counter, describe_counter, describe_gauge,
        describe_histogram, gauge, histogram,
    };

    use crate::lifecycle::{close_reason::CloseReason, stream_limit::permit::Full};

    /// The instruments of one route, registered once so that recording an event does not require a
    /// lookup.
    #[derive(Debug)]
    pub(crate) struct Instruments {
        route: String,
        active: Gauge,
        opened: Counter,
        events: Counter,
        bytes: Counter,
        first_event: Histogram,
    }

    impl Instruments {
        pub(crate) fn new(route: &str) -> Self {
            describe();
            let route = route.to_owned();
            let instruments = Self {
                active: gauge!("sse.server.active_streams", "http.route" => route.clone()),
                opened: counter!("sse.server.streams_opened", "http.route" => route.clone()),
                events: counter!("sse.server.events", "http.route" => route.clone()),
                bytes: counter!("sse.server.sent_bytes", "http.route" => route.clone()),
                first_event: histogram!("sse.server.time_to_first_event", "http.route" => route.clone()),
                route,
            };
            // Export these counters as zero before the first stream closes. If a counter's first
            // exported value were one, Prometheus would not see an increase. The first panic, for
            // example, would then never show up in a rate.
            for reason in CloseReason::ALL {
                instruments.closings(reason).increment(0);
            }
            for full in Full::ALL {
                instruments.rejections(full).increment(0);
            }
            instruments
        }

        pub(crate) fn is_of(&self, route: &str) -> bool {
            self.route == route
        }

        pub(crate) fn opened(&self) {
            self.active.increment(1);
            self.opened.increment(1);
        }

        pub(crate) fn first_event(&self, after: Duration) {
            self.first_event.record(after);
        }

        pub(crate) fn sent(&self, events: u64, bytes: u64) {
            self.events.increment(events);
            self.bytes.increment(bytes);
        }

        pub(crate) fn closed(&self, reason: CloseReason, after: Duration) {
            self.active.decrement(1);
            self.closings(reason).increment(1);
            // Histograms are not registered in advance, because each one adds a dozen or more
            // series.
            histogram!(
                "sse.server.stream_duration",
                self.labels("reason", reason.as_str())
            )
            .record(after);
        }

        pub(crate) fn rejected(&self, full: Full) {
            self.rejections(full).increment(1);
        }

        fn closings(&self, reason: CloseReason) -> Counter {
            counter!(
                "sse.server.streams_closed",
                self.labels("reason", reason.as_str())
            )
        }

        fn rejections(&self, full: Full) -> Counter {
            counter!(
                "sse.server.streams_rejected",
                self.labels("limit", full.as_str())
            )
        }

        /// Returns the route label and one additional label.
        fn labels(&self, name: &'static str, value: &'static str) -> Vec<Label> {
            vec![
                Label::new("http.route", self.route.clone()),
                Label::from_static_parts(name, value),
            ]
        }
    }

    fn describe() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            describe_gauge!(
                "sse.server.active_streams",
                Unit::Count,
                "Event streams that are open."
            );
            describe_counter!(
                "sse.server.streams_opened",
                Unit::Count,
                "Event streams whose response has begun."
            );
            describe_counter!(
                "sse.server.streams_closed",
                Unit::Count,
                "Event streams that have ended, by reason."
            );
            describe_histogram!(
                "sse.server.stream_duration",
                Unit::Seconds,
                "Duration of event streams, by close reason."
            );
            describe_counter!(
                "sse.server.events",
                Unit::Count,
                "Events that were handed to connections."
            );
            describe_counter!(
                "sse.server.sent_bytes",
                Unit::Bytes,
                "Bytes of event streams that were handed to connections."
            );
            describe_histogram!(
                "sse.server.time_to_first_event",
                Unit::Seconds,
                "Time from a request to the first event of its stream."
            );
            describe_counter!(
                "sse.server.streams_rejected",
                Unit::Count,
                "Requests for event streams that were rejected by a limit, by limit."
            );
        });
    }
}

#[cfg(not(feature = "metrics"))]
mod nothing {
    use std::time::Duration;

    use crate::lifecycle::{close_reason::CloseReason, stream_limit::permit::Full};

    /// A stand-in that does not record metrics, used without the `metrics` feature.
    #[derive(Debug)]
    pub(crate) struct Instruments;

    #[allow(
        clippy::unused_self,
        reason = "with the `metrics` feature, these functions use their arguments"
    )]
    impl Instruments {
        pub(crate) fn new(_: &str) -> Self {
            Self
        }

        pub(crate) fn is_of(&self, _: &str) -> bool {
            true
        }

        pub(crate) fn opened(&self) {}

        pub(crate) fn first_event(&self, _: Duration) {}

        pub(crate) fn sent(&self, _: u64, _: u64) {}

        pub(crate) fn closed(&self, _: CloseReason, _: Duration) {}

        pub(crate) fn rejected(&self, _: Full) {}
    }
}
