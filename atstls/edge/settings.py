# -*- test-case-name: tests.test_config -*-
# ruff: noqa: RUF009 (key() makes an attrs field, as attrs.field() does; ruff knows only the latter)
"""
The sections of the configuration of which there is one each, and their keys: name, kind, default and meaning, said
once and here.  Those of which there may be many are in L{atstls.edge.rules}.

The loader (L{atstls.edge.config}), its error messages and the reference (L{atstls.edge.reference}) are all made from
these fields.  The names are Apache Traffic Server's wherever it has one, C{proxy.config.net.X} being C{X} in C{[net]}
and C{proxy.config.ssl.X} being C{X} in C{[ssl]}; what is ours alone says so.

A settings object can be made in Python too, and checks itself as the loader does: C{NetConfig(additional_accepts=4)}.
What holds between two keys, or between two sections, is checked by the loader only.

Source: behaviour 1.12, 1.35; rows N141, A070-A073.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import attrs

from atstls.edge.hookkeys import HookKeys
from atstls.edge.keylog import KeyLogPath
from atstls.edge.places import File, Folder, HostAddress, IPAddress, ServerName
from atstls.edge.tlsfiles import Authorities, Ciphers
from atstls.edge.values import (
    Choice,
    Escaped,
    IPNetwork,
    Networks,
    OrNothing,
    PortRanges,
    ProtocolNames,
    Seconds,
    Switch,
    Whole,
    key,
)
from atstls.tls.contexts import CURVES, VERSIONS
from atstls.tls.renewal import KEY_SECONDS
from atstls.tls.sessions import LIFETIME_SECONDS, SESSIONS
from atstls.tls.verify import VerifyPolicy, VerifyProperties

SOCK_OPTIONS: Final = 7
"""The flags of C{sock_option_flag_*} that a socket here can have, all together: no delay 1, keep alive 2, linger 4."""

VERSION: Final = Choice({name: name for name in VERSIONS})
GROUP: Final = Choice({name: name for name in CURVES})
POLICY: Final = Choice(VerifyPolicy.__members__)
PROPERTIES: Final = Choice(VerifyProperties.__members__)

NO_PERIODS: Final = "nothing waits for a period here, the reactor wakes when something happens"
NO_CALL: Final = "pyOpenSSL has no call for it"
NOT_YET: Final = ""

LATER: Final[Mapping[str, Mapping[str, str]]] = {
    "net": {
        "throttle_delay": "who is too many is closed at once, and does not wait",
        "poll_timeout": NO_PERIODS,
        "accept_period": NO_PERIODS,
        "retry_delay": NO_PERIODS,
        "event_period": NO_PERIODS,
    },
    "ssl": {
        "TLSv1.enabled": "server.version.min says it",
        "TLSv1_1.enabled": "server.version.min and server.version.max say it",
        "TLSv1_2.enabled": "server.version.min and server.version.max say it",
        "TLSv1_3.enabled": "server.version.max says it",
        "client.sni_policy": "what the client asked for is what the next host is asked for",
        "CA.cert.path": "clients are told the names of the authorities in CA.cert.filename",
        "server.dhparams_file": "keys are exchanged by elliptic curves",
        "server.session_ticket.number": NO_CALL,
        "server.ticket_key.filename": NO_CALL,
        "server.max_early_data": NO_CALL,
        "server.multicert.concurrency": "certificates are loaded one after the other",
        "server.cert_compression.algorithms": NO_CALL,
        "session_cache.size": f"{NO_CALL}, and OpenSSL keeps 20480 for each policy",
        "session_cache.num_buckets": "OpenSSL's cache has no such thing",
        "ocsp.enabled": NOT_YET,
        "ocsp.cache_timeout": NOT_YET,
        "ocsp.request_timeout": NOT_YET,
        "ocsp.update_period": NOT_YET,
        "ktls.enabled": "the kernel cannot take over a connection whose ciphertext passes through memory",
        "async.handshake.enabled": "there is no engine that works in the background",
    },
    "certificate": {
        "ssl_ocsp_name": NOT_YET,
    },
}
"""
Keys of Apache Traffic Server's that this version does not have, each with the reason, where there is one: refused as
such, and not as misspelt.
"""

SECTIONS_LATER: Final = frozenset(("log", "admin"))
"""Sections that this version does not have."""


@attrs.frozen(kw_only=True)
class EdgeConfig:
    """The program itself."""

    section: ClassVar[str] = "edge"

    drain_timeout: float = key(
        "drain_timeout",
        Seconds(),
        30.0,
        "After SIGTERM nothing new is accepted, and what is running has this long to end. Ours.",
    )
    half_close_timeout: float = key(
        "half_close_timeout",
        Seconds(positive=True),
        300.0,
        "How long the one direction of a tunnel may be silent after the other has ended. Ours.",
    )


@attrs.frozen(kw_only=True)
class NetConfig:
    """Connections, whatever they carry."""

    section: ClassVar[str] = "net"

    connections_throttle: int = key(
        "connections_throttle",
        Whole(-1),
        30000,
        "More connections than this are refused, those in and those out counted together. 0 is no limit; -1 is what "
        "the limit of descriptors leaves, which is never exceeded.",
    )
    default_inactivity_timeout: float = key(
        "default_inactivity_timeout",
        Seconds(),
        86400.0,
        "A connection on which nothing moves for this long, and which has no timeout of its own, is ended. 0 is never.",
    )
    inactivity_check_frequency: float = key(
        "inactivity_check_frequency",
        Seconds(positive=True),
        1.0,
        "How often timeouts are looked at: one fires at most this much late.",
    )
    connect_timeout: float = key(
        "connect_timeout",
        Seconds(positive=True),
        30.0,
        "How long a connection to the next host may take to be made. Ours, after http.connect_attempts_timeout.",
    )
    connect_ports: tuple[tuple[int, int], ...] = key(
        "connect_ports",
        PortRanges(),
        ((443, 443),),
        "The ports to which a route may lead whose port is a variable. From http.connect_ports.",
    )
    throttle_message: bytes = key(
        "throttle_message",
        Escaped(),
        b"",
        "What some of those who are refused by connections_throttle get to read, on listeners without TLS, before they "
        "are closed; empty is nothing. Ours.",
    )
    max_connections_in: int = key(
        "max_connections_in",
        Whole(0),
        30000,
        "When clients have more connections than this, those that wait for a request are ended, the longest idle one "
        "first. 0 is no limit.",
    )
    max_requests_in: int = key(
        "max_requests_in",
        Whole(0),
        0,
        "Requests beyond this many are refused: by 503 where we speak HTTP, else by closing the connection, since one "
        "that goes on to another host, or to a factory, counts as one request. 0 is no limit.",
    )
    per_client_max_connections_in: int = key(
        "per_client.max_connections_in",
        Whole(0),
        0,
        "Connections from one address; more are closed at once. 0 is no limit.",
    )
    per_client_exempt_list: tuple[IPNetwork, ...] | None = key(
        "per_client.connection.exempt_list",
        OrNothing(Networks()),
        None,
        "The addresses for which that limit is not. From http.per_client.connection.exempt_list.",
    )
    per_client_alert_delay: float = key(
        "per_client.connection.alert_delay",
        Seconds(),
        60.0,
        "The log tells of addresses over that limit at most once in this time. From "
        "http.per_client.connection.alert_delay.",
    )
    additional_accepts: int = key(
        "additional_accepts",
        Whole(-1),
        -1,
        "How many connections more than one a listener accepts in one turn; -1 is all that wait.",
    )
    sock_option_flag_in: int = key(
        "sock_option_flag_in",
        Whole(0, SOCK_OPTIONS),
        1,
        "Options of accepted sockets, added together: 1 no delay, 2 keep alive, 4 linger for 0 seconds.",
    )
    sock_option_flag_out: int = key(
        "sock_option_flag_out",
        Whole(0, SOCK_OPTIONS),
        1,
        "The same for the sockets of connections to the next host.",
    )
    defer_accept: int = key(
        "defer_accept",
        Whole(0),
        0,
        "Seconds for which the system keeps a new connection that has sent nothing, without telling us (Linux); 0 is "
        "none. Not for listeners where the server speaks first.",
    )
    sock_packet_mark_in: int = key(
        "sock_packet_mark_in", Whole(0), 0, "The mark of packets to clients, for the system's rules (Linux); 0 is none."
    )
    sock_packet_mark_out: int = key("sock_packet_mark_out", Whole(0), 0, "The same of packets to the next host.")
    sock_packet_tos_in: int = key(
        "sock_packet_tos_in", Whole(0, 255), 0, "The class of service (TOS, or DSCP and ECN) of packets to clients."
    )
    sock_packet_tos_out: int = key("sock_packet_tos_out", Whole(0, 255), 0, "The same of packets to the next host.")
    sock_recv_buffer_size_in: int = key(
        "sock_recv_buffer_size_in",
        Whole(0),
        0,
        "Bytes of the receive buffer of accepted sockets; 0 leaves it to the system, which then tunes it.",
    )
    sock_send_buffer_size_in: int = key(
        "sock_send_buffer_size_in",
        Whole(0),
        0,
        "Bytes of the send buffer of accepted sockets; 0 leaves it to the system.",
    )
    sock_recv_buffer_size_out: int = key(
        "sock_recv_buffer_size_out",
        Whole(0),
        0,
        "Bytes of the receive buffer of sockets to the next host; 0 leaves it to the system.",
    )
    sock_send_buffer_size_out: int = key(
        "sock_send_buffer_size_out",
        Whole(0),
        0,
        "Bytes of the send buffer of sockets to the next host; 0 leaves it to the system.",
    )


@attrs.frozen(kw_only=True)
class SSLConfig(HookKeys):
    """TLS: "server" is towards clients, "client" is towards the next host."""

    section: ClassVar[str] = "ssl"

    handshake_timeout_in: float = key(
        "handshake_timeout_in",
        Seconds(),
        30.0,
        "How long a handshake may take, from accept on, whatever the client sends meanwhile; 0 is no limit.",
    )
    max_record_size: int = key(
        "max_record_size",
        Whole(-1, 16383),
        0,
        "At most this many bytes in a record that we send; 0 is as many as TLS allows; -1 is small records first, "
        "which a client can read early, and large ones later.",
    )
    server_version_min: str = key("server.version.min", VERSION, "TLSv1.2", "The oldest version spoken with clients.")
    server_version_max: str = key("server.version.max", VERSION, "TLSv1.3", "The youngest version spoken with clients.")
    server_cipher_suite: str = key(
        "server.cipher_suite",
        Ciphers(tls13=False),
        "",
        "OpenSSL's cipher list for TLS 1.2 and older; empty is a current list of ours, forward-secret and AEAD only.",
    )
    server_tls13_cipher_suites: str = key(
        "server.TLSv1_3.cipher_suites",
        Ciphers(tls13=True),
        "",
        "OpenSSL's list of suites for TLS 1.3; empty is all that it has, AES-128 first.",
    )
    server_honor_cipher_order: bool = key(
        "server.honor_cipher_order", Switch(), True, "Whether our order of ciphers counts, and not the client's."
    )
    server_prioritize_chacha: bool = key(
        "server.prioritize_chacha",
        Switch(),
        False,
        "Whether, with our order, a client that puts ChaCha20 first gets it all the same: those do that compute AES "
        "slowly.",
    )
    server_groups_list: str | None = key(
        "server.groups_list",
        OrNothing(GROUP),
        None,
        "The group for the key exchange; empty is OpenSSL's own list. A list of several cannot be set by pyOpenSSL.",
    )
    server_session_ticket_enable: bool = key(
        "server.session_ticket.enable",
        Switch(),
        True,
        "Whether clients get tickets with which to resume a session; without, they resume those of session_cache.",
    )
    server_session_ticket_key_lifetime: float = key(
        "server.session_ticket.key_lifetime",
        Seconds(),
        KEY_SECONDS,
        "How long tickets are sealed with the same key; then there is another one, and who comes back shakes hands in "
        "full, once. 0 is for as long as the program runs. Ours.",
    )
    session_cache: int = key(
        "session_cache",
        Whole(0, 2),
        2,
        "Whether sessions are kept here, for clients that resume without a ticket: 0 is no; 1 and 2, which are two "
        "caches in Apache Traffic Server, are OpenSSL's cache.",
    )
    session_cache_auto_clear: bool = key(
        "session_cache.auto_clear",
        Switch(),
        True,
        "Whether the cache is now and then looked through for sessions that are too old; with 0 they stay until they "
        "are in the way.",
    )
    session_cache_timeout: int = key(
        "session_cache.timeout", Whole(0), 0, "How many seconds a session can be resumed; 0 is OpenSSL's own time."
    )
    allow_client_renegotiation: bool = key(
        "allow_client_renegotiation",
        Switch(),
        False,
        "Whether a TLS 1.2 client may start a new handshake in mid-connection: at most three times in ten minutes, and "
        "never where clients are asked for a certificate.",
    )
    server_strict_sni: bool = key(
        "server.strict_sni",
        Switch(),
        False,
        "Whether a client is refused, with the alert unrecognized_name, that asks for a name for which there is no "
        "certificate; 0 shows it the default one. Ours.",
    )
    keylog_file: Path | None = key(
        "keylog_file",
        OrNothing(KeyLogPath()),
        None,
        "A file to which the secrets of all connections, on both sides, are added in NSS's format: who has it can read "
        "them all. Empty is none.",
    )
    wire_trace_enabled: bool = key(
        "wire_trace_enabled",
        Switch(),
        False,
        "Whether what is said inside TLS is written to the log, in clear, for connections for which the other three "
        "keys hold; see the manual.",
    )
    wire_trace_percentage: int = key(
        "wire_trace_percentage",
        Whole(0, 100),
        0,
        "So many of a hundred of these connections are traced, by chance; 0 is none.",
    )
    wire_trace_addr: IPAddress | None = key(
        "wire_trace_addr", OrNothing(HostAddress()), None, "Only connections from this address are; empty is from all."
    )
    wire_trace_server_name: str | None = key(
        "wire_trace_server_name",
        OrNothing(ServerName()),
        None,
        "Only connections that ask for this name are; empty is for all, and those that ask for none.",
    )
    client_certification_level: int = key(
        "client.certification_level",
        Whole(0, 2),
        0,
        "Whether clients are asked for a certificate: 0 is no; 1 is yes, and one that is shown must be good; 2 is that "
        "without a good one there is no connection.",
    )
    ca_cert_filename: Path | None = key(
        "CA.cert.filename",
        OrNothing(Authorities()),
        None,
        "The authorities trusted to sign certificates of clients, in PEM; needed to ask for one.",
    )
    server_cert_path: Path | None = key(
        "server.cert.path",
        OrNothing(Folder()),
        None,
        "The directory of the relative paths in ssl_cert_name; empty is that of this file.",
    )
    server_private_key_path: Path | None = key(
        "server.private_key.path",
        OrNothing(Folder()),
        None,
        "The directory of the relative paths in ssl_key_name; empty is that of this file.",
    )
    multicert_exit_on_load_fail: bool = key(
        "server.multicert.exit_on_load_fail",
        Switch(),
        True,
        "Whether a certificate that cannot be loaded stops the program from starting; 0 leaves that one out, and the "
        "log says so.",
    )
    client_version_min: str = key(
        "client.version.min", VERSION, "TLSv1.2", "The oldest version spoken with the next host."
    )
    client_version_max: str = key(
        "client.version.max", VERSION, "TLSv1.3", "The youngest version spoken with the next host."
    )
    client_cipher_suite: str = key(
        "client.cipher_suite",
        Ciphers(tls13=False),
        "",
        "As server.cipher_suite, towards the next host.",
    )
    client_tls13_cipher_suites: str = key(
        "client.TLSv1_3.cipher_suites",
        Ciphers(tls13=True),
        "",
        "As server.TLSv1_3.cipher_suites, towards the next host.",
    )
    client_verify_server_policy: VerifyPolicy = key(
        "client.verify.server.policy",
        POLICY,
        VerifyPolicy.ENFORCED,
        "What follows when the next host's certificate is not good: nothing, a warning in the log, the end.",
    )
    client_verify_server_properties: VerifyProperties = key(
        "client.verify.server.properties",
        PROPERTIES,
        VerifyProperties.ALL,
        "What of that certificate is looked at: who signed it, the name in it, or both.",
    )
    client_ca_cert_filename: Path | None = key(
        "client.CA.cert.filename",
        OrNothing(Authorities()),
        None,
        "The authorities trusted to sign certificates of next hosts, in PEM; empty is the system's.",
    )
    client_ca_cert_path: Path | None = key(
        "client.CA.cert.path",
        OrNothing(Folder()),
        None,
        "A directory of such authorities with hashed names, as openssl rehash makes it; beside the file or without.",
    )
    client_cert_filename: Path | None = key(
        "client.cert.filename",
        OrNothing(File()),
        None,
        "The certificate that we show to next hosts, in PEM, its chain behind it; empty is none.",
    )
    client_private_key_filename: Path | None = key(
        "client.private_key.filename",
        OrNothing(File()),
        None,
        "The key of that certificate, in PEM; empty when it is in the same file.",
    )
    origin_session_cache_enabled: bool = key(
        "origin_session_cache.enabled",
        Switch(),
        True,
        "Whether sessions with next hosts are kept, so that the next connection under the same settings, for the same "
        "name, to the same address need not shake hands in full.",
    )
    origin_session_cache_size: int = key(
        "origin_session_cache.size",
        Whole(1),
        SESSIONS,
        "How many are kept; the oldest goes first.",
    )
    origin_session_cache_timeout: float = key(
        "origin_session_cache.timeout",
        Seconds(positive=True),
        LIFETIME_SECONDS,
        "How long one is used after the handshake in which the next host showed its certificate. Ours.",
    )
    client_alpn_protocols: tuple[bytes, ...] = key(
        "client.alpn_protocols",
        ProtocolNames(),
        (),
        "The protocols that we offer to next hosts, the preferred one first; empty is no offer.",
    )
