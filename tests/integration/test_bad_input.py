"""
What clients and origins may do wrong, or mean badly: it ends with themselves.

After each test the program is looked at: as many sockets as before, at rest, no traceback; and before and after there
is somebody else who is served as if nothing were.
"""

import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from tests.integration.peers import (
    ALERT,
    DATA,
    HANDSHAKE,
    V13,
    VERSIONS,
    Backend,
    CutOff,
    Later,
    Plain,
    Secure,
    SharedEdgeTestCase,
    host_context,
    records,
    reset,
)
from tests.integration.twistd import OPENSSL, Origin, until

DECODE_ERROR, PROTOCOL_VERSION, NO_APPLICATION_PROTOCOL, HANDSHAKE_FAILURE = 50, 70, 120, 40

CUT = (ConnectionError, CutOff, SSL.Error)
"""How a client can learn that its connection did not end in order."""


def record(kind: int, data: bytes) -> bytes:
    return struct.pack("!BHH", kind, 0x0301, len(data)) + data


def client_hello(
    version: int = 0x0303,
    suites: bytes = bytes.fromhex("130113021303c02bc02fc02cc030"),
    extensions: bytes = b"",
    compression: bytes = b"\0",
    session: bytes = b"",
) -> bytes:
    """A ClientHello written by hand."""
    body = (
        struct.pack("!H", version) + bytes(range(32)) + bytes([len(session)]) + session
        + struct.pack("!H", len(suites)) + suites
        + bytes([len(compression)]) + compression
    )  # fmt: skip
    if extensions:
        body += struct.pack("!H", len(extensions)) + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack("!HH", kind, len(data)) + data


GROUPS = extension(10, b"\0\x04\0\x1d\0\x17") + extension(13, b"\0\x04\x04\x03\x08\x04") + extension(11, b"\x01\0")


