# -*- test-case-name: tests.test_engine -*-
"""
TLS itself: ciphertext in, plaintext out and back, over memory BIOs.  The one module that calls OpenSSL for a
connection.

OpenSSL offers four operations (handshake, read, write, shutdown), each of which may want ciphertext that is not there
yet and may leave ciphertext that has to go out.  A memory BIO on each side keeps the kernel out of it:

  - L{Engine.feed} puts ciphertext in.  C{starved} says that OpenSSL has digested all of it and wants more; while it
    is False another L{Engine.read} can find plaintext without a byte from the peer.  C{SSL_pending} cannot say this:
    it knows only of the record that is decrypted already.
  - After every operation, L{Engine.drain} takes out what OpenSSL has to say: handshake messages, alerts, the answer to
    a renegotiation, records.  Whoever leaves it there waits for a peer that waits for us.
  - A memory BIO takes any amount, so C{WANT_WRITE} does not occur, and bounding what is written is the caller's
    affair: it drains, and writes no more while the kernel does not take what was drained.
  - The end of the peer's TCP stream is not told to OpenSSL: who meets it while C{starved} knows that the stream was cut
    off, since an end in order (close_notify) is C{CLOSED}.

Bytes are read into and written out of the blocks of L{atstls.eventsystem.iobuffer}, by any object that has their
C{view}, C{c}, C{end} and C{size}.  Results are integers; nothing is raised in the normal course.  A failure sticks:
C{condition} stays, and C{reason} says why.

There are two ways to call OpenSSL.  L{CffiEngine} uses the C functions that pyOpenSSL itself uses, on memory that is
registered once: a request costs 1.3 to 1.4 times as much without.  They are private to pyOpenSSL, so L{PublicEngine}
does the same by public methods alone; it is used where a C function is missing, and the tests run over both.

Source: seed, "ssl_read_from_net", "load_buffer_and_write"; behaviour 1.17 to 1.23 and 6.1.
"""

from typing import Any, Final

from OpenSSL import SSL

from atstls.errors import HandshakeFailed, LocalError
from atstls.statistics import counters

try:
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib

    _SSL_read = _lib.SSL_read
    _SSL_write = _lib.SSL_write
    _SSL_get_error = _lib.SSL_get_error
    _SSL_do_handshake = _lib.SSL_do_handshake
    _SSL_clear_mode = _lib.SSL_clear_mode
    _SSL_session_reused = _lib.SSL_session_reused
    _SSL_get_verify_result = _lib.SSL_get_verify_result
    _SSL_version = _lib.SSL_version
    _SSL_get_current_cipher = _lib.SSL_get_current_cipher
    _SSL_get0_group_name = _lib.SSL_get0_group_name
    _SSL_set_bio = _lib.SSL_set_bio
    _BIO_read = _lib.BIO_read
    _BIO_write = _lib.BIO_write
    _BIO_new = _lib.BIO_new
    _BIO_new_mem_buf = _lib.BIO_new_mem_buf
    _BIO_get_mem_data = _lib.BIO_get_mem_data
    _BIO_set_mem_eof_return = _lib.BIO_set_mem_eof_return
    _BIO_s_mem = _lib.BIO_s_mem
    _ERR_get_error = _lib.ERR_get_error
    _ERR_clear_error = _lib.ERR_clear_error
    _ERR_reason_error_string = _lib.ERR_reason_error_string
    _WANT_READ = _lib.SSL_ERROR_WANT_READ
    _ZERO_RETURN = _lib.SSL_ERROR_ZERO_RETURN
    _PARTIAL_WRITE = _lib.SSL_MODE_ENABLE_PARTIAL_WRITE
    _TLS1_3 = _lib.TLS1_3_VERSION
    _data_at = _ffi.new("char **")
    HAVE_CFFI = True
except (ImportError, AttributeError):  # pragma: no cover - only where pyOpenSSL has changed its inside
    HAVE_CFFI = False

try:
    # Apart, since pyOpenSSL itself has no use for the last two: they may go, and should take nothing with them.
    _SSL_get_session = _lib.SSL_get_session
    _SSL_set_session = _lib.SSL_set_session
    _SSL_SESSION_free = _lib.SSL_SESSION_free
    _write_session = _lib.i2d_SSL_SESSION
    _read_session = _lib.d2i_SSL_SESSION
    HAVE_SESSION_BYTES = True
except (NameError, AttributeError):  # pragma: no cover - only where cryptography has changed its inside
    HAVE_SESSION_BYTES = False

