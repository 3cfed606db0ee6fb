"""
Tests for L{atstls.net.introduced}, L{atstls.ssl.introduced} and L{atstls.edge.proxyout}: what the next host is told of
a client, before anything else.
"""

import errno
import socket
import weakref
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.proxyout import PROXY_OUT_SAME, introduction
from atstls.errors import LocalError, OpenFailed
from atstls.eventsystem.iobuffer import MIOBuffer, new_empty_MIOBuffer
from atstls.net.connection import NetVCOptions
from atstls.net.introduced import IntroducedNetVConnection
from atstls.net.processor import NetProcessor
from atstls.net.proxyheader import ProxyHeader, proxy_bytes
from atstls.net.unixvc import UnixNetVConnection
from atstls.ssl.introduced import IntroducedSSLNetVConnection
from atstls.ssl.processor import SSLNetProcessor
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.engine import CffiEngine
from tests.support import OverBothPolls, RecordingContinuation, make_handler, unix_pair
from tests.tlssupport import OverTLS, client_policy

FIRST = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
LARGE = b"x" * 65551


class PlainTests(OverBothPolls):
    """Without TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.processor = NetProcessor(self.handler)
        self.listener = self.keep(socket.create_server(("127.0.0.1", 0)))
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()

    def accept(self) -> socket.socket:
        found: list[socket.socket] = []

        def came() -> bool:
            try:
                found.append(self.listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.reactor.turn_until(came)
        found[0].setblocking(False)
        return self.keep(found[0])

    def dial(self, first: bytes = FIRST) -> tuple[RecordingContinuation, socket.socket]:
        cont = RecordingContinuation()
        self.processor.connect_s(cont, self.address, 30, NetVCOptions(first_bytes=first))
        return cont, self.accept()

    def test_first(self) -> None:
        """The bytes are there when the connection is given, and what is written follows them."""
        cont, host = self.dial()
        self.reactor.turn_until(lambda: cont.events)
        self.assertEqual(["OPEN"], cont.events)
        (vc,) = cont.given
        self.assertIsInstance(vc, IntroducedNetVConnection)
        self.assertEqual((True, False), (vc.ready, vc.write.urgent))
        self.assertEqual(FIRST, host.recv(100))
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        buffer.write(b"hello")
        vc.do_io_write(RecordingContinuation(), 5, reader)
        self.reactor.settle()
        self.assertEqual(b"hello", host.recv(100))

    def test_without(self) -> None:
        """Other connections are of another class."""
        cont, host = self.dial(b"")
        self.reactor.turn_until(lambda: cont.events)
        self.assertNotIsInstance(cont.given[0], IntroducedNetVConnection)
        self.reactor.settle()
        self.assertRaises(BlockingIOError, host.recv, 1)

    def test_moved(self) -> None:
        """One that has said it moves as an ordinary connection; before that it stays."""
        cont, host = self.dial()
        self.reactor.turn_until(lambda: cont.events)
        (vc,) = cont.given
        other, poll = make_handler(self.kind, self.reactor)
        new = vc.migrate(other)
        self.assertIs(UnixNetVConnection, type(new))
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        buffer.write(b"hello")
        new.do_io_write(RecordingContinuation(), 5, reader)
        self.reactor.turn_until(lambda: not reader.avail)
        self.assertEqual(FIRST + b"hello", host.recv(100))
        new.do_io_close()
        poll.close()
        processor = NetProcessor(self.handler)
        early = RecordingContinuation()
        processor.connect_re(early, self.address, NetVCOptions(first_bytes=FIRST))
        self.assertRaises(LocalError, early.given[0].release)

    def test_written_at_once(self) -> None:
        """Who does not wait for it may ask to write all the same: the order is kept; and he hears what is said."""
        cont = RecordingContinuation()
        self.processor.connect_re(cont, self.address, NetVCOptions(first_bytes=FIRST))
        (vc,) = cont.given
        buffer, into = MIOBuffer(), MIOBuffer()
        reader, heard = buffer.alloc_reader(), into.alloc_reader()
        buffer.write(b"hello")
        vc.do_io_write(RecordingContinuation(), 5, reader)
        vc.do_io_read(RecordingContinuation(), 1000, into)
        host = self.accept()
        host.send(b"welcome")
        self.reactor.turn_until(lambda: heard.avail)
        self.assertEqual((FIRST + b"hello", b"welcome"), (host.recv(1000), heard.read()))

    def test_a_host_that_does_not_read(self) -> None:
        """What the kernel does not take goes before anything else, and is waited for without spinning."""
        ours, theirs = unix_pair()
        self.keep(theirs)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        vc = IntroducedNetVConnection(self.handler)
        vc.options = NetVCOptions(first_bytes=LARGE)
        vc.start(ours)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, new_empty_MIOBuffer())
        self.reactor.settle()
        self.assert_idle()
        self.assertEqual(([], False), (cont.events, vc.ready))
        got = b""
        while len(got) < len(LARGE):
            got += theirs.recv(1000)
            self.reactor.settle()
        self.assertEqual((LARGE, ["READ_COMPLETE"]), (got, cont.events))

    def test_refused(self) -> None:
        """A host that is not there is told of as without the bytes."""
        self.listener.close()
        cont = RecordingContinuation()
        self.processor.connect_s(cont, self.address, 30, NetVCOptions(first_bytes=FIRST))
        self.reactor.turn_until(lambda: cont.events)
        self.assertEqual([("NET_EVENT_OPEN_FAILED", errno.ECONNREFUSED)], cont.log)
        self.assertIsInstance(cont.given[0], OpenFailed)

    def test_leaves_meanwhile(self) -> None:
        """A host that leaves before it has taken all: an error, once, and nothing is left."""
        ours, theirs = unix_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        vc = IntroducedNetVConnection(self.handler)
        vc.options = NetVCOptions(first_bytes=LARGE)
        vc.start(ours)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, new_empty_MIOBuffer())
        self.reactor.settle()
        theirs.close()
        self.reactor.settle()
        self.assertEqual((["ERROR"], True), (cont.events, bool(vc.closed)))
        self.assertNotIn(vc, self.handler.open_list)
        reference = weakref.ref(vc)
        del vc, cont
        self.assertIsNone(reference())

    def test_reset_meanwhile(self) -> None:
        """A host that resets it while it is told: the reason is there."""
        cont = RecordingContinuation()
        self.processor.connect_re(cont, self.address, NetVCOptions(first_bytes=FIRST))
        (vc,) = cont.given
        told = RecordingContinuation()
        vc.do_io_read(told, 0, new_empty_MIOBuffer())
        vc.socket.shutdown(socket.SHUT_WR)  # so that the kernel refuses what is to be sent
        self.accept()
        self.reactor.settle()
        self.assertEqual((["ERROR"], errno.EPIPE), (told.events, vc.lerrno))
        self.assertIsNone(vc.socket)

    def test_closed_meanwhile(self) -> None:
        """Its user may give it up at any time, before and in being told."""
        for settle in (False, True):
            ours, theirs = unix_pair()
            self.keep(theirs)
            vc = IntroducedNetVConnection(self.handler)
            vc.options = NetVCOptions(first_bytes=FIRST)
            vc.start(ours)
            cont = RecordingContinuation({102: lambda vio: vio.vc_server.do_io_close()})
            vc.do_io_read(cont, 0, new_empty_MIOBuffer())
            if settle:
                self.reactor.settle()
            else:
                vc.do_io_close()
            self.assertEqual((["READ_COMPLETE"] if settle else [], None), (cont.events, vc.socket))


globals().update(PlainTests.make_test_case_classes())


class TLSTests(OverTLS):
    """Before a handshake."""

    engines = (CffiEngine,)

    def dial(self, first: bytes, buffer_bytes: int = 0) -> tuple[Any, socket.socket, RecordingContinuation]:
        processor = SSLNetProcessor(self.handler)
        vc = processor.allocate_client_vc(
            NetVCOptions(first_bytes=first, sni_servername="a.example", tls=client_policy(self.version))
        )
        ours, theirs = unix_pair()
        if buffer_bytes:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        vc.start(ours, ("192.0.2.1", 443))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        return vc, self.keep(theirs), cont

    def take(self, sock: socket.socket, count: int) -> bytes:
        got = b""

        def more() -> bool:
            nonlocal got
            try:
                got += sock.recv(count - len(got))
            except BlockingIOError:
                pass
            return len(got) == count

        self.reactor.turn_until(more)
        return got

    def test_handshake_behind_it(self) -> None:
        """The bytes come in clear and whole, then the handshake, however slowly the host reads."""
        for first, size in ((FIRST, 0), (LARGE, 0), (LARGE, 4096)):
            vc, sock, cont = self.dial(first, size)
            self.assertIsInstance(vc, IntroducedSSLNetVConnection)
            self.assertEqual(first, self.take(sock, len(first)))
            peer = self.server(sock)
            self.run_peers(peer)
            self.assertEqual((["READ_COMPLETE"], True, ""), (cont.events, peer.done, peer.reason))
            _, found = self.read_all(vc)
            self.write(vc, b"hello")
            peer.write(b"world")
            self.run_peers(peer)
            self.assertEqual((b"hello", b"world"), (bytes(peer.plain), bytes(found)))

    def test_leaves_meanwhile(self) -> None:
        """A host that leaves before it has taken them: an error, once."""
        for size in (0, 4096):
            vc, sock, cont = self.dial(LARGE, size)
            if size:
                self.reactor.settle()
            sock.close()
            self.reactor.settle()
            self.assertEqual(["ERROR"], cont.events)
            self.assert_gone(vc)

    def test_without(self) -> None:
        """Other connections are of another class."""
        self.assertIs(SSLNetVConnection, type(self.dial(b"")[0]))


globals().update(TLSTests.make_test_case_classes())
del PlainTests, TLSTests


class Client:
    """As much of a client as is told of."""

    def __init__(self, header: ProxyHeader | None, *addresses: Any) -> None:
        self.proxy_header = header
        self._remote, self._local = addresses or (("192.0.2.9", 5), ("192.0.2.8", 6))

    def get_remote_addr(self) -> Any:
        return self._remote

    def get_local_addr(self) -> Any:
        return self._local


class IntroductionTests(SynchronousTestCase):
    """What is said."""

    told = ProxyHeader(2, ("203.0.113.5", 4000), ("198.51.100.7", 443), tlvs=((0xE0, b"\0\1"),))

    def test_versions(self) -> None:
        """Each version, and the one in which we were told, or none."""
        v1, v2 = b"PROXY TCP4 203.0.113.5 198.51.100.7 4000 443\r\n", proxy_bytes(self.told)
        self.assertIn(b"\xe0\0\2\0\1", v2)
        vc = Client(self.told)
        self.assertEqual([v1, v2, v2], [introduction(vc, version) for version in (1, 2, PROXY_OUT_SAME)])
        vc = Client(ProxyHeader(1, self.told.source, self.told.destination))
        self.assertEqual(v1, introduction(vc, PROXY_OUT_SAME))
        self.assertEqual(b"", introduction(Client(None), PROXY_OUT_SAME))

    def test_nobody_told_us(self) -> None:
        """Then it is what the socket says, also of a header without addresses."""
        v1 = b"PROXY TCP4 192.0.2.9 192.0.2.8 5 6\r\n"
        for header in (None, ProxyHeader(1), ProxyHeader(2), ProxyHeader(2, local=True)):
            self.assertEqual(v1, introduction(Client(header), 1))
        header = ProxyHeader(2, tlvs=((0xE0, b"x"),))
        self.assertTrue(introduction(Client(header), 2).endswith(b"\xe0\0\1x"))

    def test_unix(self) -> None:
        """Who came over a UNIX socket has no address."""
        for address in ("", "/run/x", None):
            vc = Client(None, address, address)
            self.assertEqual(b"PROXY UNKNOWN\r\n", introduction(vc, 1))
            self.assertEqual(b"\x21\0\0\0", introduction(vc, 2)[12:])
