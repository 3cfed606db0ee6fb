"""
The programs in docs/examples, each as a real process with real clients.
"""

import os
import re
import shlex
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.integration.twistd import (
    CA,
    CURL,
    OPENSSL,
    OTHER_CA,
    PATIENCE,
    ROOT,
    RUN_TWISTD,
    EdgeTestCase,
    Origin,
    client_context,
    http,
    read_all,
    server_context,
    until,
    write_certificate,
)

EXAMPLES = ROOT / "docs" / "examples"
PORT = "8443"


def example(name: str, port: str = "0", **replaced: str) -> str:
    """
    The text of an example.

    @param port: in the place of the one that it says.
    @param replaced: other constants, by their names.
    """
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.count(PORT) <= 1, f"{name} says {text.count(PORT)} times where it listens"
    text = text.replace(PORT, port)
    for old, new in replaced.items():
        value = re.search(rf'^{old} = "(.*?)"', text, re.MULTILINE)
        assert value is not None, old
        text = text.replace(value[0], f'{old} = "{new}"', 1)
    return text


def environment() -> dict[str, str]:
    """What an example needs to find us."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


class Program:
    """An example that runs: by C{twistd -noy} where it makes an application, and else by itself."""

    def __init__(self, directory: Path, name: str, **replaced: str) -> None:
        """@param replaced: see L{example}."""
        text = example(name, **replaced)
        (directory / f"{name}.py").write_text(text)
        self.log_file = directory / "log"
        command = ["-c", RUN_TWISTD, "--pidfile=", "-noy", f"{name}.py"]
        if "Application(" not in text:
            command = [f"{name}.py"]
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
            )

    @property
    def log(self) -> str:
        """What it wrote."""
        return self.log_file.read_text(errors="replace")

    def port(self) -> int:
        """Where it listens."""

        def look() -> "re.Match[str] | None":
            if self.process.poll() is not None:
                raise AssertionError(self.log)
            return re.search(r"listening on (?:\S*:)?(\d+)(?::|$)|starting on (\d+)", self.log, re.MULTILINE)

        found: re.Match[str] = until(look, "a port")
        return int(found[1] or found[2])

    def says(self, line: str) -> None:
        """It has printed C{line}, or does so soon."""
        until(lambda: line in self.log.splitlines(), line)

    def stop(self) -> int:
        """End it, in order if it can."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


class ExampleTestCase(EdgeTestCase):
    """Tests of one program."""

    def run_example(self, name: str, **replaced: str) -> Program:
        program = Program(self.directory, name, **replaced)
        self.addCleanup(self.end, program)
        return program

    def end(self, program: Program) -> None:
        """It can be stopped, and has nothing to complain about."""
        self.assertIn(program.stop(), (0, -signal.SIGTERM), program.log)
        self.assertNotIn("Traceback", program.log)

    def ask(self, client: Any, path: str, host: str) -> bytes:
        """What an HTTP server answers, head and body."""
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        return read_all(client)

    def refused(self, port: int, name: str | None, alert: str) -> None:
        """A client that asks for C{name} is told C{alert}."""
        exc = self.assertRaises(ssl.SSLError, self.tls, port, name)
        self.assertIn(alert, str(exc))


class SitesTests(ExampleTestCase):
    """docs/examples/sites.py"""

    def test_sites(self) -> None:
        """Each name has its site and its certificate, and others have none."""
        certificates = self.directory / "certificates"
        for stem, name in (("www", "www.example.com"), ("api", "*.api.example.com")):
            write_certificate(self.directory, stem, name)
            certificates.mkdir(exist_ok=True)
            both = (self.directory / f"{stem}.key").read_bytes() + (self.directory / f"{stem}.pem").read_bytes()
            (certificates / f"{stem}.pem").write_bytes(both)
        (self.directory / "www").mkdir()
        (self.directory / "www" / "page").write_text("a page")
        port = self.run_example("sites").port()
        trusting = client_context("http/1.1")
        self.assertIn(b"a page", self.ask(self.tls(port, "www.example.com", trusting), "/page", "www.example.com"))
        client = self.tls(port, "one.api.example.com", trusting)
        self.assertIn(b"Hello, 127.0.0.1\n", self.ask(client, "/page", "one.api.example.com"))
        self.refused(port, "example.com", "unrecognized")


