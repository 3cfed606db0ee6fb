"""
The PROXY protocol, in and out, of the real program (gold tests C{proxy_protocol}, C{proxy_protocol_addressless}).
"""

import socket
import ssl
import time
from typing import Any

from atstls.net.proxyheader import ProxyHeader, ProxyReader, ProxyState, proxy_bytes
from tests.integration.twistd import EdgeTestCase, Origin, client_context, read_all, server_context

GET = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK"

CLIENT, SERVICE = ("203.0.113.5", 4000), ("198.51.100.7", 443)
TOLD = (
    ProxyHeader(1, CLIENT, SERVICE),
    ProxyHeader(2, CLIENT, SERVICE, tlvs=((2, b"x.example"), (0xE0, b"\0\xff"))),
    ProxyHeader(1, ("2001:db8::1", 1), ("2001:db8::2", 2)),
    ProxyHeader(1),
    ProxyHeader(2, local=True),
)


class ProxyProtocolTestCase(EdgeTestCase):
    def behind(self, port: int, header: bytes, name: str | None = None, secure: bool = True) -> Any:
        """A client that a load balancer passes on."""
        sock = self.tcp(port)
        for at in range(0, len(header), 7):
            sock.sendall(header[at : at + 7])
        if not secure:
            return sock
        context = client_context(trust=None)
        made = context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)
        self.addCleanup(made.close)
        return made

    def ends(self, sock: socket.socket) -> bytes:
        """What comes before the end."""
        try:
            return read_all(sock)
        except ConnectionResetError:
            return b""


class InTests(ProxyProtocolTestCase):
    """Headers that come."""

    def test_over_tls_and_in_clear(self) -> None:
        """With addresses and without, with a header and with none: who connects is served."""
        edge = self.start(
            "[listen https]\nport = 0\nflags = ssl, pp\n[listen plain]\nport = 0\nflags = plain, pp\n"
            "[listen both]\nport = 0\nflags = ssl, allow-plain, pp\n"
        )
        for header in [b"", *map(proxy_bytes, TOLD)]:
            for name, secure in (("https", True), ("plain", False), ("both", True), ("both", False)):
                sock = self.behind(edge.port(name), header, secure=secure)
                sock.sendall(GET)
                self.assertTrue(read_all(sock).startswith(OK), (name, secure, header))

    def test_broken(self) -> None:
        """What is broken is refused, in clear as well, with a line in the log that says what it was."""
        edge = self.start(
            "[listen https]\nport = 0\nflags = ssl, pp\n[listen plain]\nport = 0\nflags = plain, pp\n"
            "[listen both]\nport = 0\nflags = ssl, allow-plain, pp\n"
        )
        for name in ("https", "plain", "both"):
            for header in (
                b"PROXY TCP4 203.0.113.5 198.51.100.7 4000 65536\r\n",
                b"PROXY " + b"x" * 200 + b"\r\n",
                proxy_bytes(TOLD[1]).replace(b"QUIT\n\x21", b"QUIT\n\x31"),
            ):
                sock = self.tcp(edge.port(name))
                sock.sendall(header + GET)
                self.assertEqual(b"", self.ends(sock))
        edge.says("the PROXY header is wrong: a port is out of range")
        edge.says("the PROXY header is wrong: its line does not end within 108 bytes")
        edge.says("the PROXY header is wrong: its version or command is unknown")
        self.assertNotIn("Traceback", edge.log)

    def test_without_the_flag(self) -> None:
        """On other ports a header is nothing but bytes that are no TLS."""
        edge = self.start("[listen https]\nport = 0\n")
        sock = self.tcp(edge.port())
        sock.sendall(proxy_bytes(TOLD[0]) + GET)
        self.assertNotIn(OK, self.ends(sock))

    def test_from_whom(self) -> None:
        """Who is not in the list may come, but not with a header."""
        edge = self.start(
            "[listen https]\nport = 0\nflags = ssl, pp-clnt\nproxy_protocol_allowlist = 127.0.0.9, 2001:db8::/32\n"
        )
        sock = self.tcp(edge.port())
        sock.sendall(proxy_bytes(TOLD[0]))
        self.assertEqual(b"", self.ends(sock))
        edge.says("handshake of 127.0.0.1:[0-9]+ for no name failed: it sent a PROXY header, and is not in proxy_pro")
        self.behind(edge.port(), b"")
        sock = socket.create_connection(("127.0.0.1", edge.port()), 5, ("127.0.0.9", 0))
        self.addCleanup(sock.close)
        sock.sendall(proxy_bytes(TOLD[0]))
        self.addCleanup(client_context(trust=None).wrap_socket(sock).close)

    def test_which_address_is_looked_at(self) -> None:
        """ip_allow is for the peer, with pp-clnt for the client: each refuses what the other lets in (A011)."""
        edge = self.start(
            "[listen pp]\nport = 0\nflags = ssl, pp\n[listen believed]\nport = 0\nflags = ssl, pp-clnt\n"
            "[sni client.example]\nip_allow = 203.0.113.0/24\n[sni peer.example]\nip_allow = 127.0.0.0/8\n"
        )
        for listener, name, header, comes_in in (
            ("pp", "client.example", TOLD[0], False),
            ("pp", "peer.example", TOLD[0], True),
            ("believed", "client.example", TOLD[0], True),
            ("believed", "client.example", TOLD[3], False),
            ("believed", "peer.example", TOLD[0], False),
            ("believed", "peer.example", TOLD[4], True),
        ):
            try:
                sock = self.behind(edge.port(listener), proxy_bytes(header), name)
                sock.sendall(GET)
                found = read_all(sock).startswith(OK)
            except ssl.SSLError as exc:
                self.assertIn("access denied", str(exc))
                found = False
            self.assertEqual(comes_in, found, (listener, name))

    def test_slowly(self) -> None:
        """The deadline of the handshake counts from accept, whatever comes of a header, in clear as well."""
        edge = self.start(
            "[ssl]\nhandshake_timeout_in = 0.5\n[net]\ninactivity_check_frequency = 0.1\n"
            "[listen https]\nport = 0\nflags = ssl, pp\n[listen plain]\nport = 0\nflags = plain, pp\n"
        )
        began = time.monotonic()
        socks = [self.tcp(edge.port(name)) for name in ("https", "plain")]
        header = proxy_bytes(TOLD[1])
        open_still = list(socks)
        for at in range(len(header) - 1):
            for sock in list(open_still):
                try:
                    sock.sendall(header[at : at + 1])
                except OSError:
                    open_still.remove(sock)
            time.sleep(0.05)
            if not open_still:
                break
        self.assertEqual([b"", b""], [self.ends(sock) for sock in socks])
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(2, edge.log.count("not done after 0.5 s, in the phase 'hello'"))


