# -*- test-case-name: tests.test_tunnel -*-
"""
Tunnels: what one connection reads, another writes.

A L{OneWayTunnel} is the continuation of a read VIO and of a write VIO over the same buffer.  Bytes are never touched:
the writer is woken when there are bytes and the reader when there is room, which the two VIOs do by themselves (they
are each other's C{partner}); the tunnel is told of the ends.  The buffer is the bound of what a slow writer costs.

An end passes through.  When the source ends, what is buffered is still sent, then the target's writing direction is
ended in the way in which the source's was: in order (TCP's end, and over TLS close_notify before it), cut off (a TLS
stream without close_notify), or reset.  The other direction goes on; a L{TwoWayTunnel} closes both connections when
both directions are done, or when one of them fails.  So half-closed conversations work, and a reset never looks like
an end in order.

Source: behaviour 1.33, N120 to N124, O36; ATS C{OneWayTunnel.cc}.  Half-close is ours (ATS issue 6083).
"""

import errno
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from atstls.errors import ConnectionClosedError
from atstls.events import (
    EVENT_CONT,
    EVENT_DONE,
    ONE_WAY_TUNNEL_EVENT_PEER_CLOSE,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_ERROR,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
    event_name,
)
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_64K, BUFFER_SIZE_INDEX_256K, IOBufferReader, MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, SHUTDOWN_WRITE, NetState
from atstls.interfaces import IContinuation
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL, UnixNetVConnection
from atstls.session.splice import HAVE_SPLICE, PipeBuffer

HALF_CLOSE_SECONDS: Final = 300.0
"""How long the second direction may be silent when the first is done."""

MANIPULATED_BYTES: Final = 64 << 10
"""What waits for the target already when nothing more is manipulated, so that the source has to wait as well."""

Manipulate = Callable[[IOBufferReader, MIOBuffer], None]
"""Takes what it wants from the source's bytes and writes what the target shall get."""


@implementer(IContinuation)
class OneWayTunnel:
    """
    Bytes from a source to a target.

    @ivar result: 0, or why it failed: an errno or an ENET number.
    @ivar peer: the tunnel in the other direction, while both go on; C{None} else.
    @ivar finished: it is over, and nobody is told of anything any more.
    """

    __slots__ = (
        "_buffer", "_close_both", "_cont", "_ended", "_manipulate", "_nbytes", "_out", "_reader", "finished",
        "half_close_seconds", "peer", "result", "source", "source_vio", "target", "target_vio",
    )  # fmt: skip

    _log = Logger()

    def __init__(
        self,
        source: UnixNetVConnection,
        target: UnixNetVConnection,
        cont: IContinuation | None = None,
        nbytes: int = INT64_MAX,
        *,
        size_index: int = BUFFER_SIZE_INDEX_64K,
        water_mark: int = 0,
        manipulate: Manipulate | None = None,
        half_close_seconds: float = HALF_CLOSE_SECONDS,
        close_both: bool = True,
    ) -> None:
        """
        @param cont: told VC_EVENT_EOS, with the tunnel, when it is over, or VC_EVENT_ERROR when it failed.
        @param nbytes: how many bytes to move; the default: until the source ends.
        @param size_index: the buffer's first block; it grows to 256 KiB while reads fill it.
        @param close_both: close the connections when it is over; else they are left, with nobody asking of them.
        """
        self.source = source
        self.target = target
        self.peer: OneWayTunnel | None = None
        self.result = 0
        self.finished = False
        self.half_close_seconds = half_close_seconds
        self._cont = cont
        self._nbytes = nbytes
        self._manipulate = manipulate
        self._close_both = close_both
        self._ended = False
        self._buffer: MIOBuffer
        if (
            manipulate is None
            and (source.attributes == TRANSPORT_BLIND_TUNNEL or target.attributes == TRANSPORT_BLIND_TUNNEL)
            and _both_plain(source, target)
        ):
            self._buffer = PipeBuffer()
        else:
            largest = BUFFER_SIZE_INDEX_256K if size_index < BUFFER_SIZE_INDEX_256K else size_index
            self._buffer = MIOBuffer(size_index, largest_index=largest, water_mark=water_mark)
        reader = self._reader = self._buffer.alloc_reader()
        self._out: MIOBuffer | None = None
        if manipulate is not None:
            self._out = MIOBuffer(size_index)
            reader = self._out.alloc_reader()
            nbytes = INT64_MAX  # for the target: what comes of it may be of any length
        source_vio = source.do_io_read(self, self._nbytes, self._buffer)
        target_vio = target.do_io_write(self, nbytes, reader, source_vio if manipulate is None else None)
        if source_vio is None or target_vio is None:
            raise ConnectionClosedError("a tunnel needs connections that are open")
        target_vio.ends = close_both  # It ends as the source does, unless that is not an end in order.
        self.source_vio: NetState = source_vio
        self.target_vio: NetState = target_vio

    def handle_event(self, event: int, data: Any) -> int:
        """A connection, or the tunnel in the other direction, has something to say."""
        if event == VC_EVENT_READ_READY:
            if self._manipulate is not None:
                self._transform()
            self.target_vio.reenable()
            return EVENT_CONT
        if event == VC_EVENT_WRITE_READY:
            if not self._ended:
                if self._manipulate is not None and self._reader.avail:
                    self._transform()
                self.source_vio.reenable()
            return EVENT_CONT
        if self.finished:
            return EVENT_DONE
        if event == VC_EVENT_EOS:
            if self.source.lerrno:
                self._fail(self.source.lerrno)  # A reset: what is on its way is of no use to anybody.
            elif self._nbytes != INT64_MAX:
                self._fail(errno.ECONNRESET)  # Fewer bytes than were promised.
            else:
                self._source_ended()
        elif event == VC_EVENT_READ_COMPLETE:
            self._source_ended()
        elif event == VC_EVENT_WRITE_COMPLETE:
            self._target_done()
        elif event == ONE_WAY_TUNNEL_EVENT_PEER_CLOSE:
            self._over(data)
        elif event == VC_EVENT_ERROR:
            self._fail(data.vc_server.lerrno or errno.EIO)
        elif event in (VC_EVENT_INACTIVITY_TIMEOUT, VC_EVENT_ACTIVE_TIMEOUT):
            self._fail(errno.ETIMEDOUT)
        else:
            self._log.error("a tunnel was told of {event}, which it does not know", event=event_name(event))
            self._fail(errno.EINVAL)
        return EVENT_DONE

    def _transform(self, limit_bytes: int = MANIPULATED_BYTES) -> None:
        assert self._manipulate is not None and self._out is not None
        if self._out.max_read_avail() < limit_bytes:
            self._manipulate(self._reader, self._out)

    def _source_ended(self) -> None:
        """Nothing more comes; what is here still goes."""
        self._ended = True
        vio = self.target_vio
        vio.partner = None  # Nobody asks the source for more, whose end would come twice.
        if self._manipulate is not None:
            self._transform(INT64_MAX)
        if self._close_both and (self.source.clean_shutdown or self._nbytes != INT64_MAX):
            vio.finish()
        else:
            vio.ends = False
            vio.done()
        if vio.nbytes > vio.ndone:
            vio.reenable()
        elif vio.urgent:
            vio.owed = True  # The kernel has not got all: WRITE_COMPLETE, when it has.
        else:
            self._target_done()

    def _target_done(self) -> None:
        """All has gone.  The target's writing ends as the source has ended, and the other direction goes on."""
        peer, target = self.peer, self.target
        if self._close_both:
            if not self.source.clean_shutdown and self._nbytes == INT64_MAX:
                target.end_unclean()
            elif peer is not None or target.says_goodbye:
                target.do_io_shutdown(SHUTDOWN_WRITE)
        if peer is None:
            self._close(-1)
        else:
            self.peer = peer.peer = None
            # The connection that has nothing more to say still tells of timeouts.
            self.source.do_io_read(peer, 0, None)
            for vc in (self.source, self.target):
                if not 0 < vc.inactivity_timeout_in <= self.half_close_seconds:
                    vc.set_inactivity_timeout(self.half_close_seconds)
        self._over(0)

    def _fail(self, result: int) -> None:
        """
        A connection failed: both are closed, and the other side must not take it for an end in order.

        Unless that side has had its end before: then all that came before it still has to arrive.
        """
        peer, self.peer = self.peer, None
        self._close(result)
        self._over(result)
        if peer is not None:
            peer.peer = None
            peer.handle_event(ONE_WAY_TUNNEL_EVENT_PEER_CLOSE, result)

    def _close(self, lerrno: int) -> None:
        if self._close_both:
            for vc in (self.source, self.target):
                vc.do_io_close(-1 if vc.write_shut else lerrno)
        else:
            self.source.do_io_read(None, 0, None)
            self.target.do_io_write(None, 0, None)

    def _over(self, result: int) -> None:
        self.finished = True
        self.result = result
        self._reader.dealloc()
        if isinstance(self._buffer, PipeBuffer):
            self._buffer.close()
        cont, self._cont = self._cont, None
        if cont is not None:
            cont.handle_event(VC_EVENT_ERROR if result else VC_EVENT_EOS, self)


