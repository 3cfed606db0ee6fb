"""
Traffic Server's gold tests of timeouts and of origins that fail (C{timeout}, C{tls_conn_timeout}), against the program.

Which gold test stands where is in L{tests.integration.gold}; those that another module has are not written again.
"""

import os
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from tests.integration.peers import VERSIONS, Backend, Later, Secure, host_context, picky_context
from tests.integration.twistd import ROOT, EdgeTestCase, Origin, client_context, server_context, until

HTTPS = "[listen https]\nport = 0\n"
SOON = "[net]\ninactivity_check_frequency = 0.1\n"

SLOW_SITE = """
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site


class Slow(Resource):
    isLeaf = True

    def render_GET(self, request):
        def answer():
            request.write(b"late, but here")
            request.finish()

        reactor.callLater(2.2, answer)
        return NOT_DONE_YET


site = Site(Slow())


def slow(vc):
    handle = vc.park()
    reactor.callLater(0.5, handle.reenable)
    return handle
"""

GONE = (ConnectionError, ssl.SSLError)


class HandshakeTimerTests(EdgeTestCase):
    """The time that a handshake may take."""

    def test_tls_accept_timeout_crash(self) -> None:
        """
        A hook takes some of the time that the handshake has, and the session thereafter more than all of it:
        the requests succeed, over HTTP/1.1 and HTTP/2, and no timer of before hits them (tls_accept_timeout_crash).
        """
        (self.directory / "ours.py").write_text(SLOW_SITE)
        edge = self.start(
            f"[ssl]\nhandshake_timeout_in = 2\n{SOON}{HTTPS}factory = ours:site\nhook.client_hello = ours:slow\n",
            environment={"PYTHONPATH": os.pathsep.join([str(self.directory), str(ROOT)])},
        )
        port = edge.port()
        asking = [Later(self.curl, port, how) for how in ("--http1.1", "--http2", "--http1.1", "--http2")]
        answers = sorted(later.result() for later in asking)
        self.assertEqual([("1.1 200", b"late, but here")] * 2 + [("2 200", b"late, but here")] * 2, answers)
        self.assertNotIn("failed", edge.log)
        self.assertNotIn("Traceback", edge.log)


class ConnectTimerTests(EdgeTestCase):
    """The time that a connection to an origin may take."""

    def _black_hole(self) -> int:
        """A port whose queue is full: a SYN is not answered."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            sock = socket.socket()
            self.addCleanup(sock.close)
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        return port

    def _silent(self) -> int:
        """A port where connections are made, and nobody speaks."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port: int = listener.getsockname()[1]
        return port

    def test_tls_conn_timeout(self) -> None:
        """
        A SYN that is not answered and a TLS handshake that is not answered end after connect_timeout, each client
        being reset; an origin that is there and takes its time with the first byte is waited for (tls_conn_timeout).
        """

        def late(origin: Origin, connection: Any, kept: bytearray) -> None:
            kept += connection.recv(100)
            time.sleep(1.6)
            connection.sendall(b"late, but here")

        late_tls = self.origin(late, context=server_context("late.com"))
        late_plain = self.origin(late)
        edge = self.start(
            f"[ssl]\nclient.verify.server.policy = DISABLED\n{SOON}connect_timeout = 1\n{HTTPS}"
            f"[sni hole.com]\nforward_route = 127.0.0.1:{self._black_hole()}\n"
            f"[sni silent.com]\npartial_blind_route = 127.0.0.1:{self._silent()}\n"
            f"[sni late.com]\npartial_blind_route = 127.0.0.1:{late_tls.port}\n"
            f"[sni plain.com]\nforward_route = 127.0.0.1:{late_plain.port}\n"
        )
        port = edge.port()

        def ask(name: str) -> tuple[bytes, float]:
            client = self.tls(port, name)
            began = time.monotonic()
            try:
                client.sendall(b"POST")
                said = client.recv(100)
            except GONE:
                said = b"reset"
            return said, time.monotonic() - began

        asking = {name: Later(ask, name) for name in ("hole.com", "silent.com", "late.com", "plain.com")}
        for name in ("hole.com", "silent.com"):
            said, took = asking[name].result()
            self.assertEqual(b"reset", said, name)
            self.assertTrue(0.9 <= took < 5, (name, took))
            edge.says(rf"\[sni {name}\] \S+: 127.0.0.1:\d+ cannot be used")
        for name in ("late.com", "plain.com"):
            self.assertEqual(b"late, but here", asking[name].result()[0])
        # A request is not sent a second time.
        self.assertEqual([b"POST"], late_tls.received + late_plain.received[1:])
        self.assertNotIn("Traceback", edge.log)