OPEN: Final = 0
CLOSED: Final = 1
"""The peer has said close_notify: it will send nothing more."""
FAILED: Final = 2
"""The TLS stream is broken; C{reason} says why."""

BORROWED_BYTES: Final = 16 << 10
"""From so much ciphertext on it is cheaper to let OpenSSL read it where it is than to copy it."""

RECORDS_ARE_LONGER_BY: Final = 128
"""Where what was fed is longer than what was read by less, there may be nothing left: it is worth a look."""

BETWEEN_RECORDS: Final = 2
"""More than True: a value of L{Engine.starved}."""

_BROKEN: Final = bytes(5)
"""The header of no record."""

NO_SESSION_ID_CONTEXT: Final = "session id context uninitialized"
"""A reason: the client has a session, and must show certificates, and nobody has said what sessions are good for."""

DONE: Final = 1
WANT_READ: Final = 0

RENEGOTIATION_REFUSED: Final = "the peer asked to renegotiate"
RENEGOTIATED_TOO_OFTEN: Final = "the peer renegotiates too often"
"""The C{reason} of a stream that was given up for that, where it may not at all, or may now and then."""

BULKY_BYTES: Final = 32 << 10
"""A memory BIO keeps the room that it once needed: past this a silent connection is worth new ones."""


_agreements: dict[tuple[int, Any, bytes | None], tuple[str, str, str | None]] = {}
"""What L{Engine.agreed} has told: there are few of them, and words are dear."""


class Engine:
    """
    One TLS connection, either role, either way of calling OpenSSL.

    @ivar connection: pyOpenSSL's object, for what is not done often.
    @ivar starved: OpenSSL has nothing left to read from; L{BETWEEN_RECORDS}: and the last of it was the end of a record
        (which may be so, and is not known, where it is only true).
    @ivar condition: L{OPEN}, L{CLOSED} or L{FAILED}, for the reading side.
    @ivar reason: why it is L{FAILED}, in words.
    @ivar bulky: L{compact} would give memory back.
    @ivar answers: reading may leave something to send, whatever it brought (TLS 1.2: a refused renegotiation).
    @ivar writing_waits: L{write} was told to wait for a handshake message of the peer; for the owner to set.
    @ivar unanswered: ciphertext since its owner last looked for something to send; for the owner to count.
    """

    __slots__ = ("answers", "bulky", "condition", "connection", "reason", "starved", "unanswered", "writing_waits")

    tells_reuse = True
    """Is L{session_reused} known?"""

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        self.starved: int = True
        self.condition = OPEN
        self.reason = ""
        self.bulky = False
        self.answers = False
        self.unanswered = 0
        self.writing_waits = False

    def feed(self, data: Any, count: int) -> None:
        """Give OpenSSL the first C{count} bytes of C{data}, ciphertext from the peer."""
        raise NotImplementedError

    def feed_block(self, block: Any, count: int) -> None:
        """The same from the beginning of a block."""
        raise NotImplementedError

    def handshake(self) -> int:
        """Go on with the handshake.  L{DONE}, L{WANT_READ}, or minus L{FAILED}; drain afterwards in any case."""
        raise NotImplementedError

    def receive(self, wire: Any, count: int, block: Any, limit: int) -> int:
        """
        L{feed_block} and L{read} in one.

        @param wire: nothing refers to it afterwards; may be C{None} when C{count} is 0.
        @return: as L{read}.
        """
        raise NotImplementedError

    def read(self, block: Any, limit: int) -> int:
        """
        Put up to C{limit} bytes of plaintext at C{block.end}; the block is not changed otherwise.

        @return: the bytes; 0: look at C{condition}, and if that is L{OPEN} at C{starved}, which is then True.
        """
        return self.receive(None, 0, block, limit)

    def write(self, block: Any, offset: int, count: int) -> int:
        """
        Encrypt C{count} bytes of C{block} from C{offset} on, into as few records as can be.

        @return: C{count}; 0: not now, a handshake message of the peer is missing; minus L{FAILED}.
        """
        raise NotImplementedError

    def drain(self, block: Any) -> int:
        """Move what has to go to the peer to the beginning of C{block}.  The bytes; there may be more if it is full."""
        raise NotImplementedError

    def unread(self) -> bytes | None:
        """Ciphertext that OpenSSL has not looked at; C{None} where that is not known."""
        return None

    def shutdown(self) -> None:
        """Say close_notify; drain afterwards.  Reading goes on."""
        raise NotImplementedError

    def keep_session(self) -> None:
        """
        The connection ends without close_notify; let its session be resumed all the same.

        OpenSSL throws away the session of a connection that was dropped without a goodbye.  Reading goes on.
        """
        self.connection.set_shutdown(SSL.SENT_SHUTDOWN)

    def forget_session(self) -> None:
        """
        As server, in the handshake: the session that it resumes is good for nobody, ever; and this engine is of no use.

        OpenSSL takes a session out of its cache when a handshake with it breaks, and pyOpenSSL has no other way.
        """
        self.feed(_BROKEN, len(_BROKEN))
        try:
            self.connection.do_handshake()
        except SSL.Error:
            pass

    @staticmethod
    def session_of(connection: SSL.Connection) -> Any:
        """
        The session of C{connection} as it can be kept: bytes, or an object of pyOpenSSL's; C{None}: there is none.

        Over TLS 1.3 it is one for resuming from when a ticket was read.
        """
        return connection.get_session()

    def offer(self, session: Any) -> bool:
        """As client, before the handshake: offer what L{session_of} gave.  False: it cannot be offered."""
        try:
            self.connection.set_session(session)
        except (SSL.Error, ValueError):
            return False
        return True

    def give_up(self, reason: str) -> None:
        """The peer does what cannot be borne; the next read finds the stream broken."""
        self.condition = FAILED
        self.reason = reason
        self.starved = False

    def compact(self) -> None:
        """Give back the room that bulk has left behind.  Only while C{starved} and drained."""

    @property
    def session_reused(self) -> bool:
        """Was the session resumed?"""
        raise NotImplementedError

    @property
    def verify_result(self) -> int:
        """What OpenSSL found about the peer's chain: 0 is good."""
        raise NotImplementedError

    def settled(self) -> None:
        """The handshake is done."""
        self.answers = self.connection.get_protocol_version() < 0x0304

    def agreed(self) -> tuple[str, str, str | None]:
        """
        After the handshake: the version, the cipher and the group of the key exchange, in OpenSSL's words.

        The group is C{None} where there was no key exchange, as when TLS 1.2 resumes a session.
        """
        connection = self.connection
        return connection.get_protocol_version_name(), connection.get_cipher_name() or "", connection.get_group_name()


