"""
Tests for L{atstls.net.transparent} and L{atstls.edge.original}: connections that were made to somebody else.

What the kernel does with them is tested in L{tests.integration.test_transparent}.
"""

import errno
import ipaddress
import os
import socket
import struct
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.onward import Onward, address_words
from atstls.edge.original import ORIGINAL_DESTINATION, original_address
from atstls.events import NET_EVENT_ACCEPT
from atstls.net import accept, connection, transparent
from atstls.net.accept import _NoFactory
from atstls.net.connection import AcceptOptions, NetVCOptions
from atstls.net.processor import NetProcessor
from atstls.net.transparent import make_transparent, original_destination
from atstls.net.unixvc import UnixNetVConnection
from tests.support import HandReactor, OverBothPolls, RecordingContinuation


class ScriptedSocket:
    """As much of a socket as is asked."""

    def __init__(self, family: int, local: Any, original: Any = None) -> None:
        self.family = family
        self._local = local
        self._original = original
        self.asked: list[Any] = []

    def getsockname(self) -> Any:
        return self._local

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        self.asked.append((level, option, size))
        if self._original is None:
            raise OSError(errno.ENOENT, "scripted")
        host, port = self._original
        packed = ipaddress.ip_address(host).packed
        if level == socket.IPPROTO_IP:
            return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + packed + bytes(8)
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 7) + packed + bytes(4)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.asked.append((level, option, value))
        raise PermissionError(errno.EPERM, "Operation not permitted")


class DestinationTests(SynchronousTestCase):
    """Where the client wanted to go."""

    def test_as_it_came(self) -> None:
        """Where nobody has changed the address, it is ours; a flow label and a scope are no part of it."""
        for family, local in (
            (socket.AF_INET, ("192.0.2.1", 443)),
            (socket.AF_INET6, ("2001:db8::1", 443, 0, 0)),
            (socket.AF_INET6, ("::ffff:192.0.2.1", 443, 0, 0)),
        ):
            sock: Any = ScriptedSocket(family, local)
            self.assertEqual(local[:2], original_destination(sock))

    def test_changed(self) -> None:
        """Where somebody has, the kernel remembers, for each family in its own way."""
        for family, local, original, level in (
            (socket.AF_INET, ("192.0.2.1", 8443), ("198.51.100.7", 443), socket.IPPROTO_IP),
            (socket.AF_INET6, ("2001:db8::1", 8443, 0, 0), ("2001:db8::7", 443), socket.IPPROTO_IPV6),
            (socket.AF_INET6, ("::ffff:192.0.2.1", 8443, 0, 0), ("198.51.100.7", 443), socket.IPPROTO_IP),
        ):
            sock: Any = ScriptedSocket(family, local, original)
            host, port = original_destination(sock)
            self.assertEqual(original, (host.removeprefix("::ffff:"), port))
            self.assertEqual(host.startswith("::ffff:"), local[0].startswith("::ffff:"))
            self.assertEqual([(level, 80, 16 if level == socket.IPPROTO_IP else 28)], sock.asked)

    def test_real_sockets(self) -> None:
        """An ordinary connection went where it is."""
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with (
                socket.create_server((host, 0), family=family) as listener,
                socket.create_connection(listener.getsockname()[:2]),
                listener.accept()[0] as accepted,
            ):
                self.assertEqual(listener.getsockname()[:2], original_destination(accepted))

    def test_may_not(self) -> None:
        """Who may not is told what he needs."""
        for family, level, option in (
            (socket.AF_INET, socket.IPPROTO_IP, 19),
            (socket.AF_INET6, socket.IPPROTO_IPV6, 75),
        ):
            sock: Any = ScriptedSocket(family, None)
            error = self.assertRaises(OSError, make_transparent, sock)
            needed = "a transparent port needs CAP_NET_ADMIN or CAP_NET_RAW"
            self.assertEqual((errno.EPERM, needed), (error.errno, error.strerror))
            self.assertEqual([(level, option, 1)], sock.asked)

    def test_cannot(self) -> None:
        """Nor can a UNIX socket be, nor another system."""
        with socket.socket(socket.AF_UNIX) as sock:
            self.assertRaises(OSError, make_transparent, sock)
        self.patch(transparent.sys, "platform", "plan9")
        with socket.socket() as sock:
            self.assertRaises(OSError, make_transparent, sock)


