"""
What tests share: a reactor that moves when the test says so, real pairs of sockets, a continuation that takes notes.

Descriptors are real and so is what the kernel says of them; turns and time are not.  L{HandReactor.turn} is one turn of
a reactor: what was scheduled, then what the kernel says, once.  Nothing ever waits.
"""

import gc
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from twisted.internet import interfaces, main, task
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from atstls.errors import OpenFailed
from atstls.events import EVENT_CONT, event_name
from atstls.eventsystem.vio import VIO
from atstls.interfaces import IContinuation
from atstls.net.handler import NetHandler
from atstls.net.poll import EdgePollDescriptor, ReactorPollDescriptor
from atstls.net.unixvc import UnixNetVConnection
from atstls.statistics import counters

POLL_KINDS = ("edge", "reactor")


# A reactor by hand.


@implementer(interfaces.IHostResolution)
class HeldResolution:
    """One name being resolved: the test gives the answer when it likes."""

    def __init__(self, receiver: Any, host: str, port: int) -> None:
        self.receiver = receiver
        self.name = host
        self.port = port
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, addresses: Iterable[Any]) -> None:
        """These are the addresses, and all of them."""
        for address in addresses:
            self.receiver.addressResolved(address)
        self.receiver.resolutionComplete()


@implementer(interfaces.IHostnameResolver)
class HeldResolver:
    """Takes names, and answers when the test does so by L{HeldResolution.answer}."""

    def __init__(self) -> None:
        self.held: list[HeldResolution] = []

    def resolveHostName(
        self, receiver: Any, host: str, port: int = 0, types: Any = None, semantics: str = "TCP"
    ) -> HeldResolution:
        resolution = HeldResolution(receiver, host, port)
        self.held.append(resolution)
        receiver.resolutionBegan(resolution)
        return resolution


