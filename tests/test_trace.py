"""
Tests for L{atstls.tls.trace} and L{atstls.ssl.trace}: the wire in the log, for those who ask, and for nobody else.
"""

import ipaddress
import weakref
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.endpoints import ServerTLS
from atstls.endpoints.created import CreatedNetVConnection
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.interfaces import IWireTraced
from atstls.net.connection import NetVCOptions
from atstls.tls.engine import CffiEngine
from atstls.tls.trace import WireTrace, escaped, trace_engine, untrace_engine
from atstls.tls.verify import VerifyPolicy
from tests.support import RecordingContinuation, reset, unix_pair
from tests.tlssupport import (
    APPLICATION_DATA,
    OverTLS,
    RecordForger,
    client_policy,
    hook_set,
    issue,
    peer_client_context,
    protocol_set,
    server_policy,
)

ALL = WireTrace(100)
CLIENT = "192.0.2.9:4711"


class WireTraceTests(SynchronousTestCase):
    """Who is traced."""

    def test_conditions(self) -> None:
        """All conditions that there are have to hold (S026)."""
        address = ipaddress.ip_address("192.0.2.1")
        here, elsewhere = ("192.0.2.1", 1), ("192.0.2.2", 1)
        for name, place, expected in (
            (None, None, {("a.example", here), ("b.example", here), (None, elsewhere)}),
            ("a.example", None, {("a.example", here)}),
            (None, address, {("a.example", here), ("b.example", here)}),
            ("a.example", address, {("a.example", here)}),
            ("c.example", address, set()),
        ):
            rule = WireTrace(100, name, place)
            asked: tuple[tuple[str | None, Any], ...]
            asked = (("a.example", here), ("b.example", here), (None, elsewhere))
            self.assertEqual(expected, {pair for pair in asked if rule.wants(*pair)}, (name, place))

    def test_percentage(self) -> None:
        """Chance decides last, and always: 0 is never, 100 is always, and between it is so many of a hundred (S026)."""
        for percentage in (0, 1, 50, 99, 100):
            drawn = iter(range(100))
            rule = WireTrace(percentage, draw=lambda drawn=drawn: next(drawn))  # type: ignore[misc]
            self.assertEqual(percentage, sum(rule.wants(None, None) for _ in range(100)))

    def test_chance_by_default(self) -> None:
        """Without a source of chance of my own there is one, which gives 0 to 99."""
        draw = WireTrace(0).draw
        self.assertEqual(set(range(100)), {draw() for _ in range(5000)} | set(range(3)) | set(range(97, 100)))

    def test_chance_is_asked_last(self) -> None:
        """A connection that is not meant costs no draw."""

        def draw() -> int:
            raise AssertionError

        rule = WireTrace(100, "a.example", ipaddress.ip_address("192.0.2.1"), draw)
        self.assertFalse(rule.wants("b.example", ("192.0.2.1", 1)))
        self.assertFalse(rule.wants("a.example", ("192.0.2.2", 1)))

    def test_addresses(self) -> None:
        """One address is one, however it is written; who has none is not meant."""
        four, six = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("fe80::1")
        for address, wanted, expected in (
            (("::ffff:192.0.2.1", 1), four, True),
            (("fe80::1%eth0", 1), six, True),
            (("fe80:0::1", 1), six, True),
            (("192.0.2.1", 1), six, False),
            (("localhost", 1), four, False),
            ("/run/socket", four, False),
            ("", four, False),
            (None, four, False),
        ):
            self.assertEqual(expected, WireTrace(100, address=wanted).wants(None, address), address)


class EscapedTests(SynchronousTestCase):
    """Bytes in a line of the log."""

    def test_nothing_looks_like_another(self) -> None:
        """Every byte can be had back, and the text is on one line of ASCII signs."""
        for data in (bytes(range(256)), b"\\n\n\\\\n", b"\xe2\x80\xa8\x85\x1b[2J", b""):
            text = escaped(data)
            self.assertEqual(data, text.encode().decode("unicode_escape").encode("latin-1"))
            self.assertTrue(text.isascii() and text.isprintable())
        self.assertEqual(r"GET / HTTP/1.1\r\n \\ \x00\x9b {peer}", escaped(b"GET / HTTP/1.1\r\n \\ \0\x9b {peer}"))