def introduced(header_of: list[ProxyHeader | None], context: ssl.SSLContext | None = None) -> Any:
    """An origin that notes a header, and echoes; with C{context} it speaks TLS behind the header."""

    def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
        reader, state = ProxyReader(), ProxyState.NEED_MORE
        # Byte by byte, to leave what follows in the socket: the header has an end of its own.
        while state is ProxyState.NEED_MORE:
            data = connection.recv(1)
            if not data:
                return
            state = reader.feed(data)
        header_of.append(reader.header if state is ProxyState.COMPLETE else None)
        kept += reader.rest
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        if reader.rest:
            connection.sendall(reader.rest)
        while data := connection.recv(65536):
            kept += data
            connection.sendall(data)

    return serve


class OutTests(ProxyProtocolTestCase):
    """Headers that go."""

    def test_versions(self) -> None:
        """1, 2, the same, and none; over TCP and in a new TLS connection: before any other byte, and what we know."""
        heard: list[ProxyHeader | None] = []
        plain = self.origin(introduced(heard))
        secure = self.origin(introduced(heard, server_context("localhost")))
        sections = ""
        for number in (-1, 0, 1, 2):
            sections += f"[sni f{number}.example]\nforward_route = 127.0.0.1:{plain.port}\n"
            sections += f"proxy_protocol_out = {number}\n"
            sections += f"[sni p{number}.example]\npartial_blind_route = 127.0.0.1:{secure.port}\n"
            sections += f"verify_server_policy = DISABLED\nproxy_protocol_out = {number}\n"
        edge = self.start(f"[listen https]\nport = 0\nflags = ssl, pp\n{sections}")
        port = edge.port()

        def heard_of(name: str, told: ProxyHeader | None) -> Any:
            heard.clear()
            sock = self.behind(port, proxy_bytes(told) if told else b"", name)
            sock.sendall(b"hello")
            self.assertEqual(b"hello", b"".join(sock.recv(1) for _ in range(5)), name)
            local = sock.getsockname()
            sock.close()
            (header,) = heard
            return header, ProxyHeader(1, local, ("127.0.0.1", port))

        for way in "fp":
            for told in TOLD[:2]:
                for number in (1, 2, 0):
                    header, _ = heard_of(f"{way}{number}.example", told)
                    version = number or told.version
                    tlvs = told.tlvs if version == 2 else ()
                    self.assertEqual(ProxyHeader(version, CLIENT, SERVICE, tlvs=tlvs), header, (way, number))
            for told in (None, TOLD[3]):
                header, expected = heard_of(f"{way}1.example", told)
                self.assertEqual(expected, header)
            if way == "f":  # A TLS server takes no byte for granted.
                self.assertEqual(None, heard_of("f0.example", None)[0])
                self.assertEqual(None, heard_of("f-1.example", TOLD[0])[0])

    def test_tunnel(self) -> None:
        """In front of a tunnel's bytes, and the client shakes hands with the origin (issue 9341)."""
        heard: list[ProxyHeader | None] = []
        origin = self.origin(introduced(heard, server_context("t.example")))
        edge = self.start(
            f"[listen https]\nport = 0\nflags = ssl, tr-pass, pp\ntunnel_route = 127.0.0.1:{origin.port}\n"
            "proxy_protocol_out = 2\n"
        )
        sock = self.behind(edge.port(), proxy_bytes(TOLD[1]), "t.example")
        sock.sendall(b"hello")
        self.assertEqual(b"hello", sock.recv(5))
        self.assertEqual([TOLD[1]], heard)

    def test_plain_listener(self) -> None:
        """Bytes in clear, in both directions, with and without a header of their own."""
        heard: list[ProxyHeader | None] = []
        origin = self.origin(introduced(heard))
        edge = self.start(
            f"[listen plain]\nport = 0\nflags = plain, pp\nforward_route = 127.0.0.1:{origin.port}\n"
            "proxy_protocol_out = 1\n"
        )
        for told in (TOLD[0], None):
            sock = self.behind(edge.port("plain"), proxy_bytes(told) if told else b"", secure=False)
            data = b"x" * 200_000
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(data, read_all(sock))
            expected = told or ProxyHeader(1, sock.getsockname(), ("127.0.0.1", edge.port("plain")))
            self.assertEqual(expected, heard.pop())