@implementer(
    interfaces.IReactorFDSet,
    interfaces.IReactorFromThreads,
    interfaces.IReactorPluggableNameResolver,
)
class HandReactor(task.Clock):
    """
    A clock that the test moves, and real descriptors that are asked about when the test says so.

    @ivar readers: who wants to read.
    @ivar writers: who wants to write.
    @ivar nameResolver: a L{HeldResolver}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.nameResolver = HeldResolver()
        self._from_threads: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    # What the code under test calls.

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def removeAll(self) -> list[Any]:
        everyone = list(self.readers | self.writers)
        self.readers.clear()
        self.writers.clear()
        return everyone

    def getReaders(self) -> list[Any]:
        return list(self.readers)

    def getWriters(self) -> list[Any]:
        return list(self.writers)

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._from_threads.append((callable, args, kwargs))

    def installNameResolver(self, resolver: Any) -> Any:
        old, self.nameResolver = self.nameResolver, resolver
        return old

    def resolve(self, name: str, timeout: Any = ()) -> Any:
        raise DNSLookupError(name)

    # What the test calls.

    def turn(self, seconds: float = 0) -> int:
        """
        Move the clock by C{seconds}, then go once through what is due, and what the kernel says.

        @return: how many calls were made; 0: nothing at all was to be done.
        """
        self.rightNow += seconds
        calls = 0
        from_threads, self._from_threads = self._from_threads, []
        for function, args, kwargs in from_threads:
            function(*args, **kwargs)
            calls += 1
        # As they were when the turn began: who schedules itself again is due in the next one, as with a real reactor.
        for due in [call for call in self.calls if call.getTime() <= self.seconds()]:
            if due.active():
                self.calls.remove(due)
                due.called = 1
                due.func(*due.args, **due.kw)
                calls += 1
        return calls + self._ask_the_kernel()

    def _ask_the_kernel(self) -> int:
        poll = select.poll()
        selectables: dict[int, Any] = {}
        for selectable in self.readers | self.writers:
            fd = selectable.fileno()
            selectables[fd] = selectable
            wanted = select.POLLIN if selectable in self.readers else 0
            poll.register(fd, wanted | (select.POLLOUT if selectable in self.writers else 0))
        calls = 0
        for fd, event in poll.poll(0):
            selectable = selectables[fd]
            if selectable not in self.readers and selectable not in self.writers:
                continue  # somebody before it in this turn has taken it away
            calls += 1
            why = None
            # As Twisted's epoll reactor does it.
            if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) and not event & select.POLLIN:
                why = main.CONNECTION_LOST
            else:
                if event & select.POLLIN:
                    why = selectable.doRead()
                if not why and event & select.POLLOUT and selectable in self.writers:
                    why = selectable.doWrite()
            if why:
                self.removeReader(selectable)
                self.removeWriter(selectable)
                selectable.connectionLost(Failure(why))
        return calls

    def settle(self, turns: int = 2000) -> int:
        """
        Turn until a turn has nothing to do.

        @return: the turns that had something to do.
        @raise AssertionError: C{turns} were not enough: something goes round and round.
        """
        for turn in range(turns):
            if not self.turn():
                return turn
        raise AssertionError(f"still busy after {turns} turns")

    def turn_until(self, true: Callable[..., Any], turns: int = 2000) -> None:
        """Turn until C{true()}: it waits for something in the kernel, which is given a moment when nothing is due."""
        for _ in range(turns):
            if true():
                return
            if not self.turn():
                time.sleep(0.001)
        raise AssertionError(f"it did not come in {turns} turns")


def make_handler(
    kind: str, reactor: HandReactor | None = None
) -> tuple[NetHandler, EdgePollDescriptor | ReactorPollDescriptor]:
    """A handler whose connections are watched by C{kind} of L{POLL_KINDS}; its reactor is C{handler.reactor}."""
    reactor = reactor or HandReactor()
    handler = NetHandler(reactor, seconds=reactor.seconds)
    poll = (EdgePollDescriptor if kind == "edge" else ReactorPollDescriptor)(reactor, handler)
    handler.set_poll(poll, tell_rest=kind != "edge")
    return handler, poll


# Statistics.


class Moved:
    """How far the process has counted since this was made: C{moved.total_accepts}, an attribute of L{Counters}."""

    def __init__(self) -> None:
        self._before = copy(counters)

    def __getattr__(self, name: str) -> Any:
        return getattr(counters, name) - getattr(self._before, name)


# Sockets.


def unix_pair() -> tuple[socket.socket, socket.socket]:
    """Two joined UNIX sockets, non-blocking."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def tcp_pair(host: str = "127.0.0.1", recv_buffer_bytes: int = 0) -> tuple[socket.socket, socket.socket]:
    """
    Two joined TCP sockets on the loopback, non-blocking.

    @param recv_buffer_bytes: of the second, so that its window closes early; 0 leaves it to the system.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        if recv_buffer_bytes:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, recv_buffer_bytes)
        listener.bind((host, 0))
        listener.listen(1)
        ours = socket.socket(family)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def received(sock: socket.socket) -> bytes:
    """All that has come for C{sock}, without waiting.  An end is no error."""
    pieces = []
    while True:
        try:
            piece = sock.recv(1 << 20)
        except BlockingIOError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def fill(sock: socket.socket) -> None:
    """Send until the kernel takes no more; one of a L{unix_pair}, since TCP finds room later."""
    for size in (1 << 16, 1):
        try:
            while True:
                sock.send(bytes(size))
        except BlockingIOError:
            pass


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that its peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(what_descriptors_are())


def what_descriptors_are() -> dict[int, str]:
    """The descriptors of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the one that the list was read by
    return found


# Taking notes.

Step = Callable[..., Any]


