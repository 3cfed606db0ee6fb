# -*- test-case-name: tests.test_statistics -*-
"""
What the process counts, under Traffic Server's names (C{proxy.process.net.read_bytes}).

There is one L{Registry} in a process.  Whoever counts does it by a plain addition to an attribute of the one
L{Counters}, C{counters.total_accepts += 1}: no lock, since one thread moves all connections, no name looked up, no
call.  That is what a connection pays, a few times in its life.  Nothing is added for a piece that is read or written:

  - bytes are counted by the VIO that moves them anyhow (C{ndone}), and added up when it is done with;
  - reads and writes are counted by the handler, a whole turn at a time.

What can be seen by looking is not counted at all, but looked at when somebody asks: how many connections are open, what
those have read so far.  Who knows such a thing tells the registry (L{Registry.watch}) and is asked by each snapshot; so
a snapshot holds the bytes of connections that are open, to the last one, and costs a look at each of them.

The table of what there is, is L{Counters} itself: each field has its L{Statistic}, and L{TABLE} has them all.  To count
something new: add a field, and the addition where it happens; it is in snapshots and in the manual then.

Source: behaviour 1.34, N140, S114; ATS C{P_Net.h}, C{SSLStats.cc}.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from enum import Enum
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from attrs import define, field, fields, frozen

HANDSHAKE_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""What bounds the classes of handshakes: from a neighbour's to one that has nearly met its deadline."""


class Kind(Enum):
    """What may be done with a value."""

    COUNTER = "counter"
    """It only grows, from the start of the process: take differences."""
    GAUGE = "gauge"
    """How it is now."""
    HISTOGRAM = "histogram"
    """A L{Distribution}, each of whose numbers only grows."""


@frozen
class Statistic:
    """
    One thing that is counted.

    @ivar name: what a snapshot calls it.  In angle brackets stands what there is one of each for.
    @ivar where: the module that counts.
    @ivar ours: Traffic Server has nothing by this name.
    """

    name: str
    kind: Kind
    where: str
    meaning: str
    ours: bool = False


