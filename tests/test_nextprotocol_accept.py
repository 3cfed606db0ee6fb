"""
Tests for L{atstls.session.nextprotocol}: a connection goes to who speaks its protocol, when its handshake is done.
"""

import gc
import weakref
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from zope.interface.verify import verifyObject

from atstls.errors import LocalError
from atstls.events import (
    EVENT_CONT,
    EVENT_DONE,
    EVENT_ERROR,
    NET_EVENT_ACCEPT,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_ERROR,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_READY,
)
from atstls.interfaces import IContinuation, ISessionAccept
from atstls.net.cop import InactivityCop
from atstls.session.nextprotocol import SSLNextProtocolAccept, SSLNextProtocolTrampoline
from atstls.session.protocol import ProtocolSessionAccept, speaks_tls
from atstls.tls.phases import Phase
from tests.support import RecordingContinuation, received
from tests.test_session_protocol import Recorder
from tests.tlssupport import OverTLS, hook_set, server_policy

# A LoopingCall looks for the global reactor: now, so that no test finds its descriptors left over.
assert reactor


class NextProtocolAcceptTests(OverTLS):
    """A port that speaks h2 and http/1.1, and somebody for those that say nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.h2, self.h1, self.default = (RecordingContinuation() for _ in range(3))
        self.port = SSLNextProtocolAccept(self.default)
        self.assertTrue(self.port.register_endpoint(b"http/1.1", self.h1))
        self.assertTrue(self.port.register_endpoint(b"h2", self.h2))

    def arrive(self, alpn: tuple[bytes, ...] = (), **more: Any) -> tuple[Any, Any]:
        """A client that comes to the port."""
        vc, sock = self.accept(**more)
        self.assertEqual(EVENT_CONT, self.port.handle_event(NET_EVENT_ACCEPT, vc))
        return vc, self.client(sock, alpn=alpn)

    def told(self) -> list[list[str]]:
        """What h2, http/1.1 and the default one were told."""
        return [self.h2.events, self.h1.events, self.default.events]

    def without_tls(self, data: bytes, cut: int, **flags: bool) -> tuple[Any, bytes]:
        """Who says C{data}, in pieces, to a port with C{flags}; with what the default endpoint reads."""
        found: list[bytearray] = []
        self.default = RecordingContinuation({NET_EVENT_ACCEPT: lambda vc: found.append(self.read_all(vc)[1])})
        self.port = SSLNextProtocolAccept(self.default, **flags)
        vc, sock = self.accept()
        self.port.handle_event(NET_EVENT_ACCEPT, vc)
        for at in range(0, len(data), cut):
            sock.send(data[at : at + cut])
            self.reactor.settle()
        self.assertEqual(["ACCEPT"], self.default.events)
        self.write(vc, b"answer")
        self.reactor.settle()
        self.assertEqual(b"answer", received(sock), "OpenSSL has said something")
        self.assertIsNone(vc.engine)
        self.assertFalse(speaks_tls(vc))
        return vc, bytes(found[0])

    def test_first_byte(self) -> None:
        """What is not TLS is passed on or served in clear, whole and in order, where the port allows it (S054, O48)."""
        for data in (b"SSH-2.0-x\r\n", b"G", b"\x80\x2e\x01\0\x02" + bytes(50), b"\0" * 5000):
            for cut in (len(data), 1 if len(data) < 100 else 700):
                vc, got = self.without_tls(data, cut, transparent_passthrough=True)
                self.assertEqual((data, Phase.TUNNEL, True), (got, vc.phase, vc.get_transparent_pass_through()))
                vc, got = self.without_tls(data, cut, allow_plain=True)
                self.assertEqual((data, Phase.PLAIN, False), (got, vc.phase, vc.get_transparent_pass_through()))
        self.assertEqual([], self.lines())

    def test_tls_is_tls(self) -> None:
        """What begins as TLS does gets TLS, or its alert, whatever else the port takes."""
        for flags in ({"transparent_passthrough": True}, {"allow_plain": True}):
            self.port = SSLNextProtocolAccept(self.default, **flags)
            self.port.register_endpoint(b"h2", self.h2)
            vc, peer = self.arrive((b"h2",))
            self.run_peers(peer)
            self.assertEqual((True, Phase.OPEN), (peer.done, vc.phase))
            vc, sock = self.accept()
            self.port.handle_event(NET_EVENT_ACCEPT, vc)
            sock.send(b"\x16GET / HTTP/1.1\r\n\r\n")
            self.reactor.settle()
            self.assertEqual(1, vc.closed)
            self.assertIs(Phase.LINGER, vc.phase)
        self.assertEqual(2, len(self.h2.events))

    def test_silent_client_of_a_port_for_both(self) -> None:
        """Who says nothing is no client of either kind, and is late."""
        policy = server_policy(self.version, handshake_timeout_seconds=3)
        self.port = SSLNextProtocolAccept(self.default, allow_plain=True)
        vc, _sock = self.accept(policy)
        self.port.handle_event(NET_EVENT_ACCEPT, vc)
        cop = InactivityCop(self.handler, self.reactor)
        for _ in range(5):
            self.reactor.turn(1)
            cop.patrol()
        self.assert_gone(vc)
        self.assertEqual([], self.default.events)

    def test_not_both(self) -> None:
        """A port passes on blindly or serves in clear."""
        self.assertRaises(LocalError, SSLNextProtocolAccept, self.default, True, True)
        vc, _ = self.accept()
        vc.set_transparent_pass_through(True)
        self.assertTrue(vc.get_transparent_pass_through())
        vc.set_transparent_pass_through(False)
        self.assertFalse(vc.get_transparent_pass_through())

    def test_interfaces(self) -> None:
        """The port's acceptor and its trampolines are what they are used as."""
        self.assertTrue(verifyObject(ISessionAccept, self.port))
        trampoline = SSLNextProtocolTrampoline(self.port)
        self.assertTrue(callable(trampoline.handle_event))
        self.assertTrue(IContinuation.implementedBy(SSLNextProtocolAccept))

    def test_dispatch(self) -> None:
        """The connection goes to who speaks what was agreed; who is registered last is preferred."""
        for offered, whose in (
            ((b"h2",), self.h2),
            ((b"http/1.1",), self.h1),
            ((b"http/1.1", b"h2"), self.h2),
            ((b"unknown", b"http/1.1"), self.h1),
            ((), self.default),
        ):
            vc, peer = self.arrive(offered)
            self.run_peers(peer)
            self.assertTrue(peer.done)
            self.assertEqual(["ACCEPT"], whose.events)
            self.assertIs(vc, whose.given.pop())
            self.assertIs(self.port, vc.session_accept)
            whose.log.clear()
            self.assertEqual([[], [], []], self.told())

    def test_nothing_before_the_handshake(self) -> None:
        """A session never sees a connection whose handshake is not done, however slowly it goes."""
        vc, peer = self.arrive((b"h2",))
        peer.cut = lambda waiting: 1
        while not vc.get_ssl_handshake_complete():
            self.assertEqual([[], [], []], self.told())
            self.reactor.turn()
            peer.pump()
        self.run_peers(peer)
        self.assertEqual([["ACCEPT"], [], []], self.told())

    def test_request_with_the_handshake(self) -> None:
        """A request that comes in one piece with the end of the handshake is the session's, without another byte."""
        protocol = Recorder()
        self.port.endpoint = ProtocolSessionAccept(Factory.forProtocol(lambda: protocol), self.reactor)
        vc, peer = self.arrive()
        while not peer.done:
            self.reactor.turn()
            peer._receive()
            peer._step()
            if not peer.done:
                peer._send()  # the last message of the handshake waits for the request
        peer.write(b"request")
        self.run_peers(peer)
        self.assertEqual(b"request", protocol.data)
        self.assertFalse(vc.closed)

    def test_nothing_in_common(self) -> None:
        """A client that offers only what nobody speaks is refused; nobody hears of it."""
        vc, peer = self.arrive((b"unknown",))
        self.run_peers(peer)
        self.assertFalse(peer.done)
        self.assertTrue(vc.closed)
        self.assertEqual([[], [], []], self.told())

    def test_nobody(self) -> None:
        """A port without a default endpoint closes a connection on which nothing was agreed, and says so."""
        self.port.endpoint = None
        vc, peer = self.arrive()
        self.run_peers(peer)
        self.assertTrue(vc.closed)
        self.assertEqual("close_notify", peer.end)
        self.assert_one_line("nobody speaks")

    def test_unregistered(self) -> None:
        """What was taken back is not offered any more; what was not registered cannot be taken back."""
        self.assertFalse(self.port.unregister_endpoint(b"h2", self.h1))
        self.assertTrue(self.port.unregister_endpoint(b"h2", self.h2))
        _, peer = self.arrive((b"h2", b"http/1.1"))
        self.run_peers(peer)
        self.assertEqual([[], ["ACCEPT"], []], self.told())

    def test_name_that_cannot_be_sent(self) -> None:
        """A name is registered once, and has to fit."""
        self.assertFalse(self.port.register_endpoint(b"h2", self.h1))
        self.assertFalse(self.port.register_endpoint(b"x" * 256, self.h1))

    def test_client_leaves(self) -> None:
        """A client that leaves in the middle of the handshake is let go, and nobody hears of it."""
        for turns in range(3):
            vc, peer = self.arrive((b"h2",))
            for _ in range(turns):
                peer._step()
                peer._send()
                self.reactor.turn()
            if vc.get_ssl_handshake_complete():
                break
            peer.sock.close()
            self.reactor.settle()
            self.assertTrue(vc.closed)
        self.assertEqual([[], [], []], self.told())

    def test_silent_client(self) -> None:
        """A client that never says anything is given up, by the handshake's deadline or by a limit on silence."""
        vc, _ = self.arrive(policy=server_policy(self.version, handshake_timeout_seconds=30))
        self.reactor.turn(31)
        InactivityCop(self.handler, self.reactor).patrol()
        self.assertTrue(vc.closed)
        for setting in ("set_inactivity_timeout", "set_active_timeout"):
            vc, _ = self.arrive(policy=server_policy(self.version, handshake_timeout_seconds=0))
            getattr(vc, setting)(5)
            self.reactor.turn(6)
            InactivityCop(self.handler, self.reactor).patrol()
            self.assertTrue(vc.closed)
        self.assertEqual([[], [], []], self.told())

    def test_stray_timer_after_the_hand_over(self) -> None:
        """A timer that was set before the hand-over finds the session, not the trampoline."""
        protocol = Recorder()
        self.port.endpoint = ProtocolSessionAccept(Factory.forProtocol(lambda: protocol), self.reactor)
        vc, peer = self.arrive()
        vc.set_inactivity_timeout(5)
        self.run_peers(peer)
        self.reactor.turn(6)
        InactivityCop(self.handler, self.reactor).patrol()
        self.assertEqual(["made", "lost"], protocol.log)

    def test_stray_timer_without_a_reader(self) -> None:
        """If the session does not read, the timer closes the connection, and does not raise."""
        vc, peer = self.arrive()
        vc.set_active_timeout(5)
        self.run_peers(peer)
        self.assertEqual([[], [], ["ACCEPT"]], self.told())
        self.reactor.turn(6)
        InactivityCop(self.handler, self.reactor).patrol()
        self.assertTrue(vc.closed)

    def test_each_end(self) -> None:
        """Every end of a handshake closes the connection, without a word; what makes no sense does with one."""
        for event in (VC_EVENT_EOS, VC_EVENT_ERROR, VC_EVENT_ACTIVE_TIMEOUT, VC_EVENT_INACTIVITY_TIMEOUT):
            vc, _ = self.accept()
            self.assertEqual(EVENT_ERROR, SSLNextProtocolTrampoline(self.port).handle_event(event, vc.read.vio))
            self.assertTrue(vc.closed)
        self.assertEqual([], self.lines())
        vc, _ = self.accept()
        trampoline = SSLNextProtocolTrampoline(self.port)
        self.assertEqual(EVENT_ERROR, trampoline.handle_event(VC_EVENT_READ_READY, vc.read.vio))
        self.assertTrue(vc.closed)
        self.assert_one_line("READ_READY")

    def test_other_events(self) -> None:
        """An acceptor that is told of anything but connections logs it, and closes the connection if there is one."""
        vc, _ = self.accept()
        self.assertEqual(EVENT_DONE, self.port.handle_event(VC_EVENT_EOS, vc))
        self.assertTrue(vc.closed)
        self.assertEqual(EVENT_DONE, self.port.handle_event(VC_EVENT_EOS, None))
        self.assertEqual(2, len(self.lines()))

    def test_accept(self) -> None:
        """There are no bytes before a handshake, so nobody can bring any."""
        vc, _ = self.accept()
        self.assertRaises(LocalError, self.port.accept, vc, None, None)

    def test_blind_tunnel(self) -> None:
        """A connection that is not TLS any more goes to the default endpoint, its first bytes still to be read."""
        vc, peer = self.arrive((b"h2",), hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        peer.pump()
        hello = bytes(peer.to_send)
        self.run_peers(peer)
        self.assertEqual([[], [], ["ACCEPT"]], self.told())
        _, found = self.read_all(vc)
        self.run_peers(peer)
        self.assertTrue(found)
        self.assertEqual(0x16, found[0])
        self.assertTrue(not hello or found.startswith(hello[:5]))
        self.assertEqual(0, self.port._empty.max_read_avail())
        self.assertIsNone(self.port._empty.tail)

    def test_nothing_is_kept(self) -> None:
        """The port keeps nothing of a connection, and its shared buffer never gets a byte."""
        vc, peer = self.arrive((b"h2",))
        trampoline = vc.read.vio.cont
        with self.assertRaises(TypeError):
            weakref.ref(trampoline)  # it has no room for more than it needs
        gone = weakref.ref(vc)
        self.run_peers(peer)
        self.assertIsNot(trampoline, vc.read.vio.cont)
        del trampoline
        vc.do_io_close()
        peer.send_fin()
        self.run_peers(peer)
        self.h2.given.clear()
        del vc, peer
        gc.collect()
        self.assert_collected(gone)
        self.assertIsNone(self.port._empty.tail)


globals().update(NextProtocolAcceptTests.make_test_case_classes())
