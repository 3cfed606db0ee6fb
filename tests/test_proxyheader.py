"""
Tests for L{atstls.net.proxyheader}: the PROXY protocol, read and written.
"""

import ipaddress
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.trial.unittest import SynchronousTestCase

from atstls.net.proxyheader import (
    TLV_ALPN,
    TLV_AUTHORITY,
    TLV_SSL,
    TLV_SSL_CN,
    TLV_SSL_VERSION,
    V1_MOST,
    V2_SIGNATURE,
    ProxyHeader,
    ProxyReader,
    ProxyState,
    ProxyTLS,
    proxy_bytes,
)

V4 = (("192.0.2.1", 56324), ("198.51.100.7", 443))
V6 = (("2001:db8::1", 1), ("::1", 65535))

HELLO = b"\x16\x03\x01\x00\x05hello"


def v2(command: int = 1, family: int = 0x11, block: bytes = b"", size: int | None = None, version: int = 2) -> bytes:
    fixed = bytes(((version << 4) | command, family))
    return V2_SIGNATURE + fixed + struct.pack("!H", len(block) if size is None else size) + block


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


V4_BLOCK = bytes((192, 0, 2, 1, 198, 51, 100, 7)) + struct.pack("!HH", 56324, 443)
V6_BLOCK = b"".join(ipaddress.ip_address(host).packed for host, _ in V6) + struct.pack("!HH", 1, 65535)

GOOD: list[tuple[bytes, ProxyHeader]] = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", ProxyHeader(1, *V4)),
    (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", ProxyHeader(1, *V6)),
    (b"PROXY TCP6 2001:DB8:0::1 0::1 1 65535\r\n", ProxyHeader(1, *V6)),
    (b"PROXY UNKNOWN\r\n", ProxyHeader(1)),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ProxyHeader(1)),
    (b"PROXY UNKNOWN " + b"x" * (V1_MOST - 16) + b"\r\n", ProxyHeader(1)),
    (v2(block=V4_BLOCK), ProxyHeader(2, *V4)),
    (v2(family=0x12, block=V4_BLOCK), ProxyHeader(2, *V4, datagram=True)),
    (v2(family=0x21, block=V6_BLOCK), ProxyHeader(2, *V6)),
    (v2(family=0x22, block=V6_BLOCK), ProxyHeader(2, *V6, datagram=True)),
    (v2(block=V4_BLOCK + tlv(2, b"x.example") + tlv(4, b"") + tlv(4, b"")),
     ProxyHeader(2, *V4, tlvs=((2, b"x.example"), (4, b""), (4, b"")))),
    (v2(0, 0), ProxyHeader(2, local=True)),
    (v2(0, 0x11, V4_BLOCK), ProxyHeader(2, local=True)),
    (v2(0, 0x77, b"what ever"), ProxyHeader(2, local=True)),
    (v2(1, 0), ProxyHeader(2)),
    (v2(1, 0, tlv(1, b"h2")), ProxyHeader(2, tlvs=((1, b"h2"),))),
]  # fmt: skip

BAD = [
    b"PROXYTCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY unknown\r\n",
    b"PROXY  TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY TCP4  192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 \r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 5\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 0\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 0 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 99999 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 056 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 +56 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 5_6 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 443\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.7 56324 443\r\n",
    b"PROXY TCP4 192.0.2.01 198.51.100.7 56324 443\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.7 56324 443\r\n",
    b"PROXY TCP4 ::1 198.51.100.7 56324 443\r\n",
    b"PROXY TCP6 192.0.2.1 ::1 56324 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n",
    b"PROXY TCP5 192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n\r\n",
    b"PROXY UNKNOWN " + b"x" * (V1_MOST - 15) + b"\r\n",
    b"PROXY " + b"x" * V1_MOST,
    v2(version=1, block=V4_BLOCK),
    v2(version=3, block=V4_BLOCK),
    v2(2, block=V4_BLOCK),
    v2(15, block=V4_BLOCK),
    v2(family=0x10, block=V4_BLOCK),
    v2(family=0x13, block=V4_BLOCK),
    v2(family=0x31, block=bytes(216)),
    v2(family=0x32, block=bytes(216)),
    v2(family=0x41, block=V4_BLOCK),
    v2(family=0x01, block=V4_BLOCK),
    v2(family=0x11, block=V4_BLOCK[:-1]),
    v2(family=0x21, block=V4_BLOCK),
    v2(block=V4_BLOCK + b"\x01"),
    v2(block=V4_BLOCK + b"\x01\x00"),
    v2(block=V4_BLOCK + b"\x01\x00\x02x"),
    v2(1, 0, b"\x01\xff\xff"),
]