class CffiEngine(Engine):
    """The fast way: C functions on registered memory."""

    __slots__ = ("_in", "_out", "_ssl")

    def __init__(self, connection: SSL.Connection) -> None:
        Engine.__init__(self, connection)
        self._ssl = connection._ssl
        self._in = connection._into_ssl
        self._out = connection._from_ssl
        # pyOpenSSL switches partial writes on: a call would take one record of a block, not all of them.
        _SSL_clear_mode(self._ssl, _PARTIAL_WRITE)

    def feed(self, data: Any, count: int) -> None:
        _BIO_write(self._in or self._own_in(), _ffi.from_buffer(data), count)
        self.starved = False

    def feed_block(self, block: Any, count: int) -> None:
        c = block.c
        if c is None:
            c = block.c = _ffi.from_buffer(block.memory)
        _BIO_write(self._in or self._own_in(), c, count)
        if count > BULKY_BYTES:
            self.bulky = True
        self.starved = False

    def receive(self, wire: Any, count: int, block: Any, limit: int) -> int:
        borrowed = None
        if count:
            c = wire.c
            if c is None:
                c = wire.c = _ffi.from_buffer(wire.memory)
            self.starved = False
            if count < BORROWED_BYTES:
                _BIO_write(self._in or self._own_in(), c, count)
            else:
                # A BIO over the wire itself, for as long as this call.
                borrowed = _BIO_new_mem_buf(c, count)
                _BIO_set_mem_eof_return(borrowed, -1)
                self._use_in(borrowed)
                self._in = None
        c = block.c
        if c is None:
            c = block.c = _ffi.from_buffer(block.memory)
        ssl = self._ssl
        start: int = block.end
        end = start
        stop = block.size
        if stop - end > limit:
            stop = end + limit
        if self.condition:
            stop = end
        enough = start + count - RECORDS_ARE_LONGER_BY
        while end < stop:
            n = _SSL_read(ssl, c + end if end else c, stop - end)
            if n <= 0:
                error = _SSL_get_error(ssl, n)
                if error == _WANT_READ:
                    self.starved = True
                elif error == _ZERO_RETURN:
                    self.condition = CLOSED
                else:
                    self._fail(error)
                break
            end += n
            if end > enough and end < stop:
                if not _BIO_get_mem_data(borrowed or self._in, _data_at):
                    # To be told so by OpenSSL costs more than to read a small record.  It takes no byte of a record
                    # before it has given out all of the one before, and that has left room.
                    self.starved = BETWEEN_RECORDS
                    break
        if borrowed is not None and not self.starved:
            # The rest waits for room, and the wire is everybody's.
            rest = _ffi.new("unsigned char[]", count)
            left = _BIO_read(borrowed, rest, count)
            own = self._own_in()
            if left > 0:
                _BIO_write(own, rest, left)
        return end - start

    def _own_in(self) -> Any:
        """A memory BIO of our own in the place of one that was borrowed."""
        self._in = _BIO_new(_BIO_s_mem())
        self._use_in(self._in)
        return self._in

    def _use_in(self, bio: Any) -> None:
        # Frees the former one.  pyOpenSSL's public methods use its own name for it.
        _SSL_set_bio(self._ssl, bio, self._out)
        self.connection._into_ssl = bio

    def handshake(self) -> int:
        result = _SSL_do_handshake(self._ssl)
        if result == 1:
            return DONE
        error = _SSL_get_error(self._ssl, result)
        if error == _WANT_READ:
            self.starved = True
            return WANT_READ
        self._fail(error)
        return -FAILED

    def write(self, block: Any, offset: int, count: int) -> int:
        c = block.c
        if c is None:
            c = block.c = _ffi.from_buffer(block.memory)
        if count > BULKY_BYTES:
            self.bulky = True
        n: int = _SSL_write(self._ssl, c + offset if offset else c, count)
        if n > 0:
            return n
        error = _SSL_get_error(self._ssl, n)
        if error == _WANT_READ:
            return 0
        self._fail(error)
        return -FAILED

    def drain(self, block: Any) -> int:
        c = block.c
        if c is None:
            c = block.c = _ffi.from_buffer(block.memory)
        n: int = _BIO_read(self._out, c, block.size)
        return n if n > 0 else 0

    def unread(self) -> bytes | None:
        count = _BIO_get_mem_data(self._in, _data_at) if self._in else 0
        return bytes(_ffi.unpack(_data_at[0], count)) if count else b""

    def shutdown(self) -> None:
        _lib.SSL_shutdown(self._ssl)
        _ERR_clear_error()

    def compact(self) -> None:
        self.bulky = False
        self._in = _BIO_new(_BIO_s_mem())
        self._out = _BIO_new(_BIO_s_mem())
        self._use_in(self._in)
        self.connection._from_ssl = self._out

    def settled(self) -> None:
        self.answers = _SSL_version(self._ssl) < _TLS1_3

    def agreed(self) -> tuple[str, str, str | None]:
        ssl = self._ssl
        group = _SSL_get0_group_name(ssl)
        # Ciphers are in a table of OpenSSL's that does not change.
        key = (_SSL_version(ssl), _SSL_get_current_cipher(ssl), _ffi.string(group) if group else None)
        found = _agreements.get(key)
        if found is None:
            found = _agreements[key] = super().agreed()
        return found

    def _fail(self, error: int) -> None:
        code = _ERR_get_error()
        words = _ERR_reason_error_string(code) if code else _ffi.NULL
        # The queue is the thread's: what stays in it would be taken for the next connection's.
        _ERR_clear_error()
        counters.ssl_error_ssl += 1
        self.condition = FAILED
        self.reason = _ffi.string(words).decode("ascii", "replace") if words else f"TLS error {error}"

    @property
    def session_reused(self) -> bool:
        return bool(_SSL_session_reused(self._ssl))

    @staticmethod
    def session_of(connection: SSL.Connection) -> Any:
        if not HAVE_SESSION_BYTES:
            return connection.get_session()
        session = _SSL_get_session(connection._ssl)
        size = _write_session(session, _ffi.NULL) if session else 0
        if size <= 0:
            return None
        der = _ffi.new("unsigned char[]", size)
        _write_session(session, _ffi.new("unsigned char **", der))
        return bytes(_ffi.buffer(der, size))

    def offer(self, session: Any) -> bool:
        if not isinstance(session, bytes):
            return super().offer(session)
        der = _ffi.from_buffer(session)
        made = _read_session(_ffi.NULL, _ffi.new("const unsigned char **", der), len(session))
        if not made:
            _ERR_clear_error()
            return False
        offered: bool = _SSL_set_session(self._ssl, made) == 1
        _SSL_SESSION_free(made)
        if not offered:
            _ERR_clear_error()
        return offered

    @property
    def verify_result(self) -> int:
        return int(_SSL_get_verify_result(self._ssl))