class OriginTests(EdgeTestCase):
    """Origins that do not want what they get."""

    def test_tls_origin_post_abort(self) -> None:
        """An origin resets in the middle of a large upload: the client learns of it at once (tls_origin_post_abort)."""
        plain, secure = Backend(), Backend(host_context("p.com", "t.com"))
        edge = self.start(
            f"[ssl]\nclient.verify.server.policy = DISABLED\n{HTTPS}"
            f"[sni f.com]\nforward_route = 127.0.0.1:{plain.port}\n"
            f"[sni p.com]\npartial_blind_route = 127.0.0.1:{secure.port}\n"
            f"[sni t.com]\ntunnel_route = 127.0.0.1:{secure.port}\n"
        )
        for version in VERSIONS:
            for name, backend in (("f.com", plain), ("p.com", secure), ("t.com", secure)):
                accepting = Later(backend.accept)
                client = Secure(self.tcp(edge.port()), picky_context(version), name)
                client.shake_hands()
                sending = Later(client.send, bytes(20_000_000))
                origin = accepting.result()
                origin.exactly(65536)
                began = time.monotonic()
                origin.reset()
                with self.assertRaises(ConnectionError):
                    sending.result()
                self.assertLess(time.monotonic() - began, 3)
                client.close()
        self.assertNotIn("Traceback", edge.log)


class InactivityTests(EdgeTestCase):
    """Connections on which nothing moves."""

    def _cut_after(self, recv: Callable[[int], bytes]) -> float:
        began = time.monotonic()
        try:
            self.assertEqual(b"", recv(1))
        except GONE:
            pass
        return time.monotonic() - began

    def test_default_inactivity_timeout(self) -> None:
        """
        A session that stalls is ended after the default time, whatever carries it; one on which a byte moves now and
        then is not (default_inactivity_timeout, inactive_timeout).
        """
        origin = self.origin()
        secure = self.origin(context=server_context("p.com", "t.com"))
        edge = self.start(
            f"[ssl]\nclient.verify.server.policy = DISABLED\n{SOON}default_inactivity_timeout = 1.5\n"
            f"{HTTPS}forward_route = 127.0.0.1:{origin.port}\n"
            f"[sni p.com]\npartial_blind_route = 127.0.0.1:{secure.port}\n"
            f"[sni t.com]\ntunnel_route = 127.0.0.1:{secure.port}\n[sni site.com]\nsite = .\n"
            f"[listen plain]\nport = 0\nflags = plain\nforward_route = 127.0.0.1:{origin.port}\n"
        )
        port = edge.port()
        stalled: dict[str, Any] = {"plain": self.tcp(edge.port("plain")), "site": self.tls(port, "site.com")}
        for name in ("f.com", "p.com", "t.com"):
            stalled[name] = self.tls(port, name, client_context(trust=None))
        for name, sock in stalled.items():
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x" if name == "site" else b"ping")
            if name != "site":
                self.assertEqual(b"ping", sock.recv(10))
        waiting = {name: Later(self._cut_after, sock.recv) for name, sock in stalled.items()}
        moving = {name: self.tls(port, name) for name in ("f.com", "p.com", "t.com")}
        for _ in range(10):
            for sock in moving.values():
                sock.sendall(b"x")
                self.assertEqual(b"x", sock.recv(10))
            time.sleep(0.25)
        for name, later in waiting.items():
            self.assertTrue(1.2 < later.result() < 6, name)
        until(lambda: "Traceback" not in edge.log, "a quiet log")
