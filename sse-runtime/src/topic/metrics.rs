//! [`EngineInstruments`] and [`count_gap`]: the metrics of topics, recorded through the `metrics`
//! crate.

#[cfg(feature = "metrics")]
pub(crate) use installed::{EngineInstruments, count_gap};
#[cfg(not(feature = "metrics"))]
pub(crate) use nothing::{EngineInstruments, count_gap};

#[cfg(feature = "metrics")]
mod installed {
    use std::{
        sync::{
            Once,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use metrics::{
        Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge,
        describe_histogram, gauge, histogram,
    };

    use crate::event::gap::GapReason;

    /// Counts a gap that a reader has received.
    pub(crate) fn count_gap(reason: GapReason) {
        describe();
        counter!("sse.topic.gaps", "reason" => reason.as_str()).increment(1);
    }

    /// The instruments of an engine.
    #[derive(Debug)]
    pub(crate) struct EngineInstruments {
        up: Gauge,
        reconnects: Counter,
        repairs: Counter,
        failed_reads: Counter,
        lost_runs: Counter,
        feed_lag: Gauge,
        published: Histogram,
        failed_publishes: Counter,
        is_up: AtomicBool,
    }

    impl EngineInstruments {
        pub(crate) fn new(engine: &'static str) -> Self {
            describe();
            // Export a value of zero before the first gap, because a rate needs an initial value.
            for reason in GapReason::ALL {
                counter!("sse.topic.gaps", "reason" => reason.as_str()).increment(0);
            }
            let instruments = Self {
                up: gauge!("sse.engine.up", "engine" => engine),
                reconnects: counter!("sse.engine.reconnects", "engine" => engine),
                repairs: counter!("sse.engine.repairs", "engine" => engine),
                failed_reads: counter!("sse.engine.failed_reads", "engine" => engine),
                lost_runs: counter!("sse.engine.lost_runs", "engine" => engine),
                feed_lag: gauge!("sse.engine.feed_lag", "engine" => engine),
                published: histogram!("sse.engine.publish_duration", "engine" => engine),
                failed_publishes: counter!("sse.engine.failed_publishes", "engine" => engine),
                is_up: AtomicBool::new(true),
            };
            instruments.up.set(1);
            instruments
        }

        pub(crate) fn disconnected(&self) {
            self.is_up.store(false, Ordering::Relaxed);
            self.up.set(0);
        }

        pub(crate) fn reconnected(&self) {
            if !self.is_up.swap(true, Ordering::Relaxed) {
                self.up.set(1);
                self.reconnects.increment(1);
            }
        }

        pub(crate) fn repair_started(&self) {
            self.repairs.increment(1);
        }

        pub(crate) fn read_failed(&self) {
            self.failed_reads.increment(1);
        }

        pub(crate) fn run_lost(&self) {
            self.lost_runs.increment(1);
        }

        /// Records how many stored events this process has not received, for the topic for which
        /// this number is the largest.
        pub(crate) fn feed_lag(&self, events: u64) {
            #[expect(clippy::cast_precision_loss, reason = "the metric is an estimate")]
            self.feed_lag.set(events as f64);
        }

        pub(crate) fn published(&self, duration: Duration, is_stored: bool) {
            self.published.record(duration);
            if !is_stored {
                self.failed_publishes.increment(1);
            }
        }
    }

    fn describe() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            describe_counter!(
                "sse.topic.gaps",
                Unit::Count,
                "Gaps that readers of topics have received, by reason."
            );
            describe_gauge!(
                "sse.engine.up",
                Unit::Count,
                "Whether the engine is connected (1) or not (0)."
            );
            describe_counter!(
                "sse.engine.reconnects",
                Unit::Count,
                "Connections to the engine that were restored."
            );
            describe_counter!(
                "sse.engine.repairs",
                Unit::Count,
                "Reads of a topic from the engine, because the topic was opened or its feed may have skipped events."
            );
            describe_counter!(
                "sse.engine.failed_reads",
                Unit::Count,
                "Failed attempts to read a topic from the engine."
            );
            describe_counter!(
                "sse.engine.lost_runs",
                Unit::Count,
                "Lost runs that the periodic check of this process has ended."
            );
            describe_gauge!(
                "sse.engine.feed_lag",
                Unit::Count,
                "Stored events that this process has not received, for the topic with the most such events."
            );
            describe_histogram!(
                "sse.engine.publish_duration",
                Unit::Seconds,
                "Time that the engine took to confirm or reject an event."
            );
            describe_counter!(
                "sse.engine.failed_publishes",
                Unit::Count,
                "Attempts to publish an event that have failed."
            );
        });
    }
}

#[cfg(not(feature = "metrics"))]
mod nothing {
    use std::time::Duration;

    use crate::event::gap::GapReason;

    pub(crate) fn count_gap(_: GapReason) {}

    /// A stand-in that does not record metrics, used without the `metrics` feature.
    #[derive(Debug)]
    pub(crate) struct EngineInstruments;

    #[allow(
        clippy::unused_self,
        reason = "with the `metrics` feature, these functions use their arguments"
    )]
    impl EngineInstruments {
        pub(crate) fn new(_: &'static str) -> Self {
            Self
        }

        pub(crate) fn disconnected(&self) {}

        pub(crate) fn reconnected(&self) {}

        pub(crate) fn repair_started(&self) {}

        pub(crate) fn read_failed(&self) {}

        pub(crate) fn run_lost(&self) {}

        pub(crate) fn feed_lag(&self, _: u64) {}

        pub(crate) fn published(&self, _: Duration, _: bool) {}
    }
}
