"""
Tests for L{atstls.net.poll}: what the kernel says reaches the right direction of the right connection.
"""

import os
import select
import socket
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, IReadWriteDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.events import VC_EVENT_EOS, VC_EVENT_READ_READY
from atstls.eventsystem.iobuffer import IOBufferReader, new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.interfaces import IPollDescriptor
from atstls.net import poll as poll_module
from atstls.net.handler import NetHandler
from atstls.net.poll import (
    TIMES_IN_A_ROW,
    WAKE_SECONDS,
    EdgePollDescriptor,
    ReactorPollDescriptor,
    make_poll_descriptor,
)
from atstls.net.unixvc import PEER_ENDED, PEER_LOST, UnixNetVConnection
from tests.support import HandReactor, OverBothPolls, RecordingContinuation, received, reset, tcp_pair, unix_pair


class PollTests(OverBothPolls):
    def reading(self, vc: UnixNetVConnection, index: int = 5) -> tuple[RecordingContinuation, IOBufferReader]:
        cont = RecordingContinuation()
        reader = new_empty_MIOBuffer(index).alloc_reader()
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        return cont, reader

    def test_interface(self) -> None:
        """Both kinds are poll descriptors, and say to a reactor what it wants to know."""
        self.assertTrue(verifyObject(IPollDescriptor, self.poll))
        self.connection()
        for reader in self.reactor.getReaders():
            kind = IReadDescriptor if isinstance(self.poll, EdgePollDescriptor) else IReadWriteDescriptor
            self.assertTrue(verifyObject(kind, reader))
            self.assertEqual("atstls", reader.logPrefix())
            self.assertGreaterEqual(reader.fileno(), 0)

    def test_triggers(self) -> None:
        """A fresh connection can be written to; when bytes come it can be read."""
        vc, peer = self.connection()
        self.reactor.settle()
        self.assertEqual((False, True), (vc.read.triggered, vc.write.triggered))
        peer.send(b"x")
        self.reactor.settle()
        self.assertEqual((True, True), (vc.read.triggered, vc.read.polled))
        self.assert_idle()

    def test_readiness_before_the_request(self) -> None:
        """The kernel's word is kept until somebody wants it, and costs nothing meanwhile (N053)."""
        vc, peer = self.connection()
        peer.send(b"x")
        self.reactor.settle()
        self.assertEqual(0, self.reactor.turn())
        cont, reader = self.reading(vc)
        self.reactor.settle()
        self.assertEqual((["READ_READY"], b"x"), (cont.events, reader.read()))

    def test_bytes_again_and_again(self) -> None:
        """After each piece the next is heard of, also when two come between turns."""
        vc, peer = self.connection()
        cont, reader = self.reading(vc)
        for number in range(10):
            peer.send(b"a")
            if number % 2:
                peer.send(b"b")
            self.reactor.settle()
            self.assertEqual(b"ab" if number % 2 else b"a", reader.read())
        self.assertEqual(10, len(cont.log))

    def test_bytes_while_the_last_are_read(self) -> None:
        """Bytes that come between the read and the wait are not lost: here, within the call-back."""
        vc, peer = self.connection()
        cont, reader = self.reading(vc)
        cont.script[VC_EVENT_READ_READY] = [lambda vio: peer.send(b"second")]
        peer.send(b"first")
        self.reactor.settle()
        self.assertEqual((2, b"firstsecond"), (len(cont.log), reader.read()))

    def test_end_behind_a_short_read(self) -> None:
        """Bytes and the end that come together are both told, although the kernel speaks up only once."""
        for pair in (unix_pair, tcp_pair):
            for early in (False, True):
                vc, peer = self.connection(pair())
                if early:
                    self.reactor.settle()
                peer.send(b"last")
                peer.shutdown(socket.SHUT_WR)
                self.reactor.turn_until(lambda vc=vc: vc.read.triggered)
                cont, reader = self.reading(vc)
                self.reactor.turn_until(lambda cont=cont: "EOS" in cont.events)
                self.reactor.settle()
                self.assertEqual((["READ_READY", "EOS"], b"last"), (cont.events, reader.read()))
                self.assert_idle()

    def test_end_while_nobody_wants_to_read(self) -> None:
        """An end that comes while I read nothing is told when I do, behind the bytes before it."""
        vc, peer = self.connection(tcp_pair())
        peer.send(b"x" * 300)
        peer.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        vc.do_io_shutdown(6)  # and ours, so that the kernel says "hang-up"
        self.reactor.settle()
        cont, reader = self.reading(vc, index=0)
        cont.script[VC_EVENT_READ_READY] = lambda vio: reader.read()
        self.reactor.turn_until(lambda: "EOS" in cont.events)
        self.assertEqual(["READ_READY"] * 3 + ["EOS"], cont.events)
        self.assertTrue(vc.clean_shutdown)

    def test_error_wakes_both_directions(self) -> None:
        """A reset is told to a reader and to a writer that waits for room (N057)."""
        ours, theirs = tcp_pair()
        vc, peer = self.connection((ours, theirs))
        self.reactor.settle()
        read, _ = self.reading(vc)
        written = RecordingContinuation()
        source = new_empty_MIOBuffer(0).alloc_reader()
        source.buffer.append(bytes(32 << 20))
        vc.do_io_write(written, 32 << 20, source)
        self.reactor.settle()
        self.assertEqual((False, False), (vc.read.triggered, vc.write.triggered))
        reset(peer)
        self.reactor.turn_until(lambda: "ERROR" in written.events)
        self.reactor.settle()
        self.assertEqual((["EOS"], "ERROR", False), (read.events, written.events[-1], vc.clean_shutdown))

    def test_room_again(self) -> None:
        """A writer that had to wait is woken when the peer has read, and only then."""
        vc, peer = self.connection()
        written = RecordingContinuation()
        source = new_empty_MIOBuffer(0).alloc_reader()
        source.buffer.append(bytes(1 << 20))
        vc.do_io_write(written, 1 << 20, source)
        self.reactor.settle()
        self.assertEqual(0, self.reactor.turn())
        got = 0
        while got < 1 << 20:
            got += len(received(peer))
            self.reactor.settle()
        self.assertEqual("WRITE_COMPLETE", written.events[-1])

    def test_silent_connection_costs_nothing(self) -> None:
        """A turn in which nothing happens asks the connection nothing."""
        vc, _ = self.connection()
        self.reading(vc)
        self.reactor.settle()
        for _ in range(3):
            self.assertEqual(0, self.reactor.turn())

    def test_descriptor_numbers_come_again(self) -> None:
        """A new connection that gets the number of a closed one hears its own news, not the old one's."""
        vc, _ = self.connection()
        self.reading(vc)
        self.reactor.settle()
        fd = vc.fd
        vc.do_io_close()
        for _ in range(5):
            other, peer = self.connection()
            cont, reader = self.reading(other)
            peer.send(b"mine")
            self.reactor.settle()
            self.assertEqual((["READ_READY"], b"mine"), (cont.events, reader.read()))
            other.do_io_close()
        self.assertEqual(fd, other.fd)

    def test_stop(self) -> None:
        """A connection that is not watched any more hears nothing; stopping twice is harmless."""
        vc, peer = self.connection()
        cont, _ = self.reading(vc)
        self.reactor.settle()
        self.poll.stop(vc)
        self.poll.stop(vc)
        peer.send(b"x")
        self.reactor.settle()
        self.assertEqual([], cont.log)
        self.poll.rest(vc, vc.read)
        self.assertEqual(0, self.reactor.turn())

    def test_close(self) -> None:
        """Closed, it watches nobody, has nothing with the reactor, and its connections can still be closed."""
        vc, _ = self.connection()
        self.reading(vc)
        self.reactor.settle()
        self.poll.close()
        self.poll.close()
        self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))
        vc.do_io_close()
        self.assertEqual(set(), self.handler.open_list)

    def test_reactor_stops(self) -> None:
        """When the reactor stops it tells everybody; nothing breaks, and nothing is watched any more."""
        vc, _ = self.connection()
        cont, _ = self.reading(vc)
        self.reactor.settle()
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(Failure(CONNECTION_LOST))
        self.assertEqual([], cont.log)
        self.reactor.settle()
        self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))


