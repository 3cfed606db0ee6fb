# -*- test-case-name: tests.test_statistics_tls -*-
"""
Tests for L{atstls.ssl.tally}, and for what else TLS connections count: each by what happens over a connection.
"""

import errno
import random
from typing import Any
from weakref import WeakKeyDictionary

from attrs import evolve
from OpenSSL import SSL
from twisted.trial.unittest import SkipTest

from atstls.errors import HandshakeFailed
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.net.cop import InactivityCop
from atstls.net.handler import look_at_connections
from atstls.ssl.fronts import fronts
from atstls.ssl.sslvc import NOT_TLS_PLAIN, NOT_TLS_TUNNEL
from atstls.statistics import TABLE, Distribution, registry
from atstls.tls import alerts
from atstls.tls.contexts import ClientVerification, ServerSettings
from atstls.tls.engine import CffiEngine
from atstls.tls.hooks import PARKED
from atstls.tls.phases import Phase
from atstls.tls.sessions import OriginSessions
from tests.support import RecordingContinuation, fill, reset, tcp_pair
from tests.tlssupport import (
    OTHER_CA,
    OverTLS,
    TLSPeer,
    ca_file,
    client_policy,
    hook_set,
    issue,
    peer_client_context,
    server_policy,
)

SSL_PREFIX = "proxy.process.ssl."

ALERTS = {
    alerts.BAD_CERTIFICATE: "bad_cert",
    alerts.CERTIFICATE_REVOKED: "revoked_cert",
    alerts.CERTIFICATE_EXPIRED: "expired_cert",
    alerts.CERTIFICATE_UNKNOWN: "unknown_cert",
    alerts.UNKNOWN_CA: "unknown_ca",
    alerts.PROTOCOL_VERSION: "wrong_version",
    21: "decryption_failed",
    alerts.HANDSHAKE_FAILURE: "other_errors",
    alerts.INTERNAL_ERROR: "other_errors",
}
"""What a peer may say, and how it is counted."""

WAYS = {
    "in": {
        "attempts": "total_attempts_handshake_count_in",
        "success": "total_success_handshake_count_in",
        "failed": "total_failed_handshake_count_in",
        "timed_out": "total_timed_out_handshake_count_in",
        "abandoned": "total_abandoned_handshake_count_in",
        "tunnelled": "total_tunnelled_handshake_count_in",
    },
    "out": {
        "attempts": "total_attempts_handshake_count_out",
        "success": "total_success_handshake_count_out",
        "failed": "total_failed_handshake_count_out",
        "timed_out": "total_timed_out_handshake_count_out",
        "abandoned": "total_abandoned_handshake_count_out",
    },
}
"""How a handshake may end."""

REASONS = [
    each.name.removeprefix(SSL_PREFIX)
    for each in TABLE
    if each.name.startswith((SSL_PREFIX + "user_agent_", SSL_PREFIX + "origin_server_")) and "session" not in each.name
]


