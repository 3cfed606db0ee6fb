# -*- test-case-name: tests.test_session_protocol -*-
# ruff: noqa: N802  # what Twisted calls is spelled as Twisted spells it
"""
L{NetVCTransport}: a connection as Twisted's protocols know it.  L{ProtocolSessionAccept}: a factory gets connections.

The transport is the continuation of both VIOs of its connection.  Reading: a piece that was read becomes one
C{dataReceived}; a paused transport has its read VIO disabled, so that back-pressure reaches the kernel and the peer.

Writing: C{write} never calls anybody but the producer.  It puts bytes into a buffer, and they leave in the turn's write
pass, so that what was written in small pieces is one record and one call of the kernel.  The write VIO is made once and
always asks for exactly what is in the buffer.  So WRITE_COMPLETE means one thing, that all of it has gone, over TLS the
ciphertext too, and everything that waits for an empty buffer hangs on it: the next piece of a producer, the end of the
writing direction, the end of the connection.  (A VIO of unknown length would tell of room before each write and of
nothing behind the last.)

What Twisted promises to protocols, and what C{twisted.internet.tcp} does where the promise is vague, is kept:

  - C{connectionLost} comes once, and never from within a call of the protocol's own.
  - A transport that was told to C{loseConnection} sends what it has, and waits for its producer.  In clear, what comes
    meanwhile is thrown away.  Over TLS it is delivered until the peer answers close_notify.
  - C{dataReceived} that raises costs its own connection, and nobody else's.

Three things are stricter.  A close has limits: L{CLOSE_SECONDS} without a byte moving while there is something to send,
then L{ANSWER_SECONDS} of silence, L{ANSWER_MOST_SECONDS} and L{ANSWER_BYTES} until the peer's answer.  A connection
that ends with bytes unsent or by a bug is reset, so that the peer does not take it for an end in order.  And a protocol
over TLS has its connection when the handshake is done, not before.

Source: behaviour P04, P05, N131; C{twisted.internet.interfaces}, C{twisted.internet.tcp}, C{twisted.protocols.tls}.
"""

import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ILoggingContext,
    INegotiated,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python import context
from twisted.python.failure import Failure
from twisted.python.log import ILogContext
from zope.interface import implementer

from atstls.errors import LocalError, PeerError, PeerVanished, lerrno_words
from atstls.events import (
    ENET_SSL_CONNECT_FAILED,
    ENET_SSL_FAILED,
    EVENT_CONT,
    EVENT_DONE,
    NET_EVENT_ACCEPT,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
    event_name,
)
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_32K, MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, SHUTDOWN_WRITE, NetState
from atstls.interfaces import IContinuation, ISessionAccept
from atstls.net.connection import Address
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL, UnixNetVConnection
from atstls.ssl.sslvc import SSLNetVConnection

HIGH_WATER_BYTES: Final = 128 << 10
"""Unsent bytes above which a streaming producer is paused.  Twice what Twisted has (C{FileDescriptor.bufferSize}): a
producer of pieces of 64 KiB is stopped and let go on for each third one, and not for each second."""

LARGE_BYTES: Final = 8 << 10
"""A piece from this size on goes out from where it is.  Below, a copy is cheaper than a record of its own."""

_BYTES: Final = {bytes}

CLOSE_SECONDS: Final = 60.0
"""How long a connection that was told to close may be without a byte moving (nginx: send_timeout, 60 s)."""

ANSWER_SECONDS: Final = 5.0
"""How long a peer may be silent before it answers close_notify (nginx: lingering_timeout, 5 s)."""

ANSWER_MOST_SECONDS: Final = 30.0
"""How long it may go on sending instead (nginx: lingering_time, 30 s)."""

ANSWER_BYTES: Final = 1 << 20
"""And how much: a protocol that is done with its peer may keep all of it, looking for the end of a line."""

NORMAL: Final = -1
"""C{do_io_close} for an end in order."""


