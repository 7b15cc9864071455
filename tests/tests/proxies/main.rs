//! Streams through nginx, HAProxy, Caddy, Apache httpd and Varnish, using the configuration files
//! from the docs. Proxies must not hold back events, hide disconnects, turn a clean end into a
//! failure, or close quiet streams. Each proxy also runs with a minimal configuration to show its
//! defaults.
//!
//! `cargo xtask interop` turns the test names and results into a table. A `should_panic` test
//! documents a defect of the proxy. The table lists the defect and its cause.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod cases;
mod configs;
mod process;
mod servers;

/// The `sockets` step of `cargo xtask test` uses the name of this module to skip the module's
/// tests, because the `interop` step runs these tests.
mod through_proxies {
    /// Defines the named tests for the proxy. If the proxy is known to fail a test, the test name
    /// is followed by the expected panic message.
    macro_rules! proxy {
        (@test $kind:ident $test:ident) => {
            #[tokio::test]
            async fn $test() {
                crate::cases::$test(crate::configs::$kind).await;
            }
        };
        (@test $kind:ident $test:ident $fails:literal) => {
            #[tokio::test]
            #[should_panic(expected = $fails)]
            async fn $test() {
                crate::cases::$test(crate::configs::$kind).await;
            }
        };
        ($name:ident = $kind:ident: $($test:ident $(($fails:literal))?)*) => {
            mod $name {
                $(
                    proxy!(@test $kind $test $($fails)?);
                )*
            }
        };
    }

    proxy!(nginx = NGINX:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
        keep_alive_keeps_a_quiet_stream_open
        http2_connection_carries_many_streams
        browser_can_open_fifty_streams
        client_address_reaches_the_server
        refusing_server_is_skipped_immediately
    );
    proxy!(haproxy = HAPROXY:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
        keep_alive_keeps_a_quiet_stream_open
        http2_connection_carries_many_streams
        browser_can_open_fifty_streams
        client_address_reaches_the_server
        refusing_server_is_skipped_immediately
        refusing_server_is_skipped_after_a_health_check
        draining_server_receives_no_new_streams
    );
    proxy!(caddy = CADDY:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly ("left == right")
        keep_alive_keeps_a_quiet_stream_open
        http2_connection_carries_many_streams
        browser_can_open_fifty_streams
        client_address_reaches_the_server
        refusing_server_is_skipped_immediately
        refusing_server_is_skipped_after_a_health_check
        draining_server_receives_no_new_streams
    );
    proxy!(httpd = HTTPD:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately ("to be dropped")
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
        keep_alive_keeps_a_quiet_stream_open
        http2_connection_carries_many_streams ("for the head")
        browser_can_open_fifty_streams ("streams received their event")
        client_address_reaches_the_server
        refusing_server_is_skipped_immediately
        refusing_server_is_skipped_after_a_health_check
        draining_server_receives_no_new_streams
    );
    proxy!(varnish = VARNISH:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
        keep_alive_keeps_a_quiet_stream_open
        http2_connection_carries_many_streams ("to be dropped")
        client_address_reaches_the_server
        refusing_server_is_skipped_after_a_health_check
        draining_server_receives_no_new_streams
    );
    proxy!(nginx_default = NGINX_DEFAULT:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
    );
    proxy!(haproxy_default = HAPROXY_DEFAULT:
        event_is_not_held_back_until_the_next_one ("twelve events took")
        events_are_delayed_by_less_than_200_ms ("through the proxy")
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately ("to be dropped")
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
    );
    proxy!(caddy_default = CADDY_DEFAULT:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly ("left == right")
    );
    proxy!(httpd_default = HTTPD_DEFAULT:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately ("to be dropped")
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
    );
    proxy!(varnish_default = VARNISH_DEFAULT:
        event_is_not_held_back_until_the_next_one
        events_are_delayed_by_less_than_200_ms
        events_arrive_at_once_with_compression
        client_disconnect_is_noticed_immediately ("to be dropped")
        client_disconnect_is_noticed_at_the_keep_alive
        backpressure_reaches_the_generator ("pieces were accepted")
        clean_end_is_forwarded
        aborted_stream_does_not_end_cleanly
    );
}
