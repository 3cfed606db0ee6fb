"""
Tests for L{atstls.net.processor}: making connections outwards, and every way in which that comes to nothing.
"""

import errno
import gc
import os
import socket
import weakref
from typing import Any

from twisted.internet._resolver import GAIResolver
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import LoopingCall
from zope.interface.verify import verifyObject

from atstls.errors import OpenFailed
from atstls.events import (
    ENET_CONNECT_TIMEOUT,
    ENET_THROTTLING,
    NET_EVENT_OPEN,
    NET_EVENT_OPEN_FAILED,
    VC_EVENT_EOS,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.continuation import ACTION_RESULT_DONE
from atstls.eventsystem.iobuffer import new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.interfaces import IContinuation, INetProcessor
from atstls.net.connection import NetVCOptions
from atstls.net.cop import InactivityCop
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.net.unixvc import UnixNetVConnection
from tests.support import Moved, OverBothPolls, RecordingContinuation, open_descriptors, received, unix_pair


class ProcessorTests(OverBothPolls):
    def setUp(self) -> None:
        LoopingCall(lambda: None)  # The first one opens the process's own reactor: let its descriptors be there before.
        super().setUp()
        self.throttle = Throttle(0, self.reactor.seconds)
        self.moved = Moved()
        self.processor = NetProcessor(self.handler, self.throttle)
        self.cont = RecordingContinuation()

    # What there is to connect to.

    def listening(self, host: str = "127.0.0.1") -> tuple[socket.socket, tuple[str, int]]:
        """A port where somebody listens."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = self.keep(socket.create_server((host, 0), family=family))
        return listener, listener.getsockname()[:2]

    def refusing(self) -> tuple[str, int]:
        """A port where nobody listens: it is taken, so nobody else will."""
        sock = self.keep(socket.socket())
        sock.bind(("127.0.0.1", 0))
        address: tuple[str, int] = sock.getsockname()
        return address

    def silent(self) -> tuple[str, int]:
        """A port that does not answer: its queue is full, so the kernel drops what comes."""
        listener = self.keep(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()
        for _ in range(3):
            client = self.keep(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        return address

    def told(self) -> list[str]:
        self.reactor.turn_until(lambda: self.cont.log)
        self.reactor.settle()
        return self.cont.events

    def vc(self) -> UnixNetVConnection:
        """The connection that was given."""
        self.assertEqual(["OPEN"], self.told())
        vc: UnixNetVConnection = self.cont.given[0]
        return vc

    def works(self, listener: socket.socket, vc: UnixNetVConnection) -> None:
        """A byte each way."""
        peer = self.keep(listener.accept()[0])
        cont = RecordingContinuation()
        source, reader = new_empty_MIOBuffer(0).alloc_reader(), new_empty_MIOBuffer(0).alloc_reader()
        source.buffer.write(b"x")
        vc.do_io_write(cont, 1, source)
        vc.do_io_read(cont, 1, reader.buffer)
        peer.sendall(b"y")
        self.reactor.turn_until(lambda: len(cont.log) == 2)
        peer.setblocking(False)
        self.assertEqual((b"y", b"x"), (reader.read(), received(peer)))

    # connect_re.

    def test_interface(self) -> None:
        """It makes connections, and what waits for one is told like any other user of it."""
        self.assertTrue(verifyObject(INetProcessor, self.processor))
        action = self.processor.connect_re(self.cont, ("name", 1))
        self.assertTrue(verifyObject(IContinuation, action))

    def test_default_throttle(self) -> None:
        """Without being told it has the usual limit."""
        self.assertLessEqual(NetProcessor(self.handler).throttle.limit, 30000)

    def test_connect_re(self) -> None:
        """I am told as soon as connecting was begun, from within the call, and then it is my connection (N110)."""
        listener, address = self.listening()
        self.reactor.turn(5)
        action = self.processor.connect_re(self.cont, address)
        self.assertEqual((["OPEN"], ACTION_RESULT_DONE), (self.cont.events, action))
        vc = self.vc()
        facts = (vc.is_client, vc.get_remote_addr(), vc.submit_time, vc.id, vc.closed)
        self.assertEqual((True, address, 5.0, 1, 0), facts)
        self.works(listener, vc)
        self.processor.connect_re(self.cont, address)
        self.assertEqual(2, self.cont.given[1].id)

    def test_connect_re_refused(self) -> None:
        """What is refused later is told to the user of the connection: ERROR, with the reason."""
        self.processor.connect_re(self.cont, self.refusing())
        vc = self.vc()
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, new_empty_MIOBuffer(0))
        self.reactor.turn_until(lambda: cont.log)
        self.assertEqual((["ERROR"], errno.ECONNREFUSED), (cont.events, vc.lerrno))

    def test_cannot_be_begun(self) -> None:
        """What cannot even be begun is told from within the call, with its number (1.13)."""
        for address, options, number in (
            ("/nobody/here", NetVCOptions(), errno.ENOENT),
            (("127.0.0.1", 1), NetVCOptions(local_ip="192.0.2.1"), errno.EADDRNOTAVAIL),
        ):
            for connect in (self.processor.connect_re, self.processor.connect_s):
                self.cont.log.clear()
                action = connect(self.cont, address, options=options)
                self.assertEqual([("NET_EVENT_OPEN_FAILED", number)], self.cont.log)
                self.assertIs(ACTION_RESULT_DONE, action)
        self.assertEqual(set(), self.handler.open_list)

    def test_descriptors_nearly_gone(self) -> None:
        """A connection that would have one of the very last descriptors is not begun (N105)."""
        _, address = self.listening()
        self.throttle.highest_out = 2
        before = open_descriptors()
        self.processor.connect_re(self.cont, address)
        self.assertEqual([("NET_EVENT_OPEN_FAILED", ENET_THROTTLING)], self.cont.log)
        self.assertEqual((1, before), (self.moved.connections_throttled_out, open_descriptors()))

    def test_throttled(self) -> None:
        """Over the limit a connection is not begun (N101)."""
        _, address = self.listening()
        self.throttle.change(1)
        self.processor.connect_re(self.cont, address)
        self.processor.connect_re(self.cont, address)
        self.processor.connect_s(self.cont, address)
        failed = ("NET_EVENT_OPEN_FAILED", ENET_THROTTLING)
        self.assertEqual([("NET_EVENT_OPEN",), failed, failed], self.cont.log)
        self.assertEqual((2, 1), (self.moved.connections_throttled_out, len(self.handler.open_list)))

    def test_cannot_be_watched(self) -> None:
        """A connection that cannot be watched has failed, and its descriptor is closed."""
        _, address = self.listening()

        def fail(vc: Any) -> None:
            raise OSError(errno.ENOSPC, "scripted")

        self.patch(self.poll, "start", fail)
        self.processor.connect_re(self.cont, address)
        self.assertEqual([("NET_EVENT_OPEN_FAILED", errno.ENOSPC)], self.cont.log)
        self.assertEqual(set(), self.handler.open_list)

    # connect_s.

    def test_connect_s(self) -> None:
        """I am told when the connection stands, not before (N110)."""
        listener, address = self.listening()
        action = self.processor.connect_s(self.cont, address)
        self.assertEqual([], self.cont.log)
        vc = self.vc()
        self.assertIsNone(action.continuation)
        self.assertEqual((0, False, None), (vc.get_inactivity_timeout(), vc.inactivity_running, vc.write.vio.cont))
        self.assert_idle()
        self.works(listener, vc)
        action.cancel()
        self.assertEqual(0, vc.closed)

    def test_connect_s_over_ipv6_and_unix(self) -> None:
        """The same over IPv6, and over a UNIX socket."""
        listener, address = self.listening("::1")
        self.processor.connect_s(self.cont, address)
        self.works(listener, self.vc())
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.cont.log.clear()
            self.cont.given.clear()
            self.processor.connect_s(self.cont, path)
            vc = self.vc()
            self.assertEqual(path, vc.get_remote_addr())
            self.works(listener, vc)

    def test_connect_s_refused(self) -> None:
        """Refused, I am told why, and nothing is left."""
        self.processor.connect_s(self.cont, self.refusing())
        self.assertEqual(["OPEN_FAILED"], self.told())
        self.assertEqual(
            (errno.ECONNREFUSED, "Connection refused"), (self.cont.given[0].lerrno, str(self.cont.given[0]))
        )
        self.assertEqual(set(), self.handler.open_list)

    def test_connect_s_unix_socket_with_a_full_queue(self) -> None:
        """A UNIX socket whose queue is full refuses at once, and that is told as what it is."""
        path = self.mktemp()
        listener = self.keep(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        numbers = set()
        for _ in range(3):
            self.cont.log.clear()
            self.processor.connect_s(self.cont, path)
            self.told()
            numbers.add(self.cont.log[0][-1])
        self.assertIn(errno.EAGAIN, numbers)

    def test_connect_s_timeout(self) -> None:
        """Nobody answers: I am told when the time is up that I gave, and nothing is left (N111)."""
        cop = InactivityCop(self.handler, self.reactor)
        self.processor.connect_s(self.cont, self.silent(), timeout=3)
        self.reactor.settle()
        for _ in range(3):
            self.assertEqual(([], 1), (self.cont.log, len(self.handler.open_list)))
            self.reactor.turn(0.99)
            cop.patrol()
        self.reactor.turn(0.1)
        cop.patrol()
        self.assertEqual([("NET_EVENT_OPEN_FAILED", ENET_CONNECT_TIMEOUT)], self.cont.log)
        self.assertEqual("no answer in time", str(self.cont.given[0]))
        self.assertEqual(set(), self.handler.open_list)

    def test_connect_s_without_timeout(self) -> None:
        """With 0 I wait for as long as the system does."""
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        action = self.processor.connect_s(self.cont, self.silent(), timeout=0)
        self.reactor.turn(1e6)
        cop.patrol()
        self.assertEqual([], self.cont.log)
        action.cancel()

    def test_cancel(self) -> None:
        """Cancelled while it is on its way, nobody is told and nothing is left, at once (N002)."""
        for address in (self.silent(), self.listening()[1], self.refusing()):
            action = self.processor.connect_s(self.cont, address)
            self.assertEqual(1, len(self.handler.open_list))
            action.cancel()
            self.assertEqual(set(), self.handler.open_list)
            self.reactor.settle()
            action.cancel()
        self.assertEqual([], self.cont.log)

    def test_user_closes_within_open(self) -> None:
        """I may close the connection as soon as it is given to me."""
        _, address = self.listening()
        for connect in (self.processor.connect_re, self.processor.connect_s):
            self.cont = RecordingContinuation({NET_EVENT_OPEN: lambda vc: vc.do_io_close()})
            connect(self.cont, address)
            self.assertEqual(["OPEN"], self.told())
            self.assertEqual(set(), self.handler.open_list)

    def test_user_writes_within_open(self) -> None:
        """A write that I begin when the connection is given to me is asked for its bytes, like any other (1.4)."""
        listener, address = self.listening()
        writer = RecordingContinuation({VC_EVENT_WRITE_READY: [lambda vio: vio.buffer.writer.write(b"hello")]})

        def begin(vc: UnixNetVConnection) -> None:
            vc.do_io_write(writer, 5, new_empty_MIOBuffer(0).alloc_reader())

        self.cont.script[NET_EVENT_OPEN] = begin
        self.processor.connect_s(self.cont, address)
        self.reactor.turn_until(lambda: "WRITE_COMPLETE" in writer.events)
        self.assertEqual(["WRITE_READY", "WRITE_COMPLETE"], writer.events)
        self.assertEqual(b"hello", self.keep(listener.accept()[0]).recv(10))

    def test_user_only_reads(self) -> None:
        """A user who only reads what he was given is told of a timeout, and keeps the connection."""
        _, address = self.listening()
        self.processor.connect_s(self.cont, address)
        vc = self.vc()
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, new_empty_MIOBuffer(0))
        vc.set_inactivity_timeout(1)
        self.reactor.turn(2)
        InactivityCop(self.handler, self.reactor).patrol()
        self.assertEqual((["INACTIVITY_TIMEOUT"], 0), (cont.events, vc.closed))

    def test_bug_of_the_user(self) -> None:
        """A bug in who is given a connection ends it, and is logged."""
        _, address = self.listening()

        def bug(vc: Any) -> None:
            raise ZeroDivisionError("a bug of the user's")

        self.cont.script[NET_EVENT_OPEN] = bug
        self.processor.connect_s(self.cont, address)
        self.assertEqual(["OPEN"], self.told())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(set(), self.handler.open_list)

    def test_connection_that_is_not_ready(self) -> None:
        """A kind of connection that has something to do first is given away when that is done; or has failed."""
        for fails in (False, True):

            class Slow(UnixNetVConnection):
                def net_read_io(self, fails: bool = fails) -> None:
                    if fails:
                        self.error = OpenFailed(71, "no certificate")
                        self.lerrno = 71
                        self.signal_done(VC_EVENT_EOS, self.read)
                    else:
                        self.ready = True
                        self.signal_done(102, self.read)

            def allocate(kind: Any = Slow) -> UnixNetVConnection:
                vc: UnixNetVConnection = kind(self.handler)
                vc.ready = False
                return vc

            self.patch(self.processor, "allocate_vc", allocate)
            listener, address = self.listening()
            self.cont.log.clear()
            self.cont.given.clear()
            self.processor.connect_s(self.cont, address)
            peer = self.keep(listener.accept()[0])
            self.reactor.settle()
            self.assertEqual([], self.cont.log)
            peer.send(b"x")
            self.assertEqual(["OPEN_FAILED" if fails else "OPEN"], self.told())
            if fails:
                self.assertEqual((71, "no certificate"), (self.cont.given[0].lerrno, str(self.cont.given[0])))
            else:
                self.assertTrue(self.cont.given[0].ready)

    def test_end_without_a_reason(self) -> None:
        """A connection that ends before it stands, without saying why, was refused."""
        _, address = self.listening()
        action: Any = self.processor.connect_s(self.cont, address)
        vc = action._vc
        vc.lerrno = 0
        vc.signal(VC_EVENT_EOS, vc.write)
        self.assertEqual([("NET_EVENT_OPEN_FAILED", errno.ECONNREFUSED)], self.cont.log)
        # What comes after that is nobody's.
        action.handle_event(VC_EVENT_EOS, None)
        self.assertEqual(1, len(self.cont.log))

    # Names.

    def held(self) -> Any:
        return self.reactor.nameResolver.held[-1]

    def v4(self, address: tuple[str, int]) -> IPv4Address:
        return IPv4Address("TCP", *address)

    def test_name(self) -> None:
        """A name is looked up, and I am told when its first address is connected to."""
        listener, address = self.listening()
        for connect in (self.processor.connect_re, self.processor.connect_s):
            self.cont.log.clear()
            self.cont.given.clear()
            action = connect(self.cont, ("origin.example", 443))
            self.assertEqual(("origin.example", 443, []), (self.held().name, self.held().port, self.cont.log))
            self.assertIsNot(ACTION_RESULT_DONE, action)
            self.held().answer([self.v4(address)])
            self.works(listener, self.vc())

    def test_name_with_ipv6(self) -> None:
        """A name's IPv6 addresses count too, and what is no IP address does not."""
        listener, (host, port) = self.listening("::1")
        self.processor.connect_s(self.cont, ("origin.example", port))
        self.held().answer([UNIXAddress(b"/nowhere"), IPv6Address("TCP", host, port)])
        self.works(listener, self.vc())

    def test_name_without_address(self) -> None:
        """A name that has no address: failed, in words."""
        self.processor.connect_s(self.cont, ("nowhere.example", 443))
        self.held().answer([])
        self.assertEqual([("NET_EVENT_OPEN_FAILED", errno.EHOSTUNREACH)], self.cont.log)
        self.assertEqual("the name has no address", str(self.cont.given[0]))

    def test_next_address(self) -> None:
        """When one address refuses, or cannot even be tried, the next is; I am told of the one that stood."""
        listener, address = self.listening()
        bad = self.refusing()
        self.processor.connect_s(self.cont, ("origin.example", 443))
        self.held().answer([IPv6Address("TCP", "::1%nosuchinterface", 1), self.v4(bad), self.v4(address)])
        vc = self.vc()
        self.assertEqual((address, {vc}), (vc.get_remote_addr(), self.handler.open_list))
        self.works(listener, vc)

    def test_last_address(self) -> None:
        """When all fail I am told once, why the last did."""
        self.processor.connect_s(self.cont, ("origin.example", 443))
        self.held().answer([self.v4(self.refusing()) for _ in range(3)])
        self.assertEqual(["OPEN_FAILED"], self.told())
        self.assertEqual(errno.ECONNREFUSED, self.cont.given[0].lerrno)
        self.assertEqual(set(), self.handler.open_list)

    def test_time_for_each_address(self) -> None:
        """An address that does not answer in time gives way to the next."""
        listener, address = self.listening()
        cop = InactivityCop(self.handler, self.reactor)
        self.processor.connect_s(self.cont, ("origin.example", 443), timeout=2)
        self.held().answer([self.v4(self.silent()), self.v4(address)])
        self.reactor.settle()
        self.reactor.turn(2)
        cop.patrol()
        self.assertEqual(address, self.vc().get_remote_addr())
        self.works(listener, self.vc())

    def test_cancel_while_resolving(self) -> None:
        """Cancelled while the name is looked up: the looking up is too, and its answer would be passed over (N002)."""
        _, address = self.listening()
        action = self.processor.connect_s(self.cont, ("origin.example", 443))
        action.cancel()
        self.assertTrue(self.held().cancelled)
        self.held().answer([self.v4(address)])
        self.reactor.settle()
        self.assertEqual(([], set()), (self.cont.log, self.handler.open_list))

    def test_cancel_with_twisteds_resolver(self) -> None:
        """Twisted's own resolver cannot be stopped; cancelling is no error all the same."""
        started: list[Any] = []

        class Pool:
            def callInThreadWithCallback(self, *args: Any) -> None:
                started.append(args)

        reactor: Any = self.reactor
        pool: Any = Pool
        reactor.installNameResolver(GAIResolver(reactor, pool))
        action = self.processor.connect_s(self.cont, ("origin.example", 443))
        action.cancel()
        self.reactor.settle()
        self.assertEqual((1, []), (len(started), self.cont.log))

    def test_cancel_at_the_second_address(self) -> None:
        """Cancelled while the second address is tried: nothing is left of either."""
        action = self.processor.connect_s(self.cont, ("origin.example", 443))
        self.held().answer([self.v4(self.refusing()), self.v4(self.silent())])
        first = set(self.handler.open_list)
        self.reactor.turn_until(lambda: self.handler.open_list and self.handler.open_list != first)
        action.cancel()
        self.assertEqual(set(), self.handler.open_list)
        self.reactor.settle()
        self.assertEqual([], self.cont.log)

    def test_answer_from_within_the_question(self) -> None:
        """A resolver that knows the answer may give it at once."""
        _, address = self.listening()
        resolver = self.reactor.nameResolver

        class AtOnce:
            def resolveHostName(self, receiver: Any, host: str, port: int = 0) -> Any:
                held = resolver.resolveHostName(receiver, host, port)
                held.answer([IPv4Address("TCP", *address)])
                return held

        self.reactor.installNameResolver(AtOnce())
        self.assertIs(ACTION_RESULT_DONE, self.processor.connect_re(self.cont, ("origin.example", 443)))
        self.assertEqual(["OPEN"], self.cont.events)

    def test_told_once_and_let_go(self) -> None:
        """Who wished for a connection is held no longer than until he is told."""
        _, address = self.listening()
        gc.disable()
        self.addCleanup(gc.enable)
        for begin in (
            lambda cont: self.processor.connect_re(cont, address),
            lambda cont: self.processor.connect_s(cont, address),
            lambda cont: self.processor.connect_s(cont, self.refusing()),
            lambda cont: self.processor.connect_s(cont, address).cancel(),
        ):
            cont = RecordingContinuation()
            begin(cont)
            self.reactor.settle()
            self.reactor.turn_until(lambda cont=cont: cont.log or not self.handler.open_list)
            self.close_all()
            self.reactor.settle()
            gone = weakref.ref(cont)
            del cont
            self.assertIsNone(gone())

    def close_all(self) -> None:
        for vc in list(self.handler.open_list):
            vc.do_io_close()

    # Others.

    def test_options(self) -> None:
        """What I ask for is what the socket is, and stays with the connection (N042)."""
        _, address = self.listening()
        options = NetVCOptions(local_ip="127.0.0.3", recv_buffer_bytes=5000)
        self.processor.connect_s(self.cont, address, options=options)
        vc = self.vc()
        self.assertIs(options, vc.options)
        self.assertEqual("127.0.0.3", vc.get_local_addr()[0])  # type: ignore[index]
        self.assertEqual(10000, vc.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))

    def test_adopt(self) -> None:
        """A socket that is connected already becomes a connection of ours (N112)."""
        ours, theirs = unix_pair()
        ours.setblocking(True)
        self.keep(theirs)
        self.reactor.rightNow = 9
        vc = self.processor.adopt(ours)
        self.assertEqual(
            (True, {vc}, False, 9.0), (vc.is_client, self.handler.open_list, ours.getblocking(), vc.last_activity)
        )
        cont = RecordingContinuation()
        reader = new_empty_MIOBuffer(0).alloc_reader()
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        theirs.send(b"x")
        self.reactor.settle()
        self.assertEqual((["READ_READY"], b"x"), (cont.events, reader.read()))
        options = NetVCOptions()
        ours, theirs = unix_pair()
        self.keep(theirs)
        self.assertIs(options, self.processor.adopt(ours, options).options)

    def test_many_at_once(self) -> None:
        """A hundred connections begun in one turn all stand, and all can be used."""
        listener, address = self.listening()
        listener.listen(200)
        for _ in range(100):
            self.processor.connect_s(self.cont, address)
        self.reactor.turn_until(lambda: len(self.cont.log) == 100)
        self.assertEqual(["OPEN"] * 100, self.cont.events)
        self.assertEqual(set(self.cont.given), self.handler.open_list)
        self.assertEqual(list(range(1, 101)), sorted(vc.id for vc in self.cont.given))

    def test_words_of_a_failure(self) -> None:
        """Every failure has a number and words."""
        failed = OpenFailed(errno.ECONNREFUSED)
        self.cont.handle_event(NET_EVENT_OPEN_FAILED, failed)
        self.assertEqual([("NET_EVENT_OPEN_FAILED", errno.ECONNREFUSED)], self.cont.log)
        self.assertEqual(os.strerror(errno.ECONNREFUSED), str(failed))


globals().update(ProcessorTests.make_test_case_classes())
