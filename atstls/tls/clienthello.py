# -*- test-case-name: tests.test_clienthello -*-
"""
L{HelloReader}: the first bytes of a connection in, a L{ClientHello} out, before OpenSSL has seen any of them.

Routes, certificates, hooks and blind tunnels are chosen by what a client says in its hello, and some of those choices
mean that OpenSSL must never see the connection.  So we read the hello first, and keep its bytes for whoever gets them.

The facts.  A ClientHello is one handshake message of type 1.  It travels in records of type 22, at most 2**14 bytes
each; one message may span several records, and a record may span several TCP segments.  With post-quantum key shares
1500 to 2000 bytes are usual, so that two segments are the common case and not the rare one.

The danger.  The peer is not known yet, and may try to cost us time (one byte at a time, one byte to a record),
memory (a hello without an end, records with nothing in them), or our trust (a hello that we read in one way and
OpenSSL in another).  Hence:

  - Every byte is looked at once.  The reader knows how many bytes it needs before anything new can be said, and until
    then a call only appends.  The message is parsed once, when it is whole.
  - The answer depends on the bytes only, never on how they were cut.  A record is looked at when it is whole, and
    L{LIMIT_BYTES} counts from the first byte, headers included.
  - Lengths are checked strictly, everywhere where we would rely on them; numbers that we do not know (new extensions,
    GREASE of RFC 8701) are passed over.
  - A hello that we cannot read goes to OpenSSL all the same, since it knows the right alert.  Should OpenSSL read it
    after all (it takes strange bytes in names, and an extension twice if it does not know it), then the two disagree,
    and B{the caller must fail the connection}: it was routed by nobody.

Not chosen: parsing again from the start whenever bytes arrive (short, but quadratic), and parsing across record
boundaries without joining (no copy, but every field needs two cases).

Source: RFC 8446 sections 4.1.2, 4.2 and 5.1; RFC 6066 section 3; RFC 7301; behaviour 6.3, rows S059, A007, A083, A125.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import lru_cache
from itertools import chain
from struct import Struct, unpack
from struct import error as StructError
from typing import Final, NamedTuple

from atstls.errors import BadClientHello
from atstls.tls.alerts import DECODE_ERROR, ILLEGAL_PARAMETER, RECORD_OVERFLOW, UNEXPECTED_MESSAGE

LIMIT_BYTES: Final = 65536
"""
Where we stop waiting for the end of a hello, in bytes from the wire.  Envoy's C{tls_inspector} allows as much; it is
far above what clients send (2 KB now, 12 KB with padding), and OpenSSL would take twice as much.
"""

RECORD_LIMIT_BYTES: Final = 16384
"""The longest fragment of a plaintext record (RFC 8446 section 5.1); OpenSSL refuses longer ones as well."""

GREASE: Final = frozenset(0x0A0A + 0x1010 * n for n in range(16))
"""The values that clients sprinkle in so that nobody comes to rely on knowing them all (RFC 8701)."""

SERVER_NAME: Final = 0
SUPPORTED_GROUPS: Final = 10
EC_POINT_FORMATS: Final = 11
SIGNATURE_ALGORITHMS: Final = 13
ALPN: Final = 16
SESSION_TICKET: Final = 35
PRE_SHARED_KEY: Final = 41
EARLY_DATA: Final = 42
SUPPORTED_VERSIONS: Final = 43

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
# Where the session id's length is: after the message header, the version and 32 random bytes.
_SESSION_ID = _MESSAGE_HEADER + 2 + 32

_SSL_3, _TLS_1_0, _TLS_1_2 = 0x0300, 0x0301, 0x0303

_read_pair = Struct(">HH").unpack_from
# What may stand in a name that we look up, log and put into routes: what can be seen, at most as long as DNS allows.
_is_name = re.compile(rb"[!-~]{1,255}").fullmatch

# The extensions that we look into, so that their lengths must be right.
_READ = (SERVER_NAME, ALPN, SUPPORTED_VERSIONS, SUPPORTED_GROUPS, SIGNATURE_ALGORITHMS, EC_POINT_FORMATS)

_JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}


class HelloState(Enum):
    """What is known of the first bytes of a connection.  All but L{NEED_MORE} are final."""

    NEED_MORE = "need more"
    """So far so good."""
    COMPLETE = "complete"
    """The hello is there; bytes after it may be there as well."""
    NOT_TLS = "not TLS"
    """The first byte is no handshake record's.  An SSLv2 hello is among these (behaviour O48)."""
    MALFORMED = "malformed"
    """
    A TLS record, but no ClientHello that we can read.  Give the bytes to OpenSSL, which knows the right alert; and if
    it takes them after all, fail the connection with the one in L{HelloReader.error}.
    """
    TOO_LARGE = "too large"
    """No end within L{LIMIT_BYTES}, or it announces that there will be none."""


