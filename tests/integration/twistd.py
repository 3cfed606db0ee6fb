"""
The real program, its origins and its clients, for tests that talk to it from outside.

L{Twistd} is a process in a directory of its own; it is waited for by what its log says, within bounds, and ended by its
process number.  L{Origin} is a listening socket in a thread that keeps what it was sent.  Clients are Python's C{ssl},
which is another binding of OpenSSL than ours, and the commands C{curl} and C{openssl}.
"""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme
from twisted.trial.unittest import SynchronousTestCase

PATIENCE = 20.0
"""Seconds that anything may take on a machine that is busy with other things.  Nothing waits that long on purpose."""

ROOT = Path(__file__).resolve().parent.parent.parent

RUN_TWISTD = """
import signal
from twisted.scripts.twistd import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell runs in the background
run()
"""
"""The command twistd, whose place is not known: it stands beside the Python of some environment, or not."""

CURL = shutil.which("curl")
OPENSSL = shutil.which("openssl")

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
OTHER_CA = trustme.CA(key_type=trustme.KeyType.ECDSA)


def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What C{true} gives once it is true."""
    end = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)


class Twistd:
    """
    C{twistd -n atstls}, started with a configuration.

    @ivar directory: where it runs, and where its files are.
    """

    def __init__(
        self,
        directory: Path,
        configuration: str | None,
        *arguments: str,
        descriptors: tuple[int, ...] = (),
        environment: dict[str, str] | None = None,
        twistd: tuple[str, ...] = ("-n", "--pidfile="),
        prefix: tuple[str, ...] = (),
    ) -> None:
        """
        @param configuration: the text of C{tap.cfg}; C{None} for none.
        @param arguments: behind C{atstls}.
        @param descriptors: what it inherits.
        @param twistd: before C{atstls}.
        @param prefix: a command that runs the command behind it.
        """
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        if configuration is not None:
            (directory / "tap.cfg").write_text(configuration)
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        with open(directory / "out", "wb") as out, open(directory / "err", "wb") as err:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-c", RUN_TWISTD, *twistd, "atstls", *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=descriptors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})},
            )

    @property
    def log(self) -> str:
        """What it has written to its log, which is standard output."""
        return (self.directory / "out").read_text(errors="replace")

    @property
    def errors(self) -> str:
        """What it has written to standard error."""
        return (self.directory / "err").read_text(errors="replace")

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until a line of the log matches C{pattern}."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.log)
            if found is None and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.log}\n{self.errors}")
            return found

        try:
            found: re.Match[str] = until(look, f"a line like {pattern!r}")
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.log}\n{self.errors}") from None
        return found

    def port(self, name: str = "https") -> int:
        """The port of C{[listen NAME]}."""
        return int(self.says(rf"listening on \S*:(\d+): \[listen {name}\]")[1])

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this very process."""
        self.process.send_signal(number)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end, and give its exit status."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(0.2)
            except subprocess.TimeoutExpired:
                # The second one does not wait for connections; sent at once it would be one with the first.
                self.process.send_signal(signal.SIGTERM)
            try:
                # Its coverage is written down at an end in order.
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Origin:
    """
    A host behind the edge: one thread that accepts, and one for each connection.

    @ivar connections: how many there were.
    @ivar received: what came, by connection.
    """

    def __init__(
        self,
        serve: Callable[["Origin", Any, bytearray], None] | None = None,
        family: int = socket.AF_INET,
        path: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """
        @param serve: does one connection; the default sends back what comes until the end, and then ends too.
        @param context: to speak TLS.
        """
        self.connections = 0
        self.received: list[bytearray] = []
        self.protocols: list[str | None] = []
        self.names: list[str | None] = []
        self.socket = socket.socket(socket.AF_UNIX if path else family)
        if path:
            self.socket.bind(path)
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.socket.listen(64)
        self._serve = serve or echo
        self._context = context
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            kept = bytearray()
            self.received.append(kept)
            threading.Thread(target=self._speak, args=(connection, kept), daemon=True).start()

    def _speak(self, connection: socket.socket, kept: bytearray) -> None:
        try:
            connection.settimeout(PATIENCE)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self.protocols.append(connection.selected_alpn_protocol())  # type: ignore[attr-defined]
            self._serve(self, connection, kept)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def echo(origin: Origin, connection: Any, kept: bytearray) -> None:
    """Send back what comes; end when the peer has."""
    while data := connection.recv(65536):
        kept += data
        connection.sendall(data)


def http(body: bytes) -> Callable[[Origin, Any, bytearray], None]:
    """An HTTP/1.1 server that answers each connection once, with C{body}."""

    def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
        while b"\r\n\r\n" not in kept:
            data = connection.recv(65536)
            if not data:
                return
            kept += data
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)

    return serve