@implementer(IContinuation)
class RecordingContinuation:
    """
    Takes notes of what it is told, and does what the test scripted.

    It also looks at what must always be true: no event for a closed connection, C{0 <= ndone <= nbytes}, the event's
    VIO is told to the VIO's own continuation.  What is not is raised, which the handler logs, which fails the test.

    @ivar log: C{(name, ndone, nbytes)} for an event of a VIO, C{(name, lerrno)} for OPEN_FAILED, else C{(name,)}.
    @ivar script: for an event what to do: a callable of the event's data, each time; or a list of them, one each time.
    @ivar given: the data of events that have no VIO: connections, errors.
    """

    def __init__(
        self, script: "Mapping[int, Step | list[Step]] | None" = None, shared_log: list[Any] | None = None
    ) -> None:
        """@param shared_log: what another one writes to: notes of several in one order."""
        self.log: list[Any] = [] if shared_log is None else shared_log
        self.script: dict[int, Step | list[Step]] = dict(script or {})
        self.given: list[Any] = []

    @property
    def events(self) -> list[str]:
        """The names alone, without VC_EVENT_ and NET_EVENT_."""
        return [short(entry[0]) for entry in self.log]

    def handle_event(self, event: int, data: Any) -> int:
        """See L{IContinuation.handle_event}."""
        name = event_name(event)
        if isinstance(data, VIO):
            self.log.append((name, data.ndone, data.nbytes))
            self._look_at(data, name)
        elif isinstance(data, OpenFailed):
            self.log.append((name, data.lerrno))
            self.given.append(data)
        else:
            self.log.append((name,))
            self.given.append(data)
        step = self.script.get(event)
        if isinstance(step, list):
            step = step.pop(0) if step else None
        if step is not None:
            step(data)
        return EVENT_CONT

    def _look_at(self, vio: VIO, name: str) -> None:
        assert vio.vc_server is not None, f"{name} of a connection that is gone"
        assert not vio.vc_server.closed, f"{name} of a closed connection"
        assert 0 <= vio.ndone <= vio.nbytes, f"{name} with {vio.ndone} of {vio.nbytes} bytes"
        assert vio.cont is self, f"{name} for somebody else"


def short(name: str) -> str:
    """READ_READY for VC_EVENT_READ_READY."""
    return name.removeprefix("VC_EVENT_").removeprefix("NET_EVENT_")


# Tests.

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class OverBothPolls(_Base):
    """
    Tests that are run over both kinds of poll descriptor.

    Write C{class ReadTests(OverBothPolls)}, and after it C{globals().update(ReadTests.make_test_case_classes())}, as
    with Twisted's own C{ReactorBuilder}.

    Each test ends with everything closed, and fails if a connection, a call or a descriptor is left over.

    @cvar kind: one of L{POLL_KINDS}.
    """

    kind: str

    @classmethod
    def make_test_case_classes(cls) -> dict[str, type[SynchronousTestCase]]:
        """One test case for each kind of poll descriptor."""
        made = {}
        for kind in POLL_KINDS:
            name = f"{cls.__name__.removesuffix('Tests')}Over{kind.capitalize()}Tests"
            attributes: dict[str, Any] = {"kind": kind, "__module__": cls.__module__, "__doc__": cls.__doc__}
            if kind == "edge" and not hasattr(select, "epoll"):
                attributes["skip"] = "this system has no epoll"
            made[name] = type(name, (cls, SynchronousTestCase), attributes)
        return made

    def setUp(self) -> None:
        self._descriptors = set(what_descriptors_are().items())
        self._sockets: list[socket.socket] = []
        self.reactor = HandReactor()
        self.handler, self.poll = make_handler(self.kind, self.reactor)

    def tearDown(self) -> None:
        for vc in list(self.handler.open_list):
            vc.do_io_close()
        for sock in self._sockets:
            sock.close()
        self.reactor.settle()
        self.poll.close()
        left = {
            "connections": self.handler.open_list,
            "readers": self.reactor.readers,
            "writers": self.reactor.writers,
            "calls": self.reactor.getDelayedCalls(),
        }
        self.assertEqual({}, {what: which for what, which in left.items() if which})
        self.assertTrue(self.handler.idle())
        # Not their number: garbage and threads of tests before this one may close what is theirs at any time.
        if set(what_descriptors_are().items()) - self._descriptors:
            gc.collect()  # a failed test's traceback may hold some
        self.assertEqual(set(), set(what_descriptors_are().items()) - self._descriptors, "descriptors are left over")

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close C{sock} when the test is over."""
        self._sockets.append(sock)
        return sock

    def connection(
        self, pair: "tuple[socket.socket, socket.socket] | None" = None
    ) -> tuple[UnixNetVConnection, socket.socket]:
        """A plain connection that is watched, and its peer's socket; over a UNIX socket unless C{pair} is given."""
        ours, theirs = pair or unix_pair()
        vc = UnixNetVConnection(self.handler)
        vc.start(ours)
        return vc, self.keep(theirs)

    def assert_idle(self) -> None:
        """Nothing is scheduled and no connection is on a list: until somebody says something nothing happens."""
        self.assertTrue(self.handler.idle())
        self.assertEqual([], self.reactor.getDelayedCalls())
