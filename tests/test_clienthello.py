"""
Tests for L{atstls.tls.clienthello}.
"""

import gc
from collections.abc import Callable, Iterable
from itertools import pairwise, permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import BadClientHello
from atstls.tls import alerts, clienthello
from atstls.tls.clienthello import GREASE, LIMIT_BYTES, ClientHello, HelloReader, HelloState, parse_hello

fuzzed = settings(max_examples=200, deadline=None, database=None)

PADDING = 21


def vector(body: bytes, width: int = 2) -> bytes:
    """C{body} with its length in C{width} bytes in front."""
    return len(body).to_bytes(width, "big") + body


def numbers(*values: int) -> bytes:
    """Two bytes for each value."""
    return b"".join(value.to_bytes(2, "big") for value in values)


def server_name(name: bytes) -> tuple[int, bytes]:
    """The extension in which a client asks for C{name}."""
    return clienthello.SERVER_NAME, vector(b"\0" + vector(name))


def alpn(*names: bytes) -> tuple[int, bytes]:
    """The extension in which a client offers protocols."""
    return clienthello.ALPN, vector(b"".join(vector(name, 1) for name in names))


def make_hello(
    *extensions: tuple[int, bytes],
    version: int = 0x0303,
    session_id: bytes = b"",
    suites: Iterable[int] = (0x1301, 0x1302),
    compression: bytes = b"\0",
    tail: bytes | None = None,
) -> bytes:
    """
    The handshake message of a client.

    @param tail: what comes after the compression methods, instead of C{extensions}.
    """
    if tail is None:
        tail = vector(b"".join(numbers(kind) + vector(body) for kind, body in extensions))
    body = numbers(version) + bytes(range(32)) + vector(session_id, 1) + vector(numbers(*suites))
    return b"\x01" + vector(body + vector(compression, 1) + tail, 3)