class TraceTests(OverTLS):
    """What is written about a connection that is traced."""

    def trace(self) -> list[str]:
        """The lines of the trace alone, without what each begins with."""
        found = []
        for line, event in zip(self.lines(), self.logged, strict=True):
            if event["log_namespace"] == "atstls.wire_trace":
                self.assertEqual("WIRE TRACE ", line[:11])
                found.append(line[11:])
        return found

    def traced_policy(self, rule: WireTrace = ALL) -> Any:
        return server_policy(self.version, wire_trace=rule)

    def cipher(self) -> str:
        return "TLS_AES_128_GCM_SHA256" if self.version == "TLSv1.3" else "ECDHE-ECDSA-AES128-GCM-SHA256"

    def done(self, session: str = "new", name: str = "a.example", protocol: str = "none") -> str:
        # pyOpenSSL's public methods do not tell whether it was resumed.
        session = f"{session} session" if self.engine_kind is CffiEngine else "session"
        return (
            f"{CLIENT} handshake done: {self.version} {self.cipher()}, {session}, "
            f"server name {name}, protocol {protocol}"
        )

    def test_a_conversation(self) -> None:
        """I see the handshake, what each side said, with its length, and how it ended (S095)."""
        vc, peer, _ = self.established(self.traced_policy())
        self.assertTrue(verifyObject(IWireTraced, vc))
        self.assertTrue(vc.get_ssl_trace())
        _, got = self.read_all(vc)
        peer.write(b"GET / HTTP/1.1\r\n\r\n")
        self.run_peers()
        self.write(vc, b"HTTP/1.1 200 OK\r\n\r\n\x00")
        self.run_peers()
        peer.shutdown()
        self.run_peers()
        vc.do_io_close()
        self.run_peers()
        self.assertEqual((b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n\x00"), (bytes(got), bytes(peer.plain)))
        self.assertEqual(
            [
                self.done(),
                rf"IN {CLIENT} bytes=18 GET / HTTP/1.1\r\n\r\n",
                rf"OUT {CLIENT} bytes=20 HTTP/1.1 200 OK\r\n\r\n\x00",
                f"{CLIENT} close_notify received",
                f"{CLIENT} close_notify sent",
            ],
            self.trace(),
        )

    def test_protocol_and_session(self) -> None:
        """I see what ALPN agreed on, whatever it is called, and that a session was resumed."""
        for offer, written in (b"h2", "h2"), (b"x\n", r"x\n"):
            context = peer_client_context(self.version, (offer,))
            more: Any = {"context": context, "protocols": protocol_set(offer)}
            vc, peer, _ = self.established(self.traced_policy(), **more)
            self.write(vc, b"")
            self.run_peers()
            session = peer.connection.get_session()
            vc.do_io_close()
            self.run_peers()
            self.established(self.traced_policy(), session=session, **more)
            lines = [line for line in self.trace() if "handshake" in line]
            self.assertEqual([self.done(protocol=written), self.done("resumed", protocol=written)], lines)
            self.logged.clear()

    def test_not_wanted(self) -> None:
        """Who is not meant by the conditions is not traced, and has an engine that knows nothing of it (S026, S096)."""
        for rule in (WireTrace(0), WireTrace(100, "b.example"), WireTrace(50, draw=lambda: 50), None):
            vc, peer, _ = self.established(self.traced_policy(rule))  # type: ignore[arg-type]
            self.assertFalse(vc.get_ssl_trace())
            self.assertIs(self.engine_kind, type(vc.engine))
            self.talk(vc, peer)
            vc.do_io_close()
            self.run_peers()
        self.assertEqual([], self.trace())

    def talk(self, vc: Any, peer: Any) -> None:
        """Each side says what nobody else should read."""
        self.read_all(vc)
        peer.write(b"the client's secret")
        self.run_peers()
        self.write(vc, b"the server's secret")
        self.run_peers()
        self.assertIn(b"the server's secret", peer.plain)

    def test_wanted(self) -> None:
        """Who is meant is (S026)."""
        address = ipaddress.ip_address("192.0.2.9")
        for rule in (WireTrace(100, "a.example", address), WireTrace(51, draw=lambda: 50)):
            vc, _, _ = self.established(self.traced_policy(rule))
            self.assertTrue(vc.get_ssl_trace())
        self.assertEqual([self.done()] * 2, self.trace())

    def test_one_draw_a_connection(self) -> None:
        """Chance is asked once for a connection, however long it lasts."""
        draws: list[int] = []

        def draw() -> int:
            draws.append(1)
            return 0

        for rule in WireTrace(1, draw=draw), WireTrace(0, draw=draw):
            draws.clear()
            vc, peer, _ = self.established(self.traced_policy(rule))
            self.talk(vc, peer)
            vc._begin_trace()  # as where a session is refused, and the handshake begins anew
            self.assertEqual([1], draws)
            self.assertEqual(rule.percentage == 1, vc.get_ssl_trace())
        vc, _, _ = self.established(self.traced_policy(WireTrace(1, draw=draw)))
        self.assertTrue(vc.compute_ssl_trace())

    def test_no_plaintext_without_trace(self) -> None:
        """What was said stands in no line of the log, whatever becomes of the connection (S096)."""
        ends: list[Any] = [
            lambda vc, peer: peer.shutdown(),
            lambda vc, peer: peer.send_fin(),
            lambda vc, peer: peer.sock.send(b"\x17\x03\x03\0\x20" + bytes(32)),
            lambda vc, peer: vc.do_io_close(7),
        ]
        for end in ends:
            vc, peer, _ = self.established()
            self.talk(vc, peer)
            end(vc, peer)
            self.run_peers()
            vc.do_io_close()
            self.run_peers()
        for event, line in zip(self.logged, self.lines(), strict=True):
            self.assertNotIn("secret", line)
            self.assertNotIn("secret", repr(event))

    def test_hook_has_the_last_word(self) -> None:
        """A hook can ask for the trace of one connection, and can keep one from it (S025)."""
        for point in ("vconn_start", "client_hello", "servername", "cert"):
            for wanted, rule in ((True, None), (False, ALL)):
                self.logged.clear()
                hooks = hook_set(**{point: lambda vc, wanted=wanted: vc.set_ssl_trace(wanted)})
                vc, peer, _ = self.established(self.traced_policy(rule), hooks=hooks)  # type: ignore[arg-type]
                self.assertEqual((wanted, wanted), (vc.get_ssl_trace(), bool(self.trace())), point)
                self.talk(vc, peer)
                self.assertEqual(wanted, any("secret" in line for line in self.lines()))

    def test_on_and_off(self) -> None:
        """I can switch it on and off in mid-connection, and no byte is lost by that (S025)."""
        vc, peer, _ = self.established()
        _, got = self.read_all(vc)
        for piece, wanted in ((b"one", True), (b"two", False), (b"three", True), (b"four", True), (b"five", False)):
            vc.set_ssl_trace(wanted)
            vc.set_ssl_trace(wanted)
            self.assertEqual(wanted, vc.get_ssl_trace())
            peer.write(piece)
            self.run_peers()
        self.assertEqual(b"onetwothreefourfive", bytes(got))
        expected = [f"IN {CLIENT} bytes={len(piece)} {piece}" for piece in ("one", "three", "four")]
        self.assertEqual(expected, self.trace())
        self.assertIs(self.engine_kind, type(vc.engine))

    def test_much(self) -> None:
        """Every byte of a long conversation is there, once, in order, each way."""
        vc, peer, _ = self.established(self.traced_policy())
        _, got = self.read_all(vc)
        sent = bytes(range(256)) * 1200
        peer.write(sent)
        self.write(vc, sent)
        self.run_peers()
        self.assertEqual((sent, sent), (bytes(got), bytes(peer.plain)))
        for way in ("IN", "OUT"):
            found = b""
            for line in self.trace():
                if line.startswith(way):
                    count, text = line.split(" bytes=")[1].split(" ", 1)
                    data = text.encode().decode("unicode_escape").encode("latin-1")
                    self.assertEqual(int(count), len(data))
                    found += data
            self.assertEqual(sent, found)

    def test_endpoint(self) -> None:
        """Whoever listens by Twisted's endpoints, or makes an edge in Python, can ask for it as well."""
        tls = ServerTLS([issue("a.example")], wire_trace=ALL)
        self.established(tls.kept_policy(0))
        self.assertEqual([self.done()], self.trace())
        self.assertIsNone(ServerTLS([issue("a.example")]).policy().wire_trace)

    def test_forged_lines(self) -> None:
        """A client cannot write lines of its own into my log, nor fields, nor to my terminal."""
        vc, peer, _ = self.established(self.traced_policy())
        self.read_all(vc)
        self.logged.clear()
        evil = b"x\r\nWIRE TRACE OUT {peer}{0}%s \x1b[2J\x9b\x00\xe2\x80\xa8\x7f\\n"
        peer.write(evil)
        self.run_peers()
        (line,) = self.trace()
        self.assertTrue(line.isprintable() and line.isascii(), line)
        self.assertIn("x\\r\\nWIRE TRACE OUT {peer}{0}%s \\x1b[2J\\x9b\\x00\\xe2\\x80\\xa8\\x7f\\\\n", line)

    # Ends.

    def last(self) -> str:
        return self.trace()[-1]

    def test_fin(self) -> None:
        """A peer that ends without a goodbye is told of as that (O49)."""
        vc, peer, _ = self.established(self.traced_policy(), tcp=True)
        cont, _ = self.read_all(vc)
        peer.send_fin()
        self.run_peers(until=lambda: "EOS" in cont.events)
        self.assertEqual(f"{CLIENT} the peer ended without close_notify", self.last())

    def test_reset(self) -> None:
        """So is one that breaks off, for each direction that notices."""
        vc, peer, _ = self.established(self.traced_policy(), tcp=True)
        cont, _ = self.read_all(vc)
        reset(peer.sock)
        self.peers.clear()
        self.reactor.turn_until(lambda: cont.events)
        self.assertEqual(f"{CLIENT} the connection broke: Connection reset by peer", self.last())

    def test_write_into_nothing(self) -> None:
        """And one that is gone when we write."""
        vc, peer, _ = self.established(self.traced_policy())
        peer.sock.close()
        self.peers.clear()
        cont = self.write(vc, b"x")
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events[-1:])
        self.assertIn(f"{CLIENT} the connection broke: Broken pipe", self.trace())

    def test_broken_stream(self) -> None:
        """Ciphertext that is none is told of with OpenSSL's reason."""
        vc, peer, _ = self.established(self.traced_policy())
        cont, _ = self.read_all(vc)
        peer.sock.send(b"\x17\x03\x03\0\x20" + bytes(32))
        self.run_peers()
        self.assertEqual(["ERROR"], cont.events)
        self.assertEqual(f"{CLIENT} failed: {vc.error}", self.last())
        self.assertGreater(len(str(vc.error)), 3)

    def test_too_many_answers(self) -> None:
        """So is a peer that was given up."""
        vc, _peer, _ = self.established(self.traced_policy())
        vc.engine.give_up("for a reason")
        vc.engine.give_up("for a reason")
        self.assertEqual([self.done(), f"{CLIENT} failed: for a reason"], self.trace())

    def test_handshake_fails(self) -> None:
        """A handshake that fails is told of, once OpenSSL is asked; the line that everybody gets is there too."""
        vc, sock = self.accept(self.traced_policy())
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.client(sock)
        peer.pump()
        self.reactor.settle()
        peer._receive()
        sock.send(b"\x15\x03\x03\0\x02\x02\x28")
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        self.assertEqual([f"{CLIENT} handshake failed: {vc.error}"], self.trace())
        self.assertEqual(2, len(self.lines()))

    def test_goodbye_is_said_once(self) -> None:
        """Closing after the last word does not say it again; nor is a word said to who has left."""
        vc, peer, _ = self.established(self.traced_policy())
        cont, _ = self.read_all(vc)
        self.write(vc, b"x")
        self.run_peers()
        self.assertEqual([], cont.events)
        vc.do_io_shutdown(6)
        vc.do_io_close()
        self.run_peers()
        self.assertEqual(1, sum("close_notify sent" in line for line in self.trace()))
        vc, peer, _ = self.established(self.traced_policy())
        peer.send_fin()
        self.run_peers()
        self.logged.clear()
        vc.do_io_close()
        self.assertEqual([], self.trace())

    # The other side.

    def test_origin(self) -> None:
        """A connection that we make for a client is traced when the client's is, and says for whom (S137)."""
        vc, sock = self.connect()
        vc.options = NetVCOptions(sni_servername="a.example", origin_trace=CLIENT)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.server(sock)
        self.run_peers()
        self.assertTrue(vc.get_ssl_trace())
        self.write(vc, b"ping")
        self.run_peers()
        self.assertEqual(b"ping", bytes(peer.plain))
        first, second = self.trace()
        self.assertTrue(first.startswith(f"192.0.2.1:443 CLIENT {CLIENT} handshake done: {self.version} "), first)
        self.assertIn("server name a.example", first)
        self.assertEqual(f"OUT 192.0.2.1:443 CLIENT {CLIENT} bytes=4 ping", second)

    def test_origin_is_not_traced_by_itself(self) -> None:
        """An outbound connection is not drawn for: what its client's is, it is."""
        vc, _, _ = self.connected()
        self.assertEqual((False, False), (vc.get_ssl_trace(), vc.compute_ssl_trace()))
        self.assertEqual([], self.trace())

    def test_origin_by_hook(self) -> None:
        """A hook can ask for it."""
        self.connected(hooks=hook_set(outbound_start=lambda vc: vc.set_ssl_trace(True)))
        self.assertIn("192.0.2.1:443 handshake done", self.trace()[0])

    def test_origin_fails(self) -> None:
        """That the origin is not who we meant is told with both addresses."""
        vc, sock = self.connect(client_policy(self.version), name="nobody.example")
        vc.options = NetVCOptions(sni_servername="nobody.example", origin_trace=CLIENT)
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.server(sock)
        self.run_peers()
        self.assertIn(f"192.0.2.1:443 CLIENT {CLIENT} handshake failed: ", self.last())

    def test_connection_of_twisteds(self) -> None:
        """So are connections whose TLS an object of Twisted's sets up."""
        ours, theirs = unix_pair()
        context = peer_client_context(self.version)
        policy = client_policy(settings={"policy": VerifyPolicy.DISABLED})
        vc = CreatedNetVConnection(self.handler, policy, lambda _: SSL.Connection(context), None)
        vc.is_client = True
        vc.set_ssl_trace(True)
        vc.start(ours, ("192.0.2.1", 443))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.server(self.keep(theirs))
        self.run_peers()
        self.assertIn("192.0.2.1:443 handshake done", self.last())

    # What is left.

    def test_plain(self) -> None:
        """A connection without TLS is not traced, and says so."""
        vc, _ = self.connection()
        self.assertFalse(vc.get_ssl_trace())

    def test_blind_tunnel(self) -> None:
        """What we cannot read we do not write down, traced or not."""
        hooks = hook_set(client_hello=lambda vc: vc.tunnel())
        vc, sock = self.accept(self.traced_policy(), hooks=hooks)
        vc.set_ssl_trace(True)
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.client(sock)
        self.run_peers()
        _, got = self.read_all(vc)
        self.run_peers()
        self.assertTrue(got)
        self.assertEqual([], self.trace())

    def test_freed(self) -> None:
        """After the close there is no trace, none can be asked for, and the connection is collected (S004)."""
        vc, peer, _ = self.established(self.traced_policy())
        self.talk(vc, peer)
        vc.do_io_close()
        self.run_peers()
        self.assert_gone(vc)
        vc.set_ssl_trace(True)
        self.assertEqual((False, None), (vc.get_ssl_trace(), vc.args))
        reference = weakref.ref(vc)
        del vc, peer
        self.assert_collected(reference)

    def test_beside_a_trap(self) -> None:
        """Somebody who waits for an empty buffer is in nobody's way, whichever was first."""
        for first in (True, False):
            vc, peer, _ = self.established()
            if first:
                vc.trap_write_buffer_empty()
            vc.set_ssl_trace(True)
            if not first:
                vc.trap_write_buffer_empty()
            self.write(vc, b"x")
            self.run_peers()
            self.write(vc, b"y")
            self.run_peers()
            self.assertEqual(b"xy", bytes(peer.plain))
            self.assertEqual(["bytes=1 x", "bytes=1 y"], [line.split(" ", 2)[2] for line in self.trace()])
            self.logged.clear()

    def test_kinds(self) -> None:
        """An engine is traced once, however often I say so, and is what it was afterwards."""
        vc, peer, _ = self.established()
        trace_engine(vc.engine)
        kind = type(vc.engine)
        trace_engine(vc.engine)
        self.assertIs(kind, type(vc.engine))
        self.assertIsNot(self.engine_kind, kind)
        for _ in range(2):
            untrace_engine(vc.engine)
            self.assertIs(self.engine_kind, type(vc.engine))
        del peer

    def test_key_update(self) -> None:
        """New keys in mid-connection are no bytes of the application."""
        if self.version != "TLSv1.3":
            return
        vc, peer, _ = self.established(self.traced_policy())
        _, got = self.read_all(vc)
        forger = RecordForger(peer)
        self.logged.clear()
        first = forger.record(APPLICATION_DATA, b"a")
        peer.sock.send(first + forger.key_update() + forger.record(APPLICATION_DATA, b"b"))
        self.reactor.settle()
        self.assertEqual(b"ab", bytes(got))
        self.assertEqual([f"IN {CLIENT} bytes=2 ab"], self.trace())


globals().update(TraceTests.make_test_case_classes())