ABSENT = [
    HELLO,
    b"\x80\x2e\x01\x03\x01",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROX\r\n",
    b"proxy TCP4",
    b"\r\n\r\nGET",
    b"\r\n\r\n\0\r\nQUIT\r",
    b"\0",
]


def fed(*pieces: bytes) -> tuple[ProxyState, ProxyReader]:
    reader = ProxyReader()
    state = ProxyState.NEED_MORE
    for piece in pieces:
        if state is not ProxyState.NEED_MORE:
            reader.rest += piece
            continue
        state = reader.feed(memoryview(piece))
    return state, reader


class ReadTests(SynchronousTestCase):
    def test_good(self) -> None:
        """A header is read whatever pieces it comes in, and what is behind it is kept, to the byte."""
        for data, header in GOOD:
            for behind in (b"", HELLO, data):
                whole = data + behind
                for cut in range(len(whole) + 1):
                    state, reader = fed(whole[:cut], whole[cut:])
                    self.assertEqual(
                        (ProxyState.COMPLETE, header, behind), (state, reader.header, reader.rest), (data, cut)
                    )
                state, reader = fed(*(whole[at : at + 1] for at in range(len(whole))))
                self.assertEqual((ProxyState.COMPLETE, header, behind), (state, reader.header, reader.rest), data)

    def test_cut_off(self) -> None:
        """Before its last byte nothing is decided."""
        for data, _ in GOOD:
            for cut in range(len(data)):
                self.assertEqual(ProxyState.NEED_MORE, fed(data[:cut])[0], (data, cut))

    def test_bad(self) -> None:
        """What begins as a header and is none is told as such, in any pieces, and nothing is left of it."""
        for data in BAD:
            for pieces in ([data], [data[at : at + 1] for at in range(len(data))], [data + HELLO]):
                state, reader = fed(*pieces)
                self.assertEqual((ProxyState.MALFORMED, None), (state, reader.header), data)
                self.assertTrue(reader.reason.startswith("the PROXY header is wrong: "))

    def test_absent(self) -> None:
        """Who sends none is known by the first byte that differs, and all of his bytes are there."""
        for data in ABSENT:
            for cut in range(len(data) + 1):
                state, reader = fed(data[:cut], data[cut:])
                self.assertEqual((ProxyState.ABSENT, None, data), (state, reader.header, reader.rest), (data, cut))

    def test_large(self) -> None:
        """A header is never larger than its length says, nor larger than 64 KiB."""
        block = V4_BLOCK + tlv(0xE0, b"x" * (0xFFFF - 12 - 3))
        state, reader = fed(v2(block=block) + HELLO)
        self.assertEqual((ProxyState.COMPLETE, HELLO), (state, reader.rest))

    @given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE, v2()[:13]]))
    @settings(max_examples=300, deadline=None)
    def test_anything(self, data: bytes, start: bytes) -> None:
        """Whatever comes, in whatever pieces, there is one answer, and no exception."""
        data = start + data
        state, reader = fed(data)
        again, byte_by_byte = fed(*(data[at : at + 1] for at in range(len(data))))
        self.assertEqual((state, reader.header), (again, byte_by_byte.header))
        if state in (ProxyState.COMPLETE, ProxyState.ABSENT):
            self.assertEqual(reader.rest, byte_by_byte.rest)
            self.assertTrue(data.endswith(reader.rest))

    @given(st.binary(max_size=80), st.integers(0, 255), st.sampled_from([0x20, 0x21]))
    @settings(max_examples=300, deadline=None)
    def test_agrees_with_twisted(self, block: bytes, family: int, command: int) -> None:
        """What we read of a block, Twisted reads in the same way."""
        data = V2_SIGNATURE + bytes((command, family)) + struct.pack("!H", len(block)) + block
        state, reader = fed(data)
        if state is ProxyState.COMPLETE:
            info = V2Parser.parse(data)
            assert reader.header is not None
            self.same(reader.header, info)

    def test_agrees_with_twisted_on_lines(self) -> None:
        """The same of version 1; it does not know C{UNKNOWN} alone, though the protocol does."""
        for data, header in GOOD:
            if header.version == 1 and header.source is not None:
                self.same(header, V1Parser.parse(data[:-2]))
        self.assertRaises(InvalidProxyHeader, V1Parser.parse, BAD[2])

    def same(self, header: ProxyHeader, info: Any) -> None:
        for ours, theirs in ((header.source, info.source), (header.destination, info.destination)):
            if ours is None:
                self.assertIsNone(theirs)
            else:
                self.assertIsInstance(theirs, IPv6Address if ":" in ours[0] else IPv4Address)
                self.assertEqual(ipaddress.ip_address(ours[0]), ipaddress.ip_address(theirs.host))
                self.assertEqual(ours[1], theirs.port)


