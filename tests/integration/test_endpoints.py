"""
Endpoint strings in programs that know nothing of us: C{twistd web}, and curl as its client.
"""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys

from tests.integration.twistd import (
    CA,
    CURL,
    PATIENCE,
    ROOT,
    RUN_TWISTD,
    EdgeTestCase,
    client_context,
    read_all,
    until,
    write_certificate,
)

LISTENING = r"\(atstls\) starting on (\d+)"

FETCH = """
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import clientFromString
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer
import sys

@implementer(IAgentEndpointFactory)
class Endpoints:
    def __init__(self, reactor):
        self.reactor = reactor
    def endpointForURI(self, uri):
        text = f"atstls:127.0.0.1:{uri.port}:hostname=localhost:trustRoots=ca.crt"
        return clientFromString(self.reactor, text)

async def main(reactor):
    agent = Agent.usingEndpointFactory(reactor, Endpoints(reactor))
    response = await agent.request(b"GET", sys.argv[1].encode())
    print(response.code, (await readBody(response)).decode())

task.react(lambda reactor: ensureDeferred(main(reactor)))
"""


class TwistdWebTests(EdgeTestCase):
    """C{twistd web} with a line changed."""

    def setUp(self) -> None:
        super().setUp()
        write_certificate(self.directory, "www", "localhost", "127.0.0.1")
        (self.directory / "ca.crt").write_bytes(CA.cert_pem.bytes())
        site = self.directory / "site"
        site.mkdir()
        (site / "index.html").write_text("it works\n" * 1000)
        self.body = (site / "index.html").read_bytes()

    def environment(self) -> dict[str, str]:
        """What a program needs to find our plugin."""
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def web(
        self,
        arguments: str,
        *twistd: str,
        place: str = "0:interface=127.0.0.1",
        prefix: tuple[str, ...] = (),
        descriptors: tuple[int, ...] = (),
    ) -> "subprocess.Popen[bytes]":
        """
        C{twistd web}, until the end of the test.

        @param place: where it listens.
        @param prefix: a command that runs it.
        @param descriptors: what it inherits.
        """
        with open(self.directory / "log", "wb") as log:
            process = subprocess.Popen(
                [
                    *(*prefix, sys.executable, "-c", RUN_TWISTD, "-n", "--pidfile=", *twistd),
                    *("web", "--path", "site", "--listen", f"atstls:{place}:{arguments}"),
                ],
                cwd=self.directory,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
            )
        self.addCleanup(self._stop, process)
        return process

    def _stop(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self) -> str:
        """What it wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def port(self, process: "subprocess.Popen[bytes]") -> int:
        """Where it listens."""

        def look() -> "re.Match[str] | None":
            if process.poll() is not None:
                raise AssertionError(self.log())
            return re.search(LISTENING, self.log())

        found: re.Match[str] = until(look, "a port")
        return int(found[1])

    def both_versions(self, port: int, *arguments: str) -> None:
        """curl gets the page by either version of HTTP, and trusts who sends it."""
        if CURL is None:
            self.skipTest("there is no curl")
        for argument, version in (("--http1.1", "1.1"), ("--http2", "2")):
            url = f"https://localhost:{port}/index.html"
            resolve = ("--resolve", f"localhost:{port}:127.0.0.1", "--cacert", str(self.directory / "ca.crt"))
            done = self.run_command(
                CURL, "-sS", "-w", "\n%{http_version} %{http_code}", argument, *resolve, *arguments, url
            )
            body, _, figures = done.stdout.rpartition(b"\n")
            self.assertEqual(f"{version} 200", figures.decode(), done.stderr)
            self.assertEqual(self.body, body)

    def test_key_and_certificate(self) -> None:
        """With the arguments of ssl: curl gets its page over HTTP/1.1 and HTTP/2, and the end is in order."""
        process = self.web("privateKey=www.key:certKey=www.pem")
        self.both_versions(self.port(process))
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        self.assertNotIn("Traceback", self.log())

    def test_every_reactor(self) -> None:
        """Whichever reactor twistd is told to use."""
        for reactor in ("atstls", "epoll", "poll", "select", "asyncio"):
            process = self.web("privateKey=www.key:certKey=www.pem", f"--reactor={reactor}")
            self.both_versions(self.port(process))
            self._stop(process)

    def test_a_folder(self) -> None:
        """With the argument of tls: too: a folder of PEM files."""
        folder = self.directory / "pems"
        folder.mkdir()
        both = (self.directory / "www.key").read_bytes() + (self.directory / "www.pem").read_bytes()
        (folder / "www.pem").write_bytes(both)
        self.both_versions(self.port(self.web("folder=pems")))

    def test_other_sockets(self) -> None:
        """One that it inherits, one that systemd passed, whoever has read of it first, and a UNIX socket."""
        pair = "privateKey=www.key:certKey=www.pem"
        with socket.create_server(("127.0.0.1", 0)) as inherited:
            port, fd = inherited.getsockname()[1], inherited.fileno()
            process = self.web(pair, place=f"fd={fd}", descriptors=(fd,))
            self.assertEqual(port, self.port(process))
            self.both_versions(port)
            self._stop(process)
            does = (
                f"import os, sys; os.dup2({fd}, 3)\n"
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web')\n"
                "os.execv(sys.argv[1], sys.argv[1:])"
            )
            for name in ("web", "0"):
                process = self.web(
                    pair, place=f"systemd={name}", prefix=(sys.executable, "-c", does), descriptors=(fd,)
                )
                self.assertEqual(port, self.port(process))
                self.both_versions(port)
                self._stop(process)
        process = self.web(pair, place="unix=web.sock")
        until(lambda: (self.directory / "web.sock").exists() or process.poll() is not None, "a socket")
        with socket.socket(socket.AF_UNIX) as sock:
            until(lambda: sock.connect_ex(str(self.directory / "web.sock")) == 0, "somebody who listens")
            client = client_context("http/1.1").wrap_socket(sock, server_hostname="localhost")
            client.sendall(b"GET /index.html HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            self.assertIn(self.body, read_all(client))
        self._stop(process)
        self.assertFalse((self.directory / "web.sock").exists())

    def test_clients_with_certificates(self) -> None:
        """clientCA= keeps those out that have none."""
        write_certificate(self.directory, "me", "me.example")
        port = self.port(
            self.web("privateKey=www.key:certKey=www.pem:clientCA=ca.crt:handshakeTimeout=5:alpn=http/1.1")
        )
        context = client_context("h2", "http/1.1", version=ssl.TLSVersion.TLSv1_2)
        self.assertRaises(ssl.SSLError, self.tls, port, "localhost", context)
        context.load_cert_chain(self.directory / "me.pem", self.directory / "me.key")
        self.assertEqual("http/1.1", self.tls(port, "localhost", context).selected_alpn_protocol())

    def test_connections_end_with_the_program(self) -> None:
        """A client that is connected when the program ends sees the end, and the program does not wait for it."""
        process = self.web("privateKey=www.key:certKey=www.pem")
        client = self.tls(self.port(process), "localhost", client_context())
        client.sendall(b"GET /index.html HTTP/1.1\r\nhost: localhost\r\n\r\n")
        self.assertIn(b"200 OK", client.recv(1000))
        process.send_signal(signal.SIGTERM)
        self.assertIn(process.wait(PATIENCE), (0, -signal.SIGTERM))
        self.assertNotIn("Traceback", self.log())

    def test_a_mistake(self) -> None:
        """What is wrong with the string is said in words."""
        process = self.web("privateKey=none.key")
        process.wait(PATIENCE)
        self.assertIn("none.key: there is no such file", self.log())

    def test_agent(self) -> None:
        """twisted.web's client connects by a string of ours."""
        port = self.port(self.web("privateKey=www.key:certKey=www.pem"))
        done = subprocess.run(
            [sys.executable, "-c", FETCH, f"https://localhost:{port}/index.html"],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((b"200 " + self.body.strip()).strip(), done.stdout.strip(), done.stderr)
