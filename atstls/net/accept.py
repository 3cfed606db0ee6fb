# -*- test-case-name: tests.test_accept -*-
"""
L{NetAccept}: a listening socket, and the loop that empties its queue.

The socket, its options and its life are Twisted's (L{twisted.internet.tcp.Port}); ours is what happens when it is
readable.  An accepted connection is counted, made into a connection object by the processor, watched, and given to the
continuation as NET_EVENT_ACCEPT.  Its first read is tried without waiting for the kernel's word only where the kernel
kept the connection until there were bytes (C{defer_accept_seconds}): elsewhere most of such reads would be in vain.

Without descriptors left, accepting fails and the socket stays readable: a loop that only tries again would spin.  One
descriptor is held in reserve; it is let go to accept those who wait and to close them, which they notice, and taken
again.  If even that is not to be had, the socket rests for a moment.  It does not come to that where
L{atstls.net.throttle} can see it come.

Source: seed, "SSLNetAccept"; behaviour 1.11 and N090 to N095; ATS C{UnixNetAccept.cc}.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, ILoggingContext, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from atstls.events import (
    EVENT_ERROR,
    NET_EVENT_ACCEPT,
    NET_EVENT_ACCEPT_FAILED,
    NET_EVENT_ACCEPT_SUCCEED,
)
from atstls.eventsystem.continuation import Action
from atstls.interfaces import IContinuation, INetAccept
from atstls.net.connection import AcceptOptions, Address, apply_accept_options, named
from atstls.net.farewell import FAREWELLS_AT_ONCE, Farewell
from atstls.net.handler import NetHandler
from atstls.net.throttle import Throttle
from atstls.net.transparent import LISTENING_PORT, make_transparent
from atstls.net.unixvc import UnixNetVConnection
from atstls.statistics import counters

ACCEPTS_A_TURN: Final = 64
"""How many are accepted before those that are in get their turn again."""

REST_SECONDS: Final = 0.1

TRANSIENT: Final = 1
OUT_OF_RESOURCES: Final = 0
FATAL: Final = -1

_TRANSIENT = {errno.EAGAIN, errno.ECONNABORTED, errno.ECONNRESET, errno.EPIPE, errno.EINTR, errno.EPERM, errno.EPROTO}
_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSR}


def accept_error_seriousness(error: int) -> int:
    """L{TRANSIENT}: the next may do better; L{OUT_OF_RESOURCES}: not now; L{FATAL}: never again."""
    if error in _TRANSIENT:
        return TRANSIENT
    if error in _RESOURCES:
        return OUT_OF_RESOURCES
    return FATAL


@implementer(ILoggingContext)
@implementer(IProtocolFactory)
class _NoFactory:
    """What a L{tcp.Port} starts and stops, in the place of a factory: connections are not its affair here."""

    noisy = False

    def __init__(self, prefix: str = "atstls") -> None:
        self.prefix = prefix

    def logPrefix(self) -> str:  # noqa: N802
        """Who "starting on" a port is, in Twisted's own line in the log."""
        return self.prefix

    def doStart(self) -> None:  # noqa: N802
        pass

    def doStop(self) -> None:  # noqa: N802
        pass

    def buildProtocol(self, addr: IAddress) -> None:  # noqa: N802
        return None


class _TransparentTCPPort(tcp.Port):
    """One that may be bound to an address of somebody else's."""

    def createInternetSocket(self) -> socket.socket:  # noqa: N802
        sock: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]  # Twisted's
        try:
            make_transparent(sock)
        except OSError:
            sock.close()
            raise
        return sock


class _InheritedUNIXPort(unix.Port):
    """A UNIX socket that somebody else has bound: the file is his, with its rights, and stays when we close."""

    def startListening(self) -> None:  # noqa: N802
        self._shouldShutdown = False
        inherited, self._preexistingSocket = self._preexistingSocket, None
        assert inherited is not None
        self.socket = inherited
        self.fileno = inherited.fileno  # type: ignore[method-assign]  # as Twisted's own ports do
        self.connected = True
        self.startReading()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        tcp.Port.connectionLost(self, reason)


def _close(port: Any) -> None:
    """Close a listening port, at once; unless the reactor has done so, which stops."""
    if not port.connected:
        return
    port.stopReading()
    try:
        port.connectionLost(None)
    except FileNotFoundError:
        # Somebody has removed the file of a UNIX socket, and Twisted went no further.
        if port.lockFile is not None:
            port.lockFile.unlock()
        tcp.Port.connectionLost(port, None)