class PublicEngine(Engine):
    """The same by pyOpenSSL's public methods."""

    __slots__ = ()

    tells_reuse = False

    def feed(self, data: Any, count: int) -> None:
        with memoryview(data) as view:
            self.connection.bio_write(bytes(view[:count]))
        self.starved = False

    def feed_block(self, block: Any, count: int) -> None:
        self.feed(block.memory, count)

    def handshake(self) -> int:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            self.starved = True
            return WANT_READ
        except SSL.Error as exc:
            self._fail(exc)
            return -FAILED
        return DONE

    def receive(self, wire: Any, count: int, block: Any, limit: int) -> int:
        if count:
            self.feed_block(wire, count)
        if self.condition:
            return 0
        end: int = block.end
        start = end
        stop = min(block.size, end + limit)
        while end < stop:
            try:
                end += self.connection.recv_into(block.view[end:stop], min(stop - end, 16384))
            except SSL.WantReadError:
                self.starved = True
                break
            except SSL.ZeroReturnError:
                self.condition = CLOSED
                break
            except SSL.Error as exc:
                self._fail(exc)
                break
        return end - start

    def write(self, block: Any, offset: int, count: int) -> int:
        done = 0
        while done < count:
            try:
                done += self.connection.send(block.view[offset + done : offset + count])
            except SSL.WantReadError:
                return done
            except SSL.Error as exc:
                self._fail(exc)
                return done or -FAILED
        return done

    def drain(self, block: Any) -> int:
        at = 0
        while at < block.size:
            try:
                data = self.connection.bio_read(block.size - at)
            except SSL.WantReadError:
                break
            block.view[at : at + len(data)] = data
            at += len(data)
        return at

    def shutdown(self) -> None:
        try:
            self.connection.shutdown()
        except SSL.Error:
            pass  # Too late to say goodbye.

    def _fail(self, exc: SSL.Error) -> None:
        self.condition = FAILED
        counters.ssl_error_ssl += 1
        reasons = [entry[2] for entry in exc.args[0]] if exc.args and isinstance(exc.args[0], list) else []
        self.reason = str(reasons[0]) if reasons else str(exc) or type(exc).__name__

    @property
    def session_reused(self) -> bool:
        return False  # pyOpenSSL has no public method that says so.

    @property
    def verify_result(self) -> int:
        return 0  # Nor one for this: here only the verify call-back knows.


