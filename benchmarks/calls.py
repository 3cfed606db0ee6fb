"""
What atstls does for a request and for a connection, counted: figures that are the same on every machine and every day.

    python benchmarks/calls.py                  the table
    python benchmarks/calls.py --functions      with each function and how often it is called

Counted are calls of functions of atstls (C{sys.setprofile}); exceptions that C functions raised into them, which is how
a system call shows that could only fail, and which cost more than the call; blocks of memory that silent connections
hold; and, where strace is installed and may be used, the system calls themselves.

A client and an origin are made by hand, and so is the reactor, so nothing but atstls is counted.  For requests the
connections are joined by hand as well: TLS on a pair of sockets, a tunnel, and plain text on another pair.  For a
connection it is the edge as the configuration makes it, with its port, its routes and its dialling.

tests/test_benchmarks.py holds atstls to bounds for these figures.  It needs what the tests need.
"""

import argparse
import contextlib
import gc
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import atstls  # noqa: E402 (see above)
from atstls.edge.build import Machinery, build  # noqa: E402
from atstls.edge.config import Configuration, ListenConfig  # noqa: E402
from atstls.edge.places import Route, RouteKind  # noqa: E402
from atstls.edge.service import Edge  # noqa: E402
from atstls.eventsystem.iobuffer import IOBufferBlock, MIOBuffer, _pools, pooled_bytes  # noqa: E402
from atstls.net.unixvc import UnixNetVConnection  # noqa: E402
from atstls.session.tunnel import TwoWayTunnel  # noqa: E402
from atstls.ssl.sslvc import SSLNetVConnection  # noqa: E402
from tests.support import HandReactor, RecordingContinuation, make_handler, received, unix_pair  # noqa: E402
from tests.tlssupport import TLSPeer, peer_client_context, server_policy  # noqa: E402

PACKAGE = os.path.dirname(atstls.__file__) + os.sep

REQUEST = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".ljust(1066, b".")

BEGIN, END = "atstls-counts-from-here", "atstls-counts-to-here"
"""Files that are not there: to ask for them leaves a mark in what strace writes."""

NOT_TRANSFERS = ("mmap", "munmap", "brk", "madvise", "mremap", "futex", "getpid")
"""System calls of the interpreter, of which a rare one is nobody's news."""