def _both_plain(source: UnixNetVConnection, target: UnixNetVConnection) -> bool:
    """Can the kernel carry the bytes of a blind tunnel by itself?"""
    return HAVE_SPLICE and all(
        vc.attributes == TRANSPORT_BLIND_TUNNEL or type(vc) is UnixNetVConnection for vc in (source, target)
    )


@implementer(IContinuation)
class TwoWayTunnel:
    """
    Bytes both ways between two connections, and their ends.

    @ivar there: from the first connection to the second.
    @ivar back: from the second to the first.
    """

    __slots__ = ("_cont", "_left", "_result", "back", "there")

    def __init__(
        self,
        one: UnixNetVConnection,
        other: UnixNetVConnection,
        cont: IContinuation | None = None,
        *,
        half_close_seconds: float = HALF_CLOSE_SECONDS,
        size_index: int = BUFFER_SIZE_INDEX_64K,
    ) -> None:
        """
        @param cont: told once, when both directions are over: VC_EVENT_EOS, or VC_EVENT_ERROR when one failed.
        """
        self._cont = cont
        self._left = 2
        self._result = 0
        mine = self if cont is not None else None
        self.there = OneWayTunnel(one, other, mine, half_close_seconds=half_close_seconds, size_index=size_index)
        self.back = OneWayTunnel(other, one, mine, half_close_seconds=half_close_seconds, size_index=size_index)
        setup_two_way_tunnel(self.there, self.back)

    def handle_event(self, event: int, data: Any) -> int:
        """One direction is over."""
        self._left -= 1
        self._result = self._result or data.result
        if not self._left and self._cont is not None:
            cont, self._cont = self._cont, None
            cont.handle_event(VC_EVENT_ERROR if self._result else VC_EVENT_EOS, self)
        return EVENT_DONE


def setup_two_way_tunnel(one: OneWayTunnel, other: OneWayTunnel) -> None:
    """Let two tunnels know of each other (seed: C{SetupTwoWayTunnel})."""
    one.peer = other
    other.peer = one
