//! Streams through nginx, HAProxy, Caddy, Apache httpd and Varnish, using the configuration files
//! from the docs. No event is held back, disconnects and clean ends are forwarded, and quiet
//! streams stay open. Each proxy also runs with a minimal configuration to show its defaults.
//!
//! `cargo xtask interop` turns the names and results of the tests into a table. A test that should
//! panic documents a defect of the proxy, and the table lists the defect and its cause.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod cases;
mod configs;
mod process;
mod servers;

/// The `sockets` step of `cargo xtask test` skips the tests in this module by the name of the
/// module, because the `interop` step runs them.
mod behind {
    /// Defines the named tests for this proxy. If the proxy is known to fail a test, the expected
    /// panic message follows the name of the test.
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
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
        a_quiet_stream_stays_by_its_keep_alive
        one_connection_has_many_streams_over_http2
        one_browser_has_fifty_streams
        the_address_of_the_client_arrives
        a_server_that_refuses_is_passed_over
    );
    proxy!(haproxy = HAPROXY:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
        a_quiet_stream_stays_by_its_keep_alive
        one_connection_has_many_streams_over_http2
        one_browser_has_fifty_streams
        the_address_of_the_client_arrives
        a_server_that_refuses_is_passed_over
        a_server_that_refuses_is_passed_over_from_its_health_check_on
        a_server_that_is_not_ready_is_left_alone
    );
    proxy!(caddy = CADDY:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end ("left == right")
        a_quiet_stream_stays_by_its_keep_alive
        one_connection_has_many_streams_over_http2
        one_browser_has_fifty_streams
        the_address_of_the_client_arrives
        a_server_that_refuses_is_passed_over
        a_server_that_refuses_is_passed_over_from_its_health_check_on
        a_server_that_is_not_ready_is_left_alone
    );
    proxy!(httpd = HTTPD:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed ("to be dropped")
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
        a_quiet_stream_stays_by_its_keep_alive
        one_connection_has_many_streams_over_http2 ("for the head")
        one_browser_has_fifty_streams ("streams had their event")
        the_address_of_the_client_arrives
        a_server_that_refuses_is_passed_over
        a_server_that_refuses_is_passed_over_from_its_health_check_on
        a_server_that_is_not_ready_is_left_alone
    );
    proxy!(varnish = VARNISH:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
        a_quiet_stream_stays_by_its_keep_alive
        one_connection_has_many_streams_over_http2 ("to be dropped")
        the_address_of_the_client_arrives
        a_server_that_refuses_is_passed_over_from_its_health_check_on
        a_server_that_is_not_ready_is_left_alone
    );
    proxy!(nginx_default = NGINX_DEFAULT:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
    );
    proxy!(haproxy_default = HAPROXY_DEFAULT:
        no_event_waits_for_the_next ("twelve events took")
        no_event_comes_200_ms_later_than_without_it ("behind the proxy, and")
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed ("to be dropped")
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
    );
    proxy!(caddy_default = CADDY_DEFAULT:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end ("left == right")
    );
    proxy!(httpd_default = HTTPD_DEFAULT:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed ("to be dropped")
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
    );
    proxy!(varnish_default = VARNISH_DEFAULT:
        no_event_waits_for_the_next
        no_event_comes_200_ms_later_than_without_it
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed ("to be dropped")
        a_client_that_leaves_is_noticed_at_the_keep_alive
        a_client_that_does_not_read_is_felt ("pieces were taken")
        a_clean_end_stays_one
        a_stream_that_breaks_off_has_no_clean_end
    );
}