def record(fragment: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    """One record with C{fragment} in it."""
    return bytes((kind,)) + numbers(version) + vector(fragment)


def records(message: bytes, size: int) -> bytes:
    """C{message} in records of at most C{size} bytes."""
    return b"".join(record(message[at : at + size]) for at in range(0, len(message), size))


def padded(size: int) -> bytes:
    """A hello message of exactly C{size} bytes that asks for big.example, and is padding for the rest."""
    name = server_name(b"big.example")
    bare = len(make_hello(name, (PADDING, b"")))
    return make_hello(name, (PADDING, bytes(size - bare)))


def real_hello(
    name: bytes | None = b"www.Example.com",
    protocols: tuple[bytes, ...] = (b"h2", b"http/1.1"),
    highest: int | None = None,
    lowest: int | None = None,
) -> bytes:
    """What OpenSSL's client sends first."""
    context = SSL.Context(SSL.TLS_METHOD)
    if highest is not None:
        context.set_max_proto_version(highest)
    if lowest is not None:
        context.set_min_proto_version(lowest)
    if protocols:
        context.set_alpn_protos(list(protocols))
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    try:
        client.do_handshake()
    except SSL.WantReadError:
        pass
    return client.bio_read(65536)


def read(*pieces: bytes) -> HelloReader:
    """A reader that was given C{pieces}."""
    reader = HelloReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


def read_bytewise(data: bytes) -> HelloReader:
    """A reader that was given C{data} one byte at a time."""
    return read(*(data[at : at + 1] for at in range(len(data))))


class OpenSSLServer:
    """What OpenSSL reads out of the hellos that it is given."""

    def __init__(self) -> None:
        self.names: list[bytes | None] = []
        self.protocols: list[list[bytes]] = []
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.set_tlsext_servername_callback(lambda connection: self.names.append(connection.get_servername()))

    def read(self, data: bytes) -> list[bytes | None]:
        """The server names that OpenSSL finds in C{data}: none if it refuses the hello before it looks for one."""
        self.names = []
        server = SSL.Connection(self.context, None)
        server.set_accept_state()
        if data:
            server.bio_write(data)
        try:
            server.do_handshake()
        except SSL.Error:
            pass  # there is no certificate: it never comes far
        return self.names


class HelloTestCase(SynchronousTestCase):
    """What the tests of this module have in common."""

    def parsed(self, *extensions: tuple[int, bytes], **fields: object) -> ClientHello:
        """The hello of L{make_hello} after it went through a reader."""
        make: Callable[..., bytes] = make_hello
        return self.complete(read(record(make(*extensions, **fields))))

    def complete(self, reader: HelloReader) -> ClientHello:
        """Check that C{reader} is content, and return the hello."""
        self.assertIs(reader.state, HelloState.COMPLETE, str(reader.error))
        self.assertIsNone(reader.error)
        assert reader.hello is not None
        return reader.hello

    def failed(self, reader: HelloReader, state: HelloState, alert: int | None) -> None:
        """Check that C{reader} ended in C{state} for a reason that C{alert} expresses, and stays there."""
        for _ in range(2):
            self.assertIs(reader.state, state)
            self.assertIsNone(reader.hello)
            assert reader.error is not None
            self.assertEqual(reader.error.alert, alert)
            self.assertNotEqual(str(reader.error), "")
            self.assertIs(reader.feed(record(make_hello())), state)

    def malformed(self, message: bytes, alert: int = alerts.DECODE_ERROR) -> None:
        """Check that C{message} is refused, and in the same way however it is cut."""
        for reader in (read(record(message)), read_bytewise(record(message)), read(records(message, 7))):
            self.failed(reader, HelloState.MALFORMED, alert)
        error = self.assertRaises(BadClientHello, parse_hello, message)
        self.assertEqual(error.alert, alert)


class RealHelloTests(HelloTestCase):
    """Hellos as OpenSSL makes them."""

    def test_modern_client(self) -> None:
        """A hook sees what a client of today says: the name, the protocols, the versions and much more (A125)."""
        data = real_hello()
        hello = self.complete(read(data))
        self.assertEqual(hello.server_name, "www.example.com")
        self.assertEqual(hello.server_name_bytes, b"www.Example.com")
        self.assertEqual(hello.alpn, (b"h2", b"http/1.1"))
        self.assertTrue(hello.offers_alpn)
        self.assertEqual(hello.legacy_version, 0x0303)
        self.assertEqual(hello.supported_versions, (0x0304, 0x0303))
        self.assertEqual(hello.versions, (0x0304, 0x0303))
        self.assertEqual(hello.raw, data[5:])
        self.assertEqual(hello.random, data[11:43])
        self.assertEqual(hello.session_id, data[44:76])
        self.assertEqual(hello.compression_methods, b"\0")
        self.assertIn(0x1301, hello.cipher_suites)
        self.assertIn(29, hello.groups)  # X25519
        self.assertIn(0x0403, hello.signature_algorithms)  # ecdsa_secp256r1_sha256
        self.assertIn(51, [kind for kind, _ in hello.extensions])  # key_share
        self.assertFalse(hello.has_session_ticket or hello.has_psk or hello.has_early_data)

    def test_client_without_tls13(self) -> None:
        """A client that stops at TLS 1.2 does not list its versions; it is taken to offer that and what is below."""
        hello = self.complete(read(real_hello(highest=SSL.TLS1_2_VERSION)))
        self.assertEqual(hello.supported_versions, ())
        self.assertEqual(hello.versions, (0x0303, 0x0302, 0x0301))
        self.assertEqual(hello.server_name, "www.example.com")

    def test_client_with_tls13_alone(self) -> None:
        """A client that wants TLS 1.3 and nothing else says so."""
        hello = self.complete(read(real_hello(lowest=SSL.TLS1_3_VERSION)))
        self.assertEqual(hello.versions, (0x0304,))

    def test_client_without_name_and_protocols(self) -> None:
        """A client may ask for nobody in particular and speak of no protocol."""
        hello = self.complete(read(real_hello(name=None, protocols=())))
        self.assertIsNone(hello.server_name)
        self.assertIsNone(hello.server_name_bytes)
        self.assertEqual(hello.alpn, ())
        self.assertFalse(hello.offers_alpn)

    def test_openssl_reads_the_same(self) -> None:
        """The bytes kept by the reader mean to OpenSSL what they meant to us."""
        server = OpenSSLServer()
        for name in (b"www.Example.com", None):
            reader = read_bytewise(real_hello(name))
            self.assertEqual(server.read(bytes(reader.raw)), [self.complete(reader).server_name_bytes])

    def test_bytes_after_the_hello_are_kept(self) -> None:
        """A client that sends early data with its hello loses none of it, whoever gets the connection."""
        data = real_hello()
        reader = read(data + b"more", b" and more")
        self.assertEqual(self.complete(reader).raw, data[5:])
        self.assertEqual(bytes(reader.raw), data + b"more and more")

    def test_message_after_the_hello_in_its_record(self) -> None:
        """What follows in the same record is no part of the hello; whether it may be there OpenSSL decides."""
        message = make_hello(server_name(b"a.example"))
        hello = self.complete(read(record(message + b"\x14\0\0\0")))
        self.assertEqual(hello.raw, message)


class CutTests(HelloTestCase):
    """The hello arrives in pieces (S059, A007)."""

    def setUp(self) -> None:
        self.data = real_hello()
        self.whole = self.complete(read(self.data))

    def check(self, *pieces: bytes) -> None:
        """Check that C{pieces} give the hello with the last of them and lose no byte."""
        reader = HelloReader()
        for piece in pieces[:-1]:
            self.assertIs(reader.feed(piece), HelloState.NEED_MORE)
            self.assertIsNone(reader.hello)
        self.assertIs(reader.feed(pieces[-1]), HelloState.COMPLETE)
        self.assertEqual(bytes(reader.raw), b"".join(pieces))
        self.assertEqual(self.complete(reader), self.whole)

    def test_two_segments(self) -> None:
        """Rules see the name wherever the network cuts the hello in two."""
        for at in range(len(self.data)):
            self.check(self.data[:at], self.data[at:])

    def test_one_byte_at_a_time(self) -> None:
        """The slowest of clients is understood."""
        self.check(*(self.data[at : at + 1] for at in range(len(self.data))))

    def test_any_kind_of_buffer(self) -> None:
        """A connection may pass on its block as it is; it is free to use it again."""
        block = bytearray(self.data)
        reader = HelloReader()
        reader.feed(memoryview(block)[:700])
        reader.feed(block[700:])
        block[:] = bytes(len(block))
        self.assertEqual(self.complete(reader), self.whole)
        self.assertEqual(bytes(reader.raw), self.data)

    def test_two_records(self) -> None:
        """A hello may be cut into records anywhere, even inside its header."""
        message = self.whole.raw
        for at in range(len(message)):
            self.check(record(message[:at]) + record(message[at:], version=0x0303))

    def test_records_of_one_byte(self) -> None:
        """The smallest of records are joined, whole and one byte at a time."""
        data = records(self.whole.raw, 1)
        self.check(data)
        self.check(*(data[at : at + 1] for at in range(len(data))))

    def test_empty_records_in_between(self) -> None:
        """Records with nothing in them change nothing, up to the limit."""
        message = self.whole.raw
        self.check(record(b"") * 3 + record(message[:2]) + record(b"") + record(message[2:]))

    def test_random_cuts(self) -> None:
        """Any cut into records, and any cut of these into segments, gives the same hello."""
        message = self.whole.raw

        @fuzzed
        @given(st.lists(st.integers(0, len(message)), max_size=8), st.lists(st.integers(0, 4000), max_size=12))
        def check(record_cuts: list[int], segment_cuts: list[int]) -> None:
            data = b"".join(record(piece) for piece in cut(message, record_cuts))
            reader = read(*cut(data, segment_cuts))
            self.assertEqual(self.complete(reader), self.whole)
            self.assertEqual(bytes(reader.raw), data)

        check()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """C{data} in pieces; two places that are the same give an empty one."""
    edges = [0, *sorted(place for place in places if place <= len(data)), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


class LimitTests(HelloTestCase):
    """What a client can cost us."""

    def test_twelve_kibibytes(self) -> None:
        """A client that pads its hello to 12 KiB is served (S059)."""
        hello = self.complete(read(record(padded(12 * 1024))))
        self.assertEqual(hello.server_name, "big.example")

    def test_largest_hello(self) -> None:
        """The limit counts every byte on the wire: a hello that ends with the last of them is the largest."""
        size = LIMIT_BYTES - 5 * 5  # five records
        for message, state in ((padded(size), HelloState.COMPLETE), (padded(size + 1), HelloState.TOO_LARGE)):
            data = records(message, 16000)
            self.assertIs(read(data).state, state)
            self.assertIs(read(data, b"more").state, state)
            self.assertIs(read(*(data[at : at + 100] for at in range(0, len(data), 100))).state, state)

    def test_announced_as_too_large(self) -> None:
        """A hello that says that it will be too large is refused at once, not after 64 KiB."""
        reader = read(record(b"\x01\x01\x00\x00"))
        self.failed(reader, HelloState.TOO_LARGE, alerts.ILLEGAL_PARAMETER)

    def test_never_ending(self) -> None:
        """One byte to a record, the headers eat up the limit; the reader gives up when the end can no longer come."""
        data = records(padded(12000), 1)
        self.assertGreater(len(data), LIMIT_BYTES)
        reader = HelloReader()
        taken = next(at for at in range(len(data)) if reader.feed(data[at : at + 1]) is not HelloState.NEED_MORE) + 1
        self.assertLessEqual(taken, LIMIT_BYTES)
        self.assertGreater(taken, LIMIT_BYTES - 2000)
        self.assertEqual(len(reader.raw), taken)
        self.failed(reader, HelloState.TOO_LARGE, alerts.ILLEGAL_PARAMETER)

    def test_begins_too_late(self) -> None:
        """A hello that begins so late that its record would not end in time is not waited for."""
        data = record(b"") * (LIMIT_BYTES // 5 - 1) + b"\x16\x03\x01\x00\x10"
        self.failed(read(data), HelloState.TOO_LARGE, alerts.ILLEGAL_PARAMETER)
        self.assertIs(read_bytewise(data[:-1]).state, HelloState.NEED_MORE)

    def test_flood_of_empty_records(self) -> None:
        """Records with nothing in them for ever run into the limit too, since their headers count."""
        for state in (read(record(b"") * 20000), read_bytewise(record(b"") * 13108)):
            self.failed(state, HelloState.TOO_LARGE, alerts.ILLEGAL_PARAMETER)

    def test_everything_after_the_limit_is_too_late(self) -> None:
        """A fault behind the limit is not reached, so that the answer is the same however the bytes are cut."""
        data = record(b"") * (LIMIT_BYTES // 5) + b"\x17\x03\x03\x00\x00"
        self.failed(read(data), HelloState.TOO_LARGE, alerts.ILLEGAL_PARAMETER)
        self.failed(read_bytewise(data), HelloState.TOO_LARGE, alerts.ILLEGAL_PARAMETER)

    def test_slow_drip_costs_no_more_than_a_gulp(self) -> None:
        """60 000 bytes, one at a time: the hello is parsed once, and each record is looked at three times at most."""
        parsed: list[int] = []
        looked: list[int] = []
        parse, look = clienthello.parse_hello, HelloReader._read_records

        def counted_parse(message: bytes) -> ClientHello:
            parsed.append(len(message))
            return parse(message)

        def counted_look(reader: HelloReader) -> None:
            looked.append(len(reader.raw))
            look(reader)

        self.patch(clienthello, "parse_hello", counted_parse)
        self.patch(HelloReader, "_read_records", counted_look)
        data = records(padded(60000), 16000)
        self.complete(read_bytewise(data))
        self.assertEqual(parsed, [60000])
        self.assertLessEqual(len(looked), 1 + 2 * 4)  # the first byte; of four records the header and the end

    def test_what_is_remembered_is_bounded(self) -> None:
        """Who sends another hello each time, or long ones, or wrong ones, fills no memory."""
        remembered = clienthello._read_extensions
        remembered.cache_clear()
        most = remembered.cache_info().maxsize
        for number in range(most + 50):
            self.parsed(server_name(b"%d.example" % number))
        self.assertEqual(most, remembered.cache_info().currsize)
        remembered.cache_clear()
        self.parsed(server_name(b"long.example"), (PADDING, bytes(clienthello._REMEMBERED_BYTES)))
        for _ in range(2):
            self.assertRaises(BadClientHello, parse_hello, make_hello(server_name(b"")))
        self.assertEqual(0, remembered.cache_info().currsize)

    def test_shuffled_extensions_are_remembered_as_one(self) -> None:
        """A browser that shuffles its extensions says the same each time, and what was read in them is kept once."""
        extensions = [server_name(b"a.example"), (16, b"\x00\x03\x02h2"), (43, b"\x02\x03\x04"), (PADDING, b"xyz")]
        clienthello._read_extensions.cache_clear()
        for order in permutations(extensions):
            self.assertEqual("a.example", self.parsed(*order).server_name)
        self.assertEqual(1, clienthello._read_extensions.cache_info().currsize)

    def test_layouts_are_bounded(self) -> None:
        """Nor does who lays out each of his hellos in another way, or in many extensions."""
        clienthello._layouts.clear()
        clienthello._walked.clear()
        for size in range(clienthello._REMEMBERED_LAYOUTS + 50):
            for _ in range(3):
                self.parsed((PADDING, bytes(size)))
        self.assertLessEqual(len(clienthello._layouts), clienthello._REMEMBERED_LAYOUTS)
        self.assertLessEqual(len(clienthello._walked), clienthello._REMEMBERED_LAYOUTS)
        clienthello._layouts.clear()
        clienthello._walked.clear()
        for _ in range(3):
            self.parsed(*((number, b"") for number in range(100, 100 + clienthello._REMEMBERED_EXTENSIONS + 1)))
            self.parsed((PADDING, bytes(clienthello._REMEMBERED_BYTES)))
        self.assertEqual(({}, {}), (clienthello._layouts, clienthello._walked))

    def test_small_records_cost_in_proportion(self) -> None:
        """Twice as many records of one byte are twice the work: each is joined once, and what is joined stays."""
        calls: list[int] = []
        read_message = HelloReader._read_message

        def counted(reader: HelloReader) -> None:
            calls.append(len(reader.raw))
            read_message(reader)

        self.patch(HelloReader, "_read_message", counted)
        for size in (4000, 8000):
            calls.clear()
            self.complete(read_bytewise(records(padded(size), 1)))
            self.assertEqual(len(calls), size)

    def test_small_objects(self) -> None:
        """There is one of each per connection, so neither has a dict, and the joined copy is given up at the end."""
        reader = read(real_hello())
        self.assertFalse(hasattr(reader, "__dict__"))
        self.assertFalse(hasattr(reader.hello, "__dict__"))
        self.assertEqual(reader._message, b"")

    def test_no_cycles(self) -> None:
        """A connection that is done with its reader is rid of it at once, also after a failure."""
        for data in (real_hello(), record(make_hello(tail=b"\0")), b"GET /", record(b"\x01\xff\xff\xff")):
            gc.collect()
            gc.disable()
            try:
                reader = read(data)
                self.assertIsNot(reader.state, HelloState.NEED_MORE)
                del reader
                self.assertEqual(gc.collect(), 0)
            finally:
                gc.enable()


class RecordTests(HelloTestCase):
    """What is no hello already by its records."""

    def test_first_byte_tells_what_is_not_tls(self) -> None:
        """One byte decides whether a connection may be tunnelled as something else; an SSLv2 hello is such (O48)."""
        for first in set(range(256)) - {22}:
            reader = read(bytes((first,)))
            self.assertIs(reader.state, HelloState.NOT_TLS)
        self.failed(read(b"GET / HTTP/1.1\r\n\r\n"), HelloState.NOT_TLS, None)
        self.failed(read(b"\x80\x2e\x01\x00\x02"), HelloState.NOT_TLS, None)

    def test_nothing_yet(self) -> None:
        """Before the first byte, and after it if it is the right one, nothing is known."""
        reader = HelloReader()
        for piece in (b"", b"\x16", b"", b"\x03"):
            self.assertIs(reader.feed(piece), HelloState.NEED_MORE)
        self.assertEqual(bytes(reader.raw), b"\x16\x03")

    def test_failure_sticks_and_the_bytes_stay(self) -> None:
        """Nothing that a client sends afterwards mends it, and what it sent is there for the one who gets it."""
        reader = read(b"S", b"SH-2.0-x\r\n", record(make_hello()))
        self.assertIs(reader.state, HelloState.NOT_TLS)
        self.assertEqual(bytes(reader.raw), b"SSH-2.0-x\r\n" + record(make_hello()))

    def test_another_record_in_the_middle(self) -> None:
        """Between the parts of a hello nothing else may come."""
        message = make_hello(server_name(b"a.example"))
        for kind in (20, 21, 23, 0, 255):
            data = record(message[:20]) + record(b"\x01", kind=kind) + record(message[20:])
            self.failed(read(data), HelloState.MALFORMED, alerts.UNEXPECTED_MESSAGE)
            self.failed(read_bytewise(data), HelloState.MALFORMED, alerts.UNEXPECTED_MESSAGE)

    def test_record_of_another_protocol(self) -> None:
        """Bytes that begin like TLS by chance are not taken for it: all versions of records begin with a three."""
        self.failed(read(record(make_hello(), version=0x0201)), HelloState.MALFORMED, alerts.UNEXPECTED_MESSAGE)
        for version in (0x0300, 0x0301, 0x0303, 0x0304):
            self.assertIs(read(record(make_hello(), version=version)).state, HelloState.COMPLETE)

    def test_record_too_long(self) -> None:
        """A record is as long as the standard allows, and no longer; its header is enough to know."""
        self.complete(read(record(padded(16384))))
        for length in (16385, 65535):
            reader = read(b"\x16\x03\x01" + numbers(length))
            self.failed(reader, HelloState.MALFORMED, alerts.RECORD_OVERFLOW)

    def test_another_message(self) -> None:
        """A client that begins with something other than a hello is refused, also if that is all in pieces."""
        for kind in (0, 2, 11, 20, 255):
            message = bytes((kind,)) + make_hello()[1:]
            self.failed(read(record(message)), HelloState.MALFORMED, alerts.UNEXPECTED_MESSAGE)
            self.failed(read(record(message[:1])), HelloState.MALFORMED, alerts.UNEXPECTED_MESSAGE)


class FieldTests(HelloTestCase):
    """Hellos made by hand."""

    def test_old_client(self) -> None:
        """A client older than extensions asks for nothing; every accessor has an answer."""
        hello = self.parsed(version=0x0301, session_id=b"s" * 32, compression=b"\x01\0", tail=b"")
        self.assertEqual((hello.legacy_version, hello.versions), (0x0301, (0x0301,)))
        self.assertEqual(hello.session_id, b"s" * 32)
        self.assertEqual(hello.random, bytes(range(32)))
        self.assertEqual(hello.cipher_suites, (0x1301, 0x1302))
        self.assertEqual(hello.compression_methods, b"\x01\0")
        self.assertEqual((hello.server_name, hello.alpn, hello.extensions), (None, (), ()))
        self.assertEqual((hello.groups, hello.signature_algorithms), ((), ()))
        self.assertIsNone(hello.extension(clienthello.SERVER_NAME))

    def test_empty_list_of_extensions(self) -> None:
        """A list of no extensions is as good as none."""
        self.assertEqual(self.parsed().extensions, ())

    def test_versions_without_the_extension(self) -> None:
        """TLS 1.3 is offered by the extension only, whatever the version field says; SSL 3.0 stands alone."""
        for version, offered in ((0x0304, (0x0303, 0x0302, 0x0301)), (0x0302, (0x0302, 0x0301)), (0x0300, (0x0300,))):
            self.assertEqual(self.parsed(version=version).versions, offered)

    def test_grease(self) -> None:
        """Values without a meaning are seen by those who want to see everything, and by nobody else."""
        hello = self.parsed(
            (0x3A3A, b""),
            (clienthello.SUPPORTED_VERSIONS, vector(numbers(0x4A4A, 0x0304), 1)),
            (clienthello.SUPPORTED_GROUPS, vector(numbers(0x1A1A, 29))),
            alpn(b"\x2a\x2a", b"h2"),
            (0xFAFA, b"\0"),
            suites=(0x0A0A, 0x1301),
        )
        self.assertEqual(hello.versions, (0x0304,))
        self.assertEqual(hello.supported_versions, (0x4A4A, 0x0304))
        self.assertEqual(hello.groups, (0x1A1A, 29))
        self.assertEqual(hello.alpn, (b"\x2a\x2a", b"h2"))
        self.assertEqual(hello.cipher_suites, (0x0A0A, 0x1301))
        self.assertEqual([kind for kind, _ in hello.extensions], [0x3A3A, 43, 10, 16, 0xFAFA])
        self.assertEqual(hello.extension(0xFAFA), b"\0")
        self.assertEqual(len(GREASE), 16)
        self.assertLessEqual({0x0A0A, 0x1A1A, 0xFAFA}, GREASE)

    def test_resumption(self) -> None:
        """A hook can tell who comes back, and with what; the wish for a first ticket is not a ticket."""
        self.assertFalse(self.parsed((clienthello.SESSION_TICKET, b"")).has_session_ticket)
        self.assertTrue(self.parsed((clienthello.SESSION_TICKET, b"ticket")).has_session_ticket)
        hello = self.parsed((clienthello.EARLY_DATA, b""), (clienthello.PRE_SHARED_KEY, b"identities"))
        self.assertTrue(hello.has_psk and hello.has_early_data)

    def test_server_names(self) -> None:
        """Names are compared as DNS does; an address, which should not be there, is left to the rules."""
        for sent, name in (
            (b"A.Example", "a.example"),
            (b"a.example.", "a.example"),
            (b"a.example..", "a.example."),
            (b"192.0.2.7", "192.0.2.7"),
            (b"2001:DB8::1", "2001:db8::1"),
            (b"under_score.example", "under_score.example"),
            (b"x" * 255, "x" * 255),
        ):
            hello = self.parsed(server_name(sent))
            self.assertEqual((hello.server_name, hello.server_name_bytes), (name, sent))

    def test_server_names_that_are_none(self) -> None:
        """A name that could mean one thing to us and another to a log, a file or OpenSSL is no name."""
        for sent in (b"a\0.example", b"a b", b"a\n", b"\x7f", b"\xc3\xa4.example", b".", b"x" * 256):
            self.malformed(make_hello(server_name(sent)), alerts.ILLEGAL_PARAMETER)

    def test_server_name_lists_that_are_wrong(self) -> None:
        """One name of the one known type, as OpenSSL wants it: never none, two, or one of another type."""
        one = b"\0" + vector(b"a.example")
        for body in (
            b"",
            b"\0",
            vector(b""),
            vector(b"\0" + vector(b"")),
            vector(one + one),
            vector(b"\x01" + vector(b"a.example")),
            vector(one) + b"\0",
            vector(one)[:-1],
            numbers(len(one) + 1) + one,
            vector(b"\0" + numbers(8) + b"a.example"),
            vector(b"\0" + numbers(10) + b"a.example"),
        ):
            self.malformed(make_hello((clienthello.SERVER_NAME, body)))

    def test_protocol_lists_that_are_wrong(self) -> None:
        """A list of protocols names at least one, and none that is empty."""
        for body in (
            b"",
            b"\0",
            vector(b""),
            vector(b"\0"),
            vector(b"\x02h2\0"),
            vector(b"\x03h2"),
            vector(b"\x02h2") + b"\0",
        ):
            self.malformed(make_hello((clienthello.ALPN, body)))

    def test_other_lists_that_are_wrong(self) -> None:
        """Whatever a hook may ask for later has been checked before."""
        for kind in (clienthello.SUPPORTED_GROUPS, clienthello.SIGNATURE_ALGORITHMS):
            for body in (
                b"",
                vector(b""),
                vector(b"\0"),
                vector(b"\0\0\0"),
                vector(b"\0\x17") + b"\0",
                b"\0\x04\0\x17",
            ):
                self.malformed(make_hello((kind, body)))
        for body in (b"", vector(b"", 1), vector(b"\x03", 1), vector(b"\x03\x04\x03", 1), vector(b"\x03\x04")):
            self.malformed(make_hello((clienthello.SUPPORTED_VERSIONS, body)))
        for body in (b"", vector(b"", 1), vector(b"\0", 1) + b"\0"):
            self.malformed(make_hello((clienthello.EC_POINT_FORMATS, body)))

    def test_extension_twice(self) -> None:
        """A client that says a thing twice may mean to be understood in two ways; known or not, it is refused."""
        for kind in (clienthello.SERVER_NAME, 0x1234, 0x0A0A):
            twice = (kind, vector(b"\0" + vector(b"a.example")))
            self.malformed(make_hello(twice, (PADDING, b""), twice), alerts.ILLEGAL_PARAMETER)

    def test_lengths_before_the_extensions(self) -> None:
        """A session id is of 32 bytes at most, suites come in pairs of bytes, and neither they nor methods are none."""
        self.malformed(make_hello(session_id=bytes(33)))
        self.malformed(make_hello(suites=()))
        self.malformed(make_hello(compression=b""))
        body = numbers(0x0303) + bytes(32) + b"\0" + vector(b"\x13\x01\x13") + b"\x01\0" + b"\0\0"
        self.malformed(b"\x01" + vector(body, 3))

    def test_lengths_of_the_extensions(self) -> None:
        """The extensions fill what is left of the hello, each fits in, and nothing follows them."""
        for tail in (b"\0", b"\0\x01", b"\0\0\0", b"\0\x03\0\x15\0", b"\0\x04\0\x15\0\x01", b"\xff\xff\0\x15\0\0"):
            self.malformed(make_hello(tail=tail))

    def test_any_truncation(self) -> None:
        """A hello whose length leads into its middle ends too early wherever that is, except before the extensions."""
        message = make_hello(server_name(b"a.example"), alpn(b"h2"), session_id=bytes(32))
        body = message[4:]
        extensions_at = message.index(b"\x01\0", 70) + 2 - 4
        for size in set(range(len(body))) - {extensions_at}:
            self.malformed(b"\x01" + vector(body[:size], 3))
        self.assertEqual(parse_hello(b"\x01" + vector(body[:extensions_at], 3)).extensions, ())

    def test_frozen(self) -> None:
        """What a client said does not change when a hook would like it to."""
        hello = self.parsed(server_name(b"a.example"))
        with self.assertRaises(AttributeError):
            hello.server_name = "b.example"  # type: ignore[misc]  # that is the test

    def test_as_text(self) -> None:
        """A hello in a log is one line of what matters."""
        text = repr(self.parsed(server_name(b"a.example"), alpn(b"h2"), (PADDING, bytes(2000))))
        self.assertIn("a.example", text)
        self.assertLess(len(text), 200)


class FuzzTests(HelloTestCase):
    """Whatever a client sends, there is an answer, and it is the same however it comes."""

    def touch(self, hello: ClientHello) -> None:
        """Ask for everything that there is to ask for."""
        for name in dir(hello):
            if not name.startswith("__"):
                getattr(hello, name)

    def check(self, data: bytes, cuts: list[int]) -> HelloReader:
        """Check that C{data} whole, cut, and one byte at a time are the same."""
        whole = read(data)
        if whole.hello is not None:
            self.touch(whole.hello)
        for other in (read(*cut(data, cuts)), read_bytewise(data)):
            self.assertIs(other.state, whole.state)
            self.assertEqual(other.hello, whole.hello)
            self.assertEqual(bytes(other.raw), data)
            self.assertEqual(str(other.error), str(whole.error))
        return whole

    def test_noise(self) -> None:
        """Bytes without any sense, with and without the first one that looks like TLS, do no harm."""

        @fuzzed
        @given(
            st.sampled_from((b"", b"\x16", b"\x16\x03\x01\x00\x40")),
            st.binary(max_size=300),
            st.lists(st.integers(0, 300)),
        )
        def check(head: bytes, data: bytes, cuts: list[int]) -> None:
            self.check(head + data, cuts)

        check()

    def test_noise_in_a_message(self) -> None:
        """A body without any sense is malformed, or by chance a hello."""

        @fuzzed
        @given(st.binary(max_size=300))
        def check(body: bytes) -> None:
            self.check(record(b"\x01" + vector(body, 3)), [])

        check()

    def test_noise_in_extensions(self) -> None:
        """Extensions of the types that we read, but with anything in them."""
        kinds = st.sampled_from((*sorted(clienthello._READ), 35, 41, 0x0A0A)) | st.integers(0, 0xFFFF)

        @fuzzed
        @given(st.lists(st.tuples(kinds, st.binary(max_size=12)), max_size=5))
        def check(extensions: list[tuple[int, bytes]]) -> None:
            self.check(record(make_hello(*extensions)), [])

        check()

    def test_laid_out_alike(self) -> None:
        """Whatever was read before, in whatever order and how often, a hello is read as if it were the first."""
        names = [server_name(name) for name in (b"a.example", b"b.example", b"?.example", b"a b.exam.")]
        bodies = (b"", b"\x02\x03\x04", b"\x00\x03\x02h2")
        others = [(kind, body) for kind in (0x1234, 0x1235, 16, 43) for body in bodies]
        hellos = st.lists(st.sampled_from(names + others), max_size=4).map(lambda extensions: make_hello(*extensions))

        def outcome(message: bytes) -> Any:
            try:
                return tuple(parse_hello(message))
            except BadClientHello as exc:
                return str(exc), exc.alert

        @fuzzed
        @given(st.lists(hellos, min_size=1, max_size=12))
        def check(messages: list[bytes]) -> None:
            clienthello._layouts.clear()
            clienthello._walked.clear()
            found = [outcome(message) for message in messages for _ in range(3)]
            expected = []
            for message in messages:
                clienthello._layouts.clear()
                clienthello._walked.clear()
                expected += [outcome(message)] * 3
            self.assertEqual(expected, found)

        check()

    def test_openssl_is_laxer_than_we_are(self) -> None:
        """The two faults for which a hello is malformed to us and not to OpenSSL: here the caller has to say no."""
        server = OpenSSLServer()
        message = make_hello(server_name(b"a b"), (0x1234, b""))
        self.assertEqual(server.read(record(message)), [b"a b"])
        self.malformed(message, alerts.ILLEGAL_PARAMETER)
        message = make_hello(server_name(b"a.example"), (0x1234, b""), (0x1234, b""))
        self.assertEqual(server.read(record(message)), [b"a.example"])
        self.malformed(message, alerts.ILLEGAL_PARAMETER)

    def test_damaged_hellos_mean_to_openssl_what_they_mean_to_us(self) -> None:
        """
        Bytes flipped, lost and doubled: whenever we hand a hello to the rules, OpenSSL reads the same name or none.

        Otherwise a client could have one name looked up in the rules and get another one's certificate.
        """
        server = OpenSSLServer()
        good = real_hello(highest=SSL.TLS1_2_VERSION)
        self.assertEqual(server.read(good), [b"www.Example.com"])
        places = st.integers(0, len(good))
        changes = st.lists(st.tuples(places, st.integers(0, 2), st.binary(max_size=3)), min_size=1, max_size=4)

        @settings(fuzzed, max_examples=400)
        @given(changes, st.lists(st.integers(0, 300), max_size=3))
        def check(changes: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
            data = good
            for place, lost, new in changes:
                data = data[:place] + new + data[place + lost :]
            reader = self.check(data, cuts)
            names = server.read(data)
            if reader.hello is not None and names:
                self.assertEqual(names, [reader.hello.server_name_bytes])

        check()


class FingerprintTests(HelloTestCase):
    """Who is it, by the way it greets (A083)?"""

    def ja3_hello(self, text: str) -> ClientHello:
        """A hello with the JA3 string C{text}, and GREASE wherever there may be some."""
        version, suites, kinds, groups, formats = ([int(n) for n in part.split("-") if n] for part in text.split(","))
        bodies = {
            clienthello.SERVER_NAME: server_name(b"a.example")[1],
            clienthello.SUPPORTED_GROUPS: vector(numbers(0x2A2A, *groups)),
            clienthello.EC_POINT_FORMATS: vector(bytes(formats), 1),
        }
        extensions = [(kind, bodies.get(kind, b"")) for kind in kinds]
        if extensions:
            extensions.insert(0, (0x0A0A, b""))
        return self.parsed(*extensions, version=version[0], suites=[0x3A3A, *suites])

    def test_ja3(self) -> None:
        """The fingerprints are those that JA3's authors published, so that lists of them can be used."""
        for text, digest in (
            (
                "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0",
                "ada70206e40642a3e4461f35503241d5",
            ),
            ("769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"),
            (
                "769,255-49162-49172-136-135-57-56-49167-49157-132-53-49159-49161-49169-49171-69-68-51-50-49164-49166"
                "-49154-49156-150-65-4-5-47-49160-49170-22-19-49165-49155-65279-10,0-10-11-35,23-24-25,0",
                "2aef69b4ba1938c3a400de4188743185",
            ),
        ):
            hello = self.ja3_hello(text)
            self.assertEqual(hello.ja3_string, text)
            self.assertEqual(hello.ja3, digest)

    def ja4_hello(self, *signatures: int, name: bool = True, protocol: bytes = b"h2") -> ClientHello:
        """The hello that JA4's specification takes for its example, with GREASE wherever there may be some."""
        bodies = {
            clienthello.SERVER_NAME: server_name(b"a.example")[1],
            clienthello.ALPN: alpn(protocol, b"x")[1],
            clienthello.SUPPORTED_VERSIONS: vector(numbers(0xFAFA, 0x0303, 0x0304), 1),
            clienthello.SUPPORTED_GROUPS: vector(numbers(0x0A0A, 29)),
            clienthello.SIGNATURE_ALGORITHMS: vector(numbers(0x0A0A, *signatures)),
            clienthello.EC_POINT_FORMATS: vector(b"\0", 1),
        }
        kinds = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
        extensions = [(kind, bodies.get(kind, b"")) for kind in (int(text, 16) for text in kinds.split(","))]
        suites = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
        return self.parsed(
            (0x5A5A, b""),
            *(extension for extension in extensions if name or extension[0] != clienthello.SERVER_NAME),
            (0x6A6A, b"\0"),
            suites=[0x7A7A, *(int(text, 16) for text in suites.split(","))],
        )

    def test_ja4(self) -> None:
        """The example of JA4's specification has the fingerprint that stands there."""
        hello = self.ja4_hello(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
        self.assertEqual(hello.ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1")

    def test_ja4_without_signature_algorithms(self) -> None:
        """Without signature algorithms only the extensions are digested, as the specification's other example is."""
        self.assertEqual(self.ja4_hello().ja4, "t13d1516h2_8daaf6152771_6d807ffa2a79")

    def test_ja4_without_name(self) -> None:
        """The same client without a name differs in the first part only."""
        self.assertEqual(self.ja4_hello(name=False).ja4, "t13i1515h2_8daaf6152771_6d807ffa2a79")

    def test_ja4_protocols(self) -> None:
        """Two characters stand for the first protocol, in hexadecimal if it is no word."""
        for protocol, two in (
            (b"http/1.1", "h1"),
            (b"x", "xx"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"0\xab", "3b"),
            (b"01\xab\xcd", "3d"),
            (b"0\xab\xcd1", "01"),
        ):
            self.assertEqual(self.ja4_hello(protocol=protocol).ja4[8:10], two)

    def test_ja4_of_little(self) -> None:
        """Where there is nothing to digest there are zeros, and where there is too much there is 99."""
        for version, two in ((0x0303, "12"), (0x0302, "11"), (0x0301, "10"), (0x0300, "s3"), (0x0002, "s2"), (7, "00")):
            hello = self.parsed(version=version, suites=(0x0A0A,))
            self.assertEqual(hello.ja4, f"t{two}i000000_000000000000_000000000000")
        self.assertEqual(
            self.parsed(*((kind, b"") for kind in range(100, 220)), suites=range(200)).ja4[:10], "t12i999900"
        )
        hello = self.parsed((clienthello.SUPPORTED_VERSIONS, vector(numbers(0x0A0A), 1)))
        self.assertEqual((hello.ja4[:3], hello.versions), ("t00", ()))

    def test_one_client_one_fingerprint(self) -> None:
        """A real client has the same JA4 each time, whomever it asks for."""
        first, second = (self.complete(read(real_hello(name))) for name in (b"a.example", b"b.example"))
        self.assertEqual(first.ja4, second.ja4)
        self.assertTrue(first.ja4.startswith("t13d"))
        self.assertNotEqual(first.ja4, self.complete(read(real_hello(highest=SSL.TLS1_2_VERSION))).ja4)
