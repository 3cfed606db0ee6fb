"""
Tests for L{atstls.net.reactor}: connections and all else that a reactor waits for, in one set.
"""

import os
import select
import socket
import subprocess
import sys
from typing import Any

from twisted.application.reactors import getReactorTypes
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.events import VC_EVENT_EOS, VC_EVENT_READ_READY
from atstls.eventsystem.iobuffer import IOBufferReader, new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.interfaces import INetReactor, IPollDescriptor
from atstls.net.handler import NetHandler
from atstls.net.poll import WAKE_SECONDS, NetPollDescriptor, make_poll_descriptor
from atstls.net.unixvc import UnixNetVConnection
from tests.support import RecordingContinuation, unix_pair

if hasattr(select, "epoll"):
    from atstls.net import reactor as reactor_module
    from atstls.net.reactor import NetReactor


class Reader:
    """A descriptor of somebody else's."""

    def __init__(self, sock: socket.socket, called: Any) -> None:
        self.sock = sock
        self.called = called

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "somebody"

    def doRead(self) -> None:
        self.called(self.sock.recv(100))

    def connectionLost(self, reason: Any) -> None:
        self.sock.close()


class NetReactorTests(SynchronousTestCase):
    if not hasattr(select, "epoll"):
        skip = "this system has no epoll"

    def setUp(self) -> None:
        self.reactor: Any = NetReactor()
        self.addCleanup(self.end_reactor)
        self.handler = NetHandler(self.reactor)
        self.poll = make_poll_descriptor(self.reactor, self.handler)
        self.handler.set_poll(self.poll, tell_rest=False)

    def end_reactor(self) -> None:
        for reader in self.reactor.removeAll():
            reader.connectionLost(Failure(CONNECTION_LOST))
        self.reactor.epoll.close()

    def connection(self, handler: NetHandler | None = None) -> tuple[UnixNetVConnection, socket.socket]:
        """One that is watched, and its peer."""
        ours, theirs = unix_pair()
        self.addCleanup(theirs.close)
        vc = UnixNetVConnection(handler or self.handler)
        vc.start(ours)
        self.addCleanup(vc.free)
        return vc, theirs

    def reading(self, vc: UnixNetVConnection, script: Any = None) -> tuple[RecordingContinuation, IOBufferReader]:
        cont = RecordingContinuation(script or {})
        reader = new_empty_MIOBuffer(5).alloc_reader()
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        return cont, reader

    def foreign(self, called: Any) -> tuple[Reader, socket.socket]:
        """A descriptor of somebody else's, and its peer."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        reader = Reader(ours, called)
        self.reactor.addReader(reader)
        return reader, theirs

    def test_interfaces(self) -> None:
        """It is a reactor as others are, and one that connections can be watched by."""
        self.assertTrue(verifyObject(IReactorFDSet, self.reactor))
        self.assertTrue(verifyObject(INetReactor, self.reactor))
        self.assertTrue(verifyObject(IPollDescriptor, self.poll))
        self.assertIsInstance(self.poll, NetPollDescriptor)

    def test_one_call_for_both(self) -> None:
        """What the kernel says of connections and of others is heard at once, and both are served."""
        heard: list[bytes] = []
        _, theirs = self.foreign(heard.append)
        vc, peer = self.connection()
        cont, reader = self.reading(vc)
        self.reactor.doIteration(0)  # It can be written to.
        theirs.send(b"a reader")
        peer.send(b"a connection")
        self.reactor.doIteration(None)
        self.assertEqual((["READ_READY"], b"a connection"), (cont.events, reader.read()))
        self.assertEqual([b"a reader"], heard)
        self.assertEqual((True, False), (vc.write.triggered, vc.read.triggered))

    def order_of_calls(self, seconds: float) -> str:
        """
        Two connections, C{a} and C{b}, and somebody else, C{x}, have news; by that C{c} and C{d} get some, and so on.

        @param seconds: how long each takes.
        @return: who was called when.
        """
        clock = Clock()
        self.patch(reactor_module, "monotonic", clock.seconds)
        pairs = {letter: self.connection() for letter in "abcdef"}
        next_ones = {"b": "cd", "d": "ef"}
        order: list[str] = []

        def heard(letter: str) -> None:
            order.append(letter)
            clock.advance(seconds)
            for other in next_ones.get(letter, ""):
                pairs[other][1].send(b"x")

        for letter, (vc, _) in pairs.items():
            self.reading(vc, {VC_EVENT_READ_READY: lambda vio, letter=letter: heard(letter)})
        _, theirs = self.foreign(lambda data: heard("x"))
        self.reactor.doIteration(0)
        for peer in (theirs, pairs["a"][1], pairs["b"][1]):
            peer.send(b"x")
        self.reactor.doIteration(None)
        return "".join(order)

    def test_those_who_have_news_go_first(self) -> None:
        """Where several connections had some, all are asked again before anybody else is called; but not for long."""
        self.assertEqual("abcdefx", self.order_of_calls(0))
        self.assertEqual("abcdx", self.order_of_calls(WAKE_SECONDS / 2))

    def test_many_who_never_stop(self) -> None:
        """Connections that always have more news than one call can tell keep nobody else from being called."""
        clock = Clock()
        self.patch(reactor_module, "monotonic", clock.seconds)
        self.patch(reactor_module, "EVENTS_A_POLL", 3)
        heard: list[bytes] = []
        _, theirs = self.foreign(heard.append)
        theirs.send(b"x")

        def again(reader: IOBufferReader, peer: socket.socket) -> None:
            reader.read()
            clock.advance(WAKE_SECONDS)
            peer.send(b"x")

        for _ in range(5):
            vc, peer = self.connection()
            cont, reader = self.reading(vc)
            cont.script[VC_EVENT_READ_READY] = lambda vio, reader=reader, peer=peer: again(reader, peer)
            peer.send(b"x")
        for _ in range(10):
            self.reactor.doIteration(0)
        self.assertEqual([b"x"], heard)

    def test_waits_for_as_long_as_it_is_told(self) -> None:
        """Nobody has news: it comes back when the time is up, and nobody is called."""
        vc, _ = self.connection()
        cont, _ = self.reading(vc)
        self.reactor.doIteration(0)
        self.reactor.doIteration(0.001)
        self.assertEqual([], cont.events)
        self.assertTrue(self.handler.idle())

    def test_end(self) -> None:
        """An end is told behind the last bytes, once."""
        vc, peer = self.connection()
        cont, reader = self.reading(vc)
        peer.send(b"last")
        peer.close()
        for _ in range(5):
            self.reactor.doIteration(0)
        self.assertEqual((["READ_READY", "EOS"], b"last"), (cont.events, reader.read()))

    def test_more_than_one_call_can_tell(self) -> None:
        """All are heard in the end."""
        self.patch(reactor_module, "EVENTS_A_POLL", 4)
        pairs = [self.connection() for _ in range(11)]
        for _, peer in pairs:
            peer.send(b"x")
        for _ in range(4):
            self.reactor.doIteration(0)
        self.assertEqual([True] * 11, [vc.read.triggered for vc, _ in pairs])

    def test_somebody_ends_another(self) -> None:
        """A connection's user takes away a reader that has news too: it is not called."""
        heard: list[bytes] = []
        other, theirs = self.foreign(heard.append)
        vc, peer = self.connection()

        def take_away(vio: Any) -> None:
            self.reactor.removeReader(other)
            other.sock.close()

        self.reading(vc, {VC_EVENT_READ_READY: take_away})
        theirs.send(b"unheard")
        peer.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual([], heard)

    def test_forgotten_connections(self) -> None:
        """What was closed is watched no more, and its number may be another's."""
        vc, _ = self.connection()
        number = vc.fd
        vc.free()
        self.assertEqual({}, self.reactor.watched)
        heard: list[bytes] = []
        other, theirs = self.foreign(heard.append)
        self.assertEqual(number, min(number, other.fileno()))
        theirs.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual([b"x"], heard)

    def test_several_handlers(self) -> None:
        """Each connection goes to its own; to close one leaves the others alone, and may happen in its own turn."""
        second = NetHandler(self.reactor)
        second_poll = make_poll_descriptor(self.reactor, second)
        second.set_poll(second_poll, tell_rest=False)
        mine, my_peer = self.connection()
        other, other_peer = self.connection(second)

        def the_end(vio: Any) -> None:
            vio.vc_server.do_io_close()
            self.poll.close()
            self.poll.close()

        self.reading(mine, {VC_EVENT_EOS: the_end})
        cont, reader = self.reading(other)
        my_peer.close()
        other_peer.send(b"still here")
        self.reactor.doIteration(0)
        self.assertEqual((["READ_READY"], b"still here"), (cont.events, reader.read()))
        self.assertEqual([second], self.reactor.net_handlers)
        second_poll.close()
        self.assertEqual(({}, []), (self.reactor.watched, self.reactor.net_handlers))
        other_peer.send(b"unheard")
        self.reactor.doIteration(0)
        self.assertEqual(["READ_READY"], cont.events)

    def test_stop(self) -> None:
        """One that is given away is not heard of any more, though it is open."""
        vc, peer = self.connection()
        self.reactor.doIteration(0)
        self.poll.stop(vc)
        self.poll.stop(vc)
        peer.send(b"x")
        self.reactor.doIteration(0)
        self.assertFalse(vc.read.triggered)


