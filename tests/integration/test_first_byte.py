"""
One port for TLS and for what is not: C{tr-pass}, C{allow-plain}, and tunnels that a hook asks for, from outside.
"""

import os
import ssl
from typing import Any

from tests.integration.twistd import (
    OTHER_CA,
    ROOT,
    EdgeTestCase,
    Origin,
    client_context,
    echo,
    read_all,
    server_context,
    write_certificate,
)


class FirstByteTests(EdgeTestCase):
    """What a client says first decides."""

    def test_what_is_not_tls_is_passed_on(self) -> None:
        """With tr-pass SSH reaches the origin verbatim, and TLS ends here as ever (S054)."""
        origin = self.origin()
        routes = ("forward_route", "partial_blind_route", "tunnel_route")
        edge = self.start(
            "".join(
                f"[listen {route}]\nport = 0\nflags = ssl, tr-pass\n{route} = 127.0.0.1:{origin.port}\n"
                for route in routes
            )
        )
        for route in routes:
            sock = self.tcp(edge.port(route))
            sock.sendall(b"SSH-2.0-x")
            self.assertEqual(b"SSH-2.0-x", sock.recv(100))
            self.assertEqual(b"SSH-2.0-x", bytes(origin.received[-1]))
        client = self.tls(edge.port("forward_route"))
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(100))

    def test_clear_text_on_the_same_port(self) -> None:
        """With allow-plain curl gets the page by http and by https from one port (A091)."""
        edge = self.start("[listen https]\nport = 0\nflags = ssl, allow-plain\n")
        self.assertEqual("2 200", self.curl(edge.port(), "--http2")[0])
        sock = self.tcp(edge.port())
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assertIn(b"atstls is running", read_all(sock))

    def test_clear_text_goes_on(self) -> None:
        """With a route it goes on like what was decrypted; not for clients that may not come in."""
        origin = self.origin()
        edge = self.start(
            f"[listen https]\nport = 0\nflags = ssl, allow-plain\nforward_route = 127.0.0.1:{origin.port}\n"
        )
        data = os.urandom(300_000)
        for sock in (self.tcp(edge.port()), self.tls(edge.port())):
            for at in range(0, len(data), 30_000):
                piece = b"x" + data[at : at + 30_000]
                sock.sendall(piece)
                got = b""
                while len(got) < len(piece):
                    got += sock.recv(65536)
                self.assertEqual(piece, got)
            sock.close()
        edge.stop()
        edge = self.start(
            f"[listen https]\nport = 0\nflags = ssl, allow-plain\nforward_route = 127.0.0.1:{origin.port}\n"
            "[sni]\nip_allow = 192.0.2.1\n"
        )
        sock = self.tcp(edge.port())
        sock.sendall(b"hello")
        self.assertRaises(ConnectionResetError, sock.recv, 10)
        edge.says(r"\[sni\]: 127.0.0.1:\d+ is refused: its address is not in ip_allow")

    def test_a_hook_asks_for_a_tunnel(self) -> None:
        """It leads to the route's host, whose certificate the client sees; without a host it is refused."""
        (self.directory / "ours.py").write_text("def tunnel(vc): vc.tunnel()\n")
        environment = {"PYTHONPATH": os.pathsep.join([str(self.directory), str(ROOT)])}
        origin = self.origin(context=server_context("www.example.com"))
        text = "[listen nowhere]\nport = 0\nhook.client_hello = ours:tunnel\n"
        names = []
        for route in ("forward_route", "partial_blind_route"):
            for point in ("vconn_start", "client_hello", "servername", "cert"):
                names.append(f"{route}-{point}")
                text += (
                    f"[listen {names[-1]}]\nport = 0\n{route} = 127.0.0.1:{origin.port}\nhook.{point} = ours:tunnel\n"
                )
        edge = self.start(text, environment=environment)
        for name in names:
            client = self.tls(edge.port(name), "www.example.com", client_context())
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(10), name)
        self.assertRaises((ssl.SSLError, OSError), self.tls, edge.port("nowhere"))
        edge.says("there is no host to pass it on to")


def greet(origin: Origin, connection: Any, kept: bytearray) -> None:
    """Speak first, as SSH does."""
    connection.sendall(b"220 hello")
    echo(origin, connection, kept)