class TunnelsTests(ExampleTestCase):
    """docs/examples/tunnels.py"""

    def test_tunnels(self) -> None:
        """The database says where a name goes, also when it has changed; TLS is the other host's affair."""
        origin = self.origin(context=server_context("www.example.com"))
        with closing(sqlite3.connect(self.directory / "hosts.db")) as database, database:
            database.execute("CREATE TABLE hosts (name TEXT PRIMARY KEY, address TEXT)")
        port = self.run_example("tunnels").port()
        self.refused(port, "www.example.com", "unrecognized")
        self.refused(port, None, "unrecognized")
        with closing(sqlite3.connect(self.directory / "hosts.db")) as database, database:
            database.execute("INSERT INTO hosts VALUES (?, ?)", ("www.example.com", f"127.0.0.1:{origin.port}"))
        client = self.tls(port, "www.example.com", client_context())
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(100))


def store(origin: Origin, connection: Any, kept: bytearray) -> None:
    """A server of files, over HTTP/1.1, one request a connection."""
    while b"\r\n\r\n" not in kept:
        kept += connection.recv(65536)
    path = origin.files / kept.split()[1].decode().lstrip("/")  # type: ignore[attr-defined]
    status, body = (b"200 OK", path.read_bytes()) if path.exists() else (b"404 Not Found", b"no")
    head = b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body))
    connection.sendall(head + body)


class OnDemandTests(ExampleTestCase):
    """docs/examples/on_demand.py"""

    def test_on_demand(self) -> None:
        """A certificate is asked for once, and one that there is not refuses the client."""
        origin = self.origin(store)
        origin.files = self.directory  # type: ignore[attr-defined]
        write_certificate(self.directory, "one", "one.example.com")
        both = (self.directory / "one.key").read_bytes() + (self.directory / "one.pem").read_bytes()
        (self.directory / "one.example.com.pem").write_bytes(both)
        port = self.run_example("on_demand", STORE=f"http://127.0.0.1:{origin.port}").port()
        for _ in range(2):
            client = self.tls(port, "one.example.com", client_context())
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(100))
        self.assertEqual(1, origin.connections)
        self.refused(port, "two.example.com", "unrecognized")
        self.tls(port, None, client_context(trust=None))

    def test_without_a_store(self) -> None:
        """A store that does not answer costs its clients their connections, and nobody else's."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            nobody = listener.getsockname()[1]
        port = self.run_example("on_demand", STORE=f"http://127.0.0.1:{nobody}").port()
        self.refused(port, "one.example.com", "internal error")
        self.tls(port, None, client_context(trust=None))


class LengthsTests(ExampleTestCase):
    """docs/examples/lengths.py"""

    def test_lengths(self) -> None:
        """Messages of all lengths, cut anywhere, several at once; and a client that leaves in the middle of one."""
        port = self.run_example("lengths").port()
        messages = [b"", b"a", b"hello", bytes(range(256)) * 200]
        data = b"".join(len(message).to_bytes(2, "big") + message for message in messages)
        expected = b"".join(len(message).to_bytes(2, "big") + message[::-1] for message in messages)
        for cut in (len(data), 1000, 3):
            client = self.tls(port)
            for at in range(0, min(len(data), 40 * cut), cut):
                client.sendall(data[at : at + cut])
            client.sendall(data[40 * cut :])
            got = b""
            while len(got) < len(expected):
                piece = client.recv(65536)
                self.assertTrue(piece)
                got += piece
            self.assertEqual(expected, got)
        self.tls(port).sendall(b"\0\5he")
        self.assertEqual(b"\0\2ba", self.answer(port, b"\0\2ab"))

    def answer(self, port: int, question: bytes) -> bytes:
        client = self.tls(port)
        client.sendall(question)
        return client.recv(100)


class MutualTests(ExampleTestCase):
    """docs/examples/mutual.py"""

    def test_mutual(self) -> None:
        """A client is greeted by the name in its certificate; without one, or with a stranger's, it is not."""
        write_certificate(self.directory, "www", "localhost")
        both = (self.directory / "www.key").read_bytes() + (self.directory / "www.pem").read_bytes()
        (self.directory / "server.pem").write_bytes(both)
        (self.directory / "clients.pem").write_bytes(CA.cert_pem.bytes())
        write_certificate(self.directory, "me", "me.example.com")
        write_certificate(self.directory, "him", "him.example.com", ca=OTHER_CA)
        program = self.run_example("mutual")
        port = program.port()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(version=version)
            context.load_cert_chain(self.directory / "me.pem", self.directory / "me.key")
            client = self.tls(port, "localhost", context)
            self.assertEqual(b"Hello, me.example.com\n", client.recv(100))
            client.sendall(b"good day\n")
            self.assertEqual(b"me.example.com says good day\n", client.recv(100))
            for stem in (None, "him"):
                context = client_context(version=version)
                if stem:
                    context.load_cert_chain(self.directory / f"{stem}.pem", self.directory / f"{stem}.key")
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    self.tls(port, "localhost", context).recv(100)