class ConnectionTimedOut(ConnectionLost, TimeoutError):
    """The connection was ended by a timeout; C{str()} says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(string=reason)  # type: ignore[no-untyped-call]  # Twisted's


class TLSFailed(ConnectionLost, SSL.Error):
    """
    TLS failed, and with it the connection; C{str()} says why.

    Also what applications of Twisted's TLS look for, and in C{args} what they find there: a list with a tuple of
    library, function and reason.
    """

    def __init__(self, reason: str) -> None:
        super().__init__([("SSL routines", "", reason)])
        self._reason = reason

    def __str__(self) -> str:
        return str(ConnectionLost(self._reason))


class NotWhoWasMeant(TLSFailed, VerificationError):
    """
    The same because the peer's certificate is for somebody else.

    @ivar errors: what did not match, as service-identity says it.
    """

    def __init__(self, reason: str, errors: Sequence[Any]) -> None:
        super().__init__(reason)
        self.errors = errors


class _Reading(Enum):
    FLOWING = "flowing"
    PAUSED = "paused"
    IGNORED = "ignored"
    """C{loseConnection} was called: what comes is thrown away, but that it ends is noticed."""
    ENDED = "ended"


class _Writing(Enum):
    OPEN = "open"
    ENDING = "ending"
    """C{loseWriteConnection} was called, and there is something to be sent first."""
    ENDED = "ended"


# To ask an enumeration for a member is a call of a function in Python, until 3.12.
_FLOWING, _IGNORED, _OPEN = _Reading.FLOWING, _Reading.IGNORED, _Writing.OPEN

IPAddress = IPv4Address | IPv6Address


@lru_cache(256)
def _ipv4_address(host: str, port: int) -> IPv4Address:
    """Kept, as ours is the same for all connections, and a peer's is asked for several times."""
    return IPv4Address("TCP", host, port)


def twisted_address(address: Address | None) -> Any:
    """What Twisted calls C{address}; a UNIX socket without a name, and a peer that has gone, have none."""
    if isinstance(address, tuple):
        host, port = address
        if ":" not in host:
            return _ipv4_address(host, port)
        link = host.partition("%")[2]
        try:
            return IPv6Address("TCP", host, port, scopeID=socket.if_nametoindex(link) if link else 0)
        except OSError:
            return IPv6Address("TCP", host, port)  # The interface is gone.
    return UNIXAddress(address or None)


def speaks_tls(vc: UnixNetVConnection) -> bool:
    """Are the bytes of C{vc} encrypted by us?  Those of a blind tunnel are not, though it came to a TLS port."""
    return isinstance(vc, SSLNetVConnection) and vc.attributes != TRANSPORT_BLIND_TUNNEL