globals().update(PollTests.make_test_case_classes())


class OverEdge(SynchronousTestCase):
    """A set of epoll's in a reactor by hand."""

    if not hasattr(select, "epoll"):
        skip = "this system has no epoll"

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.handler = NetHandler(self.reactor, self.reactor.seconds)
        self.poll = EdgePollDescriptor(self.reactor, self.handler)
        self.addCleanup(self.poll.close)


class EdgePollTests(OverEdge):
    def test_word_for_somebody_gone(self) -> None:
        """What the kernel says of a descriptor that nobody knows any more is passed over."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.poll.epoll.register(ours.fileno(), select.EPOLLIN)
        theirs.send(b"x")
        self.poll.doRead()
        self.assertTrue(self.handler.idle())

    def test_rest_is_not_even_called(self) -> None:
        """An edge comes by itself, so losing the trigger costs no call."""
        self.handler.set_poll(self.poll, tell_rest=False)
        self.assertIsNone(self.handler.rest)
        self.handler.set_poll(self.poll, tell_rest=True)
        self.assertEqual(self.poll.rest, self.handler.rest)

    def test_stop_and_forget(self) -> None:
        """Stopping takes the descriptor out of the kernel's set; forgetting leaves that to its close."""
        self.handler.set_poll(self.poll, tell_rest=False)
        for end in (self.poll.stop, self.poll.forget):
            ours, theirs = unix_pair()
            vc = UnixNetVConnection(self.handler)
            vc.start(ours)
            self.reactor.settle()
            end(vc)
            end(vc)
            theirs.send(b"x")
            self.reactor.settle()
            self.assertFalse(vc.read.triggered)
            vc.do_io_close()
            theirs.close()

    def test_many_at_once(self) -> None:
        """More news than one question can carry: all of it is heard."""
        self.handler.set_poll(self.poll, tell_rest=False)
        self.patch(poll_module, "EVENTS_A_POLL", 4)
        vcs, peers = [], []
        for _ in range(11):
            ours, theirs = unix_pair()
            vc = UnixNetVConnection(self.handler)
            vc.start(ours)
            vcs.append(vc)
            peers.append(theirs)
            theirs.send(b"x")
        self.reactor.settle()
        self.assertEqual([True] * 11, [vc.read.triggered for vc in vcs])
        for each in vcs:
            each.do_io_close()
        for peer in peers:
            peer.close()

    def chain(self, sizes: tuple[int, ...], seconds: float = 0.0) -> list[int]:
        """
        Connections in groups of C{sizes}: the first has news at once, each other while the last of the one before is
        read.

        @param seconds: how long it takes to read one.
        @return: which were read in one wake.
        """
        self.handler.set_poll(self.poll, tell_rest=False)
        numbers = iter(range(sum(sizes)))
        groups = [[next(numbers) for _ in range(size)] for size in sizes]
        pairs = [unix_pair() for _ in range(sum(sizes))]
        read: list[int] = []

        def give_news() -> None:
            for number in groups.pop(0):
                pairs[number][1].send(b"x")

        def taken(number: int, last: bool) -> None:
            read.append(number)
            self.reactor.advance(seconds)
            if last and groups:
                give_news()

        vcs = []
        for group in groups:
            for number in group:
                vc = UnixNetVConnection(self.handler)
                vc.start(pairs[number][0])
                buffer = new_empty_MIOBuffer(5)
                buffer.alloc_reader()
                last = number == group[-1]
                step = {VC_EVENT_READ_READY: lambda vio, number=number, last=last: taken(number, last)}
                vc.do_io_read(RecordingContinuation(step), INT64_MAX, buffer)
                vcs.append(vc)
        self.reactor.settle()
        give_news()
        self.poll.doRead()
        for vc in vcs:
            vc.do_io_close()
        for _, theirs in pairs:
            theirs.close()
        return read

    def test_asked_again(self) -> None:
        """Where several had news, that of others, which came meanwhile, is served before the reactor has its say."""
        self.assertEqual([0, 1, 2], self.chain((2, 1, 1)))
        self.assertEqual([0, 1, 2, 3, 4, 5], self.chain((2, 2, 2)))

    def test_not_asked_again_for_one(self) -> None:
        """One alone has no more to say before it is answered."""
        self.assertEqual([0], self.chain((1, 1)))

    def test_not_asked_again_for_long(self) -> None:
        """Timers and other descriptors do not wait until there is no news any more."""
        self.assertEqual([0, 1, 2, 3], self.chain((2, 2, 2), WAKE_SECONDS / 2))

    def test_closed_while_it_is_asked(self) -> None:
        """The last to be served may be the last of all, and have it closed: then nobody is asked any more."""
        self.handler.set_poll(self.poll, tell_rest=False)
        pairs = [unix_pair() for _ in range(2)]
        for ours, theirs in pairs:
            vc = UnixNetVConnection(self.handler)
            vc.start(ours)
            cont = RecordingContinuation({VC_EVENT_EOS: lambda vio: self.last_has_left(vio.vc_server)})
            vc.do_io_read(cont, INT64_MAX, new_empty_MIOBuffer(5))
            theirs.close()
        self.poll.doRead()
        self.assertEqual((True, -1), (self.poll.epoll.closed, self.poll.fileno()))
        self.assertEqual(set(), self.reactor.readers)
        self.poll.connectionLost(Failure(CONNECTION_LOST))

    def last_has_left(self, vc: UnixNetVConnection) -> None:
        vc.do_io_close()
        vc.free()
        if not self.handler.open_list:
            self.poll.close()

    def test_reading_is_all_it_does(self) -> None:
        """It is a reader in the reactor's eyes, with the epoll set's descriptor."""
        self.assertEqual({self.poll}, self.reactor.readers)
        self.assertEqual(self.poll.epoll.fileno(), self.poll.fileno())
        os.fstat(self.poll.fileno())
        self.poll.connectionLost(None)
        self.assertTrue(self.poll.epoll.closed)


class ReactorPollTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.handler = NetHandler(self.reactor, self.reactor.seconds)
        self.poll = ReactorPollDescriptor(self.reactor, self.handler)
        self.handler.set_poll(self.poll, tell_rest=True)

    def test_watched_only_while_it_rests(self) -> None:
        """A direction is the reactor's affair from losing its trigger to getting it back, and no longer (N053)."""
        ours, theirs = unix_pair()
        self.addCleanup(theirs.close)
        vc = UnixNetVConnection(self.handler)
        vc.read.triggered = True
        vc.start(ours)
        self.assertEqual((0, 1), (len(self.reactor.readers), len(self.reactor.writers)))
        self.reactor.settle()
        self.assertEqual((0, 0), (len(self.reactor.readers), len(self.reactor.writers)))
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, new_empty_MIOBuffer(0))
        self.reactor.settle()
        self.assertEqual((1, 0), (len(self.reactor.readers), len(self.reactor.writers)))
        vc.do_io_close()
        self.assertEqual((0, 0), (len(self.reactor.readers), len(self.reactor.writers)))

    def test_starting_triggered(self) -> None:
        """A connection that is triggered both ways is not watched at all."""
        ours, theirs = unix_pair()
        self.addCleanup(theirs.close)
        vc = UnixNetVConnection(self.handler)
        vc.read.triggered = vc.write.triggered = True
        vc.start(ours)
        self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))
        vc.do_io_close()