class CertificateTunnelTests(EdgeTestCase):
    """What certificates say of connections that are not ours to decrypt: C{action = tunnel}."""

    def test_by_address(self) -> None:
        """Who comes to its dest_ip is passed on before a byte is read, so that the origin may speak first (S055)."""
        origin = self.origin(greet)
        edge = self.start(
            "".join(
                f"[listen {name}]\nport = 0\ninterface = {interface}\nflags = {flags}\n"
                f"forward_route = 127.0.0.1:{origin.port}\n"
                for name, interface, flags in (
                    ("there", "127.0.0.2", "ssl, tr-pass"),
                    ("here", "127.0.0.1", "ssl, tr-pass"),
                    ("ends", "127.0.0.2", "ssl"),
                )
            )
            + "[certificate passed]\ndest_ip = 127.0.0.2\naction = tunnel\n"
            + self.certificate("own", "www.example.com")
        )
        sock = self.tcp(edge.port("there"), "127.0.0.2")
        self.assertEqual(b"220 hello", sock.recv(100))
        hello = b"\x16\x03\x01\0\x05\x01\0\0\x01\xff"
        sock.sendall(hello)
        self.assertEqual(hello, sock.recv(100))
        self.assertEqual(hello, bytes(origin.received[-1]))
        # Elsewhere, and without tr-pass, TLS ends here.
        for name, host in (("here", "127.0.0.1"), ("ends", "127.0.0.2")):
            context = client_context()
            client = context.wrap_socket(self.tcp(edge.port(name), host), server_hostname="www.example.com")
            self.addCleanup(client.close)
            self.assertEqual(b"220 hello", client.recv(100))
        self.assertNotIn("Traceback", edge.log)

    def test_by_name(self) -> None:
        """Who asks for a name in it is passed on with his hello, and sees the origin's certificate (O42)."""
        origin = self.origin(context=server_context("a.example.com", "b.example.com", ca=OTHER_CA))
        write_certificate(self.directory, "passed", "a.example.com", "*.example.com")
        edge = self.start(
            f"[listen https]\nport = 0\nflags = ssl, tr-pass\npartial_blind_route = 127.0.0.1:{origin.port}\n"
            "[certificate passed]\nssl_cert_name = passed.pem\nssl_key_name = passed.key\naction = tunnel\n"
            + self.certificate("own", "b.example.com")
            + "[ssl]\nclient.verify.server.policy = DISABLED\n"
            "[sni refused.example.com]\nip_allow = 192.0.2.1\n[sni page.example.com]\nsite = .\n"
        )
        for name, trusted in (("a.example.com", OTHER_CA), ("b.example.com", None)):
            context = client_context() if trusted is None else client_context(trust=trusted)
            client = self.tls(edge.port(), name, context)
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(10), name)
        for name in ("refused.example.com", "page.example.com"):
            self.assertRaises((ssl.SSLError, OSError), self.tls, edge.port(), name)
        edge.says("refused.example.com failed: its address is not in ip_allow")
        edge.says(r"page.example.com\]: 127.0.0.1:\d+ is refused: there is no host to pass it on to")
        self.assertNotIn("Traceback", edge.log)

    def test_behind_a_load_balancer(self) -> None:
        """The address is the one that the load balancer tells of; its header is not for the origin."""
        origin = self.origin()
        edge = self.start(
            f"[listen https]\nport = 0\nflags = ssl, tr-pass, pp\nforward_route = 127.0.0.1:{origin.port}\n"
            "[certificate passed]\ndest_ip = 192.0.2.80:443\naction = tunnel\n"
        )
        context = client_context(trust=None)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with self.assertRaises(ssl.SSLWantReadError):
            context.wrap_bio(incoming, outgoing, server_hostname="www.example.com").do_handshake()
        hello = outgoing.read()
        sock = self.tcp(edge.port())
        sock.sendall(b"PROXY TCP4 192.0.2.9 192.0.2.80 4711 443\r\n" + hello)
        got = b""
        while len(got) < len(hello):
            got += sock.recv(65536)
        self.assertEqual((hello, hello), (got, bytes(origin.received[-1])))