DefaultEngine: type[Engine] = CffiEngine if HAVE_CFFI else PublicEngine


def server_engine(
    front: SSL.Context, certificate: SSL.Context | None, owner: Any, kind: type[Engine] | None = None
) -> Engine:
    """
    An engine for a connection that a peer made.

    @param front: the listener's context: versions, options, client verification, ticket keys.
    @param certificate: the context whose certificate is shown; C{None}: the front context's own.
    @param owner: what the contexts' call-backs find by C{connection.get_app_data()}.
    @param kind: L{CffiEngine} or L{PublicEngine}; C{None}: the best there is.
    """
    connection = SSL.Connection(front)
    if certificate is not None and certificate is not front:
        connection.set_context(certificate)
    connection.set_app_data(owner)
    connection.set_accept_state()
    return (kind or DefaultEngine)(connection)


def adopted_engine(connection: SSL.Connection, kind: type[Engine] | None = None) -> Engine:
    """
    An engine for a connection whose handshake somebody else has made.

    @param connection: over memory BIOs; its owner is set by whoever calls.
    @raise LocalError: its handshake is not done, or it is bound to a socket.
    """
    if getattr(connection, "_into_ssl", None) is None:
        raise LocalError("only a pyOpenSSL connection over memory can be taken over")
    if connection.get_finished() is None or connection.get_peer_finished() is None:
        raise LocalError("only a TLS session that is established can be taken over")
    made = (kind or DefaultEngine)(connection)
    made.settled()
    return made


def client_engine(
    context: SSL.Context, server_name: str | None, owner: Any, kind: type[Engine] | None = None
) -> Engine:
    """
    An engine for a connection that we made.

    @param server_name: the name to ask for; C{None}: none (an IP address is not a name: RFC 6066, 3).
    @raise HandshakeFailed: C{server_name} cannot be sent.
    """
    connection = SSL.Connection(context)
    if server_name is not None:
        try:
            if len(server_name) > 255:
                # OpenSSL refuses it, pyOpenSSL does not say so, and the error would be the next connection's.
                raise UnicodeError("too long")
            connection.set_tlsext_host_name(server_name.encode("ascii"))
        except (UnicodeError, TypeError) as exc:
            counters.ssl_sni_name_set_failure += 1
            raise HandshakeFailed(f"{server_name!r} cannot be asked for: not a host name") from exc
    connection.set_app_data(owner)
    connection.set_connect_state()
    return (kind or DefaultEngine)(connection)
