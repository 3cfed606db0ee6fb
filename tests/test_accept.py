"""
Tests for L{atstls.net.accept}: the loop that empties the queue of a listening socket.
"""

import errno
import gc
import os
import socket
import stat
import subprocess
import sys
import unittest.mock
import weakref
from typing import Any

from attrs import evolve
from twisted.internet import tcp
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.events import EVENT_ERROR, NET_EVENT_ACCEPT, NET_EVENT_ACCEPT_SUCCEED, VC_EVENT_READ_READY, event_name
from atstls.eventsystem.iobuffer import new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.interfaces import INetAccept
from atstls.net import accept as accept_module
from atstls.net.accept import (
    ACCEPTS_A_TURN,
    FATAL,
    OUT_OF_RESOURCES,
    REST_SECONDS,
    TRANSIENT,
    NetAccept,
    _NoFactory,
    accept_error_seriousness,
)
from atstls.net.connection import SOCK_OPT_KEEP_ALIVE, AcceptOptions
from atstls.net.perclient import ClientLimit
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.net.unixvc import UnixNetVConnection
from atstls.statistics import counters
from tests.support import HandReactor, Moved, OverBothPolls, RecordingContinuation

LOOPBACK = AcceptOptions(local_ip="127.0.0.1")


class FailingListener:
    """A listening socket whose accept() fails as the test says, and then does what it always does."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self._sock = sock
        self.errors = list(errors)
        self.tries = 0

    def _accept(self) -> Any:
        self.tries += 1
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, os.strerror(error))
        return self._sock._accept()

    def accept(self) -> Any:
        fd, address = self._accept()
        return socket.socket(fileno=fd), address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class AcceptTests(OverBothPolls):
    def setUp(self) -> None:
        # The first port that listens opens a descriptor for Twisted's own purposes: let it be there before.
        reactor = HandReactor()
        tcp.Port(0, _NoFactory(), reactor=reactor).startListening()
        reactor.removeAll()[0].connectionLost(None)
        super().setUp()
        self.throttle = Throttle(0, self.reactor.seconds)
        self.moved = Moved()
        self.processor = NetProcessor(self.handler, self.throttle)
        self.cont = RecordingContinuation()

    def tearDown(self) -> None:
        for reader in self.reactor.getReaders():
            accept = getattr(reader.doRead, "__self__", None)
            if isinstance(accept, NetAccept):
                accept.cancel()
        super().tearDown()

    def listen(self, options: AcceptOptions = LOOPBACK) -> NetAccept:
        return self.processor.accept(self.cont, options)

    def host_of(self, accept: NetAccept) -> Any:
        """Where it listens: an L{IPv4Address} or L{IPv6Address}."""
        return accept.get_host()

    def dial(self, accept: NetAccept, count: int = 1) -> list[socket.socket]:
        """So many clients, connected as far as they can tell."""
        assert accept.port is not None
        clients = []
        for _ in range(count):
            client = socket.socket(accept.port.socket.family)
            client.connect(accept.port.socket.getsockname())
            client.setblocking(False)
            clients.append(self.keep(client))
        return clients

    def failing(self, accept: NetAccept, *errors: int) -> FailingListener:
        listener = FailingListener(accept.port.socket, *errors)
        accept.port.socket = listener
        return listener

    def is_closed(self, client: socket.socket) -> bool:
        client.setblocking(True)
        client.settimeout(5)
        try:
            return client.recv(1) == b""
        except ConnectionResetError:
            return True

    def test_interface(self) -> None:
        """It can be called off, and asked where it listens."""
        accept = self.listen()
        self.assertTrue(verifyObject(INetAccept, accept))
        host = self.host_of(accept)
        self.assertEqual(accept.listening_port().getHost(), host)
        self.assertEqual("127.0.0.1", host.host)

    def test_accepted(self) -> None:
        """Each who connects is a connection of its own, with a number, a time and an address (N095)."""
        self.reactor.turn(7)
        accept = self.listen()
        clients = self.dial(accept, 3)
        self.reactor.turn_until(lambda: len(self.cont.log) == 3)
        self.assertEqual(["ACCEPT"] * 3, self.cont.events)
        vcs = self.cont.given
        self.assertEqual([1, 2, 3], [vc.id for vc in vcs])
        self.assertEqual([7.0] * 3, [vc.submit_time for vc in vcs])
        self.assertEqual({client.getsockname() for client in clients}, {vc.get_remote_addr() for vc in vcs})
        self.assertEqual([False] * 3, [vc.is_client for vc in vcs])
        self.assertEqual((set(vcs), 3), (self.handler.open_list, accept.accepted))

    def test_first_bytes(self) -> None:
        """Where the kernel lets nobody in without, the first bytes are read in the turn of the accept (1.11)."""
        accept = self.listen(evolve(LOOPBACK, defer_accept_seconds=5))
        read = RecordingContinuation()
        reader = new_empty_MIOBuffer(5).alloc_reader()
        self.cont.script[NET_EVENT_ACCEPT] = lambda vc: vc.do_io_read(read, INT64_MAX, reader.buffer)
        (client,) = self.dial(accept)
        client.send(b"hello")
        self.reactor.turn_until(lambda: self.cont.log)
        self.assertEqual((["READ_READY"], b"hello"), (read.events, reader.read()))
        client.send(b"again")
        self.reactor.turn_until(lambda: reader.avail)
        self.assertEqual(b"again", reader.read())

    def test_first_bytes_of_others(self) -> None:
        """Elsewhere nobody looks for them before the kernel says that they are there: mostly they are not yet."""
        accept = self.listen()
        read = RecordingContinuation()
        reader = new_empty_MIOBuffer(5).alloc_reader()
        self.cont.script[NET_EVENT_ACCEPT] = lambda vc: vc.do_io_read(read, INT64_MAX, reader.buffer)
        (client,) = self.dial(accept)
        client.send(b"hello")
        before = counters.calls_to_readfromnet
        self.reactor.turn_until(lambda: reader.avail)
        self.assertEqual((["READ_READY"], b"hello"), (read.events, reader.read()))
        self.assertEqual(1, counters.calls_to_readfromnet - before)

    def test_first_bytes_that_have_not_come(self) -> None:
        """Where nothing came along, it is heard of when it comes."""
        accept = self.listen()
        read = RecordingContinuation()
        reader = new_empty_MIOBuffer(5).alloc_reader()
        self.cont.script[NET_EVENT_ACCEPT] = lambda vc: vc.do_io_read(read, INT64_MAX, reader.buffer)
        (client,) = self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        self.reactor.settle()
        self.assertEqual([], read.log)
        self.assert_idle()
        client.send(b"hello")
        self.reactor.turn_until(lambda: reader.avail)

    def test_of_its_own_accord(self) -> None:
        """A connection that has something to do of its own gets its turn, although nobody asked yet."""
        done = []

        class Eager(UnixNetVConnection):
            def net_read_io(self) -> None:
                self.read.urgent = False
                done.append(self)

        def allocate(accept: NetAccept) -> UnixNetVConnection:
            vc = Eager(self.handler)
            vc.read.urgent = True
            return vc

        accept = NetAccept(self.handler, allocate, self.cont, LOOPBACK, self.throttle)
        accept.listen()
        self.dial(accept)
        self.reactor.turn_until(lambda: done)
        self.assertEqual(self.cont.given, done)

    def test_ipv6(self) -> None:
        """The same over IPv6."""
        accept = self.listen(AcceptOptions(local_ip="::1"))
        (client,) = self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        self.assertEqual(client.getsockname()[:2], self.cont.given[0].get_remote_addr())
        self.assertEqual("::1", self.cont.given[0].get_local_addr()[0])

    def test_our_address(self) -> None:
        """Where a client has come to is what its socket says, also where the port is for all addresses."""
        hosts = ["127.0.0.1", "", *(["::1", "::"] if socket.has_ipv6 else [])]
        for number, host in enumerate(hosts):
            accept = self.listen(AcceptOptions(local_ip=host))
            port = self.host_of(accept).port
            self.keep(socket.create_connection((host if host not in ("", "::") else "localhost", port)))
            self.reactor.turn_until(lambda number=number: len(self.cont.given) > number)
            vc = self.cont.given[number]
            self.assertEqual(vc.socket.getsockname()[:2], vc.get_local_addr())
            accept.cancel()
            vc.do_io_close()

    def test_unix_socket(self) -> None:
        """The same over a UNIX socket, whose file is gone afterwards."""
        path = self.mktemp()
        accept = self.listen(AcceptOptions(unix_path=path))
        self.assertTrue(stat.S_ISSOCK(os.stat(path).st_mode))
        self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        self.assertEqual("", self.cont.given[0].get_remote_addr())
        self.assertEqual(path, self.cont.given[0].get_local_addr())
        accept.cancel()
        self.assertFalse(os.path.exists(path) or os.path.lexists(path + ".lock"))

    def test_unix_socket_whose_file_is_gone(self) -> None:
        """Somebody removed the socket's file: cancelling closes the port all the same."""
        path = self.mktemp()
        accept = self.listen(AcceptOptions(unix_path=path))
        os.unlink(path)
        accept.cancel()
        self.assertFalse(os.path.lexists(path + ".lock"))
        self.listen(AcceptOptions(unix_path=path)).cancel()

    def test_inherited_descriptors(self) -> None:
        """A listening socket that somebody else has made can be used, of either kind."""
        for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, self.mktemp())):
            with socket.socket(family) as made:
                made.bind(address)
                made.listen()
                self.cont.log.clear()
                accept = self.listen(AcceptOptions(fd=made.fileno()))
                self.dial(accept)
                self.reactor.turn_until(lambda: self.cont.log)
                accept.cancel()
                made.getsockname()

    def test_options(self) -> None:
        """What is asked for is what the accepted sockets have (N094)."""
        options = AcceptOptions(
            local_ip="127.0.0.1", sockopt_flags=SOCK_OPT_KEEP_ALIVE, recv_buffer_bytes=5000, send_buffer_bytes=6000
        )
        accept = self.listen(options)
        self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        sock = self.cont.given[0].socket
        got = [
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            sock.getblocking(),
        ]
        self.assertEqual([0, 1, 10000, 12000, False], got)

    def test_deferred(self) -> None:
        """Who connects and says nothing is the kernel's affair for a while; with bytes he is ours at once (N094)."""
        accept = self.listen(AcceptOptions(local_ip="127.0.0.1", defer_accept_seconds=30))
        deferred = accept.port.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
        self.assertGreaterEqual(deferred, 30)
        silent, speaks = self.dial(accept, 2)
        speaks.send(b"hello")
        self.reactor.turn_until(lambda: self.cont.log)
        self.reactor.settle()
        (vc,) = self.cont.given
        self.assertEqual(speaks.getsockname(), vc.get_remote_addr())
        reader = new_empty_MIOBuffer().alloc_reader()
        vc.do_io_read(self.cont, INT64_MAX, reader.buffer)
        self.reactor.settle()
        self.assertEqual(b"hello", reader.read())
        silent.send(b"at last")
        self.reactor.turn_until(lambda: len(self.cont.given) == 2)
        unix = self.listen(AcceptOptions(unix_path=self.mktemp(), defer_accept_seconds=30))  # It is passed over there.
        unix.cancel()

    if not hasattr(socket, "TCP_DEFER_ACCEPT"):
        test_deferred.skip = "TCP_DEFER_ACCEPT is Linux's alone; elsewhere the setting changes nothing"

    def test_backdoor(self) -> None:
        """By one port an operator gets in when there are too many; not when descriptors are nearly gone (N094)."""
        self.throttle.change(1)
        self.throttle.clients = ClientLimit(1, seconds=self.reactor.seconds)
        front = self.listen()
        back = self.listen(AcceptOptions(local_ip="127.0.0.1", backdoor=True))
        self.dial(front)
        self.reactor.turn_until(lambda: self.cont.log)
        (refused,) = self.dial(front)
        self.assertTrue(self.is_closed_by_turning(refused))
        self.dial(back, 3)
        self.reactor.turn_until(lambda: len(self.cont.log) == 4)
        self.assertEqual((["ACCEPT"] * 4, 4), (self.cont.events, len(self.handler.open_list)))
        back._throttle.highest_in = 2
        (refused,) = self.dial(back)
        self.assertTrue(self.is_closed_by_turning(refused))

    def is_closed_by_turning(self, client: socket.socket) -> bool:
        before = self.moved.connections_throttled_in
        self.reactor.turn_until(lambda: self.moved.connections_throttled_in > before)
        return self.is_closed(client)

    def test_small_pieces_go_at_once(self) -> None:
        """Without being asked, an accepted socket does not wait to fill a packet."""
        accept = self.listen()
        self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        self.assertEqual(1, self.cont.given[0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def test_localhost_only(self) -> None:
        """Asked for the loopback only it listens nowhere else, whatever the address says (N094)."""
        for ip, host in (("", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "127.0.0.1")):
            accept = self.listen(AcceptOptions(local_ip=ip, localhost_only=True))
            self.assertEqual(host, self.host_of(accept).host)
            accept.cancel()

    def test_all_addresses(self) -> None:
        """Without an address it listens on all."""
        self.assertEqual("0.0.0.0", self.host_of(self.listen(AcceptOptions())).host)

    def test_callback_on_open(self) -> None:
        """Asked to, it tells from within the call that the port is open (N091)."""
        accept = self.listen(AcceptOptions(local_ip="127.0.0.1", f_callback_on_open=True))
        self.assertEqual((["ACCEPT_SUCCEED"], [accept]), (self.cont.events, self.cont.given))

    def test_callback_on_failure(self) -> None:
        """Or that it cannot be opened, and why; else that is raised (N091)."""
        taken = self.host_of(self.listen()).port
        options = AcceptOptions(local_ip="127.0.0.1", local_port=taken, f_callback_on_open=True)
        accept = self.listen(options)
        self.assertEqual((["ACCEPT_FAILED"], True, None), (self.cont.events, accept.cancelled, accept.port))
        self.assertEqual(errno.EADDRINUSE, self.cont.given[0].errno)
        accept.cancel()
        error = self.assertRaises(CannotListenError, self.listen, AcceptOptions("127.0.0.1", taken))
        self.assertEqual(errno.EADDRINUSE, error.socketError.errno)

    def test_options_that_cannot_be_set(self) -> None:
        """A port whose options cannot be set is not left open."""

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(errno.EINVAL, "scripted")

        self.patch(accept_module, "apply_accept_options", fail)
        self.assertRaises(OSError, self.listen)
        self.assertEqual(1 if self.kind == "edge" else 0, len(self.reactor.readers))

    def test_cancel(self) -> None:
        """Cancelled, the port is free for others when the call returns, and nobody is told any more (N092, O34)."""
        accept = self.listen(AcceptOptions(local_ip="127.0.0.1", f_callback_on_open=True))
        port = self.host_of(accept).port
        accept.cancel()
        accept.cancel()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        self.reactor.settle()
        self.assertEqual((["ACCEPT_SUCCEED"], None), (self.cont.events, accept.port))

    def test_cancel_with_some_waiting(self) -> None:
        """Those who wait when it is cancelled are told nothing of, and find themselves refused."""
        accept = self.listen()
        clients = self.dial(accept, 3)
        accept.cancel()
        self.reactor.settle()
        self.assertEqual([], self.cont.log)
        self.assertTrue(all(self.is_closed(client) for client in clients))

    def test_cancel_from_within(self) -> None:
        """Cancelled in the call-back of one, the next in the queue is not accepted."""
        accept = self.listen()
        self.cont.script[NET_EVENT_ACCEPT] = lambda vc: accept.cancel()
        self.dial(accept, 3)
        self.reactor.turn_until(lambda: self.cont.log)
        self.reactor.settle()
        self.assertEqual(1, len(self.cont.log))

    def test_cancel_from_within_success(self) -> None:
        """It may be cancelled as soon as it is told that it is open."""
        self.cont.script[NET_EVENT_ACCEPT_SUCCEED] = lambda accept: accept.cancel()
        accept = self.listen(AcceptOptions(local_ip="127.0.0.1", f_callback_on_open=True))
        self.assertTrue(accept.cancelled)

    def test_gone(self) -> None:
        """A cancelled acceptor leaves nothing behind."""
        accept = self.listen()
        self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        accept.cancel()
        gone = weakref.ref(accept)
        del accept
        gc.collect()
        self.assertIsNone(gone())

    def test_some_a_turn(self) -> None:
        """A rush is taken in shares, so those who are in are served in between (N093)."""
        for more, share in ((0, 1), (2, 3), (-1, ACCEPTS_A_TURN)):
            self.cont.log.clear()
            accept = self.listen(AcceptOptions(local_ip="127.0.0.1", additional_accepts=more))
            clients = self.dial(accept, share * 2 + 1)
            for accepted in (share, share * 2, share * 2 + 1):
                accept.port.doRead()
                self.assertEqual(accepted, len(self.cont.log))
            accept.cancel()
            for client in clients:
                client.close()
            for vc in list(self.handler.open_list):
                vc.do_io_close()

    def test_throttle(self) -> None:
        """Over the limit new ones are closed at once and counted, and those who are in stay (N100)."""
        self.throttle.change(10)
        accept = self.listen()
        clients = self.dial(accept, 15)
        self.reactor.turn_until(lambda: len(self.cont.log) + self.moved.connections_throttled_in == 15)
        refused = self.moved.connections_throttled_in
        self.assertEqual((10, 5, 10), (len(self.cont.log), refused, len(self.handler.open_list)))
        closed = [client for client in clients[10:] if self.is_closed(client)]
        self.assertEqual(5, len(closed))
        self.cont.given.pop().do_io_close()
        self.cont.given.pop().do_io_close()
        self.dial(accept, 1)
        self.reactor.turn_until(lambda: len(self.cont.log) == 11)

    def test_per_client(self) -> None:
        """One address has as many connections as it may; more are closed at once, and another address comes in."""
        clients = self.throttle.clients = ClientLimit(2, seconds=self.reactor.seconds)
        accept = self.listen()
        dialled = self.dial(accept, 4)
        self.reactor.turn_until(lambda: len(self.cont.log) + self.moved.per_client_connections_throttled_in == 4)
        refused = self.moved.per_client_connections_throttled_in
        self.assertEqual((2, 2, {"127.0.0.1": 2}), (len(self.cont.log), refused, clients.connections))
        self.assertEqual(2, sum(self.is_closed(client) for client in dialled[2:]))
        other = self.keep(socket.socket())
        other.bind(("127.0.0.2", 0))
        other.connect(accept.port.socket.getsockname())
        self.reactor.turn_until(lambda: len(self.cont.log) == 3)
        for vc in self.cont.given[:2]:
            vc.do_io_close()
        self.assertEqual({"127.0.0.2": 1}, clients.connections)
        self.dial(accept, 1)
        self.reactor.turn_until(lambda: len(self.cont.log) == 4)

    def test_per_client_and_a_bug(self) -> None:
        """One that could not even be watched is not counted."""
        clients = self.throttle.clients = ClientLimit(1, seconds=self.reactor.seconds)
        accept = self.listen()
        with unittest.mock.patch.object(type(self.handler.poll), "start", side_effect=OSError(errno.ENOMEM, "")):
            (client,) = self.dial(accept)
            self.reactor.turn_until(lambda: not self.handler.open_list)
            self.reactor.settle()
            self.assertTrue(self.is_closed(client))
        self.assertEqual({}, clients.connections)
        self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)

    def test_descriptors_nearly_gone(self) -> None:
        """A socket with one of the last descriptors is closed and counted; those who are in stay (N105)."""
        accept = self.listen()
        self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        (vc,) = self.cont.given
        self.throttle.highest_in = vc.fd
        (client,) = self.dial(accept)
        self.reactor.turn_until(lambda: self.moved.connections_throttled_in)
        self.assertTrue(self.is_closed(client))
        self.assertEqual(({vc}, ["ACCEPT"]), (self.handler.open_list, self.cont.events))
        self.throttle.change(0)
        self.dial(accept)
        self.reactor.turn_until(lambda: len(self.cont.log) == 2)

    def test_user_closes_at_once(self) -> None:
        """A user may close a connection as soon as it is told of it."""
        accept = self.listen()
        self.cont.script[NET_EVENT_ACCEPT] = lambda vc: vc.do_io_close()
        (client,) = self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        self.assertEqual(set(), self.handler.open_list)
        self.assertTrue(self.is_closed(client))

    def test_bug_of_the_user(self) -> None:
        """A bug in who is told ends that connection, and the next is accepted."""

        def bug(vc: Any) -> None:
            raise ZeroDivisionError("a bug of the user's")

        accept = self.listen()
        self.cont.script[NET_EVENT_ACCEPT] = [bug]
        self.dial(accept, 2)
        self.reactor.turn_until(lambda: len(self.cont.log) == 2)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual({self.cont.given[1]}, self.handler.open_list)

    def test_bug_of_who_makes_connections(self) -> None:
        """A bug in making the connection object loses that connection, not the port."""
        made: list[UnixNetVConnection] = []

        def allocate(accept: NetAccept) -> UnixNetVConnection:
            if not made:
                made.append(UnixNetVConnection(self.handler))
                raise ZeroDivisionError("a bug")
            return UnixNetVConnection(self.handler)

        accept = NetAccept(self.handler, allocate, self.cont, LOOPBACK, self.throttle)
        accept.listen()
        clients = self.dial(accept, 2)
        self.reactor.turn_until(lambda: self.cont.log)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertTrue(self.is_closed(clients[0]))
        self.assertEqual(1, accept.accepted)

    def test_cannot_be_watched(self) -> None:
        """A connection that cannot be watched is closed, and whoever counts it is told."""
        freed: list[str] = []

        class Unwatchable(UnixNetVConnection):
            def start(self, sock: socket.socket, remote: Any = None) -> None:
                self.socket = sock
                raise OSError(errno.ENOSPC, "scripted")

        def allocate(accept: NetAccept) -> UnixNetVConnection:
            vc = Unwatchable(self.handler)
            vc.on_free = lambda: freed.append("freed")
            return vc

        accept = NetAccept(self.handler, allocate, self.cont, LOOPBACK, self.throttle)
        accept.listen()
        (client,) = self.dial(accept)
        self.reactor.turn_until(lambda: freed)
        self.assertTrue(self.is_closed(client))
        self.assertEqual(([], set(), 0), (self.cont.log, self.handler.open_list, accept.accepted))

    # Errors of accept().

    def test_seriousness(self) -> None:
        """Each error is one of three kinds: try again, not now, never again (N090)."""
        for kind, errors in (
            (TRANSIENT, "EAGAIN ECONNABORTED ECONNRESET EPIPE EINTR EPROTO EPERM"),
            (OUT_OF_RESOURCES, "EMFILE ENFILE ENOMEM ENOBUFS ENOSR"),
            (FATAL, "EBADF EINVAL ENOTSOCK EOPNOTSUPP EFAULT"),
        ):
            for name in errors.split():
                self.assertEqual(kind, accept_error_seriousness(getattr(errno, name)), name)

    def test_transient_error(self) -> None:
        """One who left before being accepted does not keep the next from it (N090)."""
        accept = self.listen()
        listener = self.failing(accept, errno.ECONNABORTED, errno.EPROTO)
        self.dial(accept)
        accept.port.doRead()
        self.assertEqual((["ACCEPT"], 4), (self.cont.events, listener.tries))

    def test_transient_errors_without_end(self) -> None:
        """Errors without end do not keep the turn from ending."""
        accept = self.listen()
        listener = self.failing(accept, *[errno.ECONNABORTED] * 1000)
        accept.port.doRead()
        self.assertEqual(ACCEPTS_A_TURN, listener.tries)
        self.assertFalse(accept.cancelled)

    def test_fatal_error(self) -> None:
        """A listening socket that is broken ends the acceptor, whose user is told why, once (N090)."""
        accept = self.listen()
        self.failing(accept, errno.EBADF)
        accept.port.doRead()
        self.reactor.settle()
        self.assertEqual([(event_name(EVENT_ERROR),)], self.cont.log)
        self.assertEqual((1, errno.EBADF, True), (len(self.cont.log), self.cont.given[0].errno, accept.cancelled))

    def test_fatal_error_after_which_nobody_is_there(self) -> None:
        """One who has gone away meanwhile is told nothing."""
        accept = self.listen()
        self.failing(accept, errno.EBADF)
        accept.continuation = None
        accept.port.doRead()
        self.assertEqual([], self.cont.log)

    def test_out_of_resources(self) -> None:
        """Where the system has no memory the port rests for a moment instead of going round, then goes on."""
        for error in (errno.ENOBUFS, errno.ENFILE, errno.ENOMEM):
            self.cont.log.clear()
            accept = self.listen()
            listener = self.failing(accept, error, error)
            self.dial(accept)
            self.reactor.turn_until(lambda listener=listener: listener.tries)
            self.assertEqual(0, self.reactor.turn(REST_SECONDS / 2))
            self.assertEqual(1, listener.tries)
            self.reactor.turn(REST_SECONDS)
            self.assertEqual(2, listener.tries)
            self.reactor.settle()
            self.assertEqual(2, listener.tries)
            self.reactor.turn(REST_SECONDS)
            self.reactor.settle()
            self.assertEqual(["ACCEPT"], self.cont.events)
            accept.cancel()

    def test_cancel_while_it_rests(self) -> None:
        """Cancelled while it rests, it leaves no call behind."""
        accept = self.listen()
        self.failing(accept, errno.ENOBUFS)
        accept.port.doRead()
        self.assertEqual(1, len(self.reactor.getDelayedCalls()))
        accept.cancel()
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_out_of_descriptors(self) -> None:
        """Without descriptors those who wait are closed, by means of the one held in reserve: nothing goes round."""
        accept = self.listen()
        clients = self.dial(accept, 3)
        self.failing(accept, errno.EMFILE)
        accept.port.doRead()
        self.assertEqual(([], 3), (self.cont.log, self.moved.connections_throttled_in))
        self.assertTrue(all(self.is_closed(client) for client in clients))
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.dial(accept)
        self.reactor.turn_until(lambda: self.cont.log)
        self.assertEqual(["ACCEPT"], self.cont.events)

    def test_out_of_descriptors_and_somebody_takes_the_reserve(self) -> None:
        """Should the reserve be taken by somebody else, the port rests, and holds one again when it can."""
        accept = self.listen()
        self.failing(accept, errno.EMFILE)
        available = False

        def open_or_not(*args: Any) -> Any:
            if available:
                return open(*args)
            raise OSError(errno.EMFILE, "scripted")

        patch = unittest.mock.patch.object(accept_module, "open", open_or_not, create=True)
        patch.start()
        self.addCleanup(patch.stop)
        accept.port.doRead()
        self.assertIsNone(accept._reserve)
        self.assertNotIn(accept.port, self.reactor.readers)
        available = True
        self.reactor.turn(REST_SECONDS)
        self.assertIsNotNone(accept._reserve)
        self.assertIn(accept.port, self.reactor.readers)

    def test_warned_once(self) -> None:
        """The operator is told once for a time without descriptors, not for every connection."""
        accept = self.listen()
        flags = []
        for errors in ([errno.EMFILE], [errno.EMFILE], []):
            listener = self.failing(accept, *errors)
            self.dial(accept, 0 if errors else 1)
            accept.port.doRead()
            flags.append(accept._out_of_descriptors)
            accept.port.socket = listener._sock
        self.assertEqual([True, True, False], flags)

    def test_reads_of_those_who_are_in(self) -> None:
        """Those who are accepted in one go are all read in that go."""
        accept = self.listen()
        reads = []

        def begin(vc: UnixNetVConnection) -> None:
            reader = new_empty_MIOBuffer(0).alloc_reader()
            cont = RecordingContinuation({VC_EVENT_READ_READY: lambda vio: reads.append(reader.read())})
            vc.do_io_read(cont, INT64_MAX, reader.buffer)

        self.cont.script[NET_EVENT_ACCEPT] = begin
        for number, client in enumerate(self.dial(accept, 5)):
            client.send(b"%d" % number)
        self.reactor.turn_until(lambda: len(reads) == 5)
        self.assertEqual({b"0", b"1", b"2", b"3", b"4"}, set(reads))


globals().update(AcceptTests.make_test_case_classes())


WITHOUT_DESCRIPTORS = """
import resource, socket, sys
from atstls.net.connection import AcceptOptions
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.statistics import counters
from tests.support import HandReactor, RecordingContinuation, make_handler

reactor = HandReactor()
handler, poll = make_handler("edge" if hasattr(__import__("select"), "epoll") else "reactor", reactor)
processor = NetProcessor(handler, Throttle(0))
cont = RecordingContinuation()
accept = processor.accept(cont, AcceptOptions(local_ip="127.0.0.1"))
address = accept.get_host().host, accept.get_host().port
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
clients = []
for _ in range(15):
    client = socket.socket()
    client.connect(address)
    clients.append(client)
spare = []
try:
    while True:
        spare.append(open("/dev/null"))
except OSError:
    pass
for _ in range(3):
    spare.pop().close()
calls = reactor.settle(50)
first, refused = len(cont.given), counters.connections_throttled_in
for each in spare:
    each.close()
again = socket.socket()
again.connect(address)
reactor.settle(50)
closed = all(client.recv(1) == b"" for client in clients[first:])
print(first, refused, len(cont.given) - first, counters.total_accepts, closed)
"""


class DescriptorTests(SynchronousTestCase):
    def test_descriptors_really_run_out(self) -> None:
        """With three left, three are accepted, twelve are closed and nothing goes round; then all is well (N105)."""
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}, check=False,
        )  # fmt: skip
        self.assertEqual(("3 12 1 16 True\n", ""), (done.stdout, done.stderr))