class Counting(OverTLS):
    """What they share: the statistics of this test alone."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(registry, "_looks", WeakKeyDictionary())
        registry.watch(self.handler, look_at_connections)
        self.restart()

    def restart(self) -> None:
        """Count from here on."""
        self.before = registry.snapshot()

    def counted(self, *names: str) -> Any:
        """Values of C{proxy.process.ssl}, since L{restart}."""
        moved = registry.snapshot() - self.before
        values = [moved[SSL_PREFIX + name] for name in names]
        return values[0] if len(names) == 1 else tuple(values)

    def reasons(self) -> dict[str, int]:
        """How many failed, by why."""
        return {name: value for name, value in zip(REASONS, self.counted(*REASONS), strict=True) if value}

    def handshakes(self, way: str = "in") -> dict[str, int]:
        """How those that were attempted have gone; what is missing goes on."""
        found = {end: self.counted(name) for end, name in WAYS[way].items()}
        self.assertEqual(
            2 * found["attempts"] - sum(found.values()),
            sum(vc.is_client == (way == "out") and self.goes_on(vc) for vc in self.handler.open_list),
        )
        return {end: count for end, count in found.items() if count}

    def goes_on(self, vc: Any) -> bool:
        return vc.phase in (Phase.HELLO, Phase.ROUTE, Phase.HANDSHAKE, Phase.VERIFY)

    def waiting(self, vc: Any) -> RecordingContinuation:
        """Who asks for the end of the handshake."""
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        return cont

    def up_to(self, phase: Phase) -> tuple[Any, Any]:
        """A connection of a client that says no more when it has come to C{phase}."""
        vc, sock = self.accept(pair=tcp_pair())
        self.waiting(vc)
        peer = self.client(sock)
        self.reactor.settle()
        peer._step()
        if phase is Phase.HELLO:
            sock.send(peer.to_send[:20])
        else:
            peer._send()
        self.reactor.turn_until(lambda: vc.phase is phase)
        return vc, sock


class SuccessTests(Counting):
    """
    Handshakes that come to a good end.
    """

    def test_inbound(self) -> None:
        """It is one of its version, its suite and its group, and its time is among the times."""
        vc, sock = self.accept()
        self.waiting(vc)
        self.reactor.advance(0.25)
        self.assertEqual({"attempts": 1}, self.handshakes())
        self.run_peers(self.client(sock))
        self.assertEqual({"attempts": 1, "success": 1}, self.handshakes())
        self.assertEqual({}, self.handshakes("out"))
        versions = self.counted("ssl_total_tlsv1", "ssl_total_tlsv11", "ssl_total_tlsv12", "ssl_total_tlsv13")
        self.assertEqual((0, 0, *((1, 0) if self.version == "TLSv1.2" else (0, 1))), versions)
        cipher = {"TLSv1.2": "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.3": "TLS_AES_128_GCM_SHA256"}[self.version]
        self.assertEqual(1, self.counted(f"cipher.user_agent.{cipher}"))
        self.assertEqual(cipher, vc.get_ssl_cipher_suite())
        group = "group.user_agent.secp256r1"
        times = self.counted("handshake_time_in")
        self.assertEqual((1, 1, vc.handshake_seconds), (self.counted(group), times.count, times.total))
        self.assertGreaterEqual(times.total, 0.25)
        self.assertEqual((0,) * 7, times.counts[:7])
        milliseconds = int(vc.handshake_seconds * 1000)
        self.assertTrue(
            all(
                milliseconds <= value <= milliseconds + 1
                for value in self.counted("total_handshake_time", group + ".handshake_time")
            )
        )
        self.assertEqual((0, {}), (self.counted("handshake_time_out").count, self.reasons()))

    def test_outbound(self) -> None:
        """It is counted for itself, and is none of the clients'."""
        vc, _peer, _ = self.connected()
        self.assertEqual(({}, {"attempts": 1, "success": 1}), (self.handshakes(), self.handshakes("out")))
        self.assertEqual(1, self.counted({"TLSv1.2": "ssl_total_tlsv12", "TLSv1.3": "ssl_total_tlsv13"}[self.version]))
        times = self.counted("handshake_time_out")
        self.assertEqual((1, vc.handshake_seconds), (times.count, times.total))
        self.assertEqual((0, 0), (self.counted("handshake_time_in").count, self.counted("total_handshake_time")))
        moved = registry.snapshot() - self.before
        self.assertEqual({}, {name: moved[name] for name in moved if ".user_agent." in name and moved[name]})

    def test_bytes(self) -> None:
        """What a handshake brought in and sent out, as the peer counts it; nothing of what comes after."""
        pieces: list[int] = []

        def cut(waiting: int) -> int:
            pieces.append(waiting)
            return waiting

        vc, peer, _ = self.established(tcp=True, cut=cut)
        sent, received = self.counted("total_handshake_bytes_write_out", "total_handshake_bytes_read_in")
        # Over TLS 1.3 the tickets go out when the peer is done.
        self.assertEqual(len(peer.raw), sent)
        self.assertEqual(sum(pieces), received)
        self.read_all(vc)
        self.write(vc, b"y" * 5000)
        peer.write(b"x" * 5000)
        self.run_peers(peer)
        self.assertEqual(
            (sent, received), self.counted("total_handshake_bytes_write_out", "total_handshake_bytes_read_in")
        )

    def test_data(self) -> None:
        """Bytes are plaintext; nothing of a handshake or of a record's overhead is among them."""
        vc, peer, _ = self.established(tcp=True)
        _cont, found = self.read_all(vc)
        self.write(vc, b"y" * 70000)
        peer.write(b"x" * 50000)
        self.run_peers(peer, until=lambda: len(found) == 50000 and len(peer.plain) == 70000)
        for _ in range(2):
            moved = registry.snapshot() - self.before
            self.assertEqual(
                (50000, 70000), (moved["proxy.process.net.read_bytes"], moved["proxy.process.net.write_bytes"])
            )
            vc.do_io_close()
            self.run_peers(peer)

    def test_records(self) -> None:
        """Small and large ones, of open connections and of closed ones, where there are both."""
        for size in (0, 1300, -1):
            self.restart()
            vc, peer, _ = self.established(server_policy(self.version, max_record_size=size))
            self.write(vc, bytes(770 * 1300 + 20000))
            self.run_peers(peer, until=lambda: len(peer.plain) == 770 * 1300 + 20000)  # noqa: B023
            sizer = vc._sizer
            expected = (0, 0) if sizer is None else (sizer.default_records, sizer.max_records)
            self.assertEqual(size == -1, min(expected) > 1)
            self.assertEqual(expected, self.counted("default_record_size_count", "max_record_size_count"), size)
            vc.do_io_close()
            self.run_peers(peer)
            self.assert_gone(vc)
            self.assertEqual(expected, self.counted("default_record_size_count", "max_record_size_count"), size)

    # Sessions.

    def resume(self, session: Any, context: SSL.Context, policy: Any = None, **more: Any) -> tuple[TLSPeer, Any]:
        self.restart()
        vc, peer, _ = self.established(policy, context=context, session=session, **more)
        self.run_peers(peer)
        kept = peer.connection.get_session()
        peer.shutdown()
        vc.do_io_close()
        self.run_peers(peer)
        return peer, kept

    def sessions(self) -> Any:
        """What is known of clients' sessions."""
        return self.counted(
            "user_agent_session_hit", "user_agent_session_miss", "total_tickets_verified", "total_tickets_not_found"
        )

    def test_tickets(self) -> None:
        """A ticket that is good, and one that another policy gave; who brings none is neither."""
        if self.engine_kind is not CffiEngine:
            raise SkipTest("pyOpenSSL has no public method that says whether a session was resumed")
        context = peer_client_context(self.version)
        _peer, session = self.resume(None, context)
        self.assertEqual((0, 0, 0, 0), self.sessions())
        _peer, _ = self.resume(session, context)
        self.assertEqual((1, 0, 1, 0), self.sessions())
        other = server_policy(self.version, {"name": "other"})
        self.resume(session, context, other)
        self.assertEqual((0, 1, 0, 1), self.sessions())

    def test_sessions_by_id(self) -> None:
        """The same without tickets: TLS 1.2 alone has sessions of which only the number is told."""
        if self.engine_kind is not CffiEngine:
            raise SkipTest("pyOpenSSL has no public method that says whether a session was resumed")
        context = peer_client_context(self.version)
        policy = server_policy(self.version, {"session_ticket": False})
        _peer, session = self.resume(None, context, policy)
        self.resume(session, context, policy)
        by_ticket = int(self.version == "TLSv1.3")
        self.assertEqual((1, 0, by_ticket, 0), self.sessions())
        other = server_policy(self.version, {"session_ticket": False, "name": "other"})
        self.resume(session, context, other)
        self.assertEqual((0, 1, 0, by_ticket), self.sessions())

    def test_ticket_keys(self) -> None:
        """The key by which tickets are sealed is another one."""
        front, renewal = fronts(ServerSettings(session_key_seconds=100))
        policy = evolve(server_policy(), front=front, renewal=renewal)
        for expected in (0, 1, 2):
            self.established(policy)
            self.assertEqual(expected, self.counted("total_ticket_keys_renewed"))
            self.reactor.turn(100)

    def test_a_session_that_must_not_be_resumed(self) -> None:
        """
        Over TLS 1.2 it is of one name.  The hello is read for a second time, without the session, and has come in once.
        """
        context = peer_client_context(self.version)
        _peer, session = self.resume(None, context, name="one.b.example")
        pieces: list[int] = []

        def cut(waiting: int) -> int:
            pieces.append(waiting)
            return waiting

        self.restart()
        self.established(context=context, session=session, name="two.b.example", cut=cut)
        self.assertEqual(sum(pieces), self.counted("total_handshake_bytes_read_in"))
        self.assertEqual({"attempts": 1, "success": 1}, self.handshakes())
        self.assertEqual({}, self.reasons())
        if self.engine_kind is CffiEngine:
            self.assertEqual((0, 1, 0, 1) if self.version == "TLSv1.2" else (1, 0, 1, 0), self.sessions())

    def test_origin_sessions(self) -> None:
        """Sessions that we resume with an origin; those that there are not, or whose time is up."""
        policy = client_policy(self.version, sessions=OriginSessions(seconds=100))
        names = (
            "origin_session_reused",
            "ssl_origin_session_cache_hit",
            "ssl_origin_session_cache_miss",
            "ssl_origin_session_cache_timeout",
        )

        def connect() -> tuple[int, ...]:
            self.restart()
            vc, peer, _ = self.connected(policy)
            self.read_all(vc)
            self.run_peers(peer)
            self.assertEqual((0, 0, 0, 0), self.sessions())
            found: tuple[int, ...] = self.counted(*names)
            return found

        self.assertEqual((0, 0, 1, 0), connect())
        self.assertEqual((int(self.engine_kind is CffiEngine), 1, 0, 0), connect())
        self.reactor.turn(100)
        self.assertEqual((0, 0, 1, 1), connect())