@dataclass
class Count:
    """
    What was seen while the edge worked.

    @ivar calls: functions of atstls, by module and name, how often.
    @ivar c_calls: functions in C that they called.
    @ivar refused: C functions that raised an exception, by the function that called.
    """

    calls: Counter[str] = field(default_factory=Counter)
    c_calls: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count what happens within."""
        before = sys.getprofile()
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return
        if event == "call":
            self.calls[_name(frame)] += 1
        elif event == "c_call":
            self.c_calls += 1
        elif event == "c_exception":
            self.refused[f"{getattr(argument, '__name__', argument)} in {_name(frame)}"] += 1


def _name(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename.removeprefix(PACKAGE)}: {getattr(code, 'co_qualname', code.co_name)}"


@contextlib.contextmanager
def marked() -> Iterator[None]:
    """For strace."""
    os.access(BEGIN, os.F_OK)
    try:
        yield
    finally:
        os.access(END, os.F_OK)


Around = Callable[[], "contextlib.AbstractContextManager[None]"]
"""What is put around each piece of work of the edge."""


class Hand:
    """
    A reactor's loop by hand, with something put around what it calls.

    @ivar around: see L{Around}.
    """

    def __init__(self, around: Around = contextlib.nullcontext) -> None:
        self.reactor = HandReactor()
        self.around = around

    def settle(self) -> int:
        """Let the edge work until it has nothing to do; how many calls the reactor made."""
        calls = 0
        while True:
            before = calls
            for call in [call for call in self.reactor.getDelayedCalls() if call.getTime() <= self.reactor.seconds()]:
                self.reactor.calls.remove(call)
                call.called = 1
                with self.around():
                    call.func(*call.args, **call.kw)
                calls += 1
            by_fd = {reader.fileno(): reader for reader in self.reactor.readers}
            poll = select.poll()
            for fd in by_fd:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(0):
                with self.around():
                    by_fd[fd].doRead()
                calls += 1
            if calls == before:
                return calls


# Requests.


class Requests:
    """
    Connections that ask and are answered.

    @ivar hand: what lets the edge work.
    """

    def __init__(self, connections: int, version: str = "TLSv1.3") -> None:
        self.hand = Hand()
        self.handler, self.poll = make_handler("edge", self.hand.reactor)
        self.version = version
        self.ends: list[tuple[TLSPeer, socket.socket]] = []
        self.vcs: list[Any] = []
        for _ in range(connections):
            self._join()

    def _join(self) -> None:
        ours, theirs = unix_pair()
        vc = SSLNetVConnection(self.handler, server_policy(self.version))
        vc.read.triggered = vc.read.polled = True
        vc.start(ours, ("192.0.2.9", 4711))
        self.handler.queue_read(vc)
        told = RecordingContinuation()
        vc.do_io_read(told, 0, MIOBuffer())
        client = TLSPeer(theirs, peer_client_context(self.version))
        while self.hand.settle() + client.pump():
            pass
        if not client.done or told.events != ["READ_COMPLETE"]:
            raise AssertionError(f"no handshake: {client.reason} {told.events}")
        ours, origin = unix_pair()
        plain = UnixNetVConnection(self.handler)
        plain.start(ours)
        TwoWayTunnel(vc, plain)
        self.hand.settle()
        self.vcs += [vc, plain]
        self.ends.append((client, origin))

    def exchange(self, times: int = 1) -> None:
        """All ask at once, and all are answered at once."""
        for _ in range(times):
            for client, _origin in self.ends:
                client.write(REQUEST)
                client.pump()
            self.hand.settle()
            for _client, origin in self.ends:
                if received(origin) != REQUEST:
                    raise AssertionError("the request is not what arrived")
                origin.sendall(ANSWER)
            self.hand.settle()
            for client, _origin in self.ends:
                client.pump()
                if client.plain != ANSWER:
                    raise AssertionError("the answer is not what arrived")
                client.plain.clear()
                client.raw.clear()

    def count(self, times: int = 16) -> Count:
        """Of C{times} exchanges, when everything is warm."""
        self.exchange(4)
        count = Count()
        self.hand.around = count.counting
        try:
            self.exchange(times)
        finally:
            self.hand.around = contextlib.nullcontext
        return count

    def blocks_held(self) -> int:
        """Blocks that are in nobody's pool, less the wire that the handler always has."""
        gc.collect()
        pooled = {id(block) for pool in _pools for block in pool}
        pooled.update(id(block) for block in [self.handler.wire, *self.handler._spare_wires])
        mine = {id(item) for vc in self.vcs for item in _reached(vc)}
        return sum(
            id(item) not in pooled for item in gc.get_objects() if type(item) is IOBufferBlock and id(item) in mine
        )

    def close(self) -> None:
        """Let all go."""
        for vc in self.vcs:
            vc.do_io_close()
        for client, origin in self.ends:
            client.sock.close()
            origin.close()
        self.hand.settle()
        self.poll.close()


def _reached(vc: Any) -> list[Any]:
    """The blocks that a connection's buffers hold, in either direction, and its ciphertext that was not sent."""
    found: list[Any] = [getattr(vc, "_unsent", None)]
    for state in (vc.read, vc.write):
        buffer = state.vio.buffer.writer
        found.append(None if buffer is None else buffer.tail)
        for reader in [] if buffer is None else buffer.readers:
            block = reader.block
            while block is not None:
                found.append(block)
                block = block.next
    return found


# Connections.