class PortTests(OverBothPolls):
    """Transparent ports."""

    def setUp(self) -> None:
        # The first port that listens opens a descriptor for Twisted's own purposes: let it be there before.
        reactor = HandReactor()
        tcp.Port(0, _NoFactory(), reactor=reactor).startListening()
        reactor.removeAll()[0].connectionLost(None)
        super().setUp()
        # Whether we may is the integration tests' affair.
        self.patched: list[socket.socket] = []
        for module in (accept, connection):
            self.patch(module, "make_transparent", self.patched.append)
        self.cont = RecordingContinuation()
        self.processor = NetProcessor(self.handler)

    def listen(self, **more: Any) -> Any:
        options = AcceptOptions(local_ip="127.0.0.1", f_inbound_transparent=True, **more)
        port = self.processor.accept(self.cont, options)
        self.addCleanup(port.cancel)
        return port

    def test_accepted(self) -> None:
        """Its connections say that they came so, and where their clients wanted to go."""
        port = self.listen()
        self.assertTrue(self.patched)
        number = port.get_host().port
        client = self.keep(socket.create_connection(("127.0.0.1", number)))
        self.reactor.turn_until(lambda: self.cont.log)
        (vc,) = self.cont.given
        self.assertTrue(vc.is_transparent)
        self.assertEqual(client.getpeername(), vc.get_local_addr())
        # It is the port itself that he wanted to reach.
        self.assertIsNone(original_address(vc))
        vc.set_local_addr(("192.0.2.1", number))
        self.assertEqual(("192.0.2.1", number), original_address(vc))
        vc.set_local_addr(("127.0.0.1", 1))
        self.assertEqual(("127.0.0.1", 1), original_address(vc))
        # It stays so when it moves.
        held = vc.release()
        self.assertFalse(vc.is_transparent)
        new = UnixNetVConnection(self.handler)
        new.populate(held)
        self.assertEqual((True, ("127.0.0.1", 1)), (new.is_transparent, original_address(new)))
        new.do_io_close()
        self.assertFalse(new.is_transparent)
        port.cancel()

    def test_others(self) -> None:
        """Connections of other ports went where they are, and are not sent on by that."""
        port = self.processor.accept(self.cont, AcceptOptions(local_ip="127.0.0.1"))
        self.assertEqual([], self.patched)
        self.keep(socket.create_connection(("127.0.0.1", port.get_host().port)))
        self.reactor.turn_until(lambda: self.cont.log)
        (vc,) = self.cont.given
        self.assertEqual((False, None), (vc.is_transparent, original_address(vc)))
        vc.set_local_addr(("192.0.2.1", 1))
        self.assertIsNone(original_address(vc))
        port.cancel()

    def test_may_not(self) -> None:
        """Without the right to it the port is not opened, and nothing is left of it."""

        def fail(sock: socket.socket) -> None:
            raise OSError(errno.EPERM, "scripted")

        self.patch(accept, "make_transparent", fail)
        error = self.assertRaises((CannotListenError, OSError), self.listen)
        self.assertIn("scripted", str(error))

    def test_refused_before_anybody_is_dialled(self) -> None:
        """Who connects to the port itself is closed at once: to dial it would be another such connection."""
        port = self.listen()
        client = self.keep(socket.create_connection(("127.0.0.1", port.get_host().port)))
        self.reactor.turn_until(lambda: self.cont.log)
        (vc,) = self.cont.given
        onward = Onward("[listen a] forward_route", self.processor, ORIGINAL_DESTINATION, NetVCOptions())
        onward.handle_event(NET_EVENT_ACCEPT, vc)
        self.assertTrue(vc.closed)
        self.assertEqual(set(), self.handler.open_list)
        self.assertRaises(ConnectionResetError, client.recv, 1)
        self.assertEqual("{original_destination}", address_words(ORIGINAL_DESTINATION))
        port.cancel()

    def test_in_the_name_of_the_client(self) -> None:
        """With tr-out the address to connect from is the client's, whichever way it is written; if it has one."""
        options = NetVCOptions(packet_tos=8)
        onward = Onward("x", self.processor, ("192.0.2.5", 80), options, as_client=True)
        vc, _ = self.connection()
        for remote, expected in (
            (("192.0.2.9", 5), "192.0.2.9"),
            (("::ffff:192.0.2.9", 5), "192.0.2.9"),
            (("2001:db8::9", 5), "2001:db8::9"),
        ):
            vc.set_remote_addr(remote)
            made = onward.options_for(vc)
            self.assertEqual((expected, 0, 8), (made.local_ip, made.local_port, made.packet_tos))
            self.assertTrue(made.local_ip_is_foreign)
        vc.set_remote_addr("/run/x")
        self.assertIs(options, onward.options_for(vc))
        self.assertEqual(("", False), (options.local_ip, options.local_ip_is_foreign))

    def test_options(self) -> None:
        """Marks and classes of packets are those of the accepted sockets (N094)."""
        mark = 5 if os.geteuid() == 0 else 0
        port = self.processor.accept(
            self.cont, AcceptOptions(local_ip="127.0.0.1", packet_tos=0x28, packet_mark=mark)
        )
        self.keep(socket.create_connection(("127.0.0.1", port.get_host().port)))
        self.reactor.turn_until(lambda: self.cont.log)
        sock = self.cont.given[0].socket
        self.assertEqual(0x28, sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS))
        self.assertEqual(mark, sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
        port.cancel()


globals().update(PortTests.make_test_case_classes())
del PortTests
