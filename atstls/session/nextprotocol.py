# -*- test-case-name: tests.test_nextprotocol_accept -*-
"""
L{SSLNextProtocolAccept} and its trampoline: a connection goes to who speaks its protocol, when its handshake is done.

The acceptor asks for a read of zero bytes, which completes with the handshake, with a L{SSLNextProtocolTrampoline} as
continuation.  The trampoline then looks at what ALPN agreed on, gives the connection to the endpoint registered for it
(or to the default one) as NET_EVENT_ACCEPT, and is done.  A session never sees a connection that is not established.

Source: seed, "SSLNextProtocolAccept"; behaviour 1.25 and S124 to S128, O23; ATS C{SSLNextProtocolAccept.cc}.
"""

from typing import Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from atstls.errors import LocalError
from atstls.events import (
    EVENT_CONT,
    EVENT_DONE,
    EVENT_ERROR,
    NET_EVENT_ACCEPT,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_ERROR,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    event_name,
)
from atstls.eventsystem.iobuffer import MIOBuffer, new_empty_MIOBuffer
from atstls.interfaces import IContinuation, ISessionAccept
from atstls.ssl.sslvc import NOT_TLS_FAILS, NOT_TLS_PLAIN, NOT_TLS_TUNNEL
from atstls.tls.nextprotocol import SSLNextProtocolSet

_OVER: Final = (VC_EVENT_EOS, VC_EVENT_ERROR, VC_EVENT_ACTIVE_TIMEOUT, VC_EVENT_INACTIVITY_TIMEOUT)


@implementer(ISessionAccept)
class SSLNextProtocolAccept:
    """
    The first to be told of the connections of a TLS port.  One for a port; it keeps nothing of a connection.

    @ivar endpoint: who gets a connection on which no protocol was agreed; C{None}: it is closed.
    @ivar protocols: what the port offers, and who speaks it.
    @ivar not_tls: what becomes of clients whose first byte is not TLS's; as in
        L{SSLNetVConnection<atstls.ssl.sslvc.SSLNetVConnection>}.
    """

    _log = Logger()

    def __init__(
        self, endpoint: IContinuation | None, transparent_passthrough: bool = False, allow_plain: bool = False
    ) -> None:
        """
        @param transparent_passthrough: pass on blindly, to C{endpoint}, those whose first byte is not TLS's.
        @param allow_plain: give them to C{endpoint} like others who agreed on no protocol.
        @raise LocalError: both.
        """
        if transparent_passthrough and allow_plain:
            raise LocalError("what is not TLS can be passed on blindly or be served in clear, not both")
        self.not_tls = NOT_TLS_TUNNEL if transparent_passthrough else NOT_TLS_PLAIN if allow_plain else NOT_TLS_FAILS
        self.endpoint = endpoint
        self.protocols = SSLNextProtocolSet()
        # Nothing is ever written into it: a blind tunnel's bytes wait in the connection for a buffer of their owner's.
        self._empty: MIOBuffer = new_empty_MIOBuffer(0)
        self._trampoline = SSLNextProtocolTrampoline(self)

    def register_endpoint(self, name: bytes, endpoint: IContinuation) -> bool:
        """Offer C{name}, before those registered earlier.  False: it is there already, or cannot be sent."""
        return self.protocols.register_endpoint(name, endpoint)

    def unregister_endpoint(self, name: bytes, endpoint: IContinuation) -> bool:
        """Do not offer C{name} any more.  False: C{endpoint} was not registered for it."""
        return self.protocols.unregister_endpoint(name, endpoint)

    def handle_event(self, event: int, data: Any) -> int:
        """NET_EVENT_ACCEPT: see to the handshake.  Anything else is not for us: the connection is closed."""
        if event == NET_EVENT_ACCEPT:
            data.register_next_protocol_set(self.protocols)
            data.session_accept = self
            data.not_tls = self.not_tls
            data.do_io_read(self._trampoline, 0, self._empty)
            return EVENT_CONT
        self._log.error("an acceptor was told of {event}, which it does not know", event=event_name(event))
        close = getattr(data, "do_io_close", None)
        if close is not None:
            close()
        return EVENT_DONE

    def accept(self, vc: Any, buffer: Any, reader: Any) -> bool:
        """Never to be called: there are no bytes before the handshake."""
        raise LocalError("a TLS port's acceptor is told of connections by NET_EVENT_ACCEPT")


@implementer(IContinuation)
class SSLNextProtocolTrampoline:
    """Waits for the handshakes of an acceptor's connections, and sends each on its way.  It remembers none of them."""

    __slots__ = ("_parent",)

    _log = Logger()

    def __init__(self, parent: SSLNextProtocolAccept) -> None:
        self._parent = parent

    def handle_event(self, event: int, data: Any) -> int:
        """READ_COMPLETE, with the read VIO: the connection is there.  The rest ends it."""
        vc = data.vc_server
        if event == VC_EVENT_READ_COMPLETE:
            target = vc.endpoint() or self._parent.endpoint
            if target is not None:
                data.set_continuation(None)  # That read is over: what it is told next is not for us.
                target.handle_event(NET_EVENT_ACCEPT, vc)
                return EVENT_CONT
            self._log.error("nobody speaks {protocol} on this port", protocol=vc.negotiated_protocol)
        elif event not in _OVER:
            self._log.error("a handshake was told of {event}, which it does not know", event=event_name(event))
        vc.do_io_close()
        return EVENT_ERROR
