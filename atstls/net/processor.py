# -*- test-case-name: tests.test_processor -*-
"""
L{NetProcessor}: who makes connections, inwards and outwards.

C{connect_re} calls back as soon as connecting was begun, C{connect_s} when the connection stands; over TLS, when its
handshake is done.  A host that is a name is resolved by the reactor, and its addresses are tried in turn.

Source: seed, "sslNetProcessor"; behaviour 1.13 and N110 to N112; ATS C{UnixNetProcessor.cc}.
"""

import errno
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IReactorPluggableNameResolver, IResolutionReceiver
from zope.interface import implementer

from atstls.errors import AtsTlsError, NameNotFound, OpenFailed
from atstls.events import (
    ENET_CONNECT_TIMEOUT,
    ENET_THROTTLING,
    EVENT_CONT,
    NET_EVENT_OPEN,
    NET_EVENT_OPEN_FAILED,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.continuation import ACTION_RESULT_DONE, Action
from atstls.eventsystem.iobuffer import new_empty_MIOBuffer
from atstls.interfaces import IContinuation, INetProcessor
from atstls.net.accept import NetAccept
from atstls.net.connection import AcceptOptions, Address, NetVCOptions, begin_connect, is_ip, open_socket
from atstls.net.handler import NetHandler
from atstls.net.introduced import IntroducedNetVConnection
from atstls.net.throttle import Throttle
from atstls.net.unixvc import UnixNetVConnection

_nothing = new_empty_MIOBuffer().alloc_reader()
"""Stands for bytes that are never read nor written: all who wait for a connection may have it at once."""


@implementer(INetProcessor)
class NetProcessor:
    """
    Makes plain connections.

    @ivar throttle: how many there may be, of all processors that share it.
    """

    def __init__(self, nh: NetHandler, throttle: Throttle | None = None) -> None:
        self.nh = nh
        self.throttle = throttle if throttle is not None else Throttle()
        self._connects = 0

    # Inwards.

    def allocate_vc(self) -> UnixNetVConnection:
        """See L{INetProcessor.allocate_vc}."""
        return UnixNetVConnection(self.nh)

    def accept(self, cont: IContinuation, options: AcceptOptions) -> NetAccept:
        """See L{INetProcessor.accept}."""
        accept = NetAccept(self.nh, lambda _: self.allocate_vc(), cont, options, self.throttle)
        accept.listen()
        return accept

    # Outwards.

    def allocate_client_vc(self, options: NetVCOptions) -> UnixNetVConnection:
        """A fresh connection, to be made by us."""
        vc = IntroducedNetVConnection(self.nh) if options.first_bytes else self.allocate_vc()
        vc.is_client = True
        vc.options = options
        return vc

    def connect_re(self, cont: IContinuation, address: Address, options: NetVCOptions | None = None) -> Action:
        """See L{INetProcessor.connect_re}.  The host of C{address} may be a name."""
        return _Connect(self, cont, address, options or NetVCOptions()).begin()

    def connect_s(
        self, cont: IContinuation, address: Address, timeout: float = 30, options: NetVCOptions | None = None
    ) -> Action:
        """See L{INetProcessor.connect_s}.  C{timeout} seconds are for each address of a name; 0: no limit."""
        return _Connect(self, cont, address, options or NetVCOptions(), timeout).begin()

    def adopt(self, sock: socket.socket, options: NetVCOptions | None = None) -> UnixNetVConnection:
        """A connection of ours over C{sock}, which is connected (N112)."""
        sock.setblocking(False)
        self.nh.now = self.nh.seconds()
        vc = self.allocate_client_vc(options or NetVCOptions())
        vc.start(sock)
        return vc

    def connect_up(self, address: Address, options: NetVCOptions) -> UnixNetVConnection:
        """
        Begin to connect to C{address}, whose host is not a name.

        @raise OpenFailed: it cannot even be begun.
        """
        nh = self.nh
        if self.throttle.refuses_connect(len(nh.open_list)):
            raise OpenFailed(ENET_THROTTLING)
        nh.now = nh.seconds()
        try:
            sock = open_socket(address, options)
        except OSError as exc:
            raise OpenFailed(exc.errno or errno.EINVAL) from exc
        if sock.fileno() > self.throttle.highest_out:
            sock.close()
            self.throttle.refused_for_descriptors(False)
            raise OpenFailed(ENET_THROTTLING)
        refused = begin_connect(sock, address)
        if refused:
            sock.close()
            raise OpenFailed(refused)
        vc = self.allocate_client_vc(options)
        self._connects += 1
        vc.id = self._connects
        vc.submit_time = nh.now
        try:
            vc.start(sock, address)
        except OSError as exc:
            vc.free()
            raise OpenFailed(exc.errno or errno.EIO) from exc
        return vc


@implementer(IContinuation, IResolutionReceiver)
class _Connect(Action):
    """
    One wish to be connected: resolve, try the addresses, tell.

    Until the connection is given away this is its only user.
    """

    def __init__(
        self,
        processor: NetProcessor,
        cont: IContinuation,
        address: Address,
        options: NetVCOptions,
        established_within: float | None = None,
    ) -> None:
        """
        @param established_within: seconds to wait until the connection stands; C{None}: do not wait for that.
        """
        Action.__init__(self, cont, self._abandon)
        self._processor = processor
        self._address = address
        self._options = options
        self._established_within = established_within
        self._addresses: list[Address] = []
        self._vc: UnixNetVConnection | None = None
        self._resolution: Any = None
        self._last_failure: OpenFailed | None = None

    def begin(self) -> Action:
        address = self._address
        if isinstance(address, str) or is_ip(address[0]):
            self._addresses = [address]
            self._try_next()
        else:
            reactor = IReactorPluggableNameResolver(self._processor.nh.reactor)
            reactor.nameResolver.resolveHostName(self, address[0], address[1])
        # Who has been told already has nothing to cancel.
        return ACTION_RESULT_DONE if self.continuation is None and not self.cancelled else self

    # IResolutionReceiver.

    def resolutionBegan(self, resolutionInProgress: Any) -> None:  # noqa: N802, N803
        self._resolution = resolutionInProgress

    def addressResolved(self, address: Any) -> None:  # noqa: N802
        if isinstance(address, IPv4Address | IPv6Address):
            self._addresses.append((address.host, address.port))

    def resolutionComplete(self) -> None:  # noqa: N802
        self._resolution = None
        if not self.cancelled:
            self._try_next()

    # Trying.

    def _try_next(self) -> None:
        while self._addresses:
            address = self._addresses.pop(0)
            try:
                vc = self._processor.connect_up(address, self._options)
            except OpenFailed as exc:
                self._last_failure = exc
                continue
            if self._established_within is None:
                self._tell(NET_EVENT_OPEN, vc)
            else:
                self._wait_for(vc)
            return
        failure = self._last_failure or NameNotFound(errno.EHOSTUNREACH, "the name has no address")
        self._tell(NET_EVENT_OPEN_FAILED, failure)

    def _wait_for(self, vc: UnixNetVConnection) -> None:
        """A write of one byte that is never given says when one could be; over TLS a read of none, when it is open."""
        self._vc = vc
        if vc.ready:
            vc.do_io_write(self, 1, _nothing)
        else:
            vc.do_io_read(self, 0, _nothing.buffer)
        if self._established_within:
            vc.set_inactivity_timeout(self._established_within)

    def handle_event(self, event: int, data: Any) -> int:
        vc = self._vc
        if vc is None:
            return EVENT_CONT
        error = 0
        reason = ""
        if event == VC_EVENT_WRITE_READY:
            error = vc.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif event == VC_EVENT_INACTIVITY_TIMEOUT:
            error = ENET_CONNECT_TIMEOUT
        elif event not in (VC_EVENT_READ_COMPLETE, VC_EVENT_WRITE_COMPLETE):
            error = vc.lerrno or errno.ECONNREFUSED
            reason = str(vc.error) if isinstance(vc.error, AtsTlsError) else ""
        self._vc = None
        vc.cancel_inactivity_timeout()
        if error:
            vc.do_io_close()
            self._last_failure = OpenFailed(error, reason)
            self._last_failure.__cause__ = vc.error
            self._try_next()
        else:
            data.enabled = False
            data.stop()
            self._tell(NET_EVENT_OPEN, vc)
        return EVENT_CONT

    def _tell(self, event: int, data: Any) -> None:
        continuation, self.continuation = self.continuation, None
        self.settled()
        if continuation is not None:
            continuation.handle_event(event, data)

    def _abandon(self) -> None:
        resolution, self._resolution = self._resolution, None
        if resolution is not None:
            try:
                resolution.cancel()
            except NotImplementedError:
                pass  # Twisted's own resolver, whose threads cannot be stopped; its answer is passed over.
        vc, self._vc = self._vc, None
        if vc is not None:
            vc.do_io_close()
