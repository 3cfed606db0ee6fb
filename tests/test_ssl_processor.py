# -*- test-case-name: tests.test_ssl_processor -*-
"""
Tests for L{atstls.ssl.accept} and L{atstls.ssl.processor}: listening and connecting, over real sockets on the loopback.
"""

import errno
import socket
from typing import Any

from zope.interface.verify import verifyObject

from atstls.events import NET_EVENT_ACCEPT, NET_EVENT_OPEN
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.interfaces import INetAccept, INetProcessor, ISSLNetVConnection
from atstls.net.connection import AcceptOptions, NetVCOptions
from atstls.net.unixvc import UnixNetVConnection
from atstls.ssl.accept import SSLNetAccept
from atstls.ssl.processor import SSLNetProcessor
from atstls.ssl.sslvc import NO_HOOKS, SSLNetVConnection
from atstls.tls.engine import CffiEngine
from atstls.tls.sessions import OriginSessions
from tests.support import RecordingContinuation, what_descriptors_are
from tests.tlssupport import OverTLS, TLSPeer, client_policy, hook_set, issue, server_policy


class ProcessorTests(OverTLS):
    """Who makes connections over TLS."""

    engines = (CffiEngine,)

    def setUp(self) -> None:
        super().setUp()
        # Twisted reserves a descriptor when it listens for the first time.
        self.processor().accept_tls(RecordingContinuation(), AcceptOptions(), server_policy).cancel()
        self._descriptors = set(what_descriptors_are().items())

    def processor(self, **more: Any) -> SSLNetProcessor:
        return SSLNetProcessor(self.handler, **more)

    def listener(self) -> socket.socket:
        listener = self.keep(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        listener.setblocking(False)
        return listener

    def origin(self, listener: socket.socket, certificate: Any = None) -> TLSPeer:
        """What has connected to C{listener}, as an origin."""
        found: list[socket.socket] = []

        def accepted() -> bool:
            try:
                found.append(listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.reactor.turn_until(accepted)
        sock = self.keep(found[0])
        sock.setblocking(False)
        return self.server(sock, certificate)

    def test_interfaces(self) -> None:
        """They are what they say."""
        processor = self.processor()
        verifyObject(INetProcessor, processor)
        vc = processor.allocate_vc()
        self.assertIsInstance(vc, SSLNetVConnection)
        verifyObject(ISSLNetVConnection, vc)

    def test_accept(self) -> None:
        """Each connection has the policy of its time, the hooks, and completes its handshake; nothing else is told."""
        policies = [server_policy(self.version, max_record_size=n) for n in (100, 200)]
        seen: list[Any] = []
        vcs: list[SSLNetVConnection] = []

        def accepted(vc: Any) -> None:
            vcs.append(vc)
            vc.do_io_read(first, 0, MIOBuffer())

        first = RecordingContinuation()
        cont = RecordingContinuation({NET_EVENT_ACCEPT: accepted})
        accept = self.processor().accept_tls(
            cont,
            AcceptOptions(local_ip="127.0.0.1"),
            lambda: policies[len(vcs)],
            hook_set(vconn_start=lambda vc: seen.append(vc)),
        )
        verifyObject(INetAccept, accept)
        self.assertIsInstance(accept, SSLNetAccept)
        for n in range(2):
            sock = self.keep(socket.create_connection(("127.0.0.1", accept.get_host().port)))
            sock.setblocking(False)
            peer = self.client(sock)
            self.run_peers(peer, until=lambda peer=peer, n=n: peer.done and len(first.events) > n)
            self.assertIs(policies[n], vcs[n].policy)
            self.assertEqual("127.0.0.1", vcs[n].get_remote_addr()[0])
        self.assertEqual((["ACCEPT"] * 2, vcs), (cont.events, seen))
        accept.cancel()

    def test_sessions(self) -> None:
        """Connections under a policy that keeps sessions resume, to the same port and to no other (A063)."""
        sessions = OriginSessions()
        processor = self.processor(client_policy=client_policy(self.version, sessions=sessions))
        one, two = self.listener(), self.listener()
        found = []
        for listener in (one, one, two, one):
            opened: list[Any] = []
            options = NetVCOptions()
            options.set_sni_servername("a.example")
            processor.connect_s(
                RecordingContinuation({NET_EVENT_OPEN: opened.append}), listener.getsockname(), options=options
            )
            peer = self.origin(listener)
            self.run_peers(peer, until=lambda opened=opened: opened)
            (vc,) = opened
            found.append(vc.get_ssl_session_cache_hit())
            _, said = self.read_all(vc)
            peer.write(b"tickets come with it")
            self.run_peers(peer, until=lambda said=said: said)
            vc.do_io_close()
            peer.shutdown()
            self.run_peers(peer, until=lambda vc=vc: vc.socket is None)
        self.assertEqual([False, True, False, True], found)
        self.assertEqual((2, 2, 2), (sessions.hits, sessions.misses, len(sessions)))

    def test_connect(self) -> None:
        """connect_s tells OPEN when the handshake is done and the origin was accepted, connect_re before."""
        for how in ("connect_s", "connect_re"):
            listener = self.listener()
            processor = self.processor(client_policy=client_policy(self.version))
            cont = RecordingContinuation()
            options = NetVCOptions()
            options.set_sni_servername("a.example")
            getattr(processor, how)(cont, listener.getsockname(), options=options)
            if how == "connect_re":
                self.assertEqual(["OPEN"], cont.events)
                self.assertFalse(cont.given[0].get_ssl_handshake_complete())
                first = RecordingContinuation()
                cont.given[0].do_io_read(first, 0, MIOBuffer())
            else:
                self.assertEqual([], cont.events)
            peer = self.origin(listener)
            self.run_peers(peer, until=lambda cont=cont: cont.given and cont.given[0].get_ssl_handshake_complete())
            self.assertEqual(["OPEN"], cont.events)
            vc = cont.given[0]
            self.assertEqual((True, "a.example", b"a.example"), (
                vc.is_client, vc.server_name, peer.connection.get_servername()
            ))  # fmt: skip
            self.write(vc, b"request")
            self.run_peers(peer, until=lambda peer=peer: peer.plain == b"request")
            vc.do_io_close()
            self.run_peers(peer, until=lambda peer=peer: peer.fin)
            self.assertEqual("close_notify", peer.end)

    def test_wrong_origin(self) -> None:
        """An origin that is somebody else is never told of as open."""
        listener = self.listener()
        cont = RecordingContinuation({NET_EVENT_OPEN: lambda vc: self.fail("opened")})
        self.processor(client_policy=client_policy(self.version)).connect_s(
            cont, listener.getsockname(), options=NetVCOptions(sni_servername="other.example")
        )
        peer = self.origin(listener)
        self.run_peers(peer, until=lambda: cont.events)
        self.assertEqual(["OPEN_FAILED"], cont.events)
        self.run_peers(peer, until=lambda: peer.fin)
        peer.sock.close()
        self.reactor.settle()
        self.assertEqual(b"", peer.plain)

    def test_refused(self) -> None:
        """Nobody listens there."""
        listener = self.listener()
        address = listener.getsockname()
        listener.close()
        cont = RecordingContinuation()
        self.processor(client_policy=client_policy(self.version)).connect_s(cont, address)
        self.reactor.turn_until(lambda: cont.events)
        self.assertEqual(["OPEN_FAILED"], cont.events)
        self.assertEqual(errno.ECONNREFUSED, abs(cont.given[0].lerrno))

    def test_address_is_no_name(self) -> None:
        """What is asked for is a name; an address is only looked for in the certificate (RFC 6066, 3)."""
        listener = self.listener()
        cont = RecordingContinuation()
        policy = client_policy(self.version)
        options = NetVCOptions(sni_servername="192.0.2.1", tls=policy)
        self.processor().connect_s(cont, listener.getsockname(), options=options)
        peer = self.origin(listener, issue("192.0.2.1"))
        self.run_peers(peer, until=lambda: cont.events)
        self.assertEqual(["OPEN"], cont.events)
        self.assertIsNone(peer.connection.get_servername())
        self.assertIs(policy, cont.given[0].policy)

    def test_no_policy(self) -> None:
        """Without a policy nothing is connected to in good faith."""
        processor = self.processor()
        self.assertIs(NO_HOOKS, processor.client_hooks)
        self.assertRaises(AssertionError, processor.allocate_client_vc, NetVCOptions())

    def test_no_name(self) -> None:
        """A name need not be given, if the policy does not look at it."""
        processor = self.processor(client_policy=client_policy(self.version))
        vc = processor.allocate_client_vc(NetVCOptions())
        assert isinstance(vc, SSLNetVConnection)
        self.assertIsNone(vc.server_name)
        self.assertIsInstance(vc, UnixNetVConnection)

    def test_accepted_with_its_hello(self) -> None:
        """A client whose hello came with the connection is served without another word."""
        first = RecordingContinuation()
        cont = RecordingContinuation({NET_EVENT_ACCEPT: lambda vc: vc.do_io_read(first, 0, MIOBuffer())})
        accept = self.processor().accept_tls(
            cont, AcceptOptions(local_ip="127.0.0.1"), lambda: server_policy(self.version)
        )
        sock = self.keep(socket.create_connection(("127.0.0.1", accept.get_host().port)))
        sock.setblocking(False)
        peer = self.client(sock)
        peer._step()
        peer._send()
        self.run_peers(peer, until=lambda: first.events)
        self.assertEqual(["READ_COMPLETE"], first.events)
        accept.cancel()


globals().update(ProcessorTests.make_test_case_classes())