class FailureTests(Counting):
    """
    Handshakes that do not, and streams that break.
    """

    def test_alerts_of_clients(self) -> None:
        """Each alert has its counter, and those without have one together."""
        for alert, word in ALERTS.items():
            self.restart()
            vc, sock = self.up_to(Phase.HANDSHAKE)
            sock.send(bytes((21, 3, 3, 0, 2, 2, alert)))
            self.reactor.turn_until(lambda: vc.phase is not Phase.HANDSHAKE)  # noqa: B023
            self.assertEqual({f"user_agent_{word}": 1}, self.reasons(), alert)
            self.assertEqual({"attempts": 1, "failed": 1}, self.handshakes())
            self.assertEqual((1, 0), self.counted("ssl_error_ssl", "ssl_error_syscall"))

    def test_alerts_of_origins(self) -> None:
        """The same the other way."""
        for alert, word in ALERTS.items():
            self.restart()
            vc, sock = self.connect(pair=tcp_pair())
            self.waiting(vc)
            self.reactor.settle()
            self.assertEqual({"attempts": 1}, self.handshakes("out"))
            sock.send(bytes((21, 3, 3, 0, 2, 2, alert)))
            self.reactor.turn_until(lambda: vc.phase is not Phase.HANDSHAKE)  # noqa: B023
            self.assertEqual({f"origin_server_{word}": 1}, self.reasons(), alert)
            self.assertEqual({"attempts": 1, "failed": 1}, self.handshakes("out"))
            self.assertEqual({}, self.handshakes())

    def fails(self, sent: bytes) -> dict[str, int]:
        """A client whose first bytes are C{sent}, and why it is turned away."""
        self.restart()
        vc, sock = self.accept(server_policy())
        self.waiting(vc)
        sock.send(sent)
        self.reactor.settle()
        self.assertEqual({"attempts": 1, "failed": 1}, self.handshakes())
        sock.close()
        self.reactor.settle()
        return self.reasons()

    def hello(self, mode: int = 0, ciphers: bytes = b"ECDHE+AES") -> bytearray:
        """The first bytes of a client that can have TLS 1.2 at most."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(ciphers)
        context.set_mode(mode)
        connection = SSL.Connection(context)
        connection.set_connect_state()
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        return bytearray(connection.bio_read(65536))

    def test_what_clients_do(self) -> None:
        """What is wrong with a client's first bytes."""
        send_fallback_scsv = 0x80
        old = self.hello()
        old[9:11] = b"\3\0"
        strange = self.hello()
        strange[1:3] = b"\5\0"
        for sent, word in (
            (b"GET / HTTP/1.1\r\n\r\n", "http_request"),
            (self.hello(send_fallback_scsv), "inappropriate_fallback"),
            (self.hello(ciphers=b"ECDHE-RSA-AES128-GCM-SHA256"), "no_shared_cipher"),
            (old, "version_too_low"),
            (strange, "wrong_version"),
            (b"\x16\3\1\0\x04\x01\0\0\0", "other_errors"),
        ):
            self.assertEqual({f"user_agent_{word}": 1}, self.fails(sent), word)

    def test_no_version_in_common(self) -> None:
        """Both ways."""
        other = {"TLSv1.2": "TLSv1.3", "TLSv1.3": "TLSv1.2"}[self.version]
        vc, sock = self.accept()
        self.waiting(vc)
        self.run_peers(self.client(sock, context=peer_client_context(other)))
        self.assertEqual({"user_agent_wrong_version": 1}, self.reasons())
        self.restart()
        vc, sock = self.connect(client_policy(other))
        self.waiting(vc)
        self.run_peers(self.server(sock))
        self.assertEqual({"origin_server_wrong_version": 1}, self.reasons())

    def test_certificates_that_we_do_not_accept(self) -> None:
        """A client's, an origin's, and an origin's for another name."""
        settings = {"client_verification": ClientVerification.REQUIRED, "client_ca_file": ca_file()}
        vc, sock = self.accept(server_policy(self.version, settings))
        self.waiting(vc)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        theirs = issue("client.example", ca=OTHER_CA)
        context.use_certificate(theirs.leaf)
        context.use_privatekey(theirs.key)
        self.run_peers(self.client(sock, context=context))
        self.assertEqual({"user_agent_cert_verify_failed": 1}, self.reasons())
        self.assertEqual({"attempts": 1, "failed": 1}, self.handshakes())
        for certificate in (issue("a.example", ca=OTHER_CA), issue("other.example"), issue("a.example", expired=True)):
            self.restart()
            vc, sock = self.connect()
            self.waiting(vc)
            self.run_peers(self.server(sock, certificate))
            self.assertEqual({"origin_server_cert_verify_failed": 1}, self.reasons())
            self.assertEqual({"attempts": 1, "failed": 1}, self.handshakes("out"))

    def test_refused_by_us(self) -> None:
        """A hook's no is a failure like others; one before the first byte is none, since nothing was attempted."""
        for point in ("client_hello", "servername", "cert"):
            self.restart()
            vc, sock = self.accept(hooks=hook_set(**{point: lambda vc: vc.refuse(alerts.ACCESS_DENIED, "not today")}))
            self.waiting(vc)
            self.run_peers(self.client(sock))
            self.assertEqual(
                ({"attempts": 1, "failed": 1}, {"user_agent_other_errors": 1}), (self.handshakes(), self.reasons())
            )
        self.restart()
        vc, sock = self.accept(hooks=hook_set(vconn_start=lambda vc: vc.refuse(alerts.ACCESS_DENIED, "not today")))
        self.waiting(vc)
        self.run_peers(self.client(sock))
        self.assertEqual(({}, {}), (self.handshakes(), self.reasons()))

    def test_peers_that_leave(self) -> None:
        """No error of TLS: the TCP connection has ended under it."""
        for leave in (lambda sock: sock.close(), reset):
            for phase in (Phase.HELLO, Phase.HANDSHAKE):
                self.restart()
                _vc, sock = self.up_to(phase)
                leave(sock)
                self.reactor.turn_until(lambda: not self.handler.open_list)
                self.assertEqual({"attempts": 1, "failed": 1}, self.handshakes())
                self.assertEqual((0, 1, {}), (*self.counted("ssl_error_ssl", "ssl_error_syscall"), self.reasons()))

    def test_late(self) -> None:
        """Those who take too long, both ways, whatever they wait for."""
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        park = hook_set(client_hello=lambda vc: PARKED)
        for hooks in (hook_set(), park):
            self.restart()
            vc, sock = self.accept(server_policy(self.version, handshake_timeout_seconds=5), hooks=hooks)
            self.waiting(vc)
            peer = self.client(sock)
            peer._step()
            sock.send(peer.to_send if hooks is park else peer.to_send[:50])
            self.reactor.settle()
            self.reactor.advance(6)
            cop.patrol()
            self.assertEqual(({"attempts": 1, "timed_out": 1}, {}), (self.handshakes(), self.reasons()))
        self.restart()
        vc, _sock = self.connect(client_policy(self.version, handshake_timeout_seconds=5))
        self.waiting(vc)
        self.reactor.settle()
        self.reactor.advance(6)
        cop.patrol()
        self.assertEqual(({"attempts": 1, "timed_out": 1}, {}), (self.handshakes("out"), self.reasons()))

    def test_abandoned(self) -> None:
        """Closed from this side, in order or not, with or without something still to be sent; once."""
        for phase in (Phase.HELLO, Phase.HANDSHAKE):
            for close in (
                lambda vc: vc.do_io_close(),
                lambda vc: vc.do_io_close(errno.ECONNABORTED),
                lambda vc: vc.free(),
                self.handler.end,
            ):
                self.restart()
                vc, sock = self.up_to(phase)
                close(vc)
                vc.do_io_close()
                sock.close()
                self.reactor.turn_until(lambda: not self.handler.open_list)
                vc.free()
                self.assertEqual(({"attempts": 1, "abandoned": 1}, {}), (self.handshakes(), self.reasons()))
        self.restart()
        vc, sock = self.connect()
        self.waiting(vc)
        self.reactor.settle()
        vc.do_io_close()
        self.assertEqual({"attempts": 1, "abandoned": 1}, self.handshakes("out"))

    def test_passed_on(self) -> None:
        """A blind tunnel, and clear text where that may be; a tunnel before the first byte was no attempt."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        self.waiting(vc)
        self.run_peers(self.client(sock))
        self.assertEqual({"attempts": 1, "tunnelled": 1}, self.handshakes())
        for not_tls in (NOT_TLS_PLAIN, NOT_TLS_TUNNEL):
            self.restart()
            vc, sock = self.accept(prepare=lambda vc: setattr(vc, "not_tls", not_tls))  # noqa: B023
            self.waiting(vc)
            sock.send(b"GET / HTTP/1.0\r\n\r\n")
            self.reactor.settle()
            self.assertEqual(({"attempts": 1, "tunnelled": 1}, {}), (self.handshakes(), self.reasons()))
        self.restart()
        vc, _sock = self.accept(hooks=hook_set(vconn_start=lambda vc: vc.tunnel()))
        self.waiting(vc)
        self.reactor.settle()
        self.assertEqual((Phase.TUNNEL, {}), (vc.phase, self.handshakes()))

    def test_origins_that_are_not_there(self) -> None:
        """A connection that is refused never came to a handshake."""
        vc, sock = self.connect(pair=tcp_pair())
        self.patch(type(vc), "_connected", lambda vc: vc._fail(HandshakeFailed("not connected")))
        self.waiting(vc)
        self.reactor.settle()
        self.assertEqual(({}, {}), (self.handshakes("out"), self.reasons()))
        sock.close()

    def test_names_that_are_none(self) -> None:
        """They cannot be asked for."""
        vc, _sock = self.connect(name="x" * 300)
        self.waiting(vc)
        self.reactor.settle()
        self.assertEqual(1, self.counted("ssl_sni_name_set_failure"))
        self.assertEqual({"attempts": 1, "failed": 1}, self.handshakes("out"))

    # The data phase.

    def test_ends(self) -> None:
        """In order; without a goodbye; broken off; and with records that are none."""
        for end, expected in (
            ("in order", {"ssl_error_zero_return": 1}),
            ("cut off", {"ssl_error_read_eos": 1}),
            ("reset", {"ssl_error_syscall": 1}),
            ("garbage", {"ssl_error_ssl": 1, "user_agent_decryption_failed_or_bad_record_mac": 1}),
        ):
            vc, peer, _ = self.established(tcp=True)
            cont, _found = self.read_all(vc)
            self.restart()
            if end == "in order":
                peer.shutdown()
            elif end == "cut off":
                peer.send_fin()
            elif end == "reset":
                reset(peer.sock)
            else:
                peer.sock.send(b"\x17\3\3\0\x40" + random.Random(1).randbytes(64))
            self.run_peers(peer, until=lambda: cont.log)  # noqa: B023
            vc.do_io_close()
            self.run_peers(peer, until=lambda: self.counted("connections_closed") or peer.sock.close())  # noqa: B023
            names = ("ssl_error_zero_return", "ssl_error_read_eos", "ssl_error_syscall", "ssl_error_ssl", *REASONS)
            found = {name: value for name, value in zip(names, self.counted(*names), strict=True) if value}
            self.assertEqual(expected, found, end)
            self.assertEqual(1, self.counted("connections_closed"))

    def test_nothing_to_read_and_no_room_to_write(self) -> None:
        """System calls in vain, before and after the handshake."""
        names = ("calls_to_read_nodata", "calls_to_write_nodata")

        def in_vain() -> tuple[int, ...]:
            moved = registry.snapshot() - self.before
            return tuple(moved[f"proxy.process.net.{name}"] for name in names)

        vc, sock = self.accept()
        self.waiting(vc)
        self.handler.turn()
        self.assertEqual((1, 0), in_vain())
        fill(vc.socket)
        peer = self.client(sock)
        peer._step()
        self.restart()
        peer._send()
        self.reactor.turn_until(lambda: vc.write.urgent)
        self.assertEqual(1, in_vain()[1])
        vc.do_io_close(errno.ECONNABORTED)

        vc, peer, _ = self.established()
        self.read_all(vc)
        self.run_peers(peer)
        self.restart()
        vc.read.triggered = vc.read.polled = True
        self.handler.queue_read(vc)
        self.handler.turn()
        self.assertEqual((1, 0), in_vain())
        fill(vc.socket)
        vc.write.triggered = vc.write.polled = True
        self.write(vc, b"x")
        self.handler.turn()
        self.assertEqual((1, 1), in_vain())
        vc.write.triggered = vc.write.polled = True
        self.handler.queue_write(vc)
        self.handler.turn()
        self.assertEqual((1, 2), in_vain())
        vc.do_io_close(errno.ECONNABORTED)
        peer.sock.close()

    def test_a_write_that_fails(self) -> None:
        """A peer whose connection is broken is noticed by who writes, too."""
        vc, peer, _ = self.established(tcp=True)
        vc.do_io_read(None, 0, None)
        self.restart()
        reset(peer.sock)
        cont = self.write(vc, b"x")
        self.run_peers(peer, until=lambda: cont.events)
        self.assertEqual((["ERROR"], 1), (cont.events, self.counted("ssl_error_syscall")))

    def test_an_alert_after_the_handshake(self) -> None:
        """A TLS 1.3 origin that does not like our certificate says so when the handshake is done."""
        vc, peer, _ = self.connected(tcp=True)
        cont, _found = self.read_all(vc)
        self.restart()
        # OpenSSL has no call that sends an alert: any record that is wrong makes it send one.
        peer.connection.bio_write(b"\x17\3\3\0\x40" + random.Random(1).randbytes(64))
        self.run_peers(peer, until=lambda: cont.log)
        self.assertEqual(["ERROR"], cont.events)
        self.assertEqual({"origin_server_other_errors": 1}, self.reasons())
        self.read_all(vc)
        self.reactor.settle()
        self.assertEqual({"origin_server_other_errors": 1}, self.reasons())

    def test_a_flood(self) -> None:
        """Many connections of every ending: each is in one count, and in the end nothing goes on."""
        seed = random.SystemRandom().randrange(1 << 32)
        dice = random.Random(seed)
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        policy = server_policy(self.version, handshake_timeout_seconds=5)
        tunnels = hook_set(client_hello=lambda vc: vc.tunnel())
        expected = dict.fromkeys(("success", "failed", "timed_out", "abandoned", "tunnelled"), 0)
        for _ in range(60):
            end = dice.choice([*expected, "alert"])
            vc, sock = self.accept(policy, hooks=tunnels if end == "tunnelled" else hook_set())
            self.waiting(vc)
            peer = self.client(sock)
            if end in ("success", "tunnelled"):
                self.run_peers(peer)
            else:
                peer._step()
                sock.send(peer.to_send[: dice.choice((0, 1, 6, 40, len(peer.to_send)))])
                self.reactor.settle()
                if end == "alert":
                    sock.send(b"\x15\3\1\0\2\2\x28" if vc.phase is Phase.HANDSHAKE else b"\0" * 70000)
                elif end == "failed":
                    sock.close()
                elif end == "abandoned":
                    vc.do_io_close(dice.choice((-1, errno.ECONNABORTED)))
                self.reactor.settle()
            expected["failed" if end == "alert" else end] += 1
        late = expected.pop("timed_out")
        self.assertEqual(
            {end: n for end, n in (("attempts", 60), *expected.items()) if n}, self.handshakes(), f"seed {seed}"
        )
        self.reactor.advance(6)
        cop.patrol()
        expected["timed_out"] = late
        self.assertEqual(
            {end: n for end, n in (("attempts", 60), *expected.items()) if n}, self.handshakes(), f"seed {seed}"
        )
        for vc in list(self.handler.open_list):
            vc.do_io_close()
        for peer in self.peers:
            peer.sock.close()
        self.run_peers(until=lambda: not self.handler.open_list)
        self.assertEqual(
            {end: n for end, n in (("attempts", 60), *expected.items()) if n}, self.handshakes(), f"seed {seed}"
        )
        self.assertEqual(60, self.counted("connections_closed"))
        times = self.counted("handshake_time_in")
        self.assertIsInstance(times, Distribution)
        self.assertEqual(expected["success"], times.count)


for _tests in (SuccessTests, FailureTests):
    globals().update(_tests.make_test_case_classes())
del _tests
