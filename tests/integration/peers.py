"""
Peers that do as they please, and what the system knows of the program that has to bear with them.

L{Plain} and L{Secure} are one end of a connection, of either role: bytes go one way and the other, each direction is
ended by itself, in order or not, and how the other side's ended is told apart: C{b""} is an end in order,
L{CutOff} is TCP's end in the middle of TLS, C{ConnectionResetError} is a reset.  L{Backend} is a host behind the edge
whose connections the test itself accepts.  L{SharedEdgeTestCase} has one program for a class of tests, and holds after
each of them that the program is as it was.
"""

import atexit
import errno
import os
import re
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from tests.integration.twistd import CA, PATIENCE, EdgeTestCase, Twistd, client_context, until

V12, V13 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
VERSIONS = (V12, V13)

ALERT, HANDSHAKE, DATA = 21, 22, 23

POOLED_DESCRIPTORS = 64
"""Those of the pipes that are kept for later, at most."""


class CutOff(Exception):
    """TCP has ended, and TLS has not."""


class Plain:
    """One end of a TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def recv(self) -> bytes:
        """The next bytes, or C{b""} at the end."""
        return self.sock.recv(65536)

    def exactly(self, count: int) -> bytes:
        """The next C{count} bytes."""
        got = bytearray()
        while len(got) < count:
            data = self.recv()
            assert data, f"an early end after {len(got)} of {count} bytes"
            got += data
        return bytes(got)

    def rest(self) -> bytes:
        """All up to the end, which has to be one in order."""
        got = bytearray()
        while data := self.recv():
            got += data
        self.ended()
        return bytes(got)

    def ended(self) -> None:
        """What has to be true behind an end in order."""

    def end(self) -> None:
        """Say that no more bytes come."""
        self.sock.shutdown(socket.SHUT_WR)

    def fin(self) -> None:
        """End TCP in this direction, and nothing else."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as exc:
            if exc.errno != errno.ENOTCONN:  # Both directions have ended.
                raise

    def reset(self) -> None:
        reset(self.sock)

    def close(self) -> None:
        self.sock.close()


