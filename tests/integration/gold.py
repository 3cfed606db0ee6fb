"""
Where Traffic Server's gold tests of TLS stand here.

They test C{traffic_server} from outside, with curl, C{openssl s_client} and Python; so do ours.  The 25 groups are the
ones that say most about an edge without HTTP.  Some have tests of their own (C{test_gold_*.py}, whose tests have the
names of Traffic Server's), others have long had a test that shows the same; one that cannot be shown yet has its
reason.  L{tests.integration.test_gold} looks whether each of these tests exists.

Source: behaviour 4.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Gold:
    """
    One gold test.

    @ivar group: which of the 25.
    @ivar name: what Traffic Server calls it.
    @ivar tests: those that show the same here, by module, class and method within this package.
    @ivar missing: what is not shown yet, and why.
    """

    group: int
    name: str
    tests: tuple[str, ...] = ()
    missing: str = ""


GOLD: Final = (
    Gold(
        1,
        "tls_tunnel",
        (
            "test_gold_routes.TunnelTests.test_tls_tunnel",
            "test_edge.RouteTests.test_tunnel_is_byte_for_byte",
            "test_edge.RouteTests.test_tunnel_shows_the_origins_certificate",
            "test_bad_input.ClientTests.test_a_hello_a_byte_at_a_time",
            "test_edge.RouteTests.test_routes_with_variables",
            "test_edge.ReloadTests.test_read_again",
        ),
    ),
    Gold(
        2,
        "tls_record_size",
        (
            "test_gold_tls.RecordSizeTests.test_tls_record_size_fixed",
            "test_gold_tls.RecordSizeTests.test_tls_record_size_dynamic",
        ),
    ),
    *(
        Gold(group, f"tls_hooks{number}", (f"test_gold_hooks.HooksTests.test_tls_hooks{number}",))
        for group, number in (
            (3, ""),
            (3, 2),
            (3, 3),
            (3, 4),
            (4, 6),
            (4, 7),
            (4, 8),
            (4, 9),
            (4, 10),
            (5, 11),
            (5, 12),
            (6, 13),
            (6, 14),
            (6, 15),
            (6, 16),
            (6, 17),
            (6, 18),
        )
    ),
    Gold(
        7,
        "tls_hooks_close_while_parked",
        (
            "test_gold_hooks.ParkedTests.test_tls_hooks_close_while_parked",
            "test_gold_hooks.ParkedTests.test_the_client_leaves_while_parked",
        ),
    ),
    Gold(
        8,
        "tls_renegotiation",
        (
            "test_edge.TLSTests.test_renegotiation_is_refused",
            "test_bad_input.ClientTests.test_renegotiation",
        ),
    ),
    Gold(
        9,
        "tls_renegotiation_allowed",
        (
            "test_tls_settings.NameTests.test_renegotiation_is_answered",
            "test_sessions.ServerTests.test_renegotiating_without_end",
        ),
    ),
    Gold(
        10,
        "tls_flow_control",
        (
            "test_limits.DownloadTests.test_forward",
            "test_limits.DownloadTests.test_partial_blind",
            "test_limits.DownloadTests.test_tunnel",
        ),
    ),
    Gold(
        11,
        "tls_bad_alpn",
        ("test_edge.TLSTests.test_alpn", "test_bad_input.ClientTests.test_no_protocol_in_common"),
    ),
    Gold(
        12,
        "tls_check_cert_selection",
        (
            "test_edge.TLSTests.test_certificates_by_name",
            "test_edge.TLSTests.test_the_default_certificate_can_be_named",
        ),
    ),
    Gold(13, "tls_client_verify", ("test_tls_settings.ClientCertificateTests.test_levels",)),
    Gold(13, "tls_client_verify2", ("test_tls_settings.ClientCertificateTests.test_authorities_by_name",)),
    Gold(13, "tls_client_verify3", ("test_gold_tls.ClientVerifyTests.test_tls_client_verify3",)),
    Gold(
        14,
        "tls_client_versions",
        ("test_edge.TLSTests.test_versions_by_name", "test_gold_tls.VersionTests.test_old_versions_are_not_spoken"),
    ),
    Gold(14, "tls_client_versions_minmax", ("test_gold_tls.VersionTests.test_tls_client_versions_minmax",)),
    Gold(
        15,
        "tls_session_reuse",
        (
            "test_gold_tls.SessionTests.test_tls_session_reuse",
            "test_edge.TLSTests.test_sessions_resume",
            "test_sessions.ServerTests.test_reuse",
        ),
    ),
    Gold(16, "tls_ticket", missing="pyOpenSSL cannot be given the keys of tickets, so two servers cannot share them"),
    Gold(
        16,
        "tls_sni_ticket",
        ("test_gold_tls.SessionTests.test_tls_sni_ticket", "test_tls_settings.NameTests.test_tickets"),
        "pyOpenSSL cannot be told how many tickets to send",
    ),
    Gold(17, "tls_tunnel_forward", ("test_gold_routes.ForwardTests.test_tls_tunnel_forward",)),
    Gold(
        17,
        "tls_forward_nonhttp",
        (
            "test_gold_routes.ForwardTests.test_tls_forward_nonhttp",
            "test_bad_input.OriginTests.test_answering_before_it_is_asked",
        ),
    ),
    Gold(
        18,
        "tls_partial_blind_tunnel",
        (
            "test_edge.RouteTests.test_partial_blind",
            "test_edge.RouteTests.test_partial_blind_does_not_promise_what_the_origin_cannot",
        ),
    ),
    Gold(
        19,
        "allow-plain",
        (
            "test_gold_routes.ForwardTests.test_allow_plain",
            "test_first_byte.FirstByteTests.test_clear_text_on_the_same_port",
        ),
    ),
    Gold(20, "proxy_protocol_addressless", ("test_proxy_protocol.InTests.test_over_tls_and_in_clear",)),
    Gold(
        21,
        "tls_reload_under_load",
        (
            "test_gold_reload.ReloadTests.test_tls_reload_under_load",
            "test_edge.ReloadTests.test_under_load",
        ),
    ),
    Gold(
        21,
        "tls_check_cert_selection_reload",
        (
            "test_gold_reload.ReloadTests.test_tls_check_cert_selection_reload",
            "test_reload.SessionTests.test_sessions_go_on",
        ),
    ),
    Gold(21, "tls_sni_yaml_reload", ("test_gold_reload.ReloadTests.test_tls_sni_yaml_reload",)),
    Gold(
        21,
        "ssl_multicert_loader",
        (
            "test_gold_reload.ReloadTests.test_ssl_multicert_loader",
            "test_edge.StartTests.test_a_key_that_is_none",
            "test_edge.StartTests.test_every_mistake_has_its_line",
            "test_edge.ReloadTests.test_read_again",
        ),
    ),
    Gold(
        22,
        "tls_sni_ip_allow",
        (
            "test_edge.RouteTests.test_a_refused_client_never_reaches_the_origin",
            "test_first_byte.FirstByteTests.test_clear_text_goes_on",
            "test_proxy_protocol.InTests.test_which_address_is_looked_at",
        ),
    ),
    Gold(22, "tls_sni_with_port", ("test_counting.CountingTests.test_rules_for_ports",)),
    Gold(
        23,
        "tls_accept_timeout_crash",
        (
            "test_gold_timeouts.HandshakeTimerTests.test_tls_accept_timeout_crash",
            "test_bad_input.DeadlineTests.test_a_connection_lasts_longer",
        ),
    ),
    Gold(
        23,
        "tls_conn_timeout",
        (
            "test_gold_timeouts.ConnectTimerTests.test_tls_conn_timeout",
            "test_bad_input.OriginTests.test_a_client_leaves_while_its_origin_is_dialled",
        ),
    ),
    Gold(
        24,
        "tls_origin_post_abort",
        (
            "test_gold_timeouts.OriginTests.test_tls_origin_post_abort",
            "test_half_close.HalfCloseTests.test_an_origins_reset",
        ),
    ),
    Gold(
        24,
        "default_inactivity_timeout",
        ("test_gold_timeouts.InactivityTests.test_default_inactivity_timeout",),
    ),
    Gold(25, "tls_verify", ("test_gold_tls.VerifyServerTests.test_tls_verify",)),
    Gold(25, "tls_hooks_verify", ("test_gold_hooks.VerifyTests.test_tls_hooks_verify",)),
    Gold(25, "tls_hooks_client_verify", ("test_gold_hooks.VerifyTests.test_tls_hooks_client_verify",)),
    Gold(25, "per_client_connection_max", ("test_counting.CountingTests.test_connections_of_one_address",)),
)