@implementer(INetAccept)
class NetAccept(Action):
    """
    Accepts connections for a continuation, until it is cancelled.

    @ivar port: Twisted's listening port; C{None} once cancelled.
    @ivar accepted: how many were.
    """

    _log = Logger()

    speaks_first = True
    """Would a peer understand a text that we begin with?"""

    log_prefix = "atstls"
    """Who Twisted's line in the log says starts on the port."""

    def __init__(
        self,
        nh: NetHandler,
        allocate: Callable[["NetAccept"], UnixNetVConnection],
        continuation: IContinuation,
        options: AcceptOptions,
        throttle: Throttle,
    ) -> None:
        """
        @param allocate: makes a fresh connection for one that was accepted here.
        """
        super().__init__(continuation)
        self.nh = nh
        self.options = options
        self.port: Any = None
        self.accepted = 0
        self._allocate = self._making_transparent(allocate) if options.f_inbound_transparent else allocate
        # One without a limit; the last descriptors are kept by it as well.
        self._throttle = Throttle(0) if options.backdoor else throttle
        self._kind = (socket.AF_INET, socket.SOCK_STREAM)
        self._local: Address | None = None
        self._reserve: Any = None
        self._out_of_descriptors = False
        self._resting: Any = None
        self._farewells: set[Farewell] = set()

    def _making_transparent(
        self, allocate: Callable[["NetAccept"], UnixNetVConnection]
    ) -> Callable[["NetAccept"], UnixNetVConnection]:
        def allocated(accept: NetAccept) -> UnixNetVConnection:
            vc = allocate(accept)
            vc.set_arg(LISTENING_PORT, self.port.getHost().port)
            return vc

        return allocated

    def listen(self) -> None:
        """
        Open the port.

        With C{f_callback_on_open} the continuation is told ACCEPT_SUCCEED or ACCEPT_FAILED before this returns.

        @raise CannotListenError: it cannot be opened, and C{f_callback_on_open} is not set.
        """
        assert self.continuation is not None
        port = None
        try:
            port = self._make_port()
            port.doRead = self._accept_waiting
            port.startListening()
            port.socket.setblocking(False)  # An inherited one may block, and would, at the end of its queue.
            apply_accept_options(port.socket, self.options)
        except (CannotListenError, OSError) as exc:
            if port is not None and port.connected:
                _close(port)
            error = exc.socketError if isinstance(exc, CannotListenError) else exc
            if not self.options.f_callback_on_open:
                raise
            self.cancelled = True
            self.continuation.handle_event(NET_EVENT_ACCEPT_FAILED, error)
            return
        self.port = port
        self._kind = (port.socket.family, port.socket.type)
        if port.socket.family != socket.AF_UNIX:
            self.nh.ports.add(port.getHost().port)
        self._local = self._address_of_all()
        counters.accepts_currently_open += 1
        self._keep_reserve()
        if self.options.f_callback_on_open:
            self.continuation.handle_event(NET_EVENT_ACCEPT_SUCCEED, self)

    def _address_of_all(self) -> Address | None:
        """Where those are who come in, if that can be said beforehand: the port is bound to one address of ours."""
        address = named(self.port.socket.getsockname())
        if self.options.f_inbound_transparent or not isinstance(address, tuple):
            return None
        return None if ipaddress.ip_address(address[0].partition("%")[0]).is_unspecified else address

    def _make_port(self) -> Any:
        options = self.options
        reactor = self.nh.reactor
        nobody = _NoFactory(self.log_prefix)
        if options.fd is not None:
            with socket.socket(fileno=os.dup(options.fd)) as probe:
                family = probe.family
            if family == socket.AF_UNIX:
                return _InheritedUNIXPort._fromListeningDescriptor(reactor, options.fd, nobody)
            return tcp.Port._fromListeningDescriptor(reactor, options.fd, family, nobody)
        if options.unix_path is not None:
            path: Any = options.unix_path  # Twisted's annotation says bytes, its code takes either
            return unix.Port(path, nobody, options.backlog, options.unix_mode, reactor, wantPID=options.unix_lock)
        host = options.local_ip
        if options.localhost_only:
            host = "::1" if ":" in host else "127.0.0.1"
        kind = _TransparentTCPPort if options.f_inbound_transparent else tcp.Port
        return kind(options.local_port, nobody, options.backlog, host, reactor)

    def get_host(self) -> IAddress:
        """See L{INetAccept.get_host}."""
        host: IAddress = self.port.getHost()
        return host

    def listening_port(self) -> IListeningPort:
        """Twisted's own object for the open port."""
        port: IListeningPort = self.port
        return port

    def hand_over(self) -> int:
        """
        The listening socket for another acceptor, who takes over its queue: a descriptor that is the caller's.

        This one may be cancelled then without an end to the socket.
        """
        self.port._shouldShutdown = False
        return os.dup(self.port.fileno())

    def cancel(self) -> None:
        """Close the port, at once: its number is free for others when this returns (N092)."""
        if self.cancelled:
            return
        super().cancel()
        port, self.port = self.port, None
        if port is not None:
            counters.accepts_currently_open -= 1
            _close(port)
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        for farewell in list(self._farewells):
            farewell.close()
        self._drop_reserve()

    # Accepting.

    def _accept_waiting(self) -> None:
        """The port is readable."""
        more = self.options.additional_accepts
        nh = self.nh
        listening = self.port.socket
        family, kind = self._kind
        nh.now = nh.seconds()
        nh.turning = True  # Nobody needs to be woken for what we are about to run.
        try:
            for _ in range(ACCEPTS_A_TURN if more < 0 else more + 1):
                if self.cancelled:
                    break
                try:
                    # accept() in C: Python's finds out anew of which family the socket is, and costs ten calls.
                    fd, address = listening._accept()
                except BlockingIOError:
                    break
                except OSError as exc:
                    if not self._failed(exc):
                        break
                    continue
                self._out_of_descriptors = False
                self._accepted(socket.socket(family, kind, 0, fd), address)
        finally:
            nh.turning = False
            if nh.read_ready or nh.write_ready:
                nh.run()

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        nh = self.nh
        counters.total_accepts += 1
        throttle = self._throttle
        if sock.fileno() > throttle.highest_in:
            throttle.refused_for_descriptors(True)
            sock.close()
            return
        if throttle.refuses_accept(len(nh.open_list)):
            self._refuse(sock)
            return
        defer = self.options.defer_accept_seconds
        clients = throttle.clients
        if clients is not None and clients.refuses(address):
            sock.close()
            return
        vc = None
        try:
            sock.setblocking(False)
            vc = self._allocate(self)
            if defer:
                vc.read.triggered = vc.read.polled = True  # Its first bytes are there.
            if self._local is not None:
                vc.set_local_addr(self._local)  # It need not be asked for.
            vc.start(sock, named(address) if isinstance(address, tuple) else "")
        except Exception as exc:
            sock.close()
            if vc is not None:
                vc.free()
            if isinstance(exc, OSError):
                # The peer has left already, or there is no descriptor to watch it with.
                self._log.debug("an accepted connection was gone at once: {error}", error=exc)
            else:
                self._log.failure("a bug kept a connection from being accepted")
            return
        self.accepted += 1
        vc.id = self.accepted
        vc.submit_time = nh.now
        if clients is not None:
            clients.entered(vc, address)
        assert self.continuation is not None
        try:
            self.continuation.handle_event(NET_EVENT_ACCEPT, vc)
            if vc.read.urgent and not vc.closed:
                vc.net_read_io()  # It has something of its own to do before the first byte.
        except Exception:
            nh._broken(vc)

    def _refuse(self, sock: socket.socket) -> None:
        """There are too many: say so, if that is wanted and not being said to many already."""
        text = self._throttle.message
        if not text or not self.speaks_first or len(self._farewells) >= FAREWELLS_AT_ONCE:
            sock.close()
            return
        sock.setblocking(False)
        self._farewells.add(Farewell(self.nh.reactor, sock, text, self._farewells.discard))

    def _failed(self, exc: OSError) -> bool:
        """True: try the next one."""
        error = exc.errno or errno.EIO
        seriousness = accept_error_seriousness(error)
        if seriousness == TRANSIENT:
            return True
        if seriousness == FATAL:
            self._log.error("no more connections are accepted on {host}: {error}", host=self.get_host(), error=exc)
            continuation = self.continuation
            self.cancel()
            if continuation is not None:
                continuation.handle_event(EVENT_ERROR, exc)
            return False
        if not self._out_of_descriptors:
            self._out_of_descriptors = True
            self._log.warn(
                "cannot accept on {host}: {error}; those who wait are closed until it is better",
                host=self.get_host(), error=exc.strerror,
            )  # fmt: skip
        if error != errno.EMFILE or self._reserve is None or not self._turn_away():
            self.port.stopReading()
            self._resting = self.nh.reactor.callLater(REST_SECONDS, self._resume)
        return False

    def _turn_away(self) -> bool:
        """Close those who wait, with the descriptor that was held for this.  True: it is held again."""
        self._drop_reserve()
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, _address = self.port.socket.accept()
            except OSError:
                break
            counters.total_accepts += 1
            counters.connections_throttled_in += 1
            sock.close()
        return self._keep_reserve()

    def _resume(self) -> None:
        self._resting = None
        self._keep_reserve()
        self.port.startReading()

    def _keep_reserve(self) -> bool:
        if self._reserve is None:
            try:
                self._reserve = open(os.devnull, "rb")  # noqa: SIM115 (held for as long as we listen)
            except OSError:
                return False
        return True

    def _drop_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None