class Secure(Plain):
    """
    The same over TLS.

    @ivar raw: what has come, as it came, if that is recorded.
    """

    def __init__(
        self, sock: socket.socket, context: SSL.Context, name: str | None = None, *, server: bool = False
    ) -> None:
        super().__init__(sock)
        self.raw: bytearray | None = None
        self.connection = SSL.Connection(context, None)
        if server:
            self.connection.set_accept_state()
        else:
            if name is not None:
                self.connection.set_tlsext_host_name(name.encode())
            self.connection.set_connect_state()

    def said(self) -> bytes:
        """What TLS has to say and has not said."""
        pieces = []
        try:
            while True:
                pieces.append(self.connection.bio_read(1 << 20))
        except SSL.WantReadError:
            return b"".join(pieces)

    def flush(self) -> None:
        data = self.said()
        if data:
            self.sock.sendall(data)

    def fill(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise CutOff
        if self.raw is not None:
            self.raw += data
        self.connection.bio_write(data)

    def shake_hands(self, rounds: int = 1 << 30) -> bool:
        """Go on with the handshake, reading at most so many times.  True: it is done."""
        while True:
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                self.flush()
            else:
                self.flush()
                return True
            if not rounds:
                return False
            rounds -= 1
            self.fill()

    def send(self, data: bytes) -> None:
        with memoryview(data) as view:
            at = 0
            while at < len(data):
                at += self.connection.send(view[at : at + 16384])
                self.flush()

    def recv(self) -> bytes:
        while True:
            try:
                return self.connection.recv(65536)
            except SSL.WantReadError:
                self.flush()
                self.fill()
            except SSL.ZeroReturnError:
                return b""

    def ended(self) -> None:
        """Behind close_notify comes nothing but TCP's end."""
        assert self.sock.recv(1) == b"", "something stands behind close_notify"

    def end(self) -> None:
        """close_notify, and TCP stays as it is."""
        self.connection.shutdown()
        self.flush()


def reset(sock: socket.socket) -> None:
    """Close with a reset, whatever is on its way."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def picky_context(version: int | None = None, *alpn: bytes) -> SSL.Context:
    """For a client that looks at everything but the certificate."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if alpn:
        context.set_alpn_protos(list(alpn))
    return context


def host_context(*names: str) -> SSL.Context:
    """For a host behind the edge."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    CA.issue_cert(*names).configure_cert(context)
    return context


class Backend:
    """A host whose connections the test accepts itself, one after the other."""

    def __init__(self, context: SSL.Context | None = None) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.socket.settimeout(PATIENCE)
        self.port: int = self.socket.getsockname()[1]
        self._context = context

    def accept(self) -> Plain:
        """The next connection; over TLS its handshake is done."""
        sock, _ = self.socket.accept()
        if self._context is None:
            return Plain(sock)
        stream = Secure(sock, self._context, server=True)
        stream.shake_hands()
        return stream

    def nobody(self, seconds: float = 0.1) -> bool:
        """Does nobody come?"""
        self.socket.settimeout(seconds)
        try:
            sock, _ = self.socket.accept()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        sock.close()
        return False


def records(data: bytes) -> list[tuple[int, bytes]]:
    """The TLS records in C{data}: their types, and what is in them."""
    found = []
    while data:
        kind, _, length = struct.unpack("!BHH", data[:5])
        found.append((kind, data[5 : 5 + length]))
        data = data[5 + length :]
    return found


class Later:
    """Something that is done in a thread, and its result."""

    def __init__(self, do: Callable[..., Any], *arguments: Any) -> None:
        self._result: Any = None
        self._error: BaseException | None = None

        def run() -> None:
            try:
                self._result = do(*arguments)
            except BaseException as exc:
                self._error = exc

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, seconds: float = PATIENCE) -> Any:
        self._thread.join(seconds)
        assert self.done, "it is not done in time"
        if self._error is not None:
            raise self._error
        return self._result


class Figures:
    """What the system tells of a process."""

    def __init__(self, pid: int) -> None:
        self._proc = Path("/proc") / str(pid)

    @property
    def sockets(self) -> int:
        """Its sockets."""
        return self._descriptors()[0]

    @property
    def others(self) -> int:
        """Its other descriptors."""
        return self._descriptors()[1]

    def _descriptors(self) -> tuple[int, int]:
        sockets = others = 0
        for path in (self._proc / "fd").iterdir():
            try:
                is_socket = os.readlink(path).startswith("socket:")
            except OSError:
                continue
            sockets += is_socket
            others += not is_socket
        return sockets, others

    @property
    def kibibytes(self) -> int:
        """Memory: what is its own, and its share of what is not."""
        text = (self._proc / "smaps_rollup").read_text()
        return sum(int(found) for found in re.findall(r"^Pss:\s+(\d+) kB", text, re.M))

    @property
    def busy_seconds(self) -> float:
        """Processor time so far."""
        return int((self._proc / "schedstat").read_text().split()[0]) / 1e9

    def load(self, seconds: float = 0.1) -> float:
        """The part of a processor that it takes now."""
        before = self.busy_seconds
        time.sleep(seconds)
        return (self.busy_seconds - before) / seconds


IDLE_LOAD = 0.02
"""A process that waits, with the patrol that it makes every second; one that spins has 1."""


class _Shared:
    """The program of the class of tests that runs now."""

    def __init__(self, owner: type["SharedEdgeTestCase"]) -> None:
        self.owner = owner
        self.directory = Path(tempfile.mkdtemp(prefix="atstls"))
        configuration = owner.configuration(self.directory)
        environment = owner.environment(self.directory)
        self.edge = Twistd(self.directory, configuration, prefix=owner.prefix, environment=environment)
        self.port = self.edge.port()
        self.figures = Figures(self.edge.process.pid)
        self.read = 0

    def stop(self) -> None:
        self.edge.stop()
        shutil.rmtree(self.directory)


_shared: list[_Shared] = []


def _stop() -> None:
    while _shared:
        _shared.pop().stop()


atexit.register(_stop)


class SharedEdgeTestCase(EdgeTestCase):
    """
    Tests over one program.

    After each the program has as many sockets as before, does nothing, has printed no traceback, and serves.

    @ivar edge: the program.
    @ivar port: where it listens.
    @ivar figures: what the system tells of it.
    """

    prefix: tuple[str, ...] = ()

    @classmethod
    def configuration(cls, directory: Path) -> str:
        """Its C{tap.cfg}, which needs a C{[listen https]}; C{directory} is where it will run."""
        raise NotImplementedError

    @classmethod
    def environment(cls, directory: Path) -> dict[str, str]:
        """What is added to its environment."""
        return {}

    def setUp(self) -> None:
        super().setUp()
        if not Path("/proc/self/smaps_rollup").exists():
            self.skipTest("there is no /proc to look into")
        if not _shared or _shared[-1].owner is not type(self) or _shared[-1].edge.process.poll() is not None:
            _stop()
            _shared.append(_Shared(type(self)))
            self.warm_up(_shared[-1].figures)
        shared = _shared[-1]
        self.edge, self.port, self.figures = shared.edge, shared.port, shared.figures
        # The one before may still have something to close.
        self.rests()
        self._sockets, self._others = self.figures.sockets, self.figures.others
        self._log_read = len(self.edge.log)
        self.ends: list[Any] = []

    def warm_up(self, figures: Figures) -> None:
        """What is done once, when the program has started."""

    def tearDown(self) -> None:
        for end in self.ends:
            end.close()
        self.rests()
        until(lambda: self.figures.sockets <= self._sockets, "the sockets' end")
        self.assertEqual(self._sockets, self.figures.sockets)
        self.assertLessEqual(self.figures.others, self._others + POOLED_DESCRIPTORS)
        self.assertNotIn("Traceback", self.news)
        self.assertIsNone(self.edge.process.poll())

    def rests(self) -> None:
        """Wait until the program does nothing."""
        until(lambda: self.figures.load() < IDLE_LOAD, "rest")

    @property
    def news(self) -> str:
        """What the log says since the test began."""
        return self.edge.log[self._log_read :]

    def heard(self, pattern: str) -> re.Match[str]:
        """Wait until the log says it."""
        try:
            found: re.Match[str] = until(lambda: re.search(pattern, self.news), f"a line like {pattern!r}", 8)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.news}") from None
        return found

    def failed(self, sock: Any, reason: str = ".+", name: str = "no name") -> None:
        """Wait until the log has told of a handshake that failed, in its one line."""
        host, port = sock if isinstance(sock, tuple) else sock.getsockname()
        self.heard(rf"handshake of {host}:{port} for {name} failed: {reason}")
        self.assertEqual(1, self.news.count(f"handshake of {host}:{port} "))

    def keep(self, end: Any) -> Any:
        """Close C{end} when the test is over, and before the program is looked at."""
        self.ends.append(end)
        return end

    def connected(self) -> socket.socket:
        """TCP, and nothing more."""
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.keep(sock)
        return sock

    def picky(self, name: str | None = None, version: int | None = None, *alpn: bytes) -> Secure:
        """A client that has not said anything yet."""
        return Secure(self.connected(), picky_context(version, *alpn), name)

    def client(self, name: str | None = None, version: int | None = None, *alpn: bytes) -> Secure:
        """A client whose handshake is done."""
        client = self.picky(name, version, *alpn)
        client.shake_hands()
        return client

    def fast(self, name: str | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
        """The same without looking closely, for bulk."""
        context = client_context(trust=None, version=version)
        sock = context.wrap_socket(self.connected(), server_hostname=name, suppress_ragged_eofs=False)
        self.keep(sock)
        return sock

    def last_words(self, sock: socket.socket) -> bytes:
        """What comes on C{sock} up to its end, of whatever kind."""
        got = bytearray()
        try:
            while data := sock.recv(65536):
                got += data
        except ConnectionError:
            pass
        return bytes(got)
