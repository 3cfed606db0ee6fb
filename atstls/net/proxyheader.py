# -*- test-case-name: tests.test_proxyheader -*-
"""
The PROXY protocol, versions 1 and 2: what a load balancer says about its client, before the first byte of that one.

L{ProxyReader} takes bytes and gives a L{ProxyHeader}, whatever pieces they come in; L{proxy_bytes} writes one.  No
socket, no clock.

Who sends no header is not wrong: the first byte that does not fit says so, and the bytes are those of the client.  Who
begins one and does not get it right is: nothing of it is taken for anything else, since those would be the bytes of a
client that says who it is.

There are parsers of others, Twisted's and C{proxyprotocol}.  Both lose what we keep (TLVs, and their order), both take
a good deal that is no header (numbers such as C{+1}, TLVs that are cut off), and Twisted's wants the first sixteen
bytes in one piece.  The tests compare with Twisted's where both should agree.

Source: behaviour 1.28, A092-A094; https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt.
"""

import ipaddress
import re
import struct
from enum import Enum
from typing import Final

from attrs import frozen

V1_PREFIX: Final = b"PROXY"
V1_MOST: Final = 108
"""So many bytes a header of version 1 has at most, with the end of its line."""

V1_LEAST: Final = 15

V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
V2_FIXED: Final = 16

TLV_ALPN: Final = 0x01
TLV_AUTHORITY: Final = 0x02
TLV_UNIQUE_ID: Final = 0x05
TLV_SSL: Final = 0x20
TLV_SSL_VERSION: Final = 0x21
TLV_SSL_CN: Final = 0x22

_V1 = re.compile(
    rb"PROXY TCP(?P<family>[46]) (?P<source>[0-9A-Fa-f:.]{2,45}) (?P<destination>[0-9A-Fa-f:.]{2,45}) "
    rb"(?P<source_port>[1-9][0-9]{0,4}) (?P<destination_port>[1-9][0-9]{0,4})"
)
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN( .*)?", re.DOTALL)

_LOCAL, _PROXY = 0, 1
_UNSPECIFIED = 0x00
_INET, _INET6 = 0x11, 0x21
_STREAM, _DATAGRAM = 1, 2
_ADDRESSES = {0x10: struct.Struct("!4s4sHH"), 0x20: struct.Struct("!16s16sHH")}
_TLV = struct.Struct("!BH")
_SSL = struct.Struct("!BL")

Endpoint = tuple[str, int]


class ProxyState(Enum):
    """How far a L{ProxyReader} has come."""

    NEED_MORE = "need more"
    ABSENT = "absent"
    COMPLETE = "complete"
    MALFORMED = "malformed"


@frozen
class ProxyHeader:
    """
    What a proxy says of the connection that it passes on.

    @ivar version: 1 or 2.
    @ivar source: address and port of the client; C{None}: the proxy does not say (C{UNKNOWN}), or speaks for itself.
    @ivar destination: where the client connected to; C{None} together with C{source}.
    @ivar local: the proxy speaks for itself, as for a health check: the addresses of the socket are right.
    @ivar datagram: the client came by UDP, as QUIC does.
    @ivar tlvs: what else it says, in its order: types and values.
    """

    version: int
    source: Endpoint | None = None
    destination: Endpoint | None = None
    local: bool = False
    datagram: bool = False
    tlvs: tuple[tuple[int, bytes], ...] = ()

    def tlv(self, kind: int) -> bytes | None:
        """The first value of a type; C{None}: there is none."""
        return _first(self.tlvs, kind)

    @property
    def alpn(self) -> bytes | None:
        """The protocol that the proxy has agreed on with its client."""
        return self.tlv(TLV_ALPN)

    @property
    def authority(self) -> bytes | None:
        """The name that the client asked for."""
        return self.tlv(TLV_AUTHORITY)

    @property
    def ssl(self) -> "ProxyTLS | None":
        """What the proxy says of the client's TLS; C{None}: nothing, or nothing that could be read."""
        value = self.tlv(TLV_SSL)
        if value is None or len(value) < _SSL.size:
            return None
        client, verify = _SSL.unpack_from(value)
        tlvs = _read_tlvs(value[_SSL.size :])
        return None if tlvs is None else ProxyTLS(client, verify, tlvs)


