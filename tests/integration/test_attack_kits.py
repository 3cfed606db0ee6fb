"""
What the known kits do to a TLS server: probes for the named weaknesses, changed and reordered messages, crowds of
half-open connections, floods of HTTP/2 frames.

The probes are those of scanners such as testssl.sh; messages are left out, doubled, moved and changed as by tlsfuzzer;
crowds that begin and never end are slowloris's.  After each test the program is looked at, as in C{test_bad_input}.
"""

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from OpenSSL import SSL

from tests.integration.peers import (
    ALERT,
    DATA,
    HANDSHAKE,
    V12,
    V13,
    VERSIONS,
    Later,
    Secure,
    SharedEdgeTestCase,
    picky_context,
    records,
)
from tests.integration.test_bad_input import (
    CUT,
    GROUPS,
    HANDSHAKE_FAILURE,
    PROTOCOL_VERSION,
    BadInputTestCase,
    client_hello,
    extension,
    record,
)
from tests.integration.twistd import until

CCS, HEARTBEAT = 20, 24
UNEXPECTED_MESSAGE, INAPPROPRIATE_FALLBACK = 10, 86
SERVER_HELLO = 2

GOOD = bytes.fromhex("c02bc02f009c002f")
"""Suites of TLS 1.2, of which we have some."""


def record12(kind: int, data: bytes) -> bytes:
    """A record as they are behind the hellos."""
    return struct.pack("!BHH", kind, 0x0303, len(data)) + data


class ProbeTests(BadInputTestCase):
    """Probes for weaknesses that have a name: each is answered as by a server that has never had it."""

    def answer(self, *data: bytes) -> list[tuple[int, bytes]]:
        """What comes back, in records, until the end."""
        sock = self.connected()
        for piece in data:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        return records(self.last_words(sock))

    def refused(self, alert: int, *data: bytes) -> None:
        self.assertEqual([(ALERT, bytes([2, alert]))], self.answer(*data))

    def server_hello(self, *data: bytes) -> bytes:
        """The ServerHello that C{data} is answered with."""
        found = self.answer(*data)
        self.assertEqual((HANDSHAKE, SERVER_HELLO), (found[0][0], found[0][1][0]))
        return found[0][1]

    def test_old_protocols(self) -> None:
        """DROWN and POODLE: neither SSL 2 nor SSL 3 is spoken, nor TLS 1.0 and 1.1."""
        sslv2 = b"\x01\x00\x02\x00\x06\x00\x00\x00\x10\x01\x00\x80\x07\x00\xc0" + bytes(range(16))
        self.assertTrue(all(kind == ALERT for kind, _ in self.answer(bytes([0x80, len(sslv2)]) + sslv2)))
        for version in (0x0300, 0x0301, 0x0302):
            self.refused(PROTOCOL_VERSION, record(HANDSHAKE, client_hello(version, GOOD, GROUPS)))

    def test_weak_ciphers(self) -> None:
        """FREAK, LOGJAM, SWEET32, RC4, anonymous, without encryption, and RSA's key exchange, which is ROBOT's."""
        for name, suites in (
            ("export", "00030006000800110014001900620064"),
            ("RC4", "00040005c007c011c002c00c"),
            ("triple DES", "000a0013 0016 c008 c012".replace(" ", "")),
            ("no encryption", "00010002003bc006c010"),
            ("anonymous", "00180034003a006d00a6c018c019"),
            ("RSA's key exchange", "002f0035003c003d009c009d"),
            ("CBC", "c009c00ac013c014c023c024c027c028"),
            ("static Diffie-Hellman", "00310037003e003f00a0"),
        ):
            found = self.answer(record(HANDSHAKE, client_hello(0x0303, bytes.fromhex(suites), GROUPS)))
            self.assertEqual([(ALERT, bytes([2, HANDSHAKE_FAILURE]))], found, name)

    def test_compression(self) -> None:
        """CRIME: whoever offers to compress gets an answer that is not compressed."""
        hello = self.server_hello(record(HANDSHAKE, client_hello(0x0303, GOOD, GROUPS, compression=b"\1\0")))
        session = hello[38]
        self.assertEqual(0, hello[39 + session + 2])

    def test_fallback(self) -> None:
        """A client that was talked into an older version is told so; and can see it in the server's random."""
        scsv = bytes.fromhex("5600")
        self.refused(INAPPROPRIATE_FALLBACK, record(HANDSHAKE, client_hello(0x0303, GOOD + scsv, GROUPS)))
        hello = self.server_hello(record(HANDSHAKE, client_hello(0x0303, GOOD, GROUPS)))
        self.assertEqual(b"DOWNGRD\x01", hello[30:38])

    def test_renegotiation_info(self) -> None:
        """Secure renegotiation is announced to whoever asks, and a client that lies about it is refused."""
        for hello in (
            client_hello(0x0303, GOOD + b"\0\xff", GROUPS),
            client_hello(0x0303, GOOD, GROUPS + extension(0xFF01, b"\0")),
        ):
            self.assertIn(extension(0xFF01, b"\0"), self.server_hello(record(HANDSHAKE, hello)))
        lie = client_hello(0x0303, GOOD, GROUPS + extension(0xFF01, b"\x0c" + bytes(12)))
        self.refused(HANDSHAKE_FAILURE, record(HANDSHAKE, lie))

    def test_heartbleed(self) -> None:
        """A heartbeat that asks for more than it brings is not answered, in the handshake or behind it."""
        beat = b"\x01\x40\x00"
        hello = record(HANDSHAKE, client_hello(0x0303, GOOD, GROUPS + extension(15, b"\1")))
        found = self.answer(hello, record(HEARTBEAT, beat))
        self.assertEqual({HANDSHAKE, ALERT}, {kind for kind, _ in found})
        self.assertNotIn(extension(15, b"\1"), found[0][1])
        self.assertTrue(all(kind == ALERT for kind, _ in self.answer(record(HEARTBEAT, beat))))

    def test_ticketbleed(self) -> None:
        """A short session id that comes with a ticket that nobody has given is not answered with memory behind it."""
        for length in (1, 16, 31, 32):
            session = bytes(range(1, length + 1))
            extensions = GROUPS + extension(35, bytes(200))
            hello = self.server_hello(record(HANDSHAKE, client_hello(0x0303, GOOD, extensions, session=session)))
            self.assertIn(hello[38], (0, 32))
            self.assertNotIn(session + bytes(8), hello)

    def test_early_change_of_ciphers(self) -> None:
        """CVE-2014-0224: ChangeCipherSpec before there are keys is refused."""
        hello = record(HANDSHAKE, client_hello(0x0303, GOOD, GROUPS))
        found = self.answer(hello, record12(CCS, b"\1"), record12(HANDSHAKE, b"\x14\0\0\x0c" + bytes(12)))
        self.assertEqual((ALERT, bytes([2, UNEXPECTED_MESSAGE])), found[-1])