class InstallTests(SynchronousTestCase):
    if not hasattr(select, "epoll"):
        skip = "this system has no epoll"

    def run_python(self, program: str, *arguments: str) -> str:
        paths = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout.strip()

    def test_plugin(self) -> None:
        """Twisted finds it by the name C{atstls}."""
        self.assertIn(
            ("atstls", "atstls.net.reactor"), [(kind.shortName, kind.moduleName) for kind in getReactorTypes()]
        )

    def test_install(self) -> None:
        """It can be made the reactor of a process, and then is, once."""
        program = (
            "from atstls.net.reactor import install; install(); from twisted.internet import reactor, error; "
            "print(type(reactor).__name__)\n"
            "try: install()\n"
            "except error.ReactorAlreadyInstalledError: print('once')"
        )
        self.assertEqual("NetReactor\nonce", self.run_python(program))

    def test_the_edge_runs_on_it(self) -> None:
        """twistd atstls takes it, unless it is told which to take."""
        program = (
            "import sys\n"
            "from atstls import tap\n"
            "built = tap.build\n"
            "def build(configuration, machinery, file):\n"
            "    print(type(machinery.reactor).__name__)\n"
            "    return built(configuration, machinery, file)\n"
            "tap.build = build\n"
            "from twisted.scripts.twistd import run\n"
            "run()\n"
        )
        for arguments, expected in (((), "NetReactor"), (("--reactor=select",), "SelectReactor")):
            said = self.run_python(program, "-n", *arguments, "atstls", "--check")
            self.assertEqual(expected, said.splitlines()[0])