@implementer(IContinuation, ITCPTransport, IConsumer, IPushProducer, ILoggingContext, ISystemHandle)
class NetVCTransport:
    """
    The transport of a protocol over a connection.  Made by L{ProtocolSessionAccept} and L{connect_protocol}.

    @ivar vc: the connection; its facts may be asked for, its VIOs are ours.
    @ivar protocol: whose transport it is; C{None} after C{connectionLost}.
    @ivar reactor: for C{callLater}.
    @ivar connected: from the beginning to C{connectionLost}.
    @ivar disconnecting: it was told to close.
    @ivar disconnected: C{connectionLost} was called, or is about to be.
    @ivar producer: who is registered, or C{None}.
    @ivar streamingProducer: is it a push producer?
    @ivar producerPaused: is it one, and paused by us?
    @ivar bufferSize: unsent bytes above which a streaming producer is paused; applications may change it.
    """

    _log = Logger()
    bufferSize = HIGH_WATER_BYTES  # noqa: N815
    listens_to_the_end = False
    """After C{loseConnection}, does the protocol get what still comes?"""

    _in_clear: Any = None
    """What is to be sent before TLS begins, where it begins late."""

    def __init__(self, vc: UnixNetVConnection, protocol: IProtocol, reactor: Any) -> None:
        """@raise LocalError: C{vc} is closed, or its handshake is not done."""
        if not vc.get_ssl_handshake_complete():
            raise LocalError("a protocol gets its connection when the handshake is done")
        self.vc = vc
        self.protocol: IProtocol | None = protocol
        self.reactor = reactor
        self.connected = True
        self.disconnecting = False
        self.disconnected = False
        self.producer: Any = None
        self.streamingProducer = False
        self.producerPaused = False
        self._reading = _FLOWING
        self._writing = _OPEN
        self._aborted = False
        self._first = b""  # that were read before, and that the protocol has not got
        self._in = vc.nh.scratch.block
        self._out_buffer = MIOBuffer(BUFFER_SIZE_INDEX_32K)
        self._out = self._out_buffer.alloc_reader()
        # Asked for later, these may not be there any more.
        self._peer: Any = twisted_address(vc.get_remote_addr())
        self._host: Any = twisted_address(vc.get_local_addr())
        # What log.callWithLogger() does for each event, done once: who logs something meanwhile is this protocol.
        self._contexts: list[Any] = context.theContextTracker.currentContext().contexts
        self._context = {ILogContext: {**context.defaultContextDict[ILogContext], "system": self.logPrefix()}}
        self._read_vio = self._asked(vc.do_io_read(self, INT64_MAX, vc.nh.scratch))
        self._write_vio = self._asked(vc.do_io_write(self, 0, self._out))
        self._write_vio.done()  # It does not wait for the handshake, which is over.

    @staticmethod
    def _asked(vio: NetState | None) -> NetState:
        if vio is None:
            raise LocalError("a transport needs a connection that is open")
        return vio

    def begin(self, first: Any = None) -> None:
        """
        Tell the protocol of its transport.

        @param first: an L{IOBufferReader<atstls.interfaces.IIOBufferReader>} with bytes that were read before; it is
            emptied and leaves its buffer.
        """
        if first is not None:
            self._first = first.read()
            first.dealloc()
            if self._first:
                self._read_vio.disable()  # until the protocol has got those
        protocol = self.protocol
        assert protocol is not None
        try:
            protocol.makeConnection(self)
            self._tell_handshake(protocol)
        except Exception:
            self._protocol_failed()
        self._deliver_first()

    def _tell_handshake(self, protocol: IProtocol) -> None:
        """There is none."""

    def _deliver_first(self) -> None:
        """Bytes that came with the connection go before those that are still to be read."""
        if self._first and self._reading in (_FLOWING, _IGNORED) and self.connected and not self._aborted:
            self._read_vio.enable()
            data, self._first = self._first, b""
            if self._reading is _FLOWING:
                self._contexts.append(self._context)
                try:
                    self.protocol.dataReceived(data)  # type: ignore[union-attr]  # there while it is connected
                except Exception:
                    self._protocol_failed()
                finally:
                    self._contexts.pop()

    # What the connection calls.

    def handle_event(self, event: int, data: Any) -> int:
        """See L{IContinuation.handle_event}."""
        if (
            event == VC_EVENT_WRITE_COMPLETE
            and self.producer is None
            and self._writing is _OPEN
            and not self.disconnecting
            and not self._out.avail
            and not data.owed
            and self._in_clear is None
        ):
            data.quiet = True  # Nobody waits for that, which is the rule: see _settle().
            return EVENT_CONT
        contexts = self._contexts
        contexts.append(self._context)
        try:
            if event == VC_EVENT_READ_READY:
                block = self._in
                data = block.view[: block.end].tobytes()
                if self._reading is not _IGNORED:
                    self.protocol.dataReceived(data)  # type: ignore[union-attr]  # there while it is connected
            elif event == VC_EVENT_WRITE_COMPLETE:
                self._settle()
            elif event != VC_EVENT_WRITE_READY:
                self._ended(event)
        except Exception:
            self._protocol_failed()
        finally:
            contexts.pop()
        return EVENT_CONT

    def _settle(self) -> None:
        """The buffer was empty: see who waits for that.  Also called when it may have been empty all the time."""
        if not self.connected:
            return
        if self._out.avail or self._write_vio.owed:
            self._write_vio.reenable()  # written while the kernel was still to take the ciphertext of what was before
            return
        producer = self.producer
        if producer is not None:
            if not self.streamingProducer or self.producerPaused:
                self.producerPaused = False
                producer.resumeProducing()
        elif self.disconnecting:
            self._all_is_said()
        elif self._writing is _Writing.ENDING:
            self._writing = _Writing.ENDED
            self.vc.do_io_shutdown(SHUTDOWN_WRITE)
            protocol = IHalfCloseableProtocol(self.protocol, None)
            if protocol is not None:
                protocol.writeConnectionLost()

    def _all_is_said(self) -> None:
        """C{loseConnection} was called, and nothing is to be sent any more."""
        self._finish(Failure(ConnectionDone()), NORMAL)

    def _settle_later(self) -> None:
        """Nothing follows: let L{_settle} be called when all is sent, not from within this call of the protocol's."""
        if self._unsent():
            self._write_vio.quiet = False
            self._write_vio.ends = True  # The end goes out with the last bytes.
        else:
            self.reactor.callLater(0, self.handle_event, VC_EVENT_WRITE_COMPLETE, self._write_vio)

    def _unsent(self) -> bool:
        """Is there anything that the kernel does not have?"""
        return self._out.avail > 0 or self._write_vio.owed

    def _ended(self, event: int) -> None:
        vc = self.vc
        if self._only_listens():
            # One end is as good as another; also none, which is READ_COMPLETE.
            self._finish(Failure(ConnectionDone()), NORMAL)
        elif event == VC_EVENT_EOS:
            if vc.clean_shutdown:
                self._read_ended()
            else:
                why = lerrno_words(vc.lerrno) if vc.lerrno else "the TLS stream was cut off"
                self._finish(Failure(ConnectionLost(why)), vc.lerrno or NORMAL)
        elif event == VC_EVENT_INACTIVITY_TIMEOUT:
            period = vc.get_inactivity_timeout()
            self._timed_out(f"no byte in {period:g} s" if period else "no byte for too long")
        elif event == VC_EVENT_ACTIVE_TIMEOUT:
            self._timed_out(f"open for longer than {vc.get_active_timeout():g} s")
        else:
            self._failed()

    def _only_listens(self) -> bool:
        """Is all said, and the end too, so that only the peer's is waited for?"""
        return self.disconnecting and self._writing is _Writing.ENDED and not self._unsent()

    def _read_ended(self) -> None:
        if self.disconnecting:
            producer = self.producer
            if producer is not None and self.listens_to_the_end:
                # Who says close_notify has heard enough (RFC 5246 7.2.1), and might never end it otherwise.
                self.producer = None
                producer.stopProducing()
                producer = None
            if self._unsent() or (producer is not None and (not self.streamingProducer or self.producerPaused)):
                self.vc.do_io_read(self, 0, None)  # There is something to be sent yet, and whoever has asked may wait.
            else:
                self._finish(Failure(ConnectionDone()), NORMAL)
            return
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self._finish(Failure(ConnectionDone()), NORMAL)
            return
        self._reading = _Reading.ENDED
        # No bytes are wanted any more; timeouts are still told.
        self.vc.do_io_read(self, 0, None)
        protocol.readConnectionLost()

    def _timed_out(self, reason: str) -> None:
        self._finish(Failure(ConnectionTimedOut(reason)), NORMAL)

    def _failed(self) -> None:
        """ERROR: nothing can be read, or nothing written, any more."""
        self._finish(self._why(), self.vc.lerrno or errno.EIO)

    def _why(self) -> Failure:
        """What the connection's error is for a protocol."""
        error = self.vc.error
        words = str(error) if error is not None else lerrno_words(self.vc.lerrno or errno.EIO)
        of_tls = isinstance(error, PeerError) and not isinstance(error, PeerVanished)
        reason: ConnectionLost
        if of_tls and self.vc.lerrno in (ENET_SSL_FAILED, ENET_SSL_CONNECT_FAILED):
            why = getattr(error, "__cause__", None)
            reason = NotWhoWasMeant(words, why.errors) if isinstance(why, VerificationError) else TLSFailed(words)
        else:
            reason = ConnectionLost(words)
        reason.__cause__ = error
        return Failure(reason)

    def reactor_stops(self) -> None:
        """
        There will be no turn any more: the protocol loses its connection, now.

        The peer sees TCP's end, and over TLS that it came without close_notify: nobody knows whether all was said.
        Where something is unsent, it sees a reset.
        """
        reason = Failure(ConnectionLost("the reactor stops"))
        if self._only_listens():
            self._finish(Failure(ConnectionDone()), NORMAL)
        elif self._unsent():
            self._finish(reason, errno.ECONNABORTED)
        else:
            self.vc.end_unclean()
            self._finish(reason, NORMAL)

    def _protocol_failed(self) -> None:
        """A bug in the protocol, or in its producer: the exception that is being handled ends the connection."""
        failure = Failure()
        self._log.failure("a protocol failed: {protocol} of {vc}", failure, protocol=self.protocol, vc=self.vc)
        self._finish(failure, errno.ECONNABORTED)

    def _finish(self, reason: Failure, lerrno: int) -> None:
        """The connection is over: tell the producer and the protocol, once, and undo what refers in circles."""
        if self.disconnected:
            return
        self.connected = False
        self.disconnected = True
        self._writing = _Writing.ENDED
        if self._unsent() and lerrno == NORMAL:
            lerrno = errno.ECONNRESET
        self.vc.do_io_close(lerrno)
        self._first = b""
        self._out.dealloc()
        producer, self.producer = self.producer, None
        protocol, self.protocol = self.protocol, None
        assert protocol is not None
        try:
            if producer is not None:
                producer.stopProducing()
        except Exception:
            self._log.failure("a producer could not be stopped: {producer} of {vc}", producer=producer, vc=self.vc)
        try:
            protocol.connectionLost(reason)
        except Exception:
            self._log.failure("connectionLost failed: {protocol} of {vc}", protocol=protocol, vc=self.vc)

    # ITransport.

    def _accepts(self) -> bool:
        """Is it still time to write?  Who was told to close takes what a producer still has, and nothing else."""
        if self._writing is _OPEN and not self.disconnecting:
            return True
        return self._writing is not _Writing.ENDED and self.producer is not None

    def write(self, data: bytes) -> None:
        """See L{ITransport.write<twisted.internet.interfaces.ITransport.write>}.  Ignored after the end."""
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")  # in Twisted's words
        # Written out, here and in _written(): this is done for every piece of every stream.
        size = len(data)
        if not size or ((self._writing is not _OPEN or self.disconnecting) and not self._accepts()):
            return
        buffer = self._out_buffer
        if size < LARGE_BYTES:
            block = buffer.tail or buffer.write_block()
            if block is not None and block.size - block.end >= size:
                end = block.end
                block.end = until = end + size
                block.view[end:until] = data
                self._out.avail += size
            else:
                buffer.write(data)
        else:
            buffer.append(data)
        self._written()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See L{ITransport.writeSequence<twisted.internet.interfaces.ITransport.writeSequence>}."""
        pieces = list(data)
        if set(map(type, pieces)) != _BYTES:
            for piece in pieces:
                if not isinstance(piece, bytes):
                    raise TypeError("Data must be bytes")
        if sum(map(len, pieces)) < LARGE_BYTES:
            self.write(b"".join(pieces))  # a head of HTTP comes as dozens of them
            return
        if not self._accepts():
            return
        buffer = self._out_buffer
        small: list[bytes] = []
        for piece in pieces:
            if len(piece) < LARGE_BYTES:
                small.append(piece)
            else:
                buffer.write(b"".join(small))
                small.clear()
                buffer.append(piece)
        buffer.write(b"".join(small))
        self._written()

    def _written(self) -> None:
        vio = self._write_vio
        vio.nbytes = vio.ndone + self._out.avail  # vio.done()
        vc = self.vc
        if not (vio.enabled or vio.disabled or vc.closed):
            # vio.reenable(), in place: protocols write in the thread of their reactor
            vio.enabled = True
            nh = vc.nh
            if vc.inactivity_timeout_in and not vc.inactivity_running:
                vc.inactivity_running = True
                vc.last_activity = nh.seconds()
            if vio.triggered and not vio.queued:
                vio.queued = True
                nh.write_ready.append(vc)
                if not nh.turning:
                    nh.wake()
        if self.producer is not None and self._is_flooded() and not vc.write_ahead(vio):
            self._pause_producer()

    def _is_flooded(self) -> bool:
        """Is too much unsent for a producer that pushes?"""
        return self.streamingProducer and not self.producerPaused and self._out.avail > self.bufferSize

    def _pause_producer(self) -> None:
        self.producerPaused = True
        self.producer.pauseProducing()

    def loseConnection(self) -> None:
        """
        Close when all is sent and nobody produces.  C{connectionLost(ConnectionDone)} follows, never from here.

        In clear, and also over TLS where the transport is paused, bytes that still arrive are thrown away, and the
        descriptor is closed with the last byte.  Over TLS C{dataReceived} goes on until the peer answers close_notify,
        or L{ANSWER_SECONDS} without a byte, or L{ANSWER_MOST_SECONDS}, or L{ANSWER_BYTES}; if it says so first, the
        producer is stopped.  A peer that takes nothing for L{CLOSE_SECONDS} while there is something to send is given
        up.
        """
        if self.disconnecting or not self.connected:
            return
        self.disconnecting = True
        if self._reading is _Reading.PAUSED:
            self._read_vio.enable()
            self._reading = _IGNORED
        elif self._reading is _FLOWING and not self.listens_to_the_end:
            self._reading = _IGNORED
        vc = self.vc
        if not 0 < vc.get_inactivity_timeout() <= CLOSE_SECONDS:
            vc.set_inactivity_timeout(CLOSE_SECONDS)
        if self.producer is None:
            self._settle_later()

    def getPeer(self) -> Any:
        """An L{IPv4Address}, L{IPv6Address} or L{UNIXAddress}; also after the end."""
        return self._peer

    def getHost(self) -> Any:
        """The same for our side."""
        return self._host

    # ITCPTransport.

    def loseWriteConnection(self) -> None:
        """
        End the writing direction, over TLS by close_notify, when all is sent and no producer is registered.

        An L{IHalfCloseableProtocol} is then told C{writeConnectionLost}.
        """
        if self._writing is _OPEN and not self.disconnecting:
            self._writing = _Writing.ENDING
            if self.producer is None:
                self._settle_later()

    def abortConnection(self) -> None:
        """Drop everything; the peer sees a reset.  C{connectionLost(ConnectionAborted)} follows, never from here."""
        if self._aborted or self.disconnected:
            return
        self._aborted = self.disconnecting = True
        self._reading = _IGNORED
        self._writing = _Writing.ENDED
        self.vc.do_io_close(errno.ECONNABORTED)
        self.reactor.callLater(0, self._finish, Failure(ConnectionAborted()), errno.ECONNABORTED)

    def getTcpNoDelay(self) -> bool:
        """Are small segments sent at once?  False where there is no TCP."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send small segments at once, or not.  Without TCP, nothing happens."""
        self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Does the kernel look after a silent peer?"""
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Let the kernel look after a silent peer, or not."""
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _option(self, level: int, name: int) -> bool:
        sock = self.vc.socket
        try:
            return sock is not None and bool(sock.getsockopt(level, name))
        except OSError:
            return False

    def _set_option(self, level: int, name: int, enabled: bool) -> None:
        sock = self.vc.socket
        if sock is not None:
            try:
                sock.setsockopt(level, name, enabled)
            except OSError:
                pass  # A UNIX socket, or a peer that has left: it makes no difference.

    # What applications read of Twisted's own transports.

    @property
    def socket(self) -> Any:
        """The socket, to set options; C{None} after the end.  What is read or written here is lost to us."""
        return self.vc.socket

    def fileno(self) -> int:
        """The socket's descriptor; -1 after the end."""
        sock = self.vc.socket
        return -1 if sock is None else sock.fileno()

    @property
    def client(self) -> Any:
        """The peer's host and port; for UNIX sockets its path, or C{None}."""
        return self.vc.get_remote_addr()

    @property
    def hostname(self) -> str:
        """The peer's host."""
        return getattr(self._peer, "host", "")

    @property
    def sessionno(self) -> int:
        """A number that no other connection of the process has."""
        return self.vc.id

    # ISystemHandle, ILoggingContext.

    def getHandle(self) -> Any:
        """The socket; over TLS pyOpenSSL's connection, as with Twisted's own; C{None} after the end."""
        return self.vc.socket

    def logPrefix(self) -> str:
        """Which protocol, and with whom."""
        protocol = self.protocol
        if protocol is None:
            name = "-"
        elif ILoggingContext.providedBy(protocol):
            name = protocol.logPrefix()
        else:
            name = type(protocol).__name__
        return f"{name},{self.vc.id},{getattr(self._peer, 'host', 'unix')}"

    # IPushProducer: our reading side produces for the protocol.

    def pauseProducing(self) -> None:
        """
        No C{dataReceived} until L{resumeProducing}.  Nothing more is read: the peer's sending stalls too.

        After L{loseConnection}, no C{dataReceived} at all.
        """
        if self._reading is not _FLOWING:
            return
        if self.disconnecting:
            self._reading = _IGNORED
        else:
            self._reading = _Reading.PAUSED
            self._read_vio.disable()

    def _paused(self) -> bool:
        """Does the protocol want nothing just now?"""
        return self._reading is _Reading.PAUSED

    def resumeProducing(self) -> None:
        """Read again.  Nothing is delivered from within this call."""
        if self._reading is not _Reading.PAUSED or not self.connected:
            return
        self._reading = _FLOWING
        if self._first:
            self.reactor.callLater(0, self._deliver_first)
        else:
            self._read_vio.enable()

    def stopReading(self) -> None:
        """The same as L{pauseProducing}: what Twisted's own transports inherit, and some applications call."""
        self.pauseProducing()

    def startReading(self) -> None:
        """The same as L{resumeProducing}."""
        self.resumeProducing()

    def stopProducing(self) -> None:
        """The same as L{loseConnection}."""
        self.loseConnection()

    # IConsumer: somebody produces for our writing side.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Write what C{producer} produces: not faster than it is sent, and all of it before the connection is closed.

        @param streaming: it pushes, and is paused while more than L{HIGH_WATER_BYTES} wait.  Else it is asked for a
            piece, now and each time when all is sent.
        @raise RuntimeError: one is registered.
        """
        if self.producer is not None:
            raise RuntimeError(f"cannot register {producer}: {self.producer} is registered, and was never unregistered")
        if self.disconnected or (self.vc.write_shut and self._writing is not _Writing.ENDED):
            producer.stopProducing()  # It is too late: the peer has been told that nothing follows.
            return
        self._write_vio.quiet = self._write_vio.ends = False
        self.producer = producer
        self.streamingProducer = streaming
        self.producerPaused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """No more comes of the producer.  If the transport waited for that, it closes."""
        self.producer = None
        if self.connected and (self.disconnecting or self._writing is _Writing.ENDING):
            self._settle_later()

    def stopConsuming(self) -> None:
        """The producer has failed: send what there is and close."""
        self.unregisterProducer()
        self.loseConnection()


@implementer(INegotiated)
class TLSNetVCTransport(NetVCTransport):
    """The same over TLS.  Who asks C{ISSLTransport.providedBy(transport)} finds that the connection is secure."""

    vc: SSLNetVConnection

    listens_to_the_end = True

    # No super() in this class: there is none beside a __class__ of one's own.

    @property
    def __class__(self) -> Any:
        """
        Twisted's own transport over TLS, for C{isinstance}: by that applications tell whether they speak TLS, and
        whether L{getHandle} gives pyOpenSSL's connection.  (Autobahn, and so Daphne, refuse to work otherwise.)
        """
        return TLSMemoryBIOProtocol

    @__class__.setter
    def __class__(self, kind: type) -> None:
        object.__dict__["__class__"].__set__(self, kind)

    @property
    def wrappedProtocol(self) -> IProtocol | None:
        """The protocol, by the name that Twisted's has over TLS: who takes over from it may be put in its place."""
        return self.protocol

    @wrappedProtocol.setter
    def wrappedProtocol(self, protocol: IProtocol) -> None:
        self.protocol = protocol

    def _all_is_said(self) -> None:
        """
        Say close_notify, and listen until the peer does.

        What it sent before it heard of the end is not lost; and a reset, which the kernel would answer it with, could
        overtake our last bytes.
        """
        vc = self.vc
        if self._reading is not _FLOWING or vc.eos_received:
            NetVCTransport._all_is_said(self)
            return
        self._writing = _Writing.ENDED
        self._read_vio.nbytes = self._read_vio.ndone + ANSWER_BYTES
        vc.do_io_shutdown(SHUTDOWN_WRITE)
        vc.end_tcp()
        if vc.get_inactivity_timeout() > ANSWER_SECONDS:
            vc.set_inactivity_timeout(ANSWER_SECONDS)
        if not 0 < vc.get_active_timeout() <= ANSWER_MOST_SECONDS:
            vc.set_active_timeout(ANSWER_MOST_SECONDS)

    def _tell_handshake(self, protocol: IProtocol) -> None:
        if IHandshakeListener.providedBy(protocol):
            protocol.handshakeCompleted()

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """What ALPN agreed on, or C{None}."""
        return self.vc.negotiated_protocol

    @property
    def sessionReused(self) -> bool:
        """Was an earlier session resumed, in the place of a handshake in full?"""
        return self.vc.get_ssl_session_cache_hit()

    def getPeerCertificate(self) -> X509 | None:
        """The peer's certificate in the form in which Twisted's own transports give it; C{None}: it showed none."""
        certificate = self.vc.get_peer_certificate()
        return None if certificate is None else X509.from_cryptography(certificate)

    def getHandle(self) -> Any:
        """See L{NetVCTransport.getHandle}."""
        engine = self.vc.engine
        return None if engine is None else engine.connection