class ChangedTests(BadInputTestCase):
    """Messages that are changed, left out, doubled or in another order: nobody gets through, and nobody is dialled."""

    HARMLESS = {
        # The second Finished is a bad record of a connection that is open; an empty record is one of nothing.
        V12: {"2 twice", "nothing before 0", "nothing before 1"},
        # A ChangeCipherSpec means nothing in TLS 1.3: it may be left out, come twice, or too late.
        V13: {"without 0", "0 twice", "1 twice", "backwards"},
    }

    def hello_of(self, version: int) -> tuple[Secure, bytes]:
        client = self.picky(None, version, b"h2", b"http/1.1")
        self.assertRaises(SSL.WantReadError, client.connection.do_handshake)
        return client, client.said()

    def test_every_byte_of_a_hello(self) -> None:
        """Each byte of a hello is changed: what comes of it is an answer or an alert, and in any case the end."""
        generator = random.Random(7)
        for version in VERSIONS:
            _, hello = self.hello_of(version)
            for at in range(0, len(hello), 1 if len(hello) < 600 else 5):
                changed = bytearray(hello)
                changed[at] ^= generator.choice((1, 0x80, 0xFF))
                sock = self.connected()
                sock.sendall(changed)
                sock.shutdown(socket.SHUT_WR)
                for kind, _ in records(self.last_words(sock)):
                    self.assertIn(kind, (ALERT, HANDSHAKE, CCS, DATA))
                sock.close()
        self.assertTrue(self.backend.nobody())

    def _flights(self, version: int) -> Iterator[tuple[str, Callable[[list[bytes]], list[bytes]]]]:
        """What is done to the records of the client's second flight."""
        many = 3 if version == V12 else 2
        for at in range(many):
            yield f"without {at}", lambda pieces, at=at: pieces[:at] + pieces[at + 1 :]
            yield f"{at} twice", lambda pieces, at=at: pieces[: at + 1] + pieces[at:]
            yield f"{at} cut", lambda pieces, at=at: [*pieces[:at], pieces[at][:-1]]
            yield f"{at} changed", lambda pieces, at=at: [
                *pieces[:at], pieces[at][:-1] + bytes([pieces[at][-1] ^ 1]), *pieces[at + 1 :],
            ]  # fmt: skip
            yield f"data before {at}", lambda pieces, at=at: [*pieces[:at], record12(DATA, b"x" * 40), *pieces[at:]]
            yield f"a hello before {at}", lambda pieces, at=at: [
                *pieces[:at], record12(HANDSHAKE, client_hello()), *pieces[at:],
            ]  # fmt: skip
            yield f"nothing before {at}", lambda pieces, at=at: [*pieces[:at], record12(HANDSHAKE, b""), *pieces[at:]]
        yield "backwards", lambda pieces: pieces[::-1]
        yield "data only", lambda pieces: [record12(DATA, b"GET / HTTP/1.0\r\n\r\n" * 3)]
        yield "nothing", lambda pieces: []

    def test_the_second_flight(self) -> None:
        """Whatever is done to what the client says last, its handshake is not done."""
        accepting = Later(self.backend.accept)
        for version in VERSIONS:
            through = set()
            for what, change in self._flights(version):
                client, hello = self.hello_of(version)
                client.sock.sendall(hello)
                while not (flight := self._second(client)):
                    client.fill()
                pieces = [record12(kind, data) for kind, data in records(flight)]
                client.sock.sendall(b"".join(change(pieces)))
                client.fin()
                failed = f"handshake of 127.0.0.1:{client.sock.getsockname()[1]} for no name failed: "
                until(lambda line=failed, dialled=accepting: dialled.done or line in self.news, what)
                if accepting.done:
                    accepting.result().close()
                    accepting = Later(self.backend.accept)
                    through.add(what)
                client.close()
            self.assertEqual(self.HARMLESS[version], through)
        # For whoever waits for the next one.
        socket.create_connection(("127.0.0.1", self.backend.port)).close()
        accepting.result().close()

    def _second(self, client: Secure) -> bytes:
        try:
            client.connection.do_handshake()
        except SSL.WantReadError:
            pass
        return client.said()


