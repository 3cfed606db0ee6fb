"""
Traffic Server's gold tests of where connections go (C{tls_tunnel}, C{tls_tunnel_forward}, C{allow-plain}), against the
program.

Which gold test stands where is in L{tests.integration.gold}; those that another module has are not written again.
"""

import os
import re
import socket
import time
from typing import Any

from cryptography.x509 import DNSName, SubjectAlternativeName
from OpenSSL import SSL

from tests.integration.peers import VERSIONS, Secure, picky_context
from tests.integration.twistd import CURL, OPENSSL, EdgeTestCase, Origin, http, server_context

HTTPS = "[listen https]\nport = 0\n"


def names_in_certificate(client: Secure) -> list[str]:
    """For whom the certificate is that C{client} was shown."""
    certificate = client.connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.extensions.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(DNSName)


class TunnelTests(EdgeTestCase):
    """Connections that pass untouched."""

    SPLITS = (1, 5, 6, 1993, -1)
    """Where a hello is cut: within and behind its record's header, where ATS's was, and before its last byte."""

    def test_tls_tunnel(self) -> None:
        """
        By name, by wildcard and without a name a client comes to the right origin and sees its certificate, also when
        its hello is large and comes in two pieces, wherever it is cut; who has no rule stays here (tls_tunnel).
        """
        origins = {
            name: self.origin(context=server_context(f"{name}.origin.com")) for name in ("exact", "star", "none")
        }
        edge = self.start(
            HTTPS
            + self.certificate("here", "here.origin.com")
            + f"[sni foo.com]\ntunnel_route = 127.0.0.1:{origins['exact'].port}\n"
            + f"[sni *.bar.com]\ntunnel_route = 127.0.0.1:{origins['star'].port}\n"
            + f"[sni]\ntunnel_route = localhost:{origins['none'].port}\n"
        )
        for version in VERSIONS:
            for name, expected in (
                ("foo.com", "exact"),
                ("FOO.com", "exact"),
                ("a.bar.com", "star"),
                (None, "none"),
                ("a.b.bar.com", "here"),
                ("bar.com", "here"),
                ("foo.com.bar", "here"),
            ):
                for at in self.SPLITS if name in ("foo.com", None, "bar.com") else (1993,):
                    client = self._with_a_hello_in_two(edge.port(), name, version, at)
                    self.assertEqual([f"{expected}.origin.com"], names_in_certificate(client), (name, at))
                    if expected != "here":
                        client.send(b"ping")
                        self.assertEqual(b"ping", client.exactly(4))
                    client.close()
        self.assertNotIn("Traceback", edge.log)

    def _with_a_hello_in_two(self, port: int, name: str | None, version: int, at: int) -> Secure:
        # Offers so much that the hello does not fit a segment.
        context = picky_context(version, b"http/1.1", *(b"%03d" % number + b"x" * 200 for number in range(12)))
        client = Secure(self.tcp(port), context, name)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.assertRaises(SSL.WantReadError, client.connection.do_handshake)
        hello = client.said()
        self.assertGreater(len(hello), 2500)
        client.sock.sendall(hello[:at])
        time.sleep(0.003)
        client.sock.sendall(hello[at:])
        client.shake_hands()
        return client


def echo_posts(origin: Origin, connection: Any, kept: bytearray) -> None:
    """An HTTP/1.1 server that answers each POST with its own body."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: (\d+)", head)
        assert found is not None
        length = int(found[1])
        while len(data) < length:
            data += connection.recv(1 << 20)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length + data[:length])
        data = data[length:]


class ForwardTests(EdgeTestCase):
    """Connections that end here, and go on."""

    def test_allow_plain(self) -> None:
        """500 KB there and back, twice on one connection, in clear and over TLS at the same port (allow-plain)."""
        if CURL is None:
            self.skipTest("there is no curl")
        origin = self.origin(echo_posts)
        edge = self.start(f"{HTTPS}flags = ssl, allow-plain\nforward_route = 127.0.0.1:{origin.port}\n")
        body = os.urandom(500_000)
        (self.directory / "body").write_bytes(body)
        for scheme in ("http", "https", "http", "https"):
            url = f"{scheme}://127.0.0.1:{edge.port()}/"
            command = (CURL, "-skf", "--http1.1", "--data-binary", f"@{self.directory / 'body'}", url, url)
            done = self.run_command(*command)
            self.assertEqual(0, done.returncode)
            self.assertTrue(body * 2 == done.stdout, scheme)
        self.assertEqual(4, origin.connections)

    def test_tls_tunnel_forward(self) -> None:
        """
        Names side by side: one is forwarded in clear, one over TLS again, one is a tunnel, one is served here; curl
        gets each one's page, and sees the origin's certificate of the tunnel alone (tls_tunnel_forward).
        """
        plain = self.origin(http(b"plain"))
        again = self.origin(http(b"again"), context=server_context("again.com"))
        tunnel = self.origin(http(b"tunnel"), context=server_context("tunnel.com"))
        edge = self.start(
            f"[ssl]\nclient.verify.server.policy = DISABLED\n{HTTPS}"
            + self.certificate("here", "here.com")
            + f"[sni plain.com]\nforward_route = 127.0.0.1:{plain.port}\n"
            + f"[sni again.com]\npartial_blind_route = 127.0.0.1:{again.port}\n"
            + f"[sni tunnel.com]\ntunnel_route = 127.0.0.1:{tunnel.port}\n"
        )
        port = edge.port()
        for name, page, shown in (
            ("plain.com", b"plain", "here.com"),
            ("again.com", b"again", "here.com"),
            ("tunnel.com", b"tunnel", "tunnel.com"),
            ("here.com", b"atstls is running", "here.com"),
        ):
            to = ("--connect-to", f"{name}:{port}:127.0.0.1:{port}")
            figures, body = self.curl(port, "--http1.1", *to, host=name)
            self.assertEqual("1.1 200", figures)
            self.assertIn(page, body)
            client = Secure(self.tcp(port), picky_context(), name)
            client.shake_hands()
            self.assertEqual([shown], names_in_certificate(client))
            client.close()

    def test_tls_forward_nonhttp(self) -> None:
        """What is not HTTP, and in which the origin speaks first, passes, as s_client sees it (tls_forward_nonhttp)."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")

        data = bytes(range(128)) * 1000

        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            connection.sendall(b"220 what do you want\r\n")
            while len(kept) < len(data):
                kept += connection.recv(65536)
            connection.sendall(b"221 good-bye\r\n")

        origin = self.origin(serve)
        edge = self.start(f"{HTTPS}forward_route = 127.0.0.1:{origin.port}\n")
        for version in ("-tls1_2", "-tls1_3"):
            # -quiet: it does not take letters for commands, and waits for the origin's end.
            done = self.run_command(
                OPENSSL, "s_client", "-quiet", version, "-connect", f"127.0.0.1:{edge.port()}", data=data
            )
            self.assertEqual(data, bytes(origin.received[-1]))
            self.assertEqual(b"220 what do you want\r\n221 good-bye\r\n", done.stdout)