class HelloReader:
    """
    Reads the first message of a client, in any number of pieces.

    @ivar raw: every byte that was fed, as it came, also those after the hello and after a failure.  To be given to
        OpenSSL or to an origin; it is the caller's to empty once the state is final.
    @ivar state: what L{feed} answered last.
    @ivar hello: the hello, when the state is C{COMPLETE}, else C{None}.
    @ivar error: why it failed, with the alert that fits (C{None} for a peer that does not talk TLS), when the state is
        one of the failures, else C{None}.
    """

    __slots__ = ("_message", "_record", "_wanted", "error", "hello", "raw", "state")

    def __init__(self) -> None:
        self.raw = bytearray()
        self.state = HelloState.NEED_MORE
        self.hello: ClientHello | None = None
        self.error: BadClientHello | None = None
        self._message: bytes | bytearray = b""  # the fragments of the records that are whole, joined
        self._record = 0  # where in raw the first record begins that is not
        self._wanted = 1  # how long raw must be before anything new can be said

    def feed(self, data: bytes | bytearray | memoryview) -> HelloState:
        """
        Take the next bytes of the connection.

        @param data: any number of them; they are copied.
        @return: the state, which is final when it is not C{NEED_MORE}: later bytes are kept and change nothing.
        """
        self.raw += data
        if self.state is HelloState.NEED_MORE and len(self.raw) >= self._wanted:
            self._read_records()
        return self.state

    def _read_records(self) -> None:
        """Go through the records that are whole now, and find out how many bytes the next answer takes."""
        raw = self.raw
        if raw[0] != _HANDSHAKE:
            self._fail(HelloState.NOT_TLS, "the first byte is not TLS")
        while self.state is HelloState.NEED_MORE:
            record = self._record
            body = record + _RECORD_HEADER
            if body > LIMIT_BYTES:
                self._fail(HelloState.TOO_LARGE, "the hello has no end", ILLEGAL_PARAMETER)
                return
            if len(raw) < body:
                self._wanted = body
                return
            if raw[record] != _HANDSHAKE or raw[record + 1] != 3:
                self._fail(HelloState.MALFORMED, "a record that is no handshake record", UNEXPECTED_MESSAGE)
                return
            length = raw[record + 3] << 8 | raw[record + 4]
            if length > RECORD_LIMIT_BYTES:
                self._fail(HelloState.MALFORMED, "a record that is too long", RECORD_OVERFLOW)
                return
            end = body + length
            if end > LIMIT_BYTES:
                self._fail(HelloState.TOO_LARGE, "the hello has no end", ILLEGAL_PARAMETER)
                return
            if len(raw) < end:
                self._wanted = end
                return
            fragment = raw[body:end]
            if self._message:
                self._message += fragment
            else:
                self._message = fragment  # mostly all of the message
            self._record = end
            self._read_message()

    def _read_message(self) -> None:
        """Look at what the records so far make together."""
        message = self._message
        if message and message[0] != _CLIENT_HELLO:
            self._fail(HelloState.MALFORMED, "a handshake message other than a hello", UNEXPECTED_MESSAGE)
            return
        if len(message) < _MESSAGE_HEADER:
            return
        size = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
        missing = size - len(message)
        if missing > 0:
            if self._record + _RECORD_HEADER + missing > LIMIT_BYTES:
                self._fail(HelloState.TOO_LARGE, f"a hello of {size} bytes", ILLEGAL_PARAMETER)
            return
        try:
            self.hello = parse_hello(bytes(message[:size] if missing else message))
        except BadClientHello as error:
            # A new error: the traceback of this one knows our frame, which would make a cycle of the two of us.
            self._fail(HelloState.MALFORMED, str(error), error.alert)
        else:
            self.state = HelloState.COMPLETE
            self._message = b""

    def _fail(self, state: HelloState, reason: str, alert: int | None = None) -> None:
        self.state = state
        self.error = BadClientHello(reason, alert)
        self._message = b""