class CrowdTests(BadInputTestCase):
    """Hundreds who begin and never end, with a second for the handshake."""

    settings = "[ssl]\nhandshake_timeout_in = 1\n[net]\ninactivity_check_frequency = 0.1\n"
    MANY = 240

    def test_half_open(self) -> None:
        """Slowloris: all of them are ended in time, cost little meanwhile, and others do not wait for them."""
        hellos = []
        for version in VERSIONS:
            client = Secure(self.connected(), picky_context(version))
            self.assertRaises(SSL.WantReadError, client.connection.do_handshake)
            hellos.append(client.said())
            client.close()
        before = self.figures.kibibytes
        began = time.monotonic()
        crowd = []
        for number in range(self.MANY):
            sock = self.connected()
            hello = hellos[number % 2]
            sock.sendall((b"", hello[:3], hello[:-1], hello, record(HANDSHAKE, b"\1\0\x40\0"))[number % 5])
            crowd.append((sock, number % 5))
        self.assertLess((self.figures.kibibytes - before) / self.MANY, 160)
        alive = list(crowd)
        while alive and time.monotonic() - began < 15:
            # A byte now and then, from some whose hello is not whole.
            left = []
            for sock, kind in alive:
                try:
                    if kind == 4:
                        sock.send(record(HANDSHAKE, b"x"))
                    sock.setblocking(False)
                    while sock.recv(65536):
                        pass
                except BlockingIOError:
                    left.append((sock, kind))
                except ConnectionError:
                    pass
            alive = left
            self.serves()
        self.assertEqual([], alive)
        self.assertLess(time.monotonic() - began, 10)
        until(lambda: self.news.count("not done after 1 s") == self.MANY, "a line for each")


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_DATA, H2_HEADERS, H2_RST_STREAM, H2_SETTINGS, H2_PING, H2_WINDOW_UPDATE, H2_CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
GET = b"\x82\x84\x87\x41\x01a"
GET_BIG = b"\x82\x04\x04/big\x87\x41\x01a"
POST = b"\x83\x84\x87\x41\x01a"


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