def tutorial() -> list[str]:
    """What stands apart in the tutorial: commands, and what programs print."""
    text = (ROOT / "docs" / "tutorial.rst").read_text()
    return [textwrap.dedent(block).strip() for block in re.findall(r"::\n\n((?:    .*\n)+)", text)]


class TutorialTests(ExampleTestCase):
    """docs/examples/tutorial_echo.py, docs/examples/tutorial_client.py"""

    def client(self, port: int, **replaced: str) -> str:
        """What the client prints."""
        (self.directory / "client.py").write_text(example("tutorial_client", str(port), **replaced))
        done = subprocess.run(
            [sys.executable, "client.py"],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual("", done.stderr)
        return done.stdout.strip()

    def test_tutorial(self) -> None:
        """Whoever does what it says sees what it says."""
        blocks = tutorial()
        command = next(block for block in blocks if block.startswith("openssl"))
        answer, other_name, no_trust, gone = blocks[blocks.index("good day") :][:4]
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        subprocess.run(shlex.split(command), cwd=self.directory, check=True, capture_output=True, timeout=PATIENCE)
        server = self.run_example("tutorial_echo")
        port = server.port()
        self.assertEqual(answer, self.client(port))
        server.says("hello, 127.0.0.1")
        server.says("bye: Connection was closed cleanly.")
        self.assertEqual(other_name, self.client(port, WHERE=f"atstls:127.0.0.1:{port}:trustRoots=server.crt"))
        self.assertEqual(no_trust, self.client(port, WHERE=f"atstls:localhost:{port}"))
        server.stop()
        self.assertEqual(gone, self.client(port))

    def test_the_sites(self) -> None:
        """Its commands, one after the other, and what curl prints."""
        if OPENSSL is None or CURL is None:
            self.skipTest("there is no openssl, or no curl")
        blocks = tutorial()
        commands = next(block for block in blocks if block.startswith("mkdir")).splitlines()
        self.assertEqual("twistd -noy sites.py", commands.pop())
        run = {"cwd": self.directory, "check": True, "capture_output": True, "timeout": PATIENCE, "shell": True}
        for command in commands:
            subprocess.run(command, **run)  # type: ignore[call-overload]
        port = self.run_example("sites").port()
        curl = next(block for block in blocks if block.startswith("curl")).replace(PORT, str(port))
        done = subprocess.run(f"{curl} -sS -w %{{http_version}}", **run)  # type: ignore[call-overload]
        self.assertEqual(b"hello\n2", done.stdout)


class AgentTests(ExampleTestCase):
    """docs/examples/agent.py"""

    def test_agent(self) -> None:
        """It fetches from a server of another make, and trusts whom it should."""
        (self.directory / "ca.crt").write_bytes(CA.cert_pem.bytes())
        origin = self.origin(http(b"a page"), context=server_context("localhost", alpn=("http/1.1",)))
        (self.directory / "agent.py").write_text(example("agent", ROOTS="ca.crt"))
        for host, out, err in (("localhost", b"200 a page\n", b""), ("127.0.0.1", b"", b"VerifyFailed")):
            done = subprocess.run(
                [sys.executable, "agent.py", f"https://{host}:{origin.port}/"],
                cwd=self.directory,
                env=environment(),
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual(out, done.stdout, done.stderr)
            self.assertIn(err, done.stderr)


class AllTests(ExampleTestCase):
    """None is forgotten."""

    def test_each_has_its_test(self) -> None:
        """A program in docs/examples without a test here."""
        tested = " ".join(kind.__doc__ or "" for kind in ExampleTestCase.__subclasses__())
        for path in EXAMPLES.glob("*.py"):
            self.assertIn(f"docs/examples/{path.name}", tested)