class ClientHello(NamedTuple):
    """
    What a client said first.  Made by L{parse_hello}.

    The attributes are what every connection needs.  The properties are for hooks, logs and fingerprints: each access
    reads the message again, so keep the value if you need it twice.

    @ivar raw: the handshake message, its four header bytes included.
    @ivar legacy_version: the version field, which says 0x0303 for TLS 1.3 as well; see L{versions}.
    @ivar server_name: the name that the client asks for, lower case, without a dot at its end, or C{None}.  It is
        visible ASCII and not empty, and nothing more is promised: it may be a literal address, which RFC 6066 forbids
        and clients send.
    @ivar server_name_bytes: the same, exactly as sent.
    @ivar alpn: the application protocols in the client's order, GREASE included; empty without the extension.
    @ivar supported_versions: the extension of this name as sent, GREASE included; empty without the extension.
    @ivar extension_types: which extensions there are, in the client's order, GREASE included.
    @ivar extensions_at: where in C{raw} they begin.
    """

    raw: bytes
    legacy_version: int
    server_name: str | None
    server_name_bytes: bytes | None
    alpn: tuple[bytes, ...]
    supported_versions: tuple[int, ...]
    extension_types: tuple[int, ...]
    extensions_at: int

    def __repr__(self) -> str:
        return (
            f"ClientHello(legacy_version={self.legacy_version}, server_name={self.server_name!r}, "
            f"alpn={self.alpn}, supported_versions={self.supported_versions})"
        )

    @property
    def versions(self) -> tuple[int, ...]:
        """
        The versions that the client offers, in its order, without GREASE.

        A client without the extension offers what it names and everything below, but never TLS 1.3 (RFC 8446 section
        4.2.1); SSL 3.0 only if that is all that it can do.
        """
        if self.supported_versions:
            return _without_grease(self.supported_versions)
        return tuple(range(min(self.legacy_version, _TLS_1_2), _SSL_3, -1)) or (self.legacy_version,)

    @property
    def offers_alpn(self) -> bool:
        """Whether the client speaks of application protocols at all."""
        return bool(self.alpn)  # an empty list is malformed

    @property
    def random(self) -> bytes:
        """The client's 32 random bytes."""
        return self.raw[_SESSION_ID - 32 : _SESSION_ID]

    @property
    def session_id(self) -> bytes:
        """What the client wants to resume (TLS 1.2), or 32 bytes without a meaning (TLS 1.3); at most 32 bytes."""
        return self.raw[_SESSION_ID + 1 : self._suites_at]

    @property
    def _suites_at(self) -> int:
        return _SESSION_ID + 1 + self.raw[_SESSION_ID]

    @property
    def cipher_suites(self) -> tuple[int, ...]:
        """The cipher suites in the client's order, GREASE and signalling values included."""
        at = self._suites_at + 2
        return _numbers(self.raw[at : at + int.from_bytes(self.raw[at - 2 : at], "big")])

    @property
    def compression_methods(self) -> bytes:
        """One byte each; C{b"\\0"} in practice."""
        at = self._suites_at
        at += 2 + int.from_bytes(self.raw[at : at + 2], "big")
        return self.raw[at + 1 : at + 1 + self.raw[at]]

    @property
    def extensions(self) -> tuple[tuple[int, bytes], ...]:
        """All extensions, type and body, in the client's order, GREASE included."""
        return tuple(self._walk())

    def _walk(self) -> Iterator[tuple[int, bytes]]:
        raw = self.raw
        at = self.extensions_at
        while at < len(raw):
            kind, size = _read_pair(raw, at)
            yield kind, raw[at + 4 : at + 4 + size]
            at += 4 + size

    def extension(self, kind: int) -> bytes | None:
        """The body of the extension of type C{kind}, or C{None} if the client did not send it."""
        return next((body for found, body in self._walk() if found == kind), None)

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups for the key exchange in the client's order, GREASE included; empty without the extension."""
        return _numbers((self.extension(SUPPORTED_GROUPS) or b"")[2:])

    @property
    def signature_algorithms(self) -> tuple[int, ...]:
        """The signature algorithms in the client's order; empty without the extension."""
        return _numbers((self.extension(SIGNATURE_ALGORITHMS) or b"")[2:])

    @property
    def has_session_ticket(self) -> bool:
        """Whether the client brings a ticket of TLS 1.2 or older; the mere wish for one does not count."""
        return bool(self.extension(SESSION_TICKET))

    @property
    def has_psk(self) -> bool:
        """Whether the client brings a pre-shared key of TLS 1.3: in practice, a ticket."""
        return PRE_SHARED_KEY in self.extension_types

    @property
    def has_early_data(self) -> bool:
        """Whether the client will send data before the handshake is done."""
        return EARLY_DATA in self.extension_types

    @property
    def ja3_string(self) -> str:
        """Version, suites, extensions, groups and point formats in decimal: what L{ja3} is the digest of."""
        formats = tuple((self.extension(EC_POINT_FORMATS) or b"")[1:])
        lists = (self.cipher_suites, self.extension_types, self.groups, formats)
        return ",".join([str(self.legacy_version), *("-".join(map(str, _without_grease(part))) for part in lists)])

    @property
    def ja3(self) -> str:
        """
        The JA3 fingerprint, 32 hexadecimal digits.

        Browsers shuffle their extensions, so that theirs differs from one connection to the next; see L{ja4}.
        """
        # MD5 is what JA3 is defined with; nothing is protected by it.
        return hashlib.md5(self.ja3_string.encode(), usedforsecurity=False).hexdigest()

    @property
    def ja4(self) -> str:
        """
        The JA4 fingerprint, such as C{t13d1516h2_8daaf6152771_e5627efa2ab1}.

        Source: FoxIO, "JA4: TLS Client Fingerprinting", for TLS over TCP.
        """
        suites = _without_grease(self.cipher_suites)
        kinds = _without_grease(self.extension_types)
        # JA4 wants the highest version named anywhere, not the highest that may be negotiated.
        version = max(_without_grease(self.supported_versions or (self.legacy_version,)), default=0)
        counted = _hexadecimal(sorted(kind for kind in kinds if kind not in (SERVER_NAME, ALPN)))
        if signatures := _hexadecimal(_without_grease(self.signature_algorithms)):
            counted += "_" + signatures
        return (
            f"t{_JA4_VERSIONS.get(version, '00')}{'d' if SERVER_NAME in kinds else 'i'}"
            f"{min(len(suites), 99):02}{min(len(kinds), 99):02}{_ja4_alpn(self.alpn)}"
            f"_{_ja4_digest(_hexadecimal(sorted(suites)))}_{_ja4_digest(counted)}"
        )