class FactTests(SynchronousTestCase):
    def test_tlvs(self) -> None:
        """The known ones have names; of two of a type the first counts."""
        header = ProxyHeader(2, tlvs=((TLV_ALPN, b"h2"), (TLV_AUTHORITY, b"a"), (TLV_AUTHORITY, b"b"), (0xE0, b"")))
        self.assertEqual((b"h2", b"a", b"", None), (header.alpn, header.authority, header.tlv(0xE0), header.tlv(0xE1)))
        self.assertEqual((None, None, None), (ProxyHeader(1).alpn, ProxyHeader(1).authority, ProxyHeader(1).ssl))

    def test_tls(self) -> None:
        """What is said of the client's TLS."""
        inner = tlv(TLV_SSL_VERSION, b"TLSv1.3") + tlv(TLV_SSL_CN, b"bob")
        for client, verify, verified in ((0b011, 0, True), (0b101, 0, True), (0b001, 0, False), (0b011, 1, False)):
            header = ProxyHeader(2, tlvs=((TLV_SSL, struct.pack("!BL", client, verify) + inner),))
            found = header.ssl
            assert found is not None
            self.assertEqual((verified, b"TLSv1.3", b"bob"), (found.verified, found.version, found.common_name))
        self.assertEqual(ProxyTLS(1, 0), ProxyHeader(2, tlvs=((TLV_SSL, b"\x01\0\0\0\0"),)).ssl)

    def test_tls_that_cannot_be_read(self) -> None:
        """Nothing is made up of a value that is too short, or whose parts are."""
        for value in (b"", b"\x01\0\0\0", b"\x07\0\0\0\0\x21", b"\x07\0\0\0\0\x21\0\x09TLS"):
            self.assertIsNone(ProxyHeader(2, tlvs=((TLV_SSL, value),)).ssl)


class WriteTests(SynchronousTestCase):
    def test_as_read(self) -> None:
        """What was read is written again so that it is read as the same, with TLVs byte for byte."""
        for data, header in GOOD:
            written = proxy_bytes(header)
            state, reader = fed(written + HELLO)
            self.assertEqual((ProxyState.COMPLETE, header, HELLO), (state, reader.header, reader.rest))
            if header.version == 2 and header.source:
                self.assertEqual(data, written)

    def test_lines(self) -> None:
        """Version 1, and what it cannot say."""
        for header, line in (
            (ProxyHeader(1, *V4), b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"),
            (ProxyHeader(1, V4[0], V6[0]), b"PROXY TCP6 ::ffff:c000:201 2001:db8::1 56324 1\r\n"),
            (ProxyHeader(1, ("::ffff:192.0.2.1", 5), V4[1]), b"PROXY TCP4 192.0.2.1 198.51.100.7 5 443\r\n"),
            (ProxyHeader(1, ("fe80::1%eth0", 5), V6[1]), b"PROXY TCP6 fe80::1 ::1 5 65535\r\n"),
            (ProxyHeader(1, ("fe80::1%eth0", 0), V6[1]), b"PROXY UNKNOWN\r\n"),
            (ProxyHeader(1, ("/run/x", 1), V6[1]), b"PROXY UNKNOWN\r\n"),
            (ProxyHeader(1), b"PROXY UNKNOWN\r\n"),
            (ProxyHeader(1, local=True), b"PROXY UNKNOWN\r\n"),
        ):
            written = proxy_bytes(header)
            self.assertIn(written, (line, line.replace(b"::ffff:c000:201", b"::ffff:192.0.2.1")))
            self.assertIs(ProxyState.COMPLETE, fed(written)[0])

    def test_too_many_tlvs(self) -> None:
        """What does not fit is left out, and the addresses are not."""
        header = ProxyHeader(2, *V4, tlvs=((1, b"x" * 0xFFFF),))
        self.assertEqual(v2(block=V4_BLOCK), proxy_bytes(header))

    def test_no_family(self) -> None:
        """A client over a UNIX socket has no address that could be told."""
        header = ProxyHeader(2, ("", 0), ("/run/x", 0))
        self.assertEqual(v2(1, 0), proxy_bytes(header))