@frozen
class Distribution:
    """
    How many values fell into which class.

    @ivar bounds: the upper bound of each class but the last, which has none; a value at a bound is within.
    @ivar counts: how many, class by class; one more than C{bounds}.
    @ivar total: the sum of the values.
    """

    bounds: tuple[float, ...] = HANDSHAKE_SECONDS
    counts: tuple[int, ...] = (0,) * (len(HANDSHAKE_SECONDS) + 1)
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def __add__(self, other: "Distribution") -> "Distribution":
        counts = tuple(mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        return Distribution(self.bounds, counts, self.total + other.total)

    def __sub__(self, other: "Distribution") -> "Distribution":
        counts = tuple(mine - theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        return Distribution(self.bounds, counts, self.total - other.total)


class Histogram:
    """A L{Distribution} that grows."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = HANDSHAKE_SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def so_far(self) -> Distribution:
        """What it is now."""
        return Distribution(self.bounds, tuple(self.counts), self.total)


class HandshakeKind(NamedTuple):
    """
    What is told apart of handshakes that succeeded.

    @ivar outbound: we were the client.
    @ivar version: as OpenSSL names it, C{TLSv1.3}.
    @ivar cipher: its suite, in OpenSSL's words.
    @ivar group: of the key exchange; C{None}: there was none, as when TLS 1.2 resumes a session.
    """

    outbound: bool
    version: str
    cipher: str
    group: str | None


_STATISTIC: Final = "statistic"


def _counter(name: str, where: str, meaning: str, ours: bool = False) -> Any:
    statistic = Statistic(f"proxy.process.{name}", Kind.COUNTER, where, meaning, ours)
    return field(default=0, metadata={_STATISTIC: statistic})


def _gauge(name: str, where: str, meaning: str) -> Any:
    return field(default=0, metadata={_STATISTIC: Statistic(f"proxy.process.{name}", Kind.GAUGE, where, meaning)})


@define(eq=False, kw_only=True)
class Counters:
    """
    The numbers.  Theirs is L{TABLE}'s meaning, in this order.

    Gauges that are looked at are 0 here, except in what L{Registry.totals} gives.

    @ivar handshakes: those that succeeded, by what they were.
    """

    # net
    total_accepts: int = _counter(
        "tcp.total_accepts",
        "net/accept.py",
        "Connections that the kernel gave us, also those that were closed at once.",
    )
    accepts_currently_open: int = _gauge("net.accepts_currently_open", "net/accept.py", "Listening sockets.")
    connections_currently_open: int = _gauge(
        "net.connections_currently_open", "net/handler.py", "Connections that have a descriptor, both ways."
    )
    connections_throttled_in: int = _counter(
        "net.connections_throttled_in", "net/throttle.py", "Connections closed at once, since there were too many."
    )
    connections_throttled_out: int = _counter(
        "net.connections_throttled_out", "net/throttle.py", "Connections not begun, since there were too many."
    )
    per_client_connections_throttled_in: int = _counter(
        "net.per_client.connections_throttled_in",
        "net/perclient.py",
        "Connections closed at once, since there were too many of one address.",
    )
    per_client_connections_exempt_in: int = _counter(
        "net.per_client.connections_exempt_in",
        "net/perclient.py",
        "Connections of which there were too many of one address, let in all the same.",
    )
    connection_tracker_table_size: int = _gauge(
        "net.connection_tracker_table_size", "net/perclient.py", "Addresses whose connections are counted."
    )
    requests_throttled_in: int = _counter(
        "net.max.requests_throttled_in", "net/queues.py", "Times that the active queue had no room for a connection."
    )
    dynamic_keep_alive_timeout_in_count: int = _counter(
        "net.dynamic_keep_alive_timeout_in_count",
        "net/queues.py",
        "Connections of the keep-alive queue that were told a timeout.",
    )
    dynamic_keep_alive_timeout_in_total: float = _counter(
        "net.dynamic_keep_alive_timeout_in_total", "net/queues.py", "Seconds that those had been silent, together."
    )
    default_inactivity_timeout_count: int = _counter(
        "net.default_inactivity_timeout_count",
        "net/cop.py",
        "Connections without a timeout of their own that were told that of ``default_inactivity_timeout``.",
    )
    net_handler_run: int = _counter("net.net_handler_run", "net/handler.py", "Turns.")
    calls_to_readfromnet: int = _counter(
        "net.calls_to_readfromnet", "net/handler.py", "Connections found on the read list, turn by turn."
    )
    calls_to_writetonet: int = _counter(
        "net.calls_to_writetonet", "net/handler.py", "Connections found on the write list, turn by turn."
    )
    calls_to_read_nodata: int = _counter(
        "net.calls_to_read_nodata", "net/unixvc.py", "System calls that found nothing to read."
    )
    calls_to_write_nodata: int = _counter(
        "net.calls_to_write_nodata", "net/unixvc.py", "System calls that found no room to write."
    )
    read_bytes: int = _counter(
        "net.read_bytes", "eventsystem/vio.py", "Bytes that connections gave their users; over TLS: plaintext."
    )
    write_bytes: int = _counter(
        "net.write_bytes", "eventsystem/vio.py", "Bytes that connections took of their users; over TLS: plaintext."
    )

    # ssl
    total_attempts_handshake_count_in: int = _counter(
        "ssl.total_attempts_handshake_count_in",
        "ssl/sslvc.py",
        "Connections of clients whose first message was waited for.",
    )
    total_attempts_handshake_count_out: int = _counter(
        "ssl.total_attempts_handshake_count_out", "ssl/sslvc.py", "Handshakes begun with origins."
    )
    total_failed_handshake_count_in: int = _counter(
        "ssl.total_failed_handshake_count_in",
        "ssl/tally.py",
        "Of those of clients: failed, or the client left.",
        ours=True,
    )
    total_failed_handshake_count_out: int = _counter(
        "ssl.total_failed_handshake_count_out",
        "ssl/tally.py",
        "Of those with origins: failed, or the origin left.",
        ours=True,
    )
    total_timed_out_handshake_count_in: int = _counter(
        "ssl.total_timed_out_handshake_count_in",
        "ssl/tally.py",
        "Of those of clients: met ``handshake_timeout_in``.",
        ours=True,
    )
    total_timed_out_handshake_count_out: int = _counter(
        "ssl.total_timed_out_handshake_count_out",
        "ssl/tally.py",
        "Of those with origins: met their deadline.",
        ours=True,
    )
    total_abandoned_handshake_count_in: int = _counter(
        "ssl.total_abandoned_handshake_count_in",
        "ssl/tally.py",
        "Of those of clients: closed from this side.",
        ours=True,
    )
    total_abandoned_handshake_count_out: int = _counter(
        "ssl.total_abandoned_handshake_count_out",
        "ssl/tally.py",
        "Of those with origins: closed from this side.",
        ours=True,
    )
    total_tunnelled_handshake_count_in: int = _counter(
        "ssl.total_tunnelled_handshake_count_in",
        "ssl/sslvc.py",
        "Of those of clients: passed on untouched, or served in clear.",
        ours=True,
    )
    total_handshake_bytes_read_in: int = _counter(
        "ssl.total_handshake_bytes_read_in", "ssl/sslvc.py", "Bytes that handshakes of ours brought in, both ways."
    )
    total_handshake_bytes_write_out: int = _counter(
        "ssl.total_handshake_bytes_write_out", "ssl/sslvc.py", "Bytes that they sent out."
    )
    connections_closed: int = _counter(
        "ssl.connections_closed", "ssl/sslvc.py", "Connections on TLS ports, and to origins over TLS, that were freed."
    )
    default_record_size_count: int = _counter(
        "ssl.default_record_size_count", "ssl/sslvc.py", "Small records, where ``max_record_size`` is -1."
    )
    max_record_size_count: int = _counter(
        "ssl.max_record_size_count", "ssl/sslvc.py", "Large records, where ``max_record_size`` is -1."
    )
    ssl_error_ssl: int = _counter("ssl.ssl_error_ssl", "tls/engine.py", "Times that OpenSSL found a stream broken.")
    ssl_error_syscall: int = _counter(
        "ssl.ssl_error_syscall",
        "ssl/sslvc.py",
        "TCP connections that broke or ended under a handshake, or broke under TLS.",
    )
    ssl_error_read_eos: int = _counter(
        "ssl.ssl_error_read_eos", "ssl/sslvc.py", "Streams that ended without close_notify."
    )
    ssl_error_zero_return: int = _counter(
        "ssl.ssl_error_zero_return", "ssl/sslvc.py", "Streams that ended with close_notify."
    )
    ssl_sni_name_set_failure: int = _counter(
        "ssl.ssl_sni_name_set_failure",
        "tls/engine.py",
        "Names that could not be sent to an origin, since they are none.",
    )
    user_agent_session_hit: int = _counter(
        "ssl.user_agent_session_hit", "ssl/tally.py", "Clients that resumed a session."
    )
    user_agent_session_miss: int = _counter(
        "ssl.user_agent_session_miss", "ssl/tally.py", "Clients that brought one, and could not resume it."
    )
    total_ticket_keys_renewed: int = _counter(
        "ssl.total_ticket_keys_renewed", "tls/renewal.py", "Changes of the key by which tickets are sealed."
    )
    total_tickets_verified: int = _counter(
        "ssl.total_tickets_verified", "ssl/tally.py", "Tickets by which clients resumed a session."
    )
    total_tickets_not_found: int = _counter(
        "ssl.total_tickets_not_found",
        "ssl/tally.py",
        "Tickets that were of no use: of an unknown key, too old, or earned under another policy.",
    )
    origin_session_reused: int = _counter(
        "ssl.origin_session_reused", "ssl/tally.py", "Sessions that were resumed with origins."
    )
    ssl_origin_session_cache_hit: int = _counter(
        "ssl.ssl_origin_session_cache_hit", "tls/sessions.py", "Sessions that were offered to origins."
    )
    ssl_origin_session_cache_miss: int = _counter(
        "ssl.ssl_origin_session_cache_miss",
        "tls/sessions.py",
        "Connections to origins for which there was no session to offer.",
    )
    ssl_origin_session_cache_timeout: int = _counter(
        "ssl.ssl_origin_session_cache_timeout",
        "tls/sessions.py",
        "Sessions with origins whose time was up when they were wanted; each is a miss as well.",
    )
    user_agent_bad_cert: int = _counter(
        "ssl.user_agent_bad_cert", "ssl/tally.py", "Alerts of a client: bad_certificate."
    )
    user_agent_cert_verify_failed: int = _counter(
        "ssl.user_agent_cert_verify_failed", "ssl/tally.py", "Certificates of a client that we did not accept."
    )
    user_agent_decryption_failed: int = _counter(
        "ssl.user_agent_decryption_failed", "ssl/tally.py", "Alerts of a client: decryption_failed."
    )
    user_agent_decryption_failed_or_bad_record_mac: int = _counter(
        "ssl.user_agent_decryption_failed_or_bad_record_mac",
        "ssl/tally.py",
        "Records of a client that were not what was sent, or not by whom we spoke with.",
    )
    user_agent_expired_cert: int = _counter(
        "ssl.user_agent_expired_cert", "ssl/tally.py", "Alerts of a client: certificate_expired."
    )
    user_agent_http_request: int = _counter(
        "ssl.user_agent_http_request", "ssl/tally.py", "HTTP in clear where TLS was due."
    )
    user_agent_inappropriate_fallback: int = _counter(
        "ssl.user_agent_inappropriate_fallback",
        "ssl/tally.py",
        "Clients that fell back to a version below the best of both.",
    )
    user_agent_no_shared_cipher: int = _counter(
        "ssl.user_agent_no_shared_cipher", "ssl/tally.py", "Clients with which we have no cipher suite in common."
    )
    user_agent_revoked_cert: int = _counter(
        "ssl.user_agent_revoked_cert", "ssl/tally.py", "Alerts of a client: certificate_revoked."
    )
    user_agent_unknown_ca: int = _counter(
        "ssl.user_agent_unknown_ca", "ssl/tally.py", "Alerts of a client: unknown_ca."
    )
    user_agent_unknown_cert: int = _counter(
        "ssl.user_agent_unknown_cert", "ssl/tally.py", "Alerts of a client: certificate_unknown."
    )
    user_agent_version_too_low: int = _counter(
        "ssl.user_agent_version_too_low", "ssl/tally.py", "Clients whose version was too low."
    )
    user_agent_wrong_version: int = _counter(
        "ssl.user_agent_wrong_version", "ssl/tally.py", "No version of TLS in common with a client, or none spoken."
    )
    user_agent_other_errors: int = _counter(
        "ssl.user_agent_other_errors", "ssl/tally.py", "What else made a client fail, ours included."
    )
    origin_server_bad_cert: int = _counter(
        "ssl.origin_server_bad_cert", "ssl/tally.py", "Alerts of an origin: bad_certificate."
    )
    origin_server_cert_verify_failed: int = _counter(
        "ssl.origin_server_cert_verify_failed", "ssl/tally.py", "Certificates of an origin that we did not accept."
    )
    origin_server_decryption_failed: int = _counter(
        "ssl.origin_server_decryption_failed", "ssl/tally.py", "Alerts of an origin: decryption_failed."
    )
    origin_server_expired_cert: int = _counter(
        "ssl.origin_server_expired_cert", "ssl/tally.py", "Alerts of an origin: certificate_expired."
    )
    origin_server_revoked_cert: int = _counter(
        "ssl.origin_server_revoked_cert", "ssl/tally.py", "Alerts of an origin: certificate_revoked."
    )
    origin_server_unknown_ca: int = _counter(
        "ssl.origin_server_unknown_ca", "ssl/tally.py", "Alerts of an origin: unknown_ca."
    )
    origin_server_unknown_cert: int = _counter(
        "ssl.origin_server_unknown_cert", "ssl/tally.py", "Alerts of an origin: certificate_unknown."
    )
    origin_server_wrong_version: int = _counter(
        "ssl.origin_server_wrong_version", "ssl/tally.py", "No version of TLS in common with an origin, or none spoken."
    )
    origin_server_other_errors: int = _counter(
        "ssl.origin_server_other_errors", "ssl/tally.py", "What else made an origin fail, ours included."
    )

    # tunnel
    total_client_connections_blind_tcp: int = _counter(
        "tunnel.total_client_connections_blind_tcp",
        "edge/tunnels.py",
        "Connections of clients joined with an origin, without TLS, or of which it is not known.",
    )
    current_client_connections_blind_tcp: int = _gauge(
        "tunnel.current_client_connections_blind_tcp", "edge/tunnels.py", "How many of those there are."
    )
    total_client_connections_tls_tunnel: int = _counter(
        "tunnel.total_client_connections_tls_tunnel",
        "edge/tunnels.py",
        "Connections of clients joined with an origin, over TLS that are passed on untouched.",
    )
    current_client_connections_tls_tunnel: int = _gauge(
        "tunnel.current_client_connections_tls_tunnel", "edge/tunnels.py", "How many of those there are."
    )
    total_client_connections_tls_forward: int = _counter(
        "tunnel.total_client_connections_tls_forward",
        "edge/tunnels.py",
        "Connections of clients joined with an origin, whose TLS ends here, and whose plaintext goes on.",
    )
    current_client_connections_tls_forward: int = _gauge(
        "tunnel.current_client_connections_tls_forward", "edge/tunnels.py", "How many of those there are."
    )
    total_client_connections_tls_partial_blind: int = _counter(
        "tunnel.total_client_connections_tls_partial_blind",
        "edge/tunnels.py",
        "Connections of clients joined with an origin, whose TLS ends here, and that go on over TLS.",
    )
    current_client_connections_tls_partial_blind: int = _gauge(
        "tunnel.current_client_connections_tls_partial_blind", "edge/tunnels.py", "How many of those there are."
    )
    total_server_connections_blind_tcp: int = _counter(
        "tunnel.total_server_connections_blind_tcp",
        "edge/tunnels.py",
        "Connections to origins that those were joined with, without TLS.",
    )
    current_server_connections_blind_tcp: int = _gauge(
        "tunnel.current_server_connections_blind_tcp", "edge/tunnels.py", "How many of those there are."
    )
    total_server_connections_tls: int = _counter(
        "tunnel.total_server_connections_tls",
        "edge/tunnels.py",
        "Connections to origins that those were joined with, over TLS.",
    )
    current_server_connections_tls: int = _gauge(
        "tunnel.current_server_connections_tls", "edge/tunnels.py", "How many of those there are."
    )

    handshakes: dict[HandshakeKind, Histogram] = field(factory=dict)

    def handshake_done(self, kind: HandshakeKind, seconds: float) -> None:
        """A handshake has succeeded, C{seconds} after it began."""
        histogram = self.handshakes.get(kind)
        if histogram is None:
            histogram = self.handshakes[kind] = Histogram()
        histogram.add(seconds)


def _of_handshakes(name: str, kind: Kind, meaning: str, ours: bool = False) -> Statistic:
    return Statistic(f"proxy.process.ssl.{name}", kind, "ssl/tally.py", meaning, ours)


_VERSIONS: Final = {"TLSv1": "tlsv1", "TLSv1.1": "tlsv11", "TLSv1.2": "tlsv12", "TLSv1.3": "tlsv13"}

_HANDSHAKES: Final = (
    _of_handshakes("total_success_handshake_count_in", Kind.COUNTER, "Handshakes of clients that succeeded."),
    _of_handshakes("total_success_handshake_count_out", Kind.COUNTER, "Handshakes with origins that succeeded."),
    _of_handshakes(
        "total_handshake_time",
        Kind.COUNTER,
        "Milliseconds that the handshakes of clients took, of those that succeeded.",
    ),
    _of_handshakes(
        "handshake_time_in", Kind.HISTOGRAM, "Seconds that those took, each from accept to the last message.", ours=True
    ),
    _of_handshakes(
        "handshake_time_out",
        Kind.HISTOGRAM,
        "Seconds that handshakes with origins took, of those that succeeded, the TCP connection included.",
        ours=True,
    ),
    *(
        _of_handshakes(f"ssl_total_{word}", Kind.COUNTER, f"Handshakes that agreed on {version}, both ways.")
        for version, word in _VERSIONS.items()
    ),
    _of_handshakes("cipher.user_agent.<cipher>", Kind.COUNTER, "Handshakes of clients that agreed on this suite."),
    _of_handshakes(
        "group.user_agent.<group>", Kind.COUNTER, "Handshakes of clients that exchanged keys in this group."
    ),
    _of_handshakes("group.user_agent.<group>.handshake_time", Kind.COUNTER, "Milliseconds that those took."),
)

TABLE: Final = (
    *(each.metadata[_STATISTIC] for each in fields(Counters) if _STATISTIC in each.metadata),
    *_HANDSHAKES,
)
"""All that a snapshot may hold."""

GAUGES: Final = frozenset(statistic.name for statistic in TABLE if statistic.kind is Kind.GAUGE)

_ATTRIBUTES: Final = {
    each.metadata[_STATISTIC].name: each.name for each in fields(Counters) if _STATISTIC in each.metadata
}


def _handshake_values(handshakes: Mapping[HandshakeKind, Histogram]) -> dict[str, Any]:
    """What L{_HANDSHAKES} tells of."""
    ways = [Distribution(), Distribution()]
    milliseconds: dict[str, float] = {}
    counts = {f"ssl_total_{word}": 0 for word in _VERSIONS.values()}
    for kind, histogram in handshakes.items():
        taken = histogram.so_far()
        ways[kind.outbound] += taken
        names = [f"ssl_total_{_VERSIONS[kind.version]}"] if kind.version in _VERSIONS else []
        if not kind.outbound:
            names.append(f"cipher.user_agent.{kind.cipher}")
            if kind.group is not None:
                group = f"group.user_agent.{kind.group}"
                names.append(group)
                milliseconds[group] = milliseconds.get(group, 0.0) + taken.total * 1000
        for name in names:
            counts[name] = counts.get(name, 0) + taken.count
    inbound, outbound = ways
    values = {
        "total_success_handshake_count_in": inbound.count,
        "total_success_handshake_count_out": outbound.count,
        "total_handshake_time": int(inbound.total * 1000),
        "handshake_time_in": inbound,
        "handshake_time_out": outbound,
        **counts,
        **{f"{group}.handshake_time": int(spent) for group, spent in milliseconds.items()},
    }
    return {f"proxy.process.ssl.{name}": value for name, value in values.items()}


class Snapshot(Mapping[str, Any]):
    """
    All values at one time, by name: numbers, and L{Distribution}s.

    C{later - earlier} is what was between the two: of counters and distributions the difference; of gauges, that have
    none of a meaning, how they were at the later time.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        counted = {name: value for name, value in self._values.items() if value != 0 and value != Distribution()}
        return f"<{type(self).__name__} {counted}>"

    def __sub__(self, earlier: "Snapshot") -> "Snapshot":
        return Snapshot(
            {
                name: value if name in GAUGES or name not in earlier else value - earlier[name]
                for name, value in self._values.items()
            }
        )

    def plain(self) -> dict[str, Any]:
        """
        The same of what JSON has.

        A distribution is C{buckets}, which has for each bound how many values were not above it, C{count} and C{sum}.
        """
        return {
            name: _plain(value) if isinstance(value, Distribution) else value for name, value in self._values.items()
        }


def _plain(value: Distribution) -> dict[str, Any]:
    buckets = {}
    so_far = 0
    for bound, count in zip(value.bounds, value.counts, strict=False):
        so_far += count
        buckets[f"{bound:g}"] = so_far
    return {"buckets": buckets, "count": value.count, "sum": value.total}


Look = Callable[[Any, Counters], None]
"""Given what it looks at, and the numbers to add to, what it finds."""


class Registry:
    """
    Where all of it is read.

    Only the thread that moves the connections may ask.

    @ivar counters: what was counted.
    """

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self._looks: WeakKeyDictionary[Any, list[Look]] = WeakKeyDictionary()

    def watch(self, owner: Any, look: Look) -> None:
        """
        Ask C{look(owner, totals)} for each snapshot, as long as C{owner} exists: it adds to C{totals} what is not
        counted, but there to be seen.
        """
        self._looks.setdefault(owner, []).append(look)

    def totals(self) -> Counters:
        """A copy of what was counted, to which has been added what can be seen."""
        totals = copy(self.counters)
        for owner, looks in list(self._looks.items()):
            for look in looks:
                look(owner, totals)
        return totals

    def snapshot(self) -> Snapshot:
        """All values, now."""
        totals = self.totals()
        values = {name: getattr(totals, attribute) for name, attribute in _ATTRIBUTES.items()}
        return Snapshot(values | _handshake_values(totals.handshakes))


counters: Final = Counters()
"""The numbers of this process."""

registry: Final = Registry(counters)
"""And where they are read."""