def parse_hello(message: bytes) -> ClientHello:
    """
    Read one whole ClientHello.

    @param message: the handshake message, from its type on, neither shorter nor longer than its length says.
    @raise BadClientHello: it is not well formed; the error's C{alert} says how.
    """
    try:
        return _parse(message)
    except (StructError, IndexError):
        raise BadClientHello("the hello ends too early", DECODE_ERROR) from None


def _parse(message: bytes) -> ClientHello:
    """
    L{parse_hello}, except that it may also raise C{IndexError} or C{struct.error} where the message ends too early.

    Straight on and with few calls, since each new connection comes through here.
    """
    end = len(message)
    session_size = message[_SESSION_ID]
    at = _SESSION_ID + 1 + session_size
    suites_size = message[at] << 8 | message[at + 1]
    at += 2 + suites_size
    compression_size = message[at]
    at += 1 + compression_size
    if session_size > 32 or suites_size % 2 or not suites_size or not compression_size or at > end:
        raise BadClientHello("a length before the extensions is wrong", DECODE_ERROR)

    kinds: tuple[int, ...] = ()
    found: tuple[str | None, bytes | None, tuple[bytes, ...], tuple[int, ...]] = (None, None, (), ())
    if at < end:  # clients older than TLS 1.2 may end here
        if message[at] << 8 | message[at + 1] != end - at - 2:
            raise BadClientHello("the length of the extensions is wrong", DECODE_ERROR)
        at += 2
        layout = _layouts.get((at, end))
        if layout is not None and layout.read_headers(message, at) == layout.headers:
            kinds, looked_into, bodies = layout.kinds, layout.looked_into, layout.read_bodies(message, at)
        else:
            kinds, looked_into, bodies = _walk(message, at)
        read = _read_extensions if end <= _REMEMBERED_BYTES else _read_extensions.__wrapped__
        found = read(looked_into, bodies)
    return ClientHello(message, message[4] << 8 | message[5], *found, kinds, at)