class HTTP2FloodTests(SharedEdgeTestCase):
    """
    Much of what HTTP/2 allows, from a client that reads, or does not.

    It is twisted.web that speaks HTTP/2; what is looked at is that the edge bears with it: memory, and the others.
    """

    KIBIBYTES = 8192
    """What an attacker may cost, while he is there and afterwards."""

    @classmethod
    def configuration(cls, directory: Path) -> str:
        site = directory / "site"
        site.mkdir()
        (site / "index.html").write_text("the index")
        (site / "big").write_bytes(bytes(8_000_000))
        return "[listen https]\nport = 0\nsite = site\n"

    def setUp(self) -> None:
        super().setUp()
        for _ in range(3):
            self.serves()
        self.before = self.figures.kibibytes

    def tearDown(self) -> None:
        self.serves()
        super().tearDown()

    def serves(self) -> None:
        """Somebody else gets a page."""
        began = time.monotonic()
        client = self.client(None, None, b"http/1.1")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.assertTrue(client.rest().endswith(b"the index"))
        client.close()
        self.assertLess(time.monotonic() - began, 3)

    def flood(self, begin: bytes, piece: Callable[[int], bytes], times: int, *, reads: bool) -> None:
        """Send C{begin}, and then pieces until all are sent or the connection is ended, or nobody takes them."""
        sock = self.keep(socket.socket())
        if not reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", self.port))
        client = Secure(sock, picky_context(V13, b"h2"))
        client.shake_hands()
        client.send(PREFACE + begin)
        client.sock.settimeout(0.3)
        try:
            for number in range(times):
                client.send(piece(number))
                if reads:
                    client.sock.setblocking(False)
                    try:
                        while True:
                            client.recv()
                    except (BlockingIOError, SSL.WantReadError):
                        pass
                    client.sock.settimeout(0.3)
                if number % (times // 4) == times // 4 - 1:
                    self.serves()
        except (TimeoutError, *CUT):
            pass
        self.serves()
        self.assertLess(self.figures.kibibytes - self.before, self.KIBIBYTES)
        client.close()

    def test_pings(self) -> None:
        """CVE-2019-9512: pings whose answers nobody reads."""
        self.flood(frame(H2_SETTINGS, 0, 0), lambda _: frame(H2_PING, 0, 0, bytes(8)) * 500, 120, reads=False)

    def test_settings(self) -> None:
        """CVE-2019-9515: settings whose answers nobody reads."""
        self.flood(frame(H2_SETTINGS, 0, 0), lambda _: frame(H2_SETTINGS, 0, 0) * 500, 120, reads=False)

    def test_rapid_reset(self) -> None:
        """CVE-2023-44487: requests that are taken back at once."""

        def piece(number: int) -> bytes:
            return b"".join(
                frame(H2_HEADERS, END_STREAM | END_HEADERS, stream, GET) + frame(H2_RST_STREAM, 0, stream, bytes(4))
                for stream in range(number * 40 + 1, number * 40 + 41, 2)
            )

        for reads in (True, False):
            self.flood(frame(H2_SETTINGS, 0, 0), piece, 100, reads=reads)

    def test_continuation(self) -> None:
        """CVE-2024-27316: headers that never end."""
        begin = frame(H2_SETTINGS, 0, 0) + frame(H2_HEADERS, END_STREAM, 1, GET)
        self.flood(begin, lambda _: frame(H2_CONTINUATION, 0, 1, b"\0\1a\1b" * 3000), 200, reads=False)

    def test_no_window(self) -> None:
        """CVE-2019-9517: many large answers that nobody takes."""
        begin = frame(H2_SETTINGS, 0, 0, struct.pack("!HI", 4, 0))
        self.flood(
            begin,
            lambda number: frame(H2_HEADERS, END_STREAM | END_HEADERS, number * 2 + 1, GET_BIG),
            100,
            reads=False,
        )

    def test_empty_data(self) -> None:
        """CVE-2019-9518: a request's body that is made of nothing."""
        begin = frame(H2_SETTINGS, 0, 0) + frame(H2_HEADERS, END_HEADERS, 1, POST)
        self.flood(begin, lambda _: frame(H2_DATA, 0, 1) * 500, 100, reads=True)

    def test_header_bomb(self) -> None:
        """A few bytes that stand for very many headers (HPACK bomb)."""
        begin = frame(H2_SETTINGS, 0, 0) + frame(
            H2_HEADERS, END_STREAM | END_HEADERS, 1, GET + b"\x40\1a\x7f\x81\x1e" + b"x" * 4000
        )
        self.flood(
            begin,
            lambda number: frame(H2_HEADERS, END_STREAM | END_HEADERS, number * 2 + 3, GET + b"\xbe" * 16000),
            20,
            reads=True,
        )

    def test_dribble(self) -> None:
        """CVE-2019-9511: a large answer that is taken a byte at a time."""
        begin = frame(H2_SETTINGS, 0, 0, struct.pack("!HI", 4, 1)) + frame(
            H2_HEADERS, END_STREAM | END_HEADERS, 1, GET_BIG
        )
        update = struct.pack("!I", 1)
        self.flood(
            begin,
            lambda _: (frame(H2_WINDOW_UPDATE, 0, 1, update) + frame(H2_WINDOW_UPDATE, 0, 0, update)) * 50,
            40,
            reads=True,
        )
