"""
One port for TLS and for what is not: C{tr-pass}, C{allow-plain}, and tunnels that a hook asks for, from outside.
"""

import os
import ssl

from tests.integration.twistd import ROOT, EdgeTestCase, client_context, read_all, server_context


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