def _walk(message: bytes, at: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[bytes, ...]]:
    """
    Go from one extension to the next; they begin at C{at} and are the rest of C{message}.

    @return: the types of all, in order; the types of those that we look into, as L{_READ} has them; their bodies.
    """
    begin, end = at, len(message)
    headers = []
    bodies: dict[int, bytes] = {}
    while at < end:
        header = kind, size = _read_pair(message, at)
        headers.append(header)
        body = at + 4
        at = body + size
        bodies[kind] = message[body:at]
    if at != end:
        raise BadClientHello("the last extension is longer than the hello", DECODE_ERROR)
    if len(bodies) != len(headers):
        raise BadClientHello("an extension that is there twice", ILLEGAL_PARAMETER)
    if end <= _REMEMBERED_BYTES and len(headers) <= _REMEMBERED_EXTENSIONS:
        _remember_layout((begin, end), tuple(headers))
    looked_into = tuple(kind for kind in _READ if kind in bodies)  # in this order, whoever shuffles them
    return tuple(bodies), looked_into, tuple(map(bodies.__getitem__, looked_into))


class _Layout:
    """
    Where the extensions of a hello are.

    @ivar headers: the type and the size of each, in one row.
    @ivar kinds: their types.
    @ivar looked_into: the types of those that we look into.
    @ivar read_headers: gives what is there in the place of C{headers}, of a message and where its extensions begin.
    @ivar read_bodies: the same for the bodies of C{looked_into}.
    """

    __slots__ = ("headers", "kinds", "looked_into", "read_bodies", "read_headers")

    def __init__(self, headers: tuple[tuple[int, int], ...]) -> None:
        self.headers = tuple(chain.from_iterable(headers))
        self.kinds = tuple(kind for kind, _ in headers)
        self.looked_into = tuple(kind for kind in self.kinds if kind in _READ)
        self.read_headers = Struct(">" + "".join(f"HH{size}x" for _, size in headers)).unpack_from
        bodies = (f"4x{size}{'s' if kind in _READ else 'x'}" for kind, size in headers)
        self.read_bodies = Struct(">" + "".join(bodies)).unpack_from


_layouts: dict[tuple[int, int], _Layout] = {}
"""
A layout of extensions by where they begin and end.  Programs lay out all of their hellos alike, so that two calls take
the place of the walk.  (Browsers shuffle them.)
"""

_walked: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
"""What the last walk found, by the same: what is found twice in a row becomes a layout."""

_REMEMBERED_LAYOUTS = 256
_REMEMBERED_EXTENSIONS = 32


