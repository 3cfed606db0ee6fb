# -*- test-case-name: tests.test_multitunnel -*-
"""
L{OneWayMultiTunnel}: what one connection reads, up to four others write.

There is one buffer, which each target reads at a position of its own, so bytes are kept once however many want them.
The buffer has room when the slowest target has gone on; until then the source is not read, so the slowest sets the
pace.  A target that fails, or is closed by its peer, drops out: its position does not count any more, and the others go
on.  A source that fails fails for all.

When the source ends, each target gets what it has not got yet, and then its end as the source's was: in order, or cut
off.  The tunnel is over when no target is left.

Source: behaviour 1.33, N122; ATS C{OneWayMultiTunnel.cc}.  There one target that fails ends the tunnel.
"""

import errno
from collections.abc import Sequence
from typing import Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from atstls.errors import ConnectionClosedError, LocalError
from atstls.events import (
    EVENT_CONT,
    EVENT_DONE,
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
from atstls.eventsystem.iobuffer import (
    BUFFER_SIZE_INDEX_64K,
    BUFFER_SIZE_INDEX_256K,
    MAX_MIOBUFFER_READERS,
    IOBufferReader,
    MIOBuffer,
)
from atstls.eventsystem.vio import INT64_MAX, NetState
from atstls.interfaces import IContinuation
from atstls.net.unixvc import UnixNetVConnection

ONE_WAY_MULTI_TUNNEL_LIMIT: Final = MAX_MIOBUFFER_READERS - 1
"""Targets of one source."""


class _Branch:
    """
    One target.

    @ivar reader: how far it is.
    """

    __slots__ = ("reader", "vc", "vio")

    def __init__(self, vc: UnixNetVConnection, reader: IOBufferReader) -> None:
        self.vc = vc
        self.reader = reader
        self.vio: NetState | None = None


@implementer(IContinuation)
class OneWayMultiTunnel:
    """
    Bytes from a source to several targets.

    @ivar source: where they come from.
    @ivar results: of each target that is done, 0, or why it failed: an errno or an ENET number.
    @ivar result: 0, or why the first one failed.
    @ivar finished: it is over, and nobody is told of anything any more.
    """

    __slots__ = (
        "_branches", "_buffer", "_close_all", "_cont", "_ended", "_nbytes", "finished", "result", "results", "source",
        "source_vio",
    )  # fmt: skip

    _log = Logger()

    def __init__(
        self,
        source: UnixNetVConnection,
        targets: Sequence[UnixNetVConnection],
        cont: IContinuation | None = None,
        nbytes: int = INT64_MAX,
        *,
        size_index: int = BUFFER_SIZE_INDEX_64K,
        water_mark: int = 0,
        close_all: bool = True,
    ) -> None:
        """
        @param targets: one to L{ONE_WAY_MULTI_TUNNEL_LIMIT}, all different.
        @param cont: told VC_EVENT_EOS, with the tunnel, when every target got everything, or VC_EVENT_ERROR when it is
            over and that is not so.
        @param nbytes: how many bytes to move; the default: until the source ends.
        @param close_all: close the connections when they are done; else they are left, with nobody asking of them.
        @raise LocalError: too many targets, or none.
        @raise ConnectionClosedError: one of the connections is closed; nothing is asked of the others.
        """
        if not 0 < len(targets) <= ONE_WAY_MULTI_TUNNEL_LIMIT or len(set(targets)) < len(targets):
            raise LocalError(f"a source has one to {ONE_WAY_MULTI_TUNNEL_LIMIT} targets, all different")
        if source.closed or any(target.closed for target in targets):
            raise ConnectionClosedError("a tunnel needs connections that are open")
        self.source = source
        self.results: dict[UnixNetVConnection, int] = {}
        self.result = 0
        self.finished = False
        self._cont = cont
        self._nbytes = nbytes
        self._close_all = close_all
        self._ended = False
        buffer = self._buffer = MIOBuffer(
            size_index, largest_index=max(size_index, BUFFER_SIZE_INDEX_256K), water_mark=water_mark
        )
        self._branches = {target: _Branch(target, buffer.alloc_reader()) for target in targets}
        self.source_vio: NetState | None = source.do_io_read(self, nbytes, buffer)
        for branch in self._branches.values():
            branch.vio = branch.vc.do_io_write(self, nbytes, branch.reader)

    def handle_event(self, event: int, data: Any) -> int:
        """A connection has something to say."""
        if self.finished:
            return EVENT_DONE
        if event == VC_EVENT_READ_READY:
            for branch in self._branches.values():
                assert branch.vio is not None
                branch.vio.reenable()
            return EVENT_CONT
        if event == VC_EVENT_WRITE_READY:
            self._go_on()
            return EVENT_CONT
        if data is self.source_vio:
            self._source_says(event)
        else:
            self._target_says(event, self._branches[data.vc_server])
        return EVENT_DONE

    def _go_on(self) -> None:
        """There may be room."""
        if not self._ended and self.source_vio is not None and self._buffer.has_room():
            self.source_vio.reenable()

    def _source_says(self, event: int) -> None:
        if event == VC_EVENT_READ_COMPLETE:
            self._source_ended()
        elif event == VC_EVENT_EOS:
            if self.source.lerrno:
                self._fail(self.source.lerrno)  # A reset: what is on its way is of no use to anybody.
            elif self._nbytes != INT64_MAX:
                self._fail(errno.ECONNRESET)  # Fewer bytes than were promised.
            else:
                self._source_ended()
        else:
            self._fail(self._number_of(event, self.source))

    def _target_says(self, event: int, branch: _Branch) -> None:
        if event == VC_EVENT_WRITE_COMPLETE:
            self._done(branch, 0)
        else:
            self._done(branch, self._number_of(event, branch.vc))

    def _number_of(self, event: int, vc: UnixNetVConnection) -> int:
        """Why C{vc} failed, who says so by C{event}."""
        if event == VC_EVENT_ERROR:
            return vc.lerrno or errno.EIO
        if event in (VC_EVENT_INACTIVITY_TIMEOUT, VC_EVENT_ACTIVE_TIMEOUT):
            return errno.ETIMEDOUT
        self._log.error("a tunnel was told of {event}, which it does not know", event=event_name(event))
        return errno.EINVAL

    def _source_ended(self) -> None:
        """Nothing more comes; what is here still goes."""
        self._ended = True
        for branch in list(self._branches.values()):
            vio = branch.vio
            assert vio is not None
            if self._close_all and self._orderly():
                vio.finish()
            else:
                vio.done()
            if vio.ntodo() > 0:
                vio.reenable()
            elif vio.urgent:
                vio.owed = True  # The kernel has not got all: WRITE_COMPLETE, when it has.
            else:
                self._done(branch, 0)

    def _orderly(self) -> bool:
        """Did the source end as it should?"""
        return self.source.clean_shutdown or self._nbytes != INT64_MAX

    def _done(self, branch: _Branch, result: int) -> None:
        """C{branch} has got everything, or has failed."""
        vc = branch.vc
        del self._branches[vc]
        self.results[vc] = result
        self.result = self.result or result
        branch.reader.dealloc()
        if not self._close_all:
            vc.do_io_write(None, 0, None)
        elif result:
            vc.do_io_close(result)
        else:
            if not self._orderly():
                vc.end_unclean()
            vc.do_io_close()
        if not self._branches:
            self._over()
        else:
            self._go_on()  # It may have been the slowest.

    def _fail(self, result: int) -> None:
        """The source failed; nobody must take it for an end in order."""
        self.result = self.result or result
        self._ended = True
        for branch in list(self._branches.values()):
            self._done(branch, result)

    def _over(self) -> None:
        self.finished = True
        self.source_vio = None
        if self._close_all:
            self.source.do_io_close(self.result or -1)
        else:
            self.source.do_io_read(None, 0, None)
        cont, self._cont = self._cont, None
        if cont is not None:
            cont.handle_event(VC_EVENT_ERROR if self.result else VC_EVENT_EOS, self)
