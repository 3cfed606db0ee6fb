"""
How many may come in: all together, from one address, idle and busy; and which rule is for which port.
"""

import socket
import ssl
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.integration.twistd import EdgeTestCase, client_context, http, read_all, until

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class CountingTests(EdgeTestCase):
    """Limits of [net], from outside."""

    def refused(self, sock: socket.socket) -> bool:
        """Was it closed without a word?"""
        try:
            return sock.recv(1) == b""
        except (ConnectionResetError, ssl.SSLEOFError):
            return True

    def asked(self, sock: socket.socket) -> bytes:
        """The status line of an answer, whose body is read."""
        sock.sendall(GET)
        return self.answer(sock)

    def answer(self, sock: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        (length,) = [
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        while len(body) < length:
            body += sock.recv(65536)
        return head.partition(b"\r\n")[0]

    def test_connections_of_one_address(self) -> None:
        """Over the limit one is closed before a byte; another address, and one that is exempt, come in (N104)."""
        edge = self.start(
            "[net]\nper_client.max_connections_in = 2\nper_client.connection.exempt_list = 127.0.0.9\n"
            "[listen https]\nport = 0\n"
        )
        port = edge.port()
        first, second = self.tls(port), self.tls(port)
        self.assertTrue(self.refused(self.tcp(port)))
        self.assertTrue(self.refused(self.tcp(port)))
        edge.says("127.0.0.1 has 2 connections, as many as per_client.max_connections_in allows; 1 of such")
        self.assertEqual(1, edge.log.count("per_client.max_connections_in allows"))
        for host in ("127.0.0.2", *["127.0.0.9"] * 4):
            sock = socket.create_connection(("127.0.0.1", port), 5, (host, 0))
            self.addCleanup(sock.close)
            self.addCleanup(client_context(trust=None).wrap_socket(sock).close)
        self.assertEqual(b"HTTP/1.1 200 OK", self.asked(second))
        first.close()

        def comes_in() -> bool:
            try:
                return self.asked(self.tls(port)) == b"HTTP/1.1 200 OK"
            except OSError:
                return False

        until(comes_in, "a place is free again")

    def test_a_word_for_who_is_too_many(self) -> None:
        """On a listener without TLS those who are too many get the text, in answer to what they ask (N102)."""
        edge = self.start(
            "[net]\nconnections_throttle = 2\nthrottle_message = HTTP/1.1 503 Full\\r\\ncontent-length: 0\\r\\n\\r\\n\n"
            "[listen plain]\nport = 0\nflags = plain\n[listen https]\nport = 0\n"
        )
        inside = [self.tcp(edge.port("plain")) for _ in range(2)]
        for sock in inside:
            self.assertEqual(b"HTTP/1.1 200 OK", self.asked(sock))
        outside = self.tcp(edge.port("plain"))
        outside.sendall(GET)
        self.assertEqual(b"HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n", read_all(outside))
        silent = self.tcp(edge.port("plain"))
        self.assertEqual(b"HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n", read_all(silent))
        self.assertTrue(self.refused(self.tcp(edge.port())), "text in clear on a TLS port")
        self.assertEqual(b"HTTP/1.1 200 OK", self.asked(inside[0]))

    def test_idle_ones_make_room(self) -> None:
        """Over max_connections_in the one that has waited longest for a request is ended, and no other (N080)."""
        edge = self.start("[net]\nmax_connections_in = 3\n[listen https]\nport = 0\n")
        old, busy, young = (self.tls(edge.port()) for _ in range(3))
        busy.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
        self.assertEqual(b"HTTP/1.1 200 OK", self.asked(young))
        self.assertEqual(b"HTTP/1.1 200 OK", self.asked(self.tls(edge.port())))
        self.assertTrue(self.refused(old))
        busy.sendall(b"cd")
        self.assertIn(b"HTTP/1.1 405", self.answer(busy))
        self.assertEqual(b"HTTP/1.1 200 OK", self.asked(young))

    def test_an_answer_that_waits_is_no_idle_connection(self) -> None:
        """Over HTTP/2 a client takes its time with an answer: it is not ended for that when others come."""
        edge = self.start("[net]\nmax_connections_in = 2\n[listen https]\nport = 0\n")
        slow = self.tls(edge.port(), context=client_context("h2", trust=None))
        client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        nothing = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}
        client.local_settings = h2.settings.Settings(client=True, initial_values=nothing)
        client.initiate_connection()
        headers = ((":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "x"))
        client.send_headers(1, headers, end_stream=True)
        slow.sendall(client.data_to_send())
        seen: list[Any] = []

        def until_there_is(kind: Any) -> None:
            while not any(isinstance(event, kind) for event in seen):
                data = slow.recv(65536)
                self.assertTrue(data, "it was ended")
                seen.extend(client.receive_data(data))
                slow.sendall(client.data_to_send())

        until_there_is(h2.events.ResponseReceived)
        for _ in range(4):
            self.assertEqual(b"HTTP/1.1 200 OK", self.asked(self.tls(edge.port())))
        self.assertFalse(any(isinstance(event, h2.events.DataReceived) for event in seen))
        client.increment_flow_control_window(1 << 20, 1)
        slow.sendall(client.data_to_send())
        until_there_is(h2.events.StreamEnded)
        # Then it is idle like others, and goes when it is the one that was idle for longest.
        for _ in range(3):
            self.assertEqual(b"HTTP/1.1 200 OK", self.asked(self.tls(edge.port())))
        while slow.recv(65536):
            pass

    def test_requests(self) -> None:
        """Over max_requests_in a request is answered with 503, over HTTP/1.1 and HTTP/2, and may come again."""
        edge = self.start("[net]\nmax_requests_in = 1\n[listen https]\nport = 0\n")
        busy, other = self.tls(edge.port()), self.tls(edge.port())
        busy.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
        until(lambda: self.asked(other) == b"HTTP/1.1 503 Service Unavailable", "the first one counts")
        self.assertEqual(("2 503", b""), self.curl(edge.port()))
        busy.sendall(b"cd")
        self.assertIn(b"HTTP/1.1 405", self.answer(busy))
        self.assertEqual(b"HTTP/1.1 200 OK", self.asked(other))
        self.assertEqual("2 200", self.curl(edge.port())[0])
        # One who leaves in mid-request counts no more.
        busy.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
        until(lambda: self.asked(other) == b"HTTP/1.1 503 Service Unavailable", "it counts")
        busy.close()
        until(lambda: self.asked(other) == b"HTTP/1.1 200 OK", "it has left")
        # Pipelined requests are one after the other.
        other.sendall(GET * 3)
        data = b""
        while data.count(b"</html>") < 3:
            data += other.recv(65536)
        self.assertEqual(3, data.count(b"HTTP/1.1 200 OK"))

    def test_requests_that_go_on(self) -> None:
        """A connection that goes on to another host is one request: over the limit nobody is dialled for it."""
        origin = self.origin()
        edge = self.start(
            "[net]\nmax_requests_in = 2\n[listen https]\nport = 0\n"
            f"forward_route = 127.0.0.1:{origin.port}\n[sni t.example]\ntunnel_route = 127.0.0.1:{origin.port}\n"
        )
        first = self.tls(edge.port())
        first.sendall(b"hello")
        self.assertEqual(b"hello", first.recv(5))
        tunnel = self.tcp(edge.port())
        hello = self.hello("t.example")
        tunnel.sendall(hello)
        self.assertEqual(hello, tunnel.recv(65536))
        self.assertTrue(self.refused(self.tls(edge.port())))
        self.assertEqual(2, origin.connections)
        tunnel.close()

        def comes_in() -> bool:
            sock = self.tls(edge.port())
            try:
                sock.sendall(b"hello")  # Who is refused may be so before he has said it.
                return sock.recv(5) == b"hello"
            except OSError:
                return False

        until(comes_in, "a place is free again")

    def hello(self, name: str) -> bytes:
        """A ClientHello."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context(trust=None).wrap_bio(incoming, outgoing, server_hostname=name)
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()

    def test_rules_for_ports(self) -> None:
        """The same name has another route at another port, also at one that only shows at the start (A005)."""
        one, two = (self.origin(http(body)) for body in (b"one", b"two"))
        port = free_port()
        edge = self.start(
            f"[listen a]\nport = {port}\n[listen b]\nport = 0\n"
            f"[sni x.example]\ninbound_port_ranges = {port}\nforward_route = 127.0.0.1:{one.port}\n"
            f"[sni x.example]\nforward_route = 127.0.0.1:{two.port}\n"
        )
        for listener, body in (("a", b"one"), ("b", b"two")):
            sock = self.tls(edge.port(listener), "x.example")
            sock.sendall(GET)
            self.assertTrue(read_all(sock).endswith(body))
            other = self.tls(edge.port(listener), "y.example")
            self.assertEqual(b"HTTP/1.1 200 OK", self.asked(other))
