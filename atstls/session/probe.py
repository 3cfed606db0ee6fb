# -*- test-case-name: tests.test_probe -*-
"""
L{ProtocolProbeSessionAccept}: a connection goes to who speaks what its first bytes look like.

A port that knows nothing better, since it speaks no TLS or the client offered no protocol, looks at the first bytes:
the preface of HTTP/2 or anything else, which is HTTP/1's affair.  They are read into a buffer that goes with the
connection to its session, so nobody reads them twice.

Over TLS a client that wants HTTP/2 says so by ALPN (RFC 9113, section 3.2), so there the preface means nothing, and
HTTP/1 will refuse it.

Source: behaviour 1.26, N130 to N132; ATS C{ProtocolProbeSessionAccept.cc}.
"""

from typing import Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from atstls.errors import LocalError
from atstls.events import (
    EVENT_CONT,
    EVENT_DONE,
    NET_EVENT_ACCEPT,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_ERROR,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    event_name,
)
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_4K, MIOBuffer, buffer_size
from atstls.interfaces import IContinuation, ISessionAccept
from atstls.net.unixvc import UnixNetVConnection
from atstls.session.protocol import speaks_tls

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 says first (RFC 9113, section 3.4)."""

PREFACE_NEEDED: Final = 4
"""So much of it tells it from every method of HTTP/1."""

_OVER: Final = (VC_EVENT_EOS, VC_EVENT_ERROR, VC_EVENT_ACTIVE_TIMEOUT, VC_EVENT_INACTIVITY_TIMEOUT)

ACCEPT_NO_ACTIVITY_SECONDS: Final = 120.0
"""C{accept_no_activity_timeout}: how long a client may take to say its first bytes."""


@implementer(ISessionAccept)
class ProtocolProbeSessionAccept:
    """
    Told of connections of which it is not known what they speak.  One for a port; it keeps nothing of a connection.

    @ivar accept_no_activity_timeout: seconds without a byte until the first bytes have told; 0: for ever.
    @ivar http: who gets HTTP/1 and what is not known; C{None}: it is closed.
    @ivar http2: who gets HTTP/2.
    """

    _log = Logger()

    def __init__(self, accept_no_activity_timeout: float = ACCEPT_NO_ACTIVITY_SECONDS) -> None:
        self.accept_no_activity_timeout = accept_no_activity_timeout
        self.http: ISessionAccept | None = None
        self.http2: ISessionAccept | None = None

    def register_http(self, endpoint: ISessionAccept) -> None:
        """Let C{endpoint} have those that speak HTTP/1, in the place of who had them."""
        self.http = endpoint

    def register_http2(self, endpoint: ISessionAccept) -> None:
        """The same for HTTP/2."""
        self.http2 = endpoint

    def handle_event(self, event: int, data: Any) -> int:
        """NET_EVENT_ACCEPT: wait for the first bytes.  Anything else is not for us: the connection is closed."""
        if event == NET_EVENT_ACCEPT:
            _Probe(self, data).begin()
            return EVENT_CONT
        self._log.error("a probing acceptor was told of {event}, which it does not know", event=event_name(event))
        close = getattr(data, "do_io_close", None)
        if close is not None:
            close()
        return EVENT_DONE

    def accept(self, vc: UnixNetVConnection, buffer: Any, reader: Any) -> bool:
        """Never to be called: who has bytes already has decided already."""
        raise LocalError("a probing acceptor is told of connections by NET_EVENT_ACCEPT")


@implementer(IContinuation)
class _Probe:
    """Waits for the first bytes of one connection, and sends it on its way (seed: C{ProtocolProbeTrampoline})."""

    __slots__ = ("_buffer", "_parent", "_reader", "_vc")

    _log = Logger()

    def __init__(self, parent: ProtocolProbeSessionAccept, vc: UnixNetVConnection) -> None:
        self._parent = parent
        self._vc = vc
        self._buffer = MIOBuffer(BUFFER_SIZE_INDEX_4K)
        self._reader = self._buffer.alloc_reader()

    def begin(self) -> None:
        vc = self._vc
        vc.do_io_read(self, buffer_size(BUFFER_SIZE_INDEX_4K), self._buffer)
        vc.set_inactivity_timeout(self._parent.accept_no_activity_timeout)

    def handle_event(self, event: int, data: Any) -> int:
        """READ_READY, READ_COMPLETE: look at what there is.  The rest ends it."""
        if event not in (VC_EVENT_READ_READY, VC_EVENT_READ_COMPLETE):
            if event not in _OVER:
                self._log.error("a probe was told of {event}, which it does not know", event=event_name(event))
            self._close()
            return EVENT_DONE
        parent = self._parent
        vc = self._vc
        endpoint, name = parent.http, "HTTP/1"
        if not speaks_tls(vc):
            seen = self._reader.memcpy(len(PREFACE))
            if PREFACE.startswith(seen):
                if len(seen) < PREFACE_NEEDED:
                    return EVENT_CONT
                endpoint, name = parent.http2, "HTTP/2"
        vc.do_io_read(None, 0, None)
        vc.cancel_inactivity_timeout()
        if endpoint is None:
            self._log.warn("{vc} speaks {protocol}, which nobody does on this port", vc=vc, protocol=name)
            self._close()
        elif not endpoint.accept(vc, self._buffer, self._reader):
            self._close()
        return EVENT_DONE

    def _close(self) -> None:
        self._vc.do_io_close()
        self._reader.dealloc()