def write_certificate(directory: Path, stem: str, *names: str, ca: trustme.CA = CA) -> None:
    """C{stem.pem} and C{stem.key} for C{names}."""
    directory.mkdir(parents=True, exist_ok=True)
    issued = ca.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
    (directory / f"{stem}.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (directory / f"{stem}.key").write_bytes(issued.private_key_pem.bytes())


def server_context(*names: str, ca: trustme.CA = CA, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """For an origin that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def client_context(*alpn: str, version: ssl.TLSVersion | None = None, trust: trustme.CA | None = CA) -> ssl.SSLContext:
    """For a client; C{trust=None}: it does not look at certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        trust.configure_trust(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class EdgeTestCase(SynchronousTestCase):
    """Tests that start the program."""

    def setUp(self) -> None:
        # Not trial's own: a UNIX socket's path may have 107 bytes, and those are longer.
        self.directory = Path(tempfile.mkdtemp(prefix="atstls"))
        self.addCleanup(shutil.rmtree, self.directory)

    def start(self, configuration: str | None, *arguments: str, **more: Any) -> Twistd:
        """The program, until the end of the test."""
        edge = Twistd(self.directory, configuration, *arguments, **more)
        self.addCleanup(edge.stop)
        return edge

    def origin(self, *arguments: Any, **more: Any) -> Origin:
        """A host behind it, until the end of the test."""
        origin = Origin(*arguments, **more)
        self.addCleanup(origin.close)
        return origin

    def certificate(self, stem: str, *names: str) -> str:
        """Write a certificate, and give the section for it."""
        write_certificate(self.directory, stem, *names)
        return f"[certificate {stem}]\nssl_cert_name = {stem}.pem\nssl_key_name = {stem}.key\n"

    def tcp(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """A connected socket."""
        sock = socket.create_connection((host, port), PATIENCE)
        self.addCleanup(sock.close)
        return sock

    def tls(
        self, port: int, name: str | None = None, context: ssl.SSLContext | None = None, **more: Any
    ) -> ssl.SSLSocket:
        """A client whose handshake is done."""
        if context is None:
            context = client_context(trust=None)
        # Python tells a stream that is cut off by b"", as it does an end in order, unless it is asked not to.
        sock = context.wrap_socket(self.tcp(port), server_hostname=name, suppress_ragged_eofs=False, **more)
        self.addCleanup(sock.close)
        return sock

    def run_command(self, *command: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A client that is a command; C{data} is what it reads, and then the end."""
        return subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE, check=False)

    def curl(self, port: int, *arguments: str, path: str = "/", host: str = "127.0.0.1") -> tuple[str, bytes]:
        """C{curl}'s version of HTTP with its status, and the body."""
        if CURL is None:
            self.skipTest("there is no curl")
        done = self.run_command(
            CURL, "-sk", "-w", "\n%{http_version} %{http_code}", *arguments, f"https://{host}:{port}{path}"
        )
        body, _, figures = done.stdout.rpartition(b"\n")
        return figures.decode(), body


def read_all(sock: Any) -> bytes:
    """What comes until the end."""
    pieces = []
    while data := sock.recv(65536):
        pieces.append(data)
    return b"".join(pieces)
