# -*- test-case-name: tests.test_handler -*-
"""
L{NetHandler}: what moves the bytes of all connections of one reactor.

A turn is one pass over the connections that are ready to read, as the list stood when the pass began, and then one
over those that are ready to write.  What a pass makes ready again waits for the next turn, so a peer that always has
more delays nobody by more than its own share (behaviour O44).  What a read makes ready to write goes out in the same
turn.  A closed connection is freed when the outermost call-back into its user has returned, and nothing of it is
touched after that.

Source: seed, "NetHandler::mainNetEvent"; behaviour 1.6, 1.10.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_256K, NOWHERE, IOBufferBlock, ScratchBuffer
from atstls.eventsystem.vio import NetState
from atstls.interfaces import INetHandler, IPollDescriptor
from atstls.net.queues import NetQueues
from atstls.statistics import Counters, counters, registry

WIRE_BYTES: Final = (256 << 10) + (8 << 10)
"""Ciphertext of one turn of one connection: a block of 256 KiB and the overhead of its records."""

TURNS_A_RUN: Final = 16
"""Turns between two looks at what the kernel has to say: a peer that always has more delays the news of others by no
more than that many of its pieces."""

RUN_SECONDS: Final = 0.001
"""A turn that begins so long after the first is the last, however few there were."""


def new_wire() -> IOBufferBlock:
    """A block for ciphertext."""
    return IOBufferBlock(bytearray(WIRE_BYTES), NOWHERE, 0, 0, WIRE_BYTES)


@implementer(INetHandler)
class NetHandler:
    """
    The ready lists, and the turns over them.

    @ivar open_list: every connection that has a descriptor.
    @ivar ports: every port of TCP that anybody listens on, or has listened on.
    @ivar now: when this turn began, read once.
    @ivar turning: a turn is going on; what is put on a list now needs no other to be woken.
    @ivar wire: the block that ciphertext passes through on its way to and from the kernel; shared, since nothing stays
        in it.  A connection whose ciphertext the kernel does not take keeps the block, and we take another.
    @ivar scratch: for bytes that are gone as soon as they are read: what a tunnel's target takes at once, and what a
        protocol of Twisted's is given.  Its 256 KiB fit the wire when they are encrypted, and are more than is taken
        from the kernel at one go: a block that is full before that is at its end would leave ciphertext behind.
    @ivar queues: the connections whose users say whether they are busy.
    @ivar rest: what to tell the poll descriptor when a direction loses its trigger; C{None} if it need not know.
    """

    _log = Logger()

    def __init__(self, reactor: Any, seconds: Callable[[], float] = monotonic) -> None:
        """
        @param reactor: for C{callLater} and C{callFromThread}; its clock is not used.
        @param seconds: a clock that only goes forward.
        """
        self.reactor = reactor
        self.seconds = seconds
        self.now = seconds()
        self.open_list: set[Any] = set()
        self.ports: set[int] = set()
        self.queues = NetQueues(self)
        self.read_ready: list[Any] = []
        self.write_ready: list[Any] = []
        self.wire = new_wire()
        self._spare_wires: list[IOBufferBlock] = []
        self.scratch = ScratchBuffer(BUFFER_SIZE_INDEX_256K)
        self.poll: IPollDescriptor | None = None
        self.rest: Callable[[Any, NetState], None] | None = None
        self.thread = threading.get_ident()
        self.turning = False
        self._woken: Any = None
        registry.watch(self, look_at_connections)

    def set_poll(self, poll: IPollDescriptor, tell_rest: bool) -> None:
        """Use C{poll}; C{tell_rest}: it must be told when a direction loses its trigger."""
        self.poll = poll
        self.rest = poll.rest if tell_rest else None

    # Being ready.

    def mark_read(self, vc: Any) -> None:
        """C{vc} could get somewhere by reading."""
        state = vc.read
        state.triggered = state.polled = True
        if not state.queued and (state.enabled or state.urgent):
            state.queued = True
            self.read_ready.append(vc)

    def mark_write(self, vc: Any) -> None:
        """C{vc} could get somewhere by writing."""
        state = vc.write
        state.triggered = state.polled = True
        if not state.queued and (state.enabled or state.urgent):
            state.queued = True
            self.write_ready.append(vc)

    def queue_read(self, vc: Any) -> None:
        """Let C{vc} read in the next pass, and see to it that there is one."""
        if not vc.read.queued:
            vc.read.queued = True
            self.read_ready.append(vc)
        if not self.turning:
            self.wake()

    def queue_write(self, vc: Any) -> None:
        """Let C{vc} write in the next pass, and see to it that there is one."""
        if not vc.write.queued:
            vc.write.queued = True
            self.write_ready.append(vc)
        if not self.turning:
            self.wake()

    def wake(self) -> None:
        """See L{INetHandler.wake}."""
        if self._woken is None:
            if self.thread == threading.get_ident():
                self._woken = self.reactor.callLater(0, self._wake)
            else:
                self.reactor.callFromThread(self.wake)

    def _wake(self) -> None:
        self._woken = None
        self.run()

    # Turns.

    def turn(self) -> None:
        """See L{INetHandler.turn}.  Called within a turn, it does nothing: the turn goes on."""
        self.run(1)

    def run(self, most: int = TURNS_A_RUN) -> None:
        """
        Turn after turn, until there is nothing to do, or the kernel should be asked for news of the others.

        Going back to the reactor costs as much as moving 16 KiB.

        @param most: turns.
        """
        if self.turning:
            return
        self.turning = True
        until = 0.0
        try:
            while True:
                now = self.now = self.seconds()
                counters.net_handler_run += 1
                ready = self.read_ready
                if ready:
                    self.read_ready = []
                    counters.calls_to_readfromnet += len(ready)
                    for vc in ready:
                        state = vc.read
                        state.queued = False
                        try:
                            if state.triggered and (state.enabled or state.urgent):
                                vc.net_read_io()
                        except Exception:
                            self._broken(vc)
                ready = self.write_ready
                if ready:
                    self.write_ready = []
                    counters.calls_to_writetonet += len(ready)
                    for vc in ready:
                        state = vc.write
                        state.queued = False
                        try:
                            if state.triggered and (state.enabled or state.urgent):
                                vc.net_write_io()
                        except Exception:
                            self._broken(vc)
                if not self.read_ready and not self.write_ready:
                    return
                most -= 1
                until = until or now + RUN_SECONDS
                if not most or now >= until:
                    break
        finally:
            self.turning = False
        self.wake()

    def _broken(self, vc: Any) -> None:
        """A bug of ours or of the connection's user ends that connection, not the turn."""
        self._log.failure("a bug ended the connection {vc}", vc=vc)
        self.end(vc)

    def end(self, vc: Any) -> None:
        """Close C{vc} whatever state it is in."""
        try:
            vc.recursion = 0
            vc.free()
        except Exception:
            self._log.failure("a broken connection could not be closed: {vc}", vc=vc)

    def idle(self) -> bool:
        """Is there nothing to do until the kernel or a user says so?"""
        return not self.read_ready and not self.write_ready and self._woken is None

    # Ciphertext.

    def keep_wire(self) -> IOBufferBlock:
        """The kernel did not take all of the wire: the caller keeps it, and gives it back by L{return_wire}."""
        wire = self.wire
        self.wire = self._spare_wires.pop() if self._spare_wires else new_wire()
        return wire

    def return_wire(self, wire: IOBufferBlock) -> None:
        """What was kept has been sent, or will not be."""
        if len(self._spare_wires) < 8:
            self._spare_wires.append(wire)

    def stop(self) -> None:
        """No turn comes any more by itself."""
        if self._woken is not None:
            self._woken.cancel()
            self._woken = None


def look_at_connections(handler: NetHandler, totals: Counters) -> None:
    """What a snapshot has of those that are open."""
    totals.connections_currently_open += len(handler.open_list)
    for vc in handler.open_list:
        vc.add_totals(totals)