class Connections:
    """The edge with a route to an origin, and clients that come, ask once, and go."""

    def __init__(self) -> None:
        self.hand = Hand()
        self.origin = socket.create_server(("127.0.0.1", 0))
        self.origin.setblocking(False)
        route = Route(RouteKind.FORWARD, target=self.origin.getsockname())
        listen = ListenConfig(name="count", interface="127.0.0.1", port=0, alpn=(b"http/1.1",), forward_route=route)
        machinery = Machinery(self.hand.reactor)
        self.edge = Edge(build(Configuration(listens=(listen,)), machinery), machinery)
        self.edge.privilegedStartService()
        self.edge.startService()
        self.handler = machinery.handler
        self.port = self.edge.listeners[0].accept.get_host().port  # type: ignore[union-attr]
        self.hand.settle()

    def one(self) -> None:
        """A client comes, asks, is answered, and goes; the origin goes too."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setblocking(False)
        client = TLSPeer(sock, peer_client_context("TLSv1.3", (b"http/1.1",)), name="localhost")
        client.pump()
        self._until(lambda: client.done, client)
        client.write(REQUEST)
        client.pump()
        accepted: list[socket.socket] = []
        self._until(lambda: bool(accepted) or self._accept(accepted), client)
        with accepted[0] as origin:
            self._until(lambda: _waiting(origin), client)
            if received(origin) != REQUEST:
                raise AssertionError("the request is not what arrived")
            origin.sendall(ANSWER)
            self._until(lambda: client.plain == ANSWER, client)
            client.shutdown()
            client.pump()
            client.send_fin()
            self._until(lambda: _waiting(origin), client)
        self._until(lambda: not self.handler.open_list, client)
        sock.close()

    def _accept(self, accepted: list[socket.socket]) -> bool:
        with contextlib.suppress(BlockingIOError):
            accepted.append(self.origin.accept()[0])
            accepted[0].setblocking(False)
        return bool(accepted)

    def _until(self, true: Callable[[], bool], client: TLSPeer) -> None:
        for _ in range(100000):
            self.hand.settle()
            client.pump()
            if true():
                return
        raise AssertionError("it does not get on")

    def count(self, times: int = 8) -> Count:
        """Of C{times} connections, one after the other, when everything is warm."""
        for _ in range(3):
            self.one()
        count = Count()
        self.hand.around = count.counting
        try:
            for _ in range(times):
                self.one()
        finally:
            self.hand.around = contextlib.nullcontext
        return count

    def close(self) -> None:
        """Stop the edge."""
        self.edge.stopService()
        self.edge.stop_at_once()
        self.hand.settle()
        self.origin.close()


def _waiting(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


# System calls.


def traced(connections: int, times: int) -> None:
    """What strace looks at."""
    requests = Requests(connections)
    requests.exchange(4)
    requests.hand.around = marked
    requests.exchange(times)


def read_trace(text: str) -> tuple[Counter[str], Counter[str]]:
    """
    From what strace has written: the system calls between the marks, and those of them that failed.
    """
    calls: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    counting = False
    for line in text.splitlines():
        if BEGIN in line or END in line:
            counting = BEGIN in line
            continue
        found = re.match(r"(?:[0-9]+ +)?([a-z_0-9]+)\(.*\) += (-?[0-9]+|0x[0-9a-f]+|\?)(?: (E[A-Z0-9]+))?", line)
        if counting and found and found[1] not in NOT_TRANSFERS:
            calls[found[1]] += 1
            if found[3]:
                failed[f"{found[1]} {found[3]}"] += 1
    return calls, failed


def system_calls(connections: int = 1, times: int = 32) -> tuple[Counter[str], Counter[str]] | None:
    """
    The system calls of C{times} exchanges on C{connections} connections, and those that failed.

    @return: C{None}: strace is not here, or is not allowed to look.
    """
    strace = shutil.which("strace")
    if strace is None:
        return None
    with tempfile.TemporaryDirectory(prefix="atstls-counts-") as directory:
        trace = Path(directory, "trace")
        command = [strace, "-f", "-qq", "-o", str(trace), sys.executable, str(Path(__file__).resolve())]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            [*command, "--traced", str(connections), str(times)],
            capture_output=True,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
        if done.returncode or not trace.exists():
            return None
        return read_trace(trace.read_text(errors="replace"))


# The table.


def show(words: str, count: Count, of: int, functions: bool) -> None:
    """A line, and the functions."""
    total = count.calls.total() / of
    print(f"{words:44}{total:8.1f} calls{count.c_calls / of:8.1f} in C{count.refused.total() / of:8.2f} refused")
    for name, number in count.refused.items():
        print(f"    {number / of:7.2f}  refused: {name}")
    for name, number in count.calls.most_common() if functions else ():
        print(f"    {number / of:7.2f}  {name}")


def main(argv: list[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", action="store_true", help="name each function, and how often it is called")
    parser.add_argument("--traced", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.traced:
        traced(*args.traced)
        return 0
    for version in ("TLSv1.3", "TLSv1.2"):
        for connections in (1, 32):
            requests = Requests(connections, version)
            show(f"a request, {version}, {connections} at once", requests.count(), 16 * connections, args.functions)
            print(f"    blocks held by {connections * 2} silent connections: {requests.blocks_held()}")
            requests.close()
    edge = Connections()
    show("a connection with one request, TLSv1.3", edge.count(), 8, args.functions)
    edge.close()
    print(f"bytes in the pool afterwards: {pooled_bytes()}")
    for connections in (1, 32):
        found = system_calls(connections)
        if found is None:
            print("system calls: strace is not here, or is not allowed to look")
            break
        calls, failed = found
        names = ", ".join(f"{name} {number / 32 / connections:.2f}" for name, number in calls.most_common())
        print(f"system calls a request, {connections} at once: {names}; failed: {dict(failed) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