@frozen
class ProxyTLS:
    """
    What a proxy says of its client's TLS.

    @ivar client: bits: 1, it spoke TLS; 2, it showed a certificate on this connection; 4, in this session.
    @ivar verify: 0: a certificate was shown, and was good.
    @ivar tlvs: as in L{ProxyHeader}, of types of their own.
    """

    client: int
    verify: int
    tlvs: tuple[tuple[int, bytes], ...] = ()

    @property
    def verified(self) -> bool:
        """The client has shown a certificate, and the proxy found it good."""
        return bool(self.client & 0b110) and self.verify == 0

    @property
    def version(self) -> bytes | None:
        """As in C{TLSv1.3}."""
        return _first(self.tlvs, TLV_SSL_VERSION)

    @property
    def common_name(self) -> bytes | None:
        """Of the client's certificate."""
        return _first(self.tlvs, TLV_SSL_CN)


class ProxyReader:
    """
    Reads a header, if there is one.

    @ivar header: what was read, when C{COMPLETE}.
    @ivar rest: what is behind it; all of it when C{ABSENT}.
    @ivar reason: what is wrong, when C{MALFORMED}.
    """

    __slots__ = ("_kept", "header", "reason", "rest")

    def __init__(self) -> None:
        self.header: ProxyHeader | None = None
        self.rest = b""
        self.reason = ""
        self._kept = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> ProxyState:
        """Take the next bytes.  After any answer but C{NEED_MORE} there are no more to be given."""
        kept = self._kept
        kept += data
        try:
            size = self._look(kept)
        except ValueError as exc:
            self.reason = f"the PROXY header is wrong: {exc}"
            self._kept = bytearray()
            return ProxyState.MALFORMED
        if size is None:
            return ProxyState.NEED_MORE
        self.rest = bytes(kept[size:])
        self._kept = bytearray()
        return ProxyState.COMPLETE if size else ProxyState.ABSENT

    def _look(self, kept: bytearray) -> int | None:
        """
        The header's size; 0: there is none; C{None}: that is not known yet.

        @raise ValueError: it is wrong.
        """
        if V2_SIGNATURE.startswith(kept[: len(V2_SIGNATURE)]):
            return self._version_2(kept)
        if V1_PREFIX.startswith(kept[: len(V1_PREFIX)]):
            return self._version_1(kept)
        return 0

    def _version_1(self, kept: bytearray) -> int | None:
        if len(kept) > len(V1_PREFIX) and kept[len(V1_PREFIX)] != 0x20:
            raise ValueError("there is no space behind PROXY")
        end = kept.find(b"\r\n", 0, V1_MOST)
        if end < 0:
            if len(kept) >= V1_MOST:
                raise ValueError(f"its line does not end within {V1_MOST} bytes")
            return None
        self.header = _read_line(bytes(kept[:end]))
        return end + 2

    def _version_2(self, kept: bytearray) -> int | None:
        signature = len(V2_SIGNATURE)
        if len(kept) > signature and (kept[signature] >> 4 != 2 or kept[signature] & 15 > _PROXY):
            raise ValueError("its version or command is unknown")
        if len(kept) < V2_FIXED:
            return None
        size = V2_FIXED + int.from_bytes(kept[V2_FIXED - 2 : V2_FIXED], "big")
        if len(kept) < size:
            return None
        self.header = _read_block(kept[signature] & 15, kept[signature + 1], bytes(kept[V2_FIXED:size]))
        return size