class BadInputTestCase(SharedEdgeTestCase):
    """With an origin that echoes, for those who must not notice."""

    echo: Origin
    backend: Backend
    settings = ""

    @classmethod
    def configuration(cls, directory: Path) -> str:
        cls.echo, cls.backend = Origin(), Backend()
        cls.tls_backend = Backend(host_context("p.example.com", "t.example.com"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            nobody = free.getsockname()[1]
        return (
            f"{cls.settings}[listen https]\nport = 0\nforward_route = 127.0.0.1:{cls.backend.port}\n"
            f"[sni echo.example.com]\nforward_route = 127.0.0.1:{cls.echo.port}\n"
            f"[sni nobody.example.com]\nforward_route = 127.0.0.1:{nobody}\n"
            f"[sni nobody.tunnel.com]\ntunnel_route = 127.0.0.1:{nobody}\n"
            f"[sni p.example.com]\npartial_blind_route = 127.0.0.1:{cls.tls_backend.port}\n"
            "verify_server_policy = DISABLED\n"
            f"[sni t.example.com]\ntunnel_route = 127.0.0.1:{cls.tls_backend.port}\n"
        )

    def setUp(self) -> None:
        super().setUp()
        self.other = self.client("echo.example.com")
        self.serves()

    def tearDown(self) -> None:
        self.serves()
        super().tearDown()

    def serves(self) -> None:
        """Somebody else does not notice anything: neither who is connected, nor who comes now."""
        began = time.monotonic()
        newcomer = self.client("echo.example.com")
        for client in (self.other, newcomer):
            data = os.urandom(1000)
            client.send(data)
            self.assertEqual(data, client.exactly(1000))
        newcomer.end()
        newcomer.rest()
        newcomer.close()
        self.assertLess(time.monotonic() - began, 5)

    def joined(self, version: int | None = None, name: str | None = None) -> tuple[Secure, Plain]:
        """A client and its origin."""
        backend = self.tls_backend if name in ("p.example.com", "t.example.com") else self.backend
        accepting = Later(backend.accept)
        client = self.client(name, version)
        return client, self.keep(accepting.result())


class ClientTests(BadInputTestCase):
    """What comes instead of TLS, or of a whole handshake."""

    def test_garbage(self) -> None:
        """Bytes that are no TLS get an alert or the end, at once, and their line in the log."""
        for data in (b"\0" * 600, b"\xff" * 600, b"\x16\x03\x01\0\0" * 14000, bytes([22, 3, 1, 255, 255]) + b"x" * 600):
            sock = self.connected()
            sock.send(data)
            began = time.monotonic()
            said = self.last_words(sock)
            self.assertLess(time.monotonic() - began, 2)
            if said:
                self.assertEqual([ALERT], [kind for kind, _ in records(said)])
            self.failed(sock)

    def test_http_on_a_tls_port(self) -> None:
        """Plain HTTP where TLS is spoken is told as such."""
        sock = self.connected()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        self.last_words(sock)
        self.failed(sock, "http request")

    def test_a_hello_a_byte_at_a_time(self) -> None:
        """A hello in pieces of one byte is as good as any."""
        for version in VERSIONS:
            client = self.picky("echo.example.com", version)
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.assertRaises(SSL.WantReadError, client.connection.do_handshake)
            for byte in client.said():
                client.sock.sendall(bytes([byte]))
                time.sleep(0.0005)
            client.shake_hands()
            client.send(b"ping")
            self.assertEqual(b"ping", client.exactly(4))

    def test_a_hello_in_records_of_one_byte(self) -> None:
        """A hello may be cut over records as it likes too."""
        for version in VERSIONS:
            client = self.picky("echo.example.com", version)
            self.assertRaises(SSL.WantReadError, client.connection.do_handshake)
            ((_, hello),) = records(client.said())
            client.sock.sendall(b"".join(record(HANDSHAKE, bytes([byte])) for byte in hello))
            client.shake_hands()
            client.send(b"ping")
            self.assertEqual(b"ping", client.exactly(4))

    def test_a_hello_of_more_than_64_kib(self) -> None:
        """A hello may have 64 KiB; who announces more is told so, and is not read to the end."""
        sock = self.connected()
        hello = b"\x01\x02\x00\x00" + client_hello()[4:] + bytes(70_000)
        for at in range(0, len(hello), 16384):
            sock.sendall(record(HANDSHAKE, hello[at : at + 16384]))
        said = records(self.last_words(sock))
        self.assertEqual([ALERT], [kind for kind, _ in said])
        self.assertEqual(2, said[0][1][0])
        self.failed(sock)

    def test_a_hello_of_16_mb(self) -> None:
        """The largest that the format can say is ended early and costs no memory, also many times."""
        before = self.figures.kibibytes
        sent = 0
        for _ in range(20):
            sock = self.connected()
            piece = record(HANDSHAKE, b"\x01\xff\xff\xff" + bytes(16380))
            try:
                for _ in range(1000):
                    sock.sendall(piece)
                    sent += len(piece)
                    piece = record(HANDSHAKE, bytes(16384))
            except ConnectionError:
                pass
            sock.close()
        self.assertLess(sent, 20 << 24)
        until(lambda: self.news.count("handshake of") == 20, "a line each")
        self.assertLess(self.figures.kibibytes - before, 4096)

    def test_a_client_that_speaks_only_tls_1_0(self) -> None:
        """It is told that it is the version."""
        sock = self.connected()
        sock.sendall(record(HANDSHAKE, client_hello(0x0301, bytes.fromhex("c009c00ac013c014002f0035"), GROUPS)))
        self.assertEqual([(ALERT, bytes([2, PROTOCOL_VERSION]))], records(self.last_words(sock)))
        self.failed(sock, "unsupported protocol")

    def test_no_cipher_in_common(self) -> None:
        """It is told that nothing could be agreed upon."""
        sock = self.connected()
        sock.sendall(record(HANDSHAKE, client_hello(0x0303, b"\0\x01\0\x02", GROUPS)))
        self.assertEqual([(ALERT, bytes([2, HANDSHAKE_FAILURE]))], records(self.last_words(sock)))
        self.failed(sock, "no shared cipher")

    def test_no_protocol_in_common(self) -> None:
        """ALPN without anything that we have is answered with the alert for just that; none at all goes on."""
        for version in VERSIONS:
            client = self.picky("echo.example.com", version, b"banana", b"spdy/3")
            client.raw = bytearray()
            with self.assertRaises(CUT):
                client.shake_hands()
            self.assertEqual([(ALERT, bytes([2, NO_APPLICATION_PROTOCOL]))], records(client.raw))
            self.failed(client.sock, "no protocol in common with banana, spdy/3", "echo.example.com")
            self.client("echo.example.com", version).send(b"ping")

    def test_a_hello_that_breaks_the_rules(self) -> None:
        """Each such hello gets an alert, and nobody is dialled for it."""
        name = b"\0\x09\0\0\x06a.test"
        for hello in (
            client_hello(suites=b"\x13"),
            client_hello(suites=b""),
            client_hello(compression=b""),
            client_hello(session=bytes(33)),
            client_hello(extensions=extension(0, name) + b"\0"),
            client_hello(extensions=extension(0, name[:-2])),
            client_hello(extensions=extension(0, b"")),
            client_hello(extensions=GROUPS + extension(0, name) + extension(0, name)),
            client_hello(extensions=GROUPS + extension(0, b"\0\x09\0\0\x06a\0test")),
            client_hello(extensions=GROUPS + extension(16, b"\0\x03\x05h2")),
            client_hello(extensions=GROUPS + extension(16, b"\0\0")),
            client_hello(extensions=GROUPS + extension(43, b"\x03\x03\x04")),
            client_hello()[:40],
            b"\x01\0\0\0",
            b"\x02\0\0\x04abcd",
        ):
            sock = self.connected()
            length = (len(hello) - 4).to_bytes(3, "big")
            sock.sendall(record(HANDSHAKE, hello[:1] + length + hello[4:]))
            said = records(self.last_words(sock))
            self.assertEqual([(ALERT, 2)], [(kind, data[0]) for kind, data in said], hello)
            self.failed(sock, ".+", ".*")
        self.assertTrue(self.backend.nobody())

    def test_decode_error(self) -> None:
        """A hello whose lengths do not add up is told so."""
        sock = self.connected()
        sock.sendall(record(HANDSHAKE, client_hello(extensions=extension(0, b"\0\xff\0"))))
        self.assertEqual([(ALERT, bytes([2, DECODE_ERROR]))], records(self.last_words(sock)))
        self.failed(sock)

    def test_the_wrong_record_after_the_servers_part(self) -> None:
        """Data, or a second hello, in the middle of a handshake ends it."""
        for version in VERSIONS:
            for data in (record(DATA, b"x" * 50), record(HANDSHAKE, client_hello()), record(99, b"x")):
                client = self.picky("echo.example.com", version)
                self.assertRaises(SSL.WantReadError, client.connection.do_handshake)
                client.flush()
                self.assertTrue(client.sock.recv(1))
                client.sock.sendall(data)
                self.last_words(client.sock)
                self.failed(client.sock, ".+", "echo.example.com")

    def test_a_forged_record(self) -> None:
        """A record that was changed on its way ends the connection, and the origin does not take it for an end."""
        for version in VERSIONS:
            client, origin = self.joined(version)
            client.send(b"one")
            self.assertEqual(b"one", origin.exactly(3))
            client.connection.send(b"two")
            forged = bytearray(client.said())
            forged[-1] ^= 1
            client.sock.sendall(forged)
            with self.assertRaises(CUT):
                client.rest()
            with self.assertRaises(ConnectionResetError):
                origin.recv()

    def test_renegotiation(self) -> None:
        """A TLS 1.2 client that wants to begin anew is ended within a second or so."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        accepting = Later(self.backend.accept)
        command = [  # which asks again when it reads R
            OPENSSL, "s_client", "-tls1_2", "-legacy_renegotiation", "-connect", f"127.0.0.1:{self.port}"
        ]  # fmt: skip
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        self.keep(accepting.result())
        assert client.stdin is not None
        began = time.monotonic()
        client.stdin.write(b"R\n")
        client.stdin.flush()
        client.wait(5)
        self.assertLess(time.monotonic() - began, 2)


def phases(test: BadInputTestCase, version: int) -> Iterator[tuple[str, Any, Plain | None, bool]]:
    """
    A client in each phase of a connection: the phase, the socket, the origin, and whether its handshake is done.
    """
    yield "nothing but TCP", test.connected(), None, False
    for count in (1, 5, 9, 200):
        client = test.picky(None, version)
        test.assertRaises(SSL.WantReadError, client.connection.do_handshake)
        hello = client.said()
        client.sock.sendall(hello[:count])
        yield f"{count} bytes of a hello", client.sock, None, False
    client = test.picky(None, version)
    client.shake_hands(0)
    yield "a hello", client.sock, None, False
    client = test.picky(None, version)
    client.shake_hands(0)
    test.assertTrue(client.sock.recv(100))
    yield "a hello, and the first of the answer", client.sock, None, False
    client, origin = test.joined(version)
    yield "Finished", client.sock, origin, True
    client, origin = test.joined(version)
    client.send(b"question")
    test.assertEqual(b"question", origin.exactly(8))
    client.connection.send(b"half a record")
    client.sock.sendall(client.said()[:10])
    yield "half a request", client.sock, origin, True
    client, origin = test.joined(version)
    client.send(b"question")
    test.assertEqual(b"question", origin.exactly(8))
    origin.sock.settimeout(0.2)
    with test.assertRaises(TimeoutError):
        origin.send(bytes(50_000_000))
    client.exactly(100_000)
    yield "half an answer", client.sock, origin, True


class LeavingTests(BadInputTestCase):
    """Clients that are gone, at any time."""

    def _each_phase(self, leave: Callable[[socket.socket], None], resets: bool) -> None:
        for version in VERSIONS:
            for phase, sock, origin, established in phases(self, version):
                name = sock.getsockname()
                leave(sock)
                if not established:
                    self.failed(name)
                elif resets:
                    assert origin is not None
                    try:
                        while origin.recv():
                            pass
                    except ConnectionResetError:
                        pass
                    else:
                        self.fail(f"after {phase} the origin has not learned of the reset")
                sock.close()
                if origin is not None:
                    origin.close()

    def test_resets(self) -> None:
        """A client that resets leaves nothing behind, and its origin is reset too."""
        self._each_phase(reset, True)

    def test_ends_without_a_goodbye(self) -> None:
        """A client that ends TCP alone, in the middle of TLS, leaves nothing behind."""
        self._each_phase(lambda sock: sock.shutdown(socket.SHUT_WR), False)

    def test_closes_with_bytes_unread(self) -> None:
        """A client that closes while bytes are on their way to it leaves nothing behind."""
        self._each_phase(socket.socket.close, False)


class OriginTests(BadInputTestCase):
    """What origins may do wrong."""

    def test_refusing(self) -> None:
        """An origin where nobody listens: the client is reset, which is no empty answer."""
        client = self.client("nobody.example.com")
        with self.assertRaises(ConnectionResetError):
            client.recv()
        client = self.picky("nobody.tunnel.com")
        with self.assertRaises(ConnectionResetError):
            client.shake_hands()
        for where in ("nobody.example.com. forward_route", "nobody.tunnel.com. tunnel_route"):
            self.heard(rf"\[sni {where}: 127.0.0.1:\d+ cannot be used for 127.0.0.1:\d+: .*refused")

    def test_resetting(self) -> None:
        """An origin that resets, at once, before it answers, or in the middle: the client never reads an end."""
        for version in VERSIONS:
            for name in (None, "p.example.com", "t.example.com"):
                for answer in (b"", bytes(300_000)):
                    for asked in (False, True):
                        client, origin = self.joined(version, name)
                        if asked:
                            client.send(b"question")
                            self.assertEqual(b"question", origin.exactly(8))
                        if answer:
                            answering = Later(origin.send, answer)
                            client.exactly(200_000)
                            answering.result()
                        origin.reset()
                        with self.assertRaises(CUT):
                            client.rest()

    def test_resetting_when_it_is_dialled(self) -> None:
        """An origin that accepts and resets, without a word, also in the midst of its handshake."""
        for name, backend in (
            ("t.example.com", self.tls_backend),
            (None, self.backend),
            ("p.example.com", self.tls_backend),
        ):
            accepting = Later(backend.socket.accept)
            client = self.picky(name)
            shaking = Later(client.shake_hands)
            reset(accepting.result()[0])
            with self.assertRaises(CUT):
                shaking.result()
                client.rest()

    def test_not_tls(self) -> None:
        """An origin that should speak TLS and does not: one line, and a reset for the client."""
        accepting = Later(self.tls_backend.socket.accept)
        client = self.client("p.example.com")
        sock, _ = accepting.result()
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with self.assertRaises(CUT):
            client.rest()
        sock.close()
        self.heard(r"handshake with origin 127.0.0.1:\d+ for p.example.com failed: ")
        self.heard(r"partial_blind_route: 127.0.0.1:\d+ cannot be used for 127.0.0.1:")

    def test_stalling(self) -> None:
        """An origin that never answers costs what it costs until the client has enough of it, and then nothing."""
        for version in VERSIONS:
            for name in (None, "p.example.com", "t.example.com"):
                client, origin = self.joined(version, name)
                client.send(b"question")
                self.assertEqual(b"question", origin.exactly(8))
                self.assertLess(self.figures.load(), 0.05)
                client.reset()
                with self.assertRaises(ConnectionResetError):
                    origin.rest()

    def test_a_client_leaves_while_its_origin_is_dialled(self) -> None:
        """An origin that accepts and does not shake hands, and a client that does not wait for it."""
        accepting = Later(self.tls_backend.socket.accept)
        client = self.client("p.example.com")
        client.send(b"question")
        sock, _ = accepting.result()
        self.assertLess(self.figures.load(), 0.05)
        client.reset()
        self.assertLess(self.figures.load(), 0.05)
        sock.close()

    def test_answering_before_it_is_asked(self) -> None:
        """What an origin says at once arrives, and so does its end; what the client says then is of no use."""
        answer = os.urandom(300_000)
        for version in VERSIONS:
            for name in (None, "p.example.com", "t.example.com"):
                client, origin = self.joined(version, name)
                origin.send(answer)
                origin.end()
                origin.fin()
                self.assertEqual(answer, client.exactly(len(answer)))
                self.assertEqual(b"", client.recv())
                client.send(b"question")
                client.end()
                self.assertEqual(b"question", origin.exactly(8))

    def test_closing_while_the_client_speaks(self) -> None:
        """An origin that answers and closes without listening: nothing is left of it, and the log is quiet."""
        for version in VERSIONS:
            for name in (None, "p.example.com", "t.example.com"):
                client, origin = self.joined(version, name)
                origin.send(b"no")
                origin.close()
                with self.assertRaises(CUT):
                    while True:
                        client.send(bytes(100_000))
                client.close()


class DeadlineTests(BadInputTestCase):
    """With a second for the handshake."""

    settings = "[ssl]\nhandshake_timeout_in = 1\n"

    def _lasts(self, sock: socket.socket, drip: Callable[[], bytes]) -> float:
        began = time.monotonic()
        sock.settimeout(0.05)
        while time.monotonic() - began < 10:
            try:
                sock.sendall(drip())
                if not sock.recv(65536):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        return time.monotonic() - began

    def test_a_silent_client(self) -> None:
        """Who says nothing has a second."""
        sock = self.connected()
        self.assertTrue(0.8 < self._lasts(sock, bytes) < 4)
        self.failed(sock, "not done after 1 s")

    def test_a_hello_that_never_ends(self) -> None:
        """Bytes do not make the time longer."""
        sock = self.connected()
        sock.sendall(record(HANDSHAKE, b"\x01\0\xff\0")[:-4] + b"\x01\0\xff\0")
        self.assertTrue(0.8 < self._lasts(sock, lambda: record(HANDSHAKE, b"x")) < 4)
        self.failed(sock, "not done after 1 s")

    def test_a_finished_that_never_comes(self) -> None:
        """Nor does a hello that is right; and the origin hears nothing of it."""
        for version in VERSIONS:
            client = self.picky(None, version)
            client.shake_hands(0)
            self.assertTrue(0.8 < self._lasts(client.sock, bytes) < 4)
            self.failed(client.sock, "not done after 1 s")
        self.assertTrue(self.backend.nobody())

    def test_a_connection_lasts_longer(self) -> None:
        """The deadline is that of the handshake, and of nothing else."""
        client, origin = self.joined(V13)
        time.sleep(1.5)
        client.send(b"ping")
        self.assertEqual(b"ping", origin.exactly(4))


class SiteTests(SharedEdgeTestCase):
    """What is served here, over HTTP/1.1 and HTTP/2, to those who speak neither well."""

    @classmethod
    def configuration(cls, directory: Path) -> str:
        site = directory / "site"
        site.mkdir()
        (site / "index.html").write_text("the index")
        (site / "big").write_bytes(bytes(8_000_000))
        return "[listen https]\nport = 0\nsite = site\n"

    def tearDown(self) -> None:
        client = self.client(None, None, b"http/1.1")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.assertTrue(client.rest().endswith(b"the index"))
        super().tearDown()

    def _say(self, protocol: bytes, data: bytes) -> None:
        for version in VERSIONS:
            for leave in (socket.socket.close, reset):
                client = self.client(None, version, protocol)
                self.assertEqual(protocol, client.connection.get_alpn_proto_negotiated())
                client.send(data)
                client.sock.settimeout(0.1)
                try:
                    client.rest()
                except (TimeoutError, *CUT):
                    pass
                leave(client.sock)

    def test_bad_http1(self) -> None:
        """Requests that are none."""
        for data in (
            b"\0" * 1000,
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 100_000 + b"\r\n\r\n",
            b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"GET /%zz%00/../\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf",
            b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n" * 3,
            b"GET /big HTTP/1.1\r\nHost: a\r\nRange: bytes=9-1,x\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            self._say(b"http/1.1", data)

    def test_bad_http2(self) -> None:
        """Frames that are none, or come when they should not."""
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

        def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
            return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data

        settings = preface + frame(4, 0, 0)
        no_window = preface + frame(4, 0, 0, struct.pack("!HI", 4, 0))
        index = b"\x82\x84\x87\x41\x01a"
        big = b"\x82\x04\x04/big\x87\x41\x01a"
        for data in (
            b"\0" * 1000,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            preface[:10],
            preface + b"\xff" * 1000,
            settings + frame(0, 0, 0, b"x"),
            settings + frame(0, 0, 5, b"x"),
            settings + frame(1, 5, 1, b"\xff\xff\xff\xff\xff"),
            settings + frame(1, 5, 2, index),
            settings + frame(1, 4, 1, index) + frame(0, 1, 1, b"x" * 100) + frame(0, 1, 1, b"x"),
            settings + frame(1, 5, 1, index) + frame(1, 5, 1, index),
            settings + frame(1, 5, 1, big) + frame(3, 0, 1, b"\0\0\0\x08"),
            settings + frame(1, 5, 1, big) + frame(3, 0, 1, b"\0\0\0\x08") * 3,
            settings + frame(1, 5, 1, big) + frame(7, 0, 0, bytes(8)),
            settings + frame(1, 5, 1, big) + frame(8, 0, 0, b"\x7f\xff\xff\xff"),
            settings + frame(1, 5, 1, big) + frame(8, 0, 1, b"\0\0\0\0"),
            settings + frame(6, 0, 0, b"1234567"),
            settings + frame(6, 0, 0, b"12345678") * 1000,
            settings + frame(4, 0, 0, b"\0\x04\xff\xff\xff\xff"),
            settings + frame(5, 4, 1, b"\0\0\0\2" + index),
            settings + frame(9, 4, 1, index),
            settings + b"".join(frame(1, 5, at, index) + frame(3, 0, at, bytes(4)) for at in range(1, 600, 2)),
            no_window + frame(1, 5, 1, big),
            no_window + frame(1, 5, 1, big) + frame(3, 0, 1, b"\0\0\0\x08"),
            settings + frame(1, 5, 1, b"\x82\x84\x87"),
            settings + frame(1, 5, 1, b"\x84"),
            settings + frame(1, 4, 1, b"\x83\x84\x87\x41\x01a\x0f\x0d\x01x") + frame(0, 1, 1, b"abc"),
        ):
            self._say(b"h2", data)