class MakeTests(SynchronousTestCase):
    def test_best_there_is(self) -> None:
        """On Linux it is epoll, elsewhere the reactor's own."""
        reactor: Any = HandReactor()
        handler = NetHandler(reactor)
        if hasattr(select, "epoll"):
            made = make_poll_descriptor(reactor, handler)
            self.assertIsInstance(made, EdgePollDescriptor)
            made.close()
        self.patch(poll_module, "select", object())
        self.assertIsInstance(make_poll_descriptor(reactor, handler), ReactorPollDescriptor)


class DirectWatchTests(OverEdge):
    """One connection that has news again and again while no other has any."""

    def setUp(self) -> None:
        super().setUp()
        self.handler.set_poll(self.poll, tell_rest=False)

    def reading(self, pair: Any = None, index: int = 5) -> tuple[UnixNetVConnection, Any, Any, RecordingContinuation]:
        """A connection that is read, its peer, the reader of what came, and who is told."""
        ours, theirs = pair or unix_pair()
        vc = UnixNetVConnection(self.handler)
        vc.start(ours)
        cont = RecordingContinuation()
        reader = new_empty_MIOBuffer(index).alloc_reader()
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        self.reactor.settle()

        def end() -> None:
            vc.do_io_close()
            theirs.close()

        self.addCleanup(end)
        return vc, theirs, reader, cont

    def speak(self, *peers: Any, times: int = TIMES_IN_A_ROW) -> None:
        """Each says a word, again and again."""
        for _ in range(times):
            for peer in peers:
                peer.send(b"x")
                self.reactor.settle()

    def direct(self, **more: Any) -> tuple[UnixNetVConnection, Any, Any, RecordingContinuation]:
        """One that the reactor watches itself."""
        vc, peer, reader, cont = self.reading(**more)
        self.speak(peer)
        self.assert_direct(vc)
        self.assertEqual(b"x" * TIMES_IN_A_ROW, reader.read())
        return vc, peer, reader, cont

    def assert_direct(self, vc: UnixNetVConnection | None) -> None:
        """The reactor watches the set, and C{vc} if it is one."""
        watched = {self.poll.fileno()} | ({vc.socket.fileno()} if vc is not None else set())
        self.assertEqual(watched, {reader.fileno() for reader in self.reactor.readers})

    def test_directly(self) -> None:
        """The reactor tells of its bytes, without the set being asked, and the set of all else."""
        _, peer, reader, _ = self.direct()
        _, other_peer, other_reader, _ = self.reading()
        asked = self.poll.epoll
        self.poll.epoll = None
        self.speak(peer, times=3)
        self.poll.epoll = asked
        self.assertEqual(b"xxx", reader.read())
        self.speak(other_peer, times=3)
        self.assertEqual(b"xxx", other_reader.read())

    def test_what_a_reactor_wants_to_know(self) -> None:
        """It is read, and said to be ours."""
        self.direct()
        for each in self.reactor.readers:
            self.assertTrue(verifyObject(IReadDescriptor, each))
            self.assertEqual("atstls", each.logPrefix())

    def test_not_with_others(self) -> None:
        """Nobody is alone where two have news in turn, or now and then."""
        _, one, _, _ = self.reading()
        _, another, _, _ = self.reading()
        self.speak(one, another, times=3 * TIMES_IN_A_ROW)
        self.assert_direct(None)
        self.speak(one, times=TIMES_IN_A_ROW - 2)
        self.speak(another, one)
        self.assert_direct(None)

    def test_who_is_not_read(self) -> None:
        """Nobody watches levels of a connection whose user wants nothing."""
        vc, peer, _, _ = self.reading()
        vc.read.disable()
        self.speak(peer, times=3 * TIMES_IN_A_ROW)
        self.assert_direct(None)

    def test_large_descriptor(self) -> None:
        """A descriptor that select(2) does not know is not for each reactor."""
        vc, peer, _, _ = self.reading()
        self.patch(poll_module, "FD_SETSIZE", vc.fd)
        self.speak(peer)
        self.assert_direct(None)
        self.patch(poll_module, "FD_SETSIZE", vc.fd + 1)
        self.speak(peer)
        self.assert_direct(vc)

    def test_who_is_not_read_any_more(self) -> None:
        """A connection whose user wants nothing just now goes back into the set, and nothing of its bytes is lost."""
        vc, peer, reader, _ = self.direct()
        vc.read.disable()
        peer.send(b"later")
        self.reactor.settle()
        self.assert_direct(None)
        self.assertEqual(b"", reader.read())
        peer.send(b" on")
        self.reactor.settle()
        vc.read.enable()
        self.reactor.settle()
        self.assertEqual(b"later on", reader.read())
        self.speak(peer)
        self.assert_direct(vc)

    def test_more_than_is_read_at_a_time(self) -> None:
        """All of it is read, in several turns, and the set takes over."""
        data = os.urandom(3000)
        vc, peer, reader, cont = self.direct(index=0)
        found = bytearray()

        def take(_vio: Any) -> None:
            found.extend(reader.read())

        cont.script[VC_EVENT_READ_READY] = take
        peer.send(data)
        self.reactor.settle()
        self.assertEqual(data, found)
        self.assert_direct(None)
        self.assertFalse(vc.closed)

    def test_its_end(self) -> None:
        """The end is told, behind the last bytes; and so is a reset."""
        for end in (lambda peer: peer.shutdown(socket.SHUT_WR), socket.socket.close, reset):
            for last in (b"", b"bye"):
                vc, peer, reader, cont = self.direct(pair=tcp_pair())
                if last:
                    peer.send(last)
                end(peer)
                self.reactor.settle()
                self.assertEqual("EOS", cont.events[-1])
                self.assertEqual(end is not reset, vc.clean_shutdown)
                if end is not reset:
                    self.assertEqual(last, reader.read())
                self.assert_direct(None)
                vc.do_io_close()
                self.reactor.settle()

    def test_an_end_that_nobody_reads(self) -> None:
        """A peer that has gone is known to have, whether or not its bytes are wanted."""
        for end, known in ((socket.socket.close, PEER_ENDED), (reset, PEER_LOST)):
            vc, peer, _, _ = self.direct(pair=tcp_pair())
            vc.read.disable()
            end(peer)
            self.reactor.settle()
            self.assertEqual(known, vc.read_hup)
            self.assert_direct(None)
            vc.do_io_close()

    def test_it_closes(self) -> None:
        """Closed, it is not watched; also when that happens while it is read."""
        vc, _, _, _ = self.direct()
        vc.do_io_close()
        self.assert_direct(None)
        vc, peer, _, cont = self.direct()
        cont.script[VC_EVENT_READ_READY] = lambda _vio: vc.do_io_close()
        peer.send(b"x")
        self.reactor.settle()
        self.assert_direct(None)
        self.assertTrue(vc.closed)

    def test_stop(self) -> None:
        """Whoever is not to be watched any more is not."""
        vc, peer, _, cont = self.direct()
        self.poll.stop(vc)
        self.assert_direct(None)
        peer.send(b"x")
        self.reactor.settle()
        self.assertEqual(TIMES_IN_A_ROW, len(cont.log))

    def test_another_takes_its_place(self) -> None:
        """There is one at a time, and the one before is heard as well as ever."""
        _, first, first_reader, _ = self.direct()
        self.direct()
        self.speak(first, times=3)
        self.assertEqual(b"xxx", first_reader.read())

    def test_it_writes(self) -> None:
        """That there is room again is heard as before."""
        ours, theirs = unix_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        vc, peer, _, _ = self.direct(pair=(ours, theirs))
        data = os.urandom(100000)
        out = new_empty_MIOBuffer(5)
        source = out.alloc_reader()
        out.write(data)
        cont = RecordingContinuation()
        vc.do_io_write(cont, len(data), source)
        self.reactor.settle()
        self.assertGreater(source.avail, 0)
        found = bytearray()
        while len(found) < len(data):
            piece = received(peer)
            self.assertTrue(piece)
            found += piece
            self.reactor.settle()
        self.assertEqual((data, "WRITE_COMPLETE"), (bytes(found), cont.events[-1]))
        self.assert_direct(vc)

    def test_the_reactor_gives_it_up(self) -> None:
        """A reactor that sees the descriptor in error says so, and the set tells what it is."""
        vc, peer, reader, cont = self.direct()
        direct = next(each for each in self.reactor.readers if each is not self.poll)
        self.reactor.removeReader(direct)
        direct.connectionLost(Failure(CONNECTION_LOST))
        self.assert_direct(None)
        peer.send(b"still here")
        self.reactor.settle()
        self.assertEqual(b"still here", reader.read())
        peer.close()
        self.reactor.settle()
        self.assertEqual("EOS", cont.events[-1])
        self.assertFalse(vc.closed)

    def test_everything_stops(self) -> None:
        """The set is closed with it, and a reactor that stops may tell the two in either order."""
        for backwards in (False, True):
            vc, _, _, _ = self.direct()
            everybody = sorted(self.reactor.removeAll(), key=lambda each: each is self.poll, reverse=backwards)
            for each in everybody:
                each.connectionLost(Failure(CONNECTION_LOST))
            self.assertEqual(set(), self.reactor.readers)
            vc.do_io_close()
            self.setUp()