def _remember_layout(where: tuple[int, int], headers: tuple[tuple[int, int], ...]) -> None:
    if _walked.get(where) == headers:
        if len(_layouts) >= _REMEMBERED_LAYOUTS:
            _layouts.clear()
        _layouts[where] = _Layout(headers)
    if len(_walked) >= _REMEMBERED_LAYOUTS:
        _walked.clear()
    _walked[where] = headers


_REMEMBERED_HELLOS = 512
_REMEMBERED_BYTES = 4096
"""What was read in a hello is mostly what was read in another, and is kept; of a longer one it is not."""


@lru_cache(_REMEMBERED_HELLOS)
def _read_extensions(
    kinds: tuple[int, ...], bodies: tuple[bytes, ...]
) -> tuple[str | None, bytes | None, tuple[bytes, ...], tuple[int, ...]]:
    """
    Look into the C{bodies} of extensions of C{kinds}, which are among L{_READ}.

    @return: the name and the name as sent, the protocols, the versions.
    """
    server_name, alpn, versions, groups, signature_algorithms, point_formats = map(
        dict(zip(kinds, bodies, strict=True)).get, _READ
    )
    for body in (groups, signature_algorithms):
        if body is not None:
            _check_vector(body, 2, 2)
    if point_formats is not None:
        _check_vector(point_formats, 1, 1)
    numbers: tuple[int, ...] = ()
    if versions is not None:
        _check_vector(versions, 1, 2)
        numbers = _numbers(versions[1:])
    name, sent = (None, None) if server_name is None else _server_name(server_name)
    return name, sent, () if alpn is None else _protocols(alpn), numbers


def _check_vector(body: bytes, prefix: int, item: int) -> None:
    """Check that C{body} is a length in C{prefix} bytes, and as many bytes: one or more items of C{item} bytes."""
    size = len(body) - prefix
    if size < item or size % item or int.from_bytes(body[:prefix], "big") != size:
        raise BadClientHello("the length of a list is wrong", DECODE_ERROR)


def _server_name(body: bytes) -> tuple[str, bytes]:
    """
    The one name in an extension of type server_name, fit for use and as sent.

    The list was meant for more names and more types of them, which never came (RFC 6066 allows one per type, and one
    type is known).  OpenSSL takes one name of this one type, and so do we: there must be no two readings.
    """
    size = len(body) - 5
    if size < 1 or body[2] or body[0] << 8 | body[1] != size + 3 or body[3] << 8 | body[4] != size:
        raise BadClientHello("a server name with a wrong length", DECODE_ERROR)
    sent = body[5:]
    if not _is_name(sent):
        raise BadClientHello("a server name that is no host name", ILLEGAL_PARAMETER)
    name = sent.decode("ascii").lower().removesuffix(".")
    if not name:
        raise BadClientHello("a server name that is empty", ILLEGAL_PARAMETER)
    return name, sent


def _protocols(body: bytes) -> tuple[bytes, ...]:
    """The names in an extension of type ALPN.  Source: RFC 7301 section 3.1: at least one, and none that is empty."""
    _check_vector(body, 2, 1)
    names = []
    at = 2
    while at < len(body):
        size = body[at]
        names.append(body[at + 1 : at + 1 + size])
        at += 1 + size
        if not size or at > len(body):
            raise BadClientHello("a protocol name with a wrong length", DECODE_ERROR)
    return tuple(names)


def _numbers(body: bytes) -> tuple[int, ...]:
    return unpack(f">{len(body) // 2}H", body)


def _without_grease(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(number for number in numbers if number not in GREASE)


def _hexadecimal(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:04x}" for number in numbers)


def _ja4_alpn(alpn: tuple[bytes, ...]) -> str:
    """The first and last character of the first protocol, or of its hexadecimal digits where these are no letters."""
    if not alpn:
        return "00"
    first = alpn[0]
    text = first.decode("latin-1")
    if not (first[:1].isalnum() and first[-1:].isalnum()):
        text = first.hex()
    return text[0] + text[-1]


def _ja4_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12