def _read_line(line: bytes) -> ProxyHeader:
    """Version 1, without the end of the line."""
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyHeader(1)
    found = _V1.fullmatch(line)
    if found is None:
        raise ValueError("its line cannot be read")
    kind = ipaddress.IPv4Address if found["family"] == b"4" else ipaddress.IPv6Address
    endpoints = []
    for which in ("source", "destination"):
        port = int(found[f"{which}_port"])
        if port > 65535:
            raise ValueError("a port is out of range")
        endpoints.append((str(kind(found[which].decode("ascii"))), port))
    source, destination = endpoints
    return ProxyHeader(1, source, destination)


def _read_block(command: int, family: int, block: bytes) -> ProxyHeader:
    """Version 2, behind its fixed part."""
    if command == _LOCAL:
        return ProxyHeader(2, local=True)  # "and must discard the protocol block including the family"
    if family == _UNSPECIFIED:
        return ProxyHeader(2, tlvs=_tlvs_of(block))
    layout, transport = _ADDRESSES.get(family & 0xF0), family & 0x0F
    if layout is None or transport not in (_STREAM, _DATAGRAM):
        raise ValueError("its family is unknown, or not one of the Internet")
    if len(block) < layout.size:
        raise ValueError("it has no room for its addresses")
    source, destination, source_port, destination_port = layout.unpack_from(block)
    return ProxyHeader(
        2,
        (str(ipaddress.ip_address(source)), source_port),
        (str(ipaddress.ip_address(destination)), destination_port),
        datagram=transport == _DATAGRAM,
        tlvs=_tlvs_of(block[layout.size :]),
    )


def _tlvs_of(data: bytes) -> tuple[tuple[int, bytes], ...]:
    tlvs = _read_tlvs(data)
    if tlvs is None:
        raise ValueError("a TLV is longer than the header")
    return tlvs


def _read_tlvs(data: bytes) -> tuple[tuple[int, bytes], ...] | None:
    tlvs = []
    at = 0
    while at < len(data):
        if at + _TLV.size > len(data):
            return None
        kind, size = _TLV.unpack_from(data, at)
        at += _TLV.size
        if at + size > len(data):
            return None
        tlvs.append((kind, data[at : at + size]))
        at += size
    return tuple(tlvs)


def _first(tlvs: tuple[tuple[int, bytes], ...], kind: int) -> bytes | None:
    return next((value for found, value in tlvs if found == kind), None)


# Writing.


def proxy_bytes(header: ProxyHeader) -> bytes:
    """
    C{header} as it goes over the wire.

    Addresses of two families are both written as IPv6; what has none is C{UNKNOWN}, or of no family.  TLVs for which
    there is no room are left out, all of them.
    """
    addresses, ports = None, (0, 0)
    if header.source is not None and header.destination is not None:
        addresses = _same_family(header.source[0], header.destination[0])
        ports = header.source[1], header.destination[1]
    if header.version == 1:
        if addresses is None or not all(ports):
            return b"PROXY UNKNOWN\r\n"
        line = f"PROXY TCP{addresses[0].version} {addresses[0]} {addresses[1]} {ports[0]} {ports[1]}\r\n"
        return line.encode("ascii")
    tlvs = b"".join(_TLV.pack(kind, len(value)) + value for kind, value in header.tlvs)
    if header.local:
        family, block, tlvs = _UNSPECIFIED, b"", b""
    elif addresses is None:
        family, block = _UNSPECIFIED, b""
    else:
        family = _INET if addresses[0].version == 4 else _INET6
        block = _ADDRESSES[family & 0xF0].pack(addresses[0].packed, addresses[1].packed, *ports)
        family += header.datagram
    if len(block) + len(tlvs) <= 0xFFFF:
        block += tlvs
    command = _LOCAL if header.local else _PROXY
    return V2_SIGNATURE + bytes((0x20 | command, family)) + len(block).to_bytes(2, "big") + block


IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def _same_family(*hosts: str) -> tuple[IPAddress, ...] | None:
    found: list[IPAddress] = []
    for host in hosts:
        try:
            address: IPAddress = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        found.append(address)
    if len({address.version for address in found}) > 1:
        found = [
            ipaddress.IPv6Address(f"::ffff:{address}") if address.version == 4 else address for address in found
        ]
    return tuple(found)