def make_transport(vc: UnixNetVConnection, protocol: IProtocol, reactor: Any) -> NetVCTransport:
    """The transport of the kind that C{vc} needs; the protocol has not been told of it."""
    return (TLSNetVCTransport if speaks_tls(vc) else NetVCTransport)(vc, protocol, reactor)


def connect_protocol(vc: UnixNetVConnection, protocol: IProtocol, reactor: Any = None) -> NetVCTransport:
    """
    Let C{protocol} speak over C{vc}, a connection of ours that is established.

    @param reactor: C{None}: the connection's.
    @return: the transport, of which the protocol knows already.
    @raise LocalError: C{vc} is closed, or its handshake is not done.
    """
    transport = make_transport(vc, protocol, vc.nh.reactor if reactor is None else reactor)
    transport.begin()
    return transport


@implementer(ISessionAccept)
class ProtocolSessionAccept:
    """
    Gives each connection a protocol of C{factory}.

    It is an endpoint in the sense of L{SSLNextProtocolAccept<atstls.session.nextprotocol.SSLNextProtocolAccept>}, can
    stand behind a L{ProtocolProbeSessionAccept<atstls.session.probe.ProtocolProbeSessionAccept>}, and serves a plain
    port as it is.  Starting and stopping the factory is the affair of who opens the port.
    """

    _log = Logger()

    def __init__(
        self,
        factory: IProtocolFactory,
        reactor: Any,
        make: Callable[[UnixNetVConnection, IProtocol, Any], NetVCTransport] = make_transport,
    ) -> None:
        """
        @param reactor: for the transports' C{callLater}.
        @param make: as L{make_transport}.
        """
        self.factory = factory
        self.reactor = reactor
        self._make = make

    def handle_event(self, event: int, data: Any) -> int:
        """NET_EVENT_ACCEPT: make a protocol for the connection.  Anything else is not for us: it is closed."""
        if event == NET_EVENT_ACCEPT:
            if not self.accept(data, None, None):
                data.do_io_close()
            return EVENT_CONT
        self._log.error("a factory's acceptor was told of {event}, which it does not know", event=event_name(event))
        close = getattr(data, "do_io_close", None)
        if close is not None:
            close()
        return EVENT_DONE

    def accept(self, vc: UnixNetVConnection, buffer: Any, reader: Any) -> bool:
        """
        Make a protocol for C{vc}; the bytes in C{reader} are the first that it gets.

        @return: False: the factory does not want it, or failed.
        """
        try:
            protocol = self.factory.buildProtocol(twisted_address(vc.get_remote_addr()))
        except Exception:
            self._log.failure("no protocol could be made for {vc}", vc=vc)
            return False
        if protocol is None:
            return False
        self._make(vc, protocol, self.reactor).begin(reader)
        return True
