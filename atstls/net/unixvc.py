# -*- test-case-name: tests.test_unixvc -*-
"""
L{UnixNetVConnection}: a connection whose bytes are not encrypted, and the frame of one whose bytes are.

Reads and writes are written here, once.  TLS fills in small steps and nothing else: C{_prepare} (is there a
connection to speak of yet?), C{_pull} (bytes into a buffer), C{_push} (bytes out of one), C{_attend} (what the
connection itself has to send) and the goodbye.  Who calls:

  - L{NetAccept<atstls.net.accept.NetAccept>} or L{NetProcessor<atstls.net.processor.NetProcessor>} make it, give it a
    socket and C{start} it;
  - L{NetHandler<atstls.net.handler.NetHandler>} calls C{net_read_io} and C{net_write_io}, in a turn, when a direction
    is enabled (or urgent) and triggered;
  - L{InactivityCop<atstls.net.cop.InactivityCop>} calls C{main_event} and C{deadline_passed}.

After a call-back nothing is as it was: the user may have closed the connection or put another request in the place of
the first, so both are looked at again.

Results of C{_pull} and C{_push} are plain integers: more than 0 are bytes, the rest are the names below; the reason
of a failure is in C{lerrno} and C{error}.

Source: seed, "net_read_io", "write_to_net_io"; behaviour 1.4 to 1.9.
"""

import errno
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from zope.interface import implementer

from atstls.errors import AtsTlsError, ConnectionClosedError, LocalError, PeerVanished
from atstls.events import (
    EVENT_DONE,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_ERROR,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.iobuffer import IOBufferBlock, IOBufferReader, MIOBuffer
from atstls.eventsystem.vio import (
    ABORT,
    BY_ITS_END,
    CLOSE,
    READ,
    SHUTDOWN_READ,
    SHUTDOWN_READWRITE,
    SHUTDOWN_WRITE,
    WRITE,
    NetState,
)
from atstls.interfaces import IContinuation, INetVConnection, ISSLNetVConnection
from atstls.net.connection import Address, NetVCOptions, named, reapply_options, reset_on_close
from atstls.net.handler import RUN_SECONDS, NetHandler
from atstls.net.migration import HeldConnection, check_can_leave, give_to, take_away
from atstls.net.oob import OutOfBand
from atstls.net.proxyheader import ProxyHeader
from atstls.net.transparent import LISTENING_PORT, original_destination
from atstls.statistics import Counters, counters

WOULD_BLOCK: Final = 0
NO_ROOM: Final = -1
ENDED: Final = -2
FAILED: Final = -3

PEER_ENDED: Final = 1
PEER_URGENT: Final = 2
PEER_LOST: Final = 3
"""What C{read_hup} says: a FIN came, after which there is nothing; urgent data, which cuts reads short; an error."""

TRANSPORT_DEFAULT: Final = 1
TRANSPORT_BLIND_TUNNEL: Final = 2

DATA_READ_VIO: Final = 0
DATA_WRITE_VIO: Final = 1
DATA_OUTPUT_VC: Final = 2
DATA_CLOSED: Final = 3
"""What C{get_data} can be asked for (ATS: C{TS_API_DATA_*})."""

_OUTPUT_VC: Final = "atstls.net.output_vc"
_URGENT: Final = "atstls.net.out_of_band"

_GONE = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
_TERMINAL = (VC_EVENT_EOS, VC_EVENT_ERROR, VC_EVENT_INACTIVITY_TIMEOUT, VC_EVENT_ACTIVE_TIMEOUT)


@implementer(INetVConnection)
class UnixNetVConnection:
    """
    A connection over TCP or a UNIX socket.

    @ivar closed: 0 while it is open; 1 after an ordinary C{do_io_close}, -1 after one that says why.
    @ivar recursion: call-backs into the user that have not returned; it is freed when there are none.
    @ivar read_hup: the kernel said that the peer has ended, or is gone: behind a short read stands what it said.
    @ivar read_ended: and there is nothing before its end any more, so that it need not be asked.
    @ivar last_activity: when the last byte moved, in the handler's time.
    @ivar deadline: when L{deadline_passed} is called, whatever moves; 0.0 for never.
    @ivar ready: there is a connection to speak of; what comes first (TLS) is done.
    @ivar bulky: L{compact} would give memory back.
    @ivar on_free: called once, when the descriptor is closed: whoever counts connections.
    """

    __slots__ = (
        "__weakref__", "_local", "_remote", "args", "attributes", "bulky", "clean_shutdown", "closed", "deadline",
        "error", "fd", "id", "inactivity_running", "inactivity_timeout_in", "is_client", "last_activity", "lerrno",
        "active_timeout_in", "next_activity_timeout_at", "nh", "on_free", "options", "read", "read_ended", "read_hup",
        "read_shut", "ready", "recursion", "socket", "submit_time", "write", "write_shut",
    )  # fmt: skip

    proxy_header: ProxyHeader | None = None
    """What a load balancer in front of us says about the client; C{None}: nothing, or there is none."""

    says_goodbye = False
    """Is there more to an orderly end than closing the socket?"""

    def __init__(self, nh: NetHandler) -> None:
        self.nh = nh
        self.socket: socket.socket = None  # type: ignore[assignment]  # from the first start() to free()
        self.fd = -1
        self.id = 0
        self.submit_time = 0.0
        self.read = NetState(self)
        self.write = NetState(self)
        self.ready = True
        self.closed = 0
        self.recursion = 0
        self.lerrno = 0
        self.error: AtsTlsError | OSError | None = None
        self.clean_shutdown = False
        self.read_hup = 0
        self.read_ended = False
        self.read_shut = self.write_shut = False
        self.last_activity = nh.now
        self.inactivity_timeout_in = self.active_timeout_in = 0.0
        self.inactivity_running = False
        self.next_activity_timeout_at = 0.0
        self.deadline = 0.0
        self.attributes = TRANSPORT_DEFAULT
        self.is_client = False
        self.bulky = False
        self.options: NetVCOptions | None = None
        self.args: dict[str, Any] | None = None
        self.on_free: Callable[[], None] | None = None
        self._remote: Address | None = None
        self._local: Address | None = None

    def __copy__(self) -> Any:
        raise LocalError("a connection cannot be copied")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {'to' if self.is_client else 'from'} {self.peer_name()}>"

    # Beginning.

    def start(self, sock: socket.socket, remote: Address | None = None) -> None:
        """
        Take C{sock}, which is non-blocking, connected or on its way, and be watched.

        @raise OSError: it cannot be watched; the caller closes the socket.
        """
        self.socket = sock
        self.fd = sock.fileno()
        self._remote = remote
        self.last_activity = self.nh.now
        assert self.nh.poll is not None
        self.nh.poll.start(self)
        self.nh.open_list.add(self)

    # From one object to another.

    def populate(self, con: HeldConnection, cont: IContinuation | None = None, ssl: Any = None) -> int:
        """
        Become the connection that C{con} holds; for a fresh object that nobody has used.

        It starts anew: no request, no timeout.  See L{atstls.net.migration}.

        @param cont: told of timeouts until it asks for bytes; C{None}: nobody.
        @param ssl: none here: a connection without TLS cannot go on with it.
        @return: EVENT_DONE; or EVENT_ERROR, and C{con} still has it: it cannot be watched, or not from this thread.
        @raise LocalError: this object is not fresh; or C{con} has been taken, or has what this kind has no place for.
        """
        if ssl is not None or con.unread:
            raise LocalError("a connection without TLS has no place for its state, nor for bytes that were read")
        return give_to(self, con, cont)

    def release(self) -> HeldConnection:
        """
        Give the connection away: the socket stays open, and this object is closed, telling nobody.

        @raise ConnectionClosedError: it is closed.
        @raise LocalError: its handshake is not done, or this is not the thread of its handler.
        """
        check_can_leave(self)
        return take_away(self)

    def migrate(self, nh: NetHandler, cont: IContinuation | None = None) -> "UnixNetVConnection | None":
        """
        Move to another handler of this thread (seed: C{migrateToCurrentThread}); to one of another thread by L{release}
        here and L{populate} there.

        @param cont: as for L{populate}.
        @return: the new object; this one, when it belongs to C{nh} already; C{None}: C{nh} cannot watch it, and it is
            closed.
        @raise LocalError: as for L{release}; or C{nh} belongs to another thread.
        """
        if nh is self.nh:
            return self
        if nh.thread != threading.get_ident():
            raise LocalError("a connection is given to a handler in that one's thread")
        check_can_leave(self)
        successor = self._successor(nh)
        held = self.release()
        if successor.populate(held, cont, held.ssl) == EVENT_DONE:
            return successor
        held.close()
        return None

    def _successor(self, nh: NetHandler) -> "UnixNetVConnection":
        """A fresh object for the same connection."""
        trap: _Trap | None = self.get_arg(_TRAP)
        return (type(self) if trap is None else trap.kind)(nh)

    # Requests.

    def do_io_read(self, cont: IContinuation | None, nbytes: int, buffer: MIOBuffer | None) -> NetState | None:
        """See L{IVConnection.do_io_read}."""
        if cont is None and nbytes:
            raise LocalError("a read of some bytes needs a continuation")
        if self.closed:
            return None
        vio = self.read
        vio.op = READ
        vio.cont = cont
        partner = vio.partner
        if partner is not None:
            partner.partner = vio.partner = None
        vio.nbytes = nbytes
        if vio.ndone:
            counters.read_bytes += vio.ndone
            vio.ndone = 0
        if vio.disabled == BY_ITS_END and self.ready:
            vio.triggered = vio.polled = True  # Who asks behind the end is told of it again.
        vio.disabled = 0
        vio.writer = buffer
        vio.reader = None
        if buffer is None:
            self._disable(vio)
        elif not vio.enabled:
            self._enable(vio)
        return vio

    def do_io_write(
        self, cont: IContinuation | None, nbytes: int, reader: IOBufferReader | None, partner: NetState | None = None
    ) -> NetState | None:
        """
        See L{IVConnection.do_io_write}.

        @param partner: the read VIO of a connection, this one or another, that fills the buffer: the two are each
            other's C{partner} from now on.
        """
        if cont is None and nbytes:
            raise LocalError("a write of some bytes needs a continuation")
        if self.closed:
            return None
        vio = self.write
        vio.op = WRITE
        vio.cont = cont
        if vio.partner is not None:
            vio.partner.partner = None
        vio.partner = partner
        vio.nbytes = nbytes
        if vio.ndone:
            counters.write_bytes += vio.ndone
            vio.ndone = 0
        vio.disabled = 0
        vio.ends = vio.owed = vio.quiet = False
        vio.reader = reader
        if reader is None:
            vio.writer = None
            self._disable(vio)
            return vio
        vio.writer = reader.buffer
        if partner is not None:
            partner.partner = vio
            if not reader.avail:
                vio.enabled = False  # Nobody is asked for bytes: the partner says when there are any.
                return vio
        if nbytes and (self.recursion or not vio.enabled):
            self._enable(vio)  # Within WRITE_READY: it is another request, and is asked itself.
        return vio

    def do_io(self, op: int, cont: IContinuation | None = None, nbytes: int = 0, buffer: Any = None) -> NetState | None:
        """Any of the requests by its number in L{atstls.eventsystem.vio}."""
        if op == READ:
            return self.do_io_read(cont, nbytes, buffer)
        if op == WRITE:
            return self.do_io_write(cont, nbytes, buffer)
        if op == CLOSE:
            self.do_io_close()
        elif op == ABORT:
            self.do_io_close(errno.ECONNABORTED)
        elif op in (SHUTDOWN_READ, SHUTDOWN_WRITE, SHUTDOWN_READWRITE):
            self.do_io_shutdown(op)
        else:
            raise LocalError(f"{op} is no operation of a connection")
        return None

    def reenable(self, vio: NetState) -> None:
        """Let C{vio} go on; from any thread.  See L{IVIO.reenable}."""
        if self.closed or vio.disabled:
            return
        nh = self.nh
        if nh.thread != threading.get_ident():
            nh.reactor.callFromThread(vio.reenable)
        else:
            self._enable(vio)

    def _enable(self, vio: NetState) -> None:
        """Its user wants bytes moved."""
        nh = self.nh
        vio.enabled = True
        if self.inactivity_timeout_in and not self.inactivity_running:
            self.inactivity_running = True
            self.last_activity = nh.seconds()
        if vio.triggered and not vio.queued:
            vio.queued = True
            (nh.read_ready if vio is self.read else nh.write_ready).append(self)
            if not nh.turning:
                nh.wake()

    def reenable_re(self, vio: NetState) -> None:
        """Let C{vio} go on at once, and so perhaps call back from within.  See L{IVIO.reenable_re}."""
        if self.closed or vio.disabled:
            return
        nh = self.nh
        if self.recursion or not vio.triggered or nh.thread != threading.get_ident():
            # Within a call-back of this very connection at once would mean twice at the same time.
            vio.reenable()
            return
        nh.now = nh.seconds()
        vio.enabled = True
        if self.inactivity_timeout_in and not self.inactivity_running:
            self.inactivity_running = True
            self.last_activity = nh.now
        try:
            if vio is self.read:
                self.net_read_io()
            else:
                self.net_write_io()
        except Exception:
            nh._broken(self)
        if nh.read_ready or nh.write_ready:
            nh.wake()

    def write_ahead(self, vio: NetState) -> bool:
        """
        Write what C{vio} asks for now and not in the next turn, if that can be done.  Nobody is told from within.

        For as long after the last turn as the turns of one run may last: then the others have waited enough.

        @return: True: the kernel has all of it.  False: an event follows.
        """
        nh = self.nh
        reader = vio.reader
        if nh.turning or not (vio.enabled and vio.triggered and self.ready) or vio.urgent or reader is None:
            return False
        now = nh.seconds()
        if now >= nh.now + RUN_SECONDS:
            return False
        n = self._push(reader, reader.avail)
        if n > 0:
            vio.ndone += n
            self.last_activity = now
            vio.owed = vio.urgent and not reader.avail
            return not (reader.avail or vio.owed)
        if n == FAILED:
            nh.reactor.callLater(0, self._failed_ahead, vio)
        return False

    def _failed_ahead(self, vio: NetState) -> None:
        if not self.closed and vio.op == WRITE and not vio.disabled:
            self.signal_error(vio, self.lerrno or errno.EPIPE, self.error)

    def enable_read(self) -> None:
        """Both directions want to go on (seed: C{enableRead})."""
        for vio in (self.read, self.write):
            if not vio.enabled:
                self.reenable(vio)

    def _disable(self, vio: NetState) -> None:
        vio.enabled = False
        if not self.read.enabled and not self.write.enabled:
            self.inactivity_running = False

    def do_io_shutdown(self, howto: int) -> None:
        """See L{IVConnection.do_io_shutdown}."""
        if self.closed:
            return
        if howto in (SHUTDOWN_READ, SHUTDOWN_READWRITE):
            self.read_shut = True
            self._disable(self.read)
            self.read.stop()
        if howto in (SHUTDOWN_WRITE, SHUTDOWN_READWRITE):
            self._disable(self.write)
            self.write.owed = False
            self.write.stop()
            if not self.write_shut:
                self.write_shut = True
                self._end_writing()

    def _end_writing(self) -> None:
        """Tell the peer that no more bytes come."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It is gone, which the reading side will tell.

    def end_unclean(self) -> None:
        """End the writing direction so that a peer who can tell (over TLS) sees that something is missing."""
        self.do_io_shutdown(SHUTDOWN_WRITE)

    def do_io_close(self, lerrno: int = -1) -> None:
        """See L{IVConnection.do_io_close}."""
        if self.closed:
            return
        self.closed = 1
        if lerrno != -1:
            self.closed = -1
            if lerrno:
                self.lerrno = lerrno
        self._stop_requests()
        self._say_goodbye()
        if not self.recursion:
            self._leave()

    def _stop_requests(self) -> None:
        """Nothing more is asked for, and nobody is told of anything."""
        read, write = self.read, self.write
        read.enabled = write.enabled = write.owed = False
        if read.op:
            read.stop()
        if write.op:
            write.stop()
        self.inactivity_running = False
        self.next_activity_timeout_at = 0.0

    def _say_goodbye(self) -> None:
        """C{do_io_close} was called."""
        if self.closed < 0 and self.socket is not None:
            reset_on_close(self.socket)

    def _leave(self) -> None:
        """Nobody uses the connection any more: free it, or see to what it still has to send first."""
        self.free()

    def free(self) -> None:
        """Close the descriptor and let go of everything.  Harmless when called twice."""
        if not self.closed:
            self.closed = 1
            self._stop_requests()
        sock = self.socket
        if sock is None:
            return
        nh = self.nh
        nh.open_list.discard(self)
        queues = nh.queues
        if queues.active or queues.keep_alive:
            queues.forget(self)
        assert nh.poll is not None
        nh.poll.forget(self)
        self.socket = None  # type: ignore[assignment]
        sock.close()
        self.deadline = 0.0
        read, write = self.read, self.write
        read.urgent = write.urgent = False
        read.vc_server = write.vc_server = None
        if self.args is not None:
            if _URGENT in self.args:
                self.cancel_OOB()
            self.args = None
        on_free, self.on_free = self.on_free, None
        if on_free is not None:
            on_free()

    # Telling the user.

    def signal(self, event: int, vio: NetState) -> bool:
        """
        Tell the continuation of one direction.

        @return: True: the connection is still there.  False: touch nothing of it.
        """
        cont = vio.cont
        if cont is None:
            if event not in _TERMINAL:
                raise LocalError(f"nobody is there to be told of event {event}")
            self.do_io_close()
            return False
        self.recursion += 1
        try:
            cont.handle_event(event, vio)
        finally:
            self.recursion -= 1
        if self.closed:
            if not self.recursion:
                self._leave()
            return False
        return True

    def signal_done(self, event: int, vio: NetState) -> bool:
        """Tell of the last event of a request: it is disabled first, so that a new one can take its place."""
        vio.enabled = False
        if not self.signal(event, vio):
            return False
        if vio.enabled and vio.triggered and not vio.queued:
            if vio is self.read:
                self.nh.queue_read(self)
            else:
                self.nh.queue_write(self)
        return True

    def signal_error(self, vio: NetState, lerrno: int, error: AtsTlsError | OSError | None = None) -> bool:
        """Tell of a fatal error; the reason is there to be read first."""
        self.lerrno = lerrno
        self.error = error
        vio.triggered = False
        vio.disabled = BY_ITS_END
        return self.signal_done(VC_EVENT_ERROR, vio)

    def main_event(self, event: int) -> None:
        """
        A timeout: the reader is told, then the writer unless it is the same, or the timer was set again.

        Source: behaviour 1.9, "Delivery".
        """
        reader, writer = self.read, self.write
        told = None
        write_cont = writer.cont
        if reader.op == READ and reader.cont is not None and not self.read_shut:
            told = reader.cont
            if not self.signal(event, self.read):
                return
            if event == VC_EVENT_INACTIVITY_TIMEOUT and self.inactivity_running:
                return
            if event == VC_EVENT_ACTIVE_TIMEOUT and self.next_activity_timeout_at:
                return
        if write_cont is None or write_cont is told or self.write_shut:
            if told is None:
                self.do_io_close()  # Nobody uses it: a connection without a user does not stay for ever.
        elif writer.op == WRITE and writer.cont is write_cont:
            self.signal(event, self.write)

    def deadline_passed(self) -> None:
        """The state that set C{deadline} lasted too long."""
        self.free()

    def compact(self) -> None:
        """Silent for a while: give back memory that only a busy connection needs."""
        self.bulky = False

    # Reading.

    def net_read_io(self) -> None:
        """Move bytes from the peer into the read VIO's buffer, once, and tell of it.  Called in a turn."""
        if not self.ready and not self._prepare():
            return
        vio = self.read
        if not vio.enabled or vio.op != READ:
            vio.enabled = False
            return
        ntodo = vio.nbytes - vio.ndone
        writer = vio.writer
        if ntodo <= 0 or writer is None:
            self._disable(vio)
            return
        partner = vio.partner
        if partner is not None:
            self._relay(vio, partner, writer, ntodo)
            return
        block = writer.block
        if block is not None:
            block.end = 0
            n = self._pull(block, ntodo)
            if n > 0:
                block.end = n
        else:
            n = self._fill(writer, ntodo)
        if n > 0:
            vio.ndone += n
            nh = self.nh
            self.last_activity = nh.now
            if n == ntodo:
                self.signal_done(VC_EVENT_READ_COMPLETE, vio)
                return
            # signal(), in place: this is done for every piece of every stream.
            cont = vio.cont
            assert cont is not None
            self.recursion += 1
            try:
                cont.handle_event(VC_EVENT_READ_READY, vio)
            finally:
                self.recursion -= 1
            if self.closed:
                if not self.recursion:
                    self._leave()
            elif vio.triggered and vio.enabled and not vio.queued:
                vio.queued = True
                nh.read_ready.append(self)
        else:
            self._not_read(n, vio)

    def _relay(self, vio: NetState, partner: NetState, writer: MIOBuffer, limit: int) -> None:
        """
        The rest of L{net_read_io} where another connection writes what this one reads, and nobody else is asked.

        While the target keeps up, bytes go on as they come and are never in the buffer, whose turn comes when there
        is something that the target does not take.
        """
        nh = self.nh
        waiting = partner.reader
        if (
            partner.triggered
            and not (partner.enabled or partner.urgent or partner.disabled)
            and waiting is not None
            and not waiting.avail
            and writer.pipe is None
            and (self.read_hup != PEER_ENDED or self.says_goodbye or partner.ends)
        ):
            block = nh.scratch.block
            block.end = 0
            most = 128 << writer.largest_index  # for it may have to hold all of it after all
            n = self._pull(block, limit if limit < most else most)
            if n <= 0:
                self._not_read(n, vio)
                return
            other = partner.vc_server
            sent = 0
            if other.ready and partner.ndone + n < partner.nbytes:
                # The end goes out with the last bytes, where it is the target's too.
                sent = other._push_block(block, n, partner.ends and self.read_ended and not self.says_goodbye)
            if sent == n:
                partner.ndone += n
                other.last_activity = nh.now
            elif sent == FAILED:
                vio.ndone += n
                other.signal_error(partner, other.lerrno or errno.EPIPE, other.error)
                # A tunnel closes both; another user may have left us open, and then we go on.
                if not self.closed and vio.enabled and vio.triggered:
                    nh.queue_read(self)
                return
            else:
                if sent > 0:
                    partner.ndone += sent
                    other.last_activity = nh.now
                writer.write(block.view[sent:n])
                other.reenable(partner)
        else:
            n = self._fill(writer, limit)
            if n <= 0:
                self._not_read(n, vio)
                return
            if not (partner.enabled or partner.disabled):
                partner.vc_server._enable(partner)
        vio.ndone += n
        self.last_activity = nh.now
        if n == limit:
            self.signal_done(VC_EVENT_READ_COMPLETE, vio)
        elif self.read_ended and not self.says_goodbye:
            # (TLS has bytes of its own, and its own end.)
            vio.triggered = False
            self.clean_shutdown = not self.lerrno
            vio.disabled = BY_ITS_END
            self.signal_done(VC_EVENT_EOS, vio)
        elif vio.triggered and not vio.queued:
            vio.queued = True
            nh.read_ready.append(self)

    def _not_read(self, result: int, vio: NetState) -> None:
        """No bytes: tell why, if there is anything to tell."""
        if result == WOULD_BLOCK:
            if vio.triggered:
                self.nh.queue_read(self)
        elif result == NO_ROOM:
            self._disable(vio)
        elif result == ENDED:
            vio.triggered = False
            vio.disabled = BY_ITS_END  # Reenabled, it would be told of what comes behind that.
            self.signal_done(VC_EVENT_EOS, vio)
        else:
            self.signal_error(vio, self.lerrno or errno.EIO, self.error)

    def _prepare(self) -> bool:
        """Get on with what comes before the first byte.  True: it is done."""
        return True

    def _fill(self, writer: MIOBuffer, limit: int) -> int:
        """Up to C{limit} bytes into C{writer}: the bytes, C{NO_ROOM}, or what L{_pull} returns."""
        block = writer.write_block()
        if block is None:
            return NO_ROOM if writer.pipe is None else self._pull_pipe(writer.pipe, limit)
        n = self._pull(block, limit)
        if n > 0:
            block.end += n
            sole = writer.sole
            if sole is not None:
                sole.avail += n
            else:
                writer.filled(n)
            if n == block.size:
                writer.grow()
        else:
            writer.trim()
        return n

    def _pull(self, block: IOBufferBlock, limit: int) -> int:
        """Up to C{limit} bytes from the kernel to C{block.end}; the block is not changed otherwise."""
        if self.read_ended:
            self.clean_shutdown = not self.lerrno
            return ENDED
        end = block.end
        room = block.size - end
        if limit < room:
            room = limit
        try:
            n = self.socket.recv_into(block.view[end:] if end else block.memory, room)
        except BlockingIOError:
            counters.calls_to_read_nodata += 1
            self._rest(self.read)
            return WOULD_BLOCK
        except OSError as exc:
            return self._read_failed(exc)
        if n:
            if n < room:
                if not self.read_hup:
                    vio = self.read
                    vio.triggered = False
                    rest = self.nh.rest
                    if rest is not None:
                        rest(self, vio)
                elif self.read_hup == PEER_ENDED:
                    self.read_ended = True
            return n
        self.clean_shutdown = not self.lerrno
        return ENDED

    def _pull_pipe(self, pipe: Any, limit: int) -> int:
        """The same without the bytes ever being here: see L{atstls.session.splice}."""
        try:
            n: int = pipe.fill_from(self.fd, limit)
        except BlockingIOError:
            counters.calls_to_read_nodata += 1
            self._rest(self.read)
            return WOULD_BLOCK
        except OSError as exc:
            return self._read_failed(exc)
        if n:
            return n  # or NO_ROOM
        self.clean_shutdown = not self.lerrno
        return ENDED

    def _rest(self, vio: NetState) -> None:
        """Nothing to be had of the kernel until it says so."""
        vio.triggered = vio.polled = False
        rest = self.nh.rest
        if rest is not None:
            rest(self, vio)

    def _read_failed(self, exc: OSError) -> int:
        """A reset is an end, though not a clean one (N063); anything else is an error."""
        self.lerrno = exc.errno or errno.EIO
        self.error = exc.with_traceback(None)  # whose frames would refer to this connection
        if self.lerrno in _GONE:
            self.clean_shutdown = False
            self.error = PeerVanished(os.strerror(self.lerrno))
            return ENDED
        return FAILED

    # Writing.

    def net_write_io(self) -> None:
        """Move bytes of the write VIO to the peer, once, and tell of it.  Called in a turn."""
        vio = self.write
        if vio.urgent and not self._attend():
            return
        if not self.ready and not self._prepare():
            return
        if vio.owed:
            vio.owed = False
            self.signal_done(VC_EVENT_WRITE_COMPLETE, vio)
            return
        if not vio.enabled or vio.op != WRITE:
            vio.enabled = False
            return
        reader = vio.reader
        ntodo = vio.nbytes - vio.ndone
        if ntodo <= 0 or reader is None:
            self._disable(vio)
            return
        towrite = reader.avail
        asked = False
        if towrite >= ntodo:
            towrite = ntodo
        elif vio.partner is None and reader.buffer.has_room():
            asked = True
            if not self.signal(VC_EVENT_WRITE_READY, vio):
                return
            reader = vio.reader
            if not vio.enabled or reader is None:
                return
            ntodo = vio.nbytes - vio.ndone
            towrite = reader.avail if reader.avail < ntodo else ntodo
        if towrite <= 0:
            if not vio.queued:
                self._disable(vio)
            return
        n = self._push(reader, towrite)
        if n > 0:
            vio.ndone += n
            nh = self.nh
            self.last_activity = nh.now
            if n == ntodo:
                if vio.urgent:
                    vio.owed = True  # WRITE_COMPLETE means that the kernel has it.
                elif vio.quiet:
                    vio.enabled = False
                else:
                    self.signal_done(VC_EVENT_WRITE_COMPLETE, vio)
                return
            partner = vio.partner
            if partner is not None:
                # Only a full buffer has stopped it.
                if not partner.enabled and reader.buffer.has_room():
                    partner.vc_server.reenable(partner)
            else:
                if not asked:
                    if not self.signal(VC_EVENT_WRITE_READY, vio):
                        return
                    reader = vio.reader
                if not vio.enabled or reader is None:
                    return
            if not reader.avail and not vio.queued:
                vio.enabled = False
                if self.inactivity_running and not self.read.enabled:
                    self.inactivity_running = False
            elif vio.triggered and not vio.queued:
                vio.queued = True
                nh.write_ready.append(self)
        elif n == FAILED:
            self.signal_error(vio, self.lerrno or errno.EPIPE, self.error)
        elif vio.triggered:
            self.nh.queue_write(self)

    def _attend(self) -> bool:
        """Get on with what the connection itself has to send.  True: it is done."""
        self.write.urgent = False
        return True

    def _push(self, reader: IOBufferReader, towrite: int) -> int:
        """Up to C{towrite} bytes of C{reader} to the kernel; they are consumed."""
        if reader.buffer.pipe is not None:
            return self._push_pipe(reader.buffer.pipe, towrite)
        block = reader.block
        offset = reader.offset
        assert block is not None
        if block.end - offset >= towrite:
            try:
                n = self.socket.send(block.view[offset : offset + towrite])
            except BlockingIOError:
                counters.calls_to_write_nodata += 1
                self._rest(self.write)
                return WOULD_BLOCK
            except OSError as exc:
                return self._write_failed(exc)
        else:
            views: list[memoryview] = []
            rest = towrite
            while rest and len(views) < 16:
                assert block is not None
                count = min(block.end - offset, rest)
                if count > 0:
                    views.append(block.view[offset : offset + count])
                    rest -= count
                    offset += count
                if rest:
                    offset -= block.end
                    block = block.next
                    assert block is not None or not rest
                    offset += block.start if block is not None else 0
            towrite -= rest
            try:
                n = self.socket.sendmsg(views)
            except BlockingIOError:
                counters.calls_to_write_nodata += 1
                self._rest(self.write)
                return WOULD_BLOCK
            except OSError as exc:
                return self._write_failed(exc)
            finally:
                del views
        reader.consume(n)
        if n < towrite:
            self._rest(self.write)
        return n

    def _push_pipe(self, pipe: Any, towrite: int) -> int:
        try:
            n: int = pipe.drain_to(self.fd, towrite)
        except BlockingIOError:
            counters.calls_to_write_nodata += 1
            self._rest(self.write)
            return WOULD_BLOCK
        except OSError as exc:
            return self._write_failed(exc)
        if n < towrite:
            self._rest(self.write)
        return n

    def _push_block(self, block: IOBufferBlock, count: int, last: bool) -> int:
        """
        Up to C{count} bytes from the beginning of C{block} to the kernel: how many, perhaps none; or C{FAILED}.

        @param last: nothing follows; what can be said of that is said in the same segment.
        """
        try:
            n = self.socket.send(block.view[:count])
        except BlockingIOError:
            n = 0
        except OSError as exc:
            return self._write_failed(exc)
        if n < count:
            self._rest(self.write)
        return n

    def trap_write_buffer_empty(self, event: int = VC_EVENT_WRITE_READY) -> None:
        """
        Tell C{event}, once, after the next write that empties the buffer, unless that pass tells of something anyhow.

        WRITE_READY is told before a write, where the buffer has room; a user who wants to know that all has left the
        buffer after it asks by this.  A connection that is not asked has nothing to look at: one that is, is of
        another class until the event has come.

        @param event: 0 takes it back.
        Source: behaviour 1.5; ATS C{write_buffer_empty_event}.
        """
        if self.closed:
            return
        if isinstance(self, _WriteTrap):
            self._disarm()
        if event:
            kind = type(self)
            self.set_arg(_TRAP, _Trap(event, kind))
            self.__class__ = _trapping(kind)

    def _write_failed(self, exc: OSError) -> int:
        self.lerrno = exc.errno or errno.EPIPE
        self.error = PeerVanished(os.strerror(self.lerrno)) if self.lerrno in _GONE else exc.with_traceback(None)
        return FAILED

    # Urgent data.

    def send_OOB(self, cont: IContinuation, data: bytes) -> OutOfBand:  # noqa: N802 (Traffic Server's name)
        """
        Send C{data} as urgent data of TCP, before anything that is still in the write VIO's buffer.

        The peer sees the last byte as the urgent one.  C{cont} is told VC_EVENT_OOB_COMPLETE when the kernel has it,
        or VC_EVENT_EOS when it cannot be sent and C{lerrno} says why; with the connection, and not from within this
        call.

        @return: to be cancelled, as by L{cancel_OOB}.
        @raise LocalError: the connection speaks TLS, which has nothing like it; or C{data} is empty; or other urgent
            data is on its way.
        @raise ConnectionClosedError: the connection was closed before the call.
        """
        if self.closed:
            raise ConnectionClosedError("urgent data needs a connection that is open")
        if self.says_goodbye:
            raise LocalError("there is no urgent data in TLS")
        if not data:
            raise LocalError("no bytes are not urgent")
        before = self.get_arg(_URGENT)
        if before is not None and not before.cancelled:
            raise LocalError("other urgent data is on its way")
        urgent = OutOfBand(self, cont, data, self._tell_urgent)
        self.set_arg(_URGENT, urgent)
        return urgent

    def cancel_OOB(self) -> None:  # noqa: N802 (Traffic Server's name)
        """Send no more of the urgent data, of which some may be out, and tell nobody.  Harmless when there is none."""
        urgent = None if self.args is None else self.args.pop(_URGENT, None)
        if urgent is not None:
            urgent.cancel()

    def _tell_urgent(self, urgent: OutOfBand, cont: IContinuation, event: int) -> None:
        if self.args is not None and self.args.get(_URGENT) is urgent:
            del self.args[_URGENT]
        self.recursion += 1
        try:
            cont.handle_event(event, self)
        except Exception:
            self.nh._broken(self)
            return
        finally:
            self.recursion -= 1
        if self.closed and not self.recursion:
            self._leave()

    # Timeouts.

    def set_inactivity_timeout(self, seconds: float) -> None:
        """See L{INetVConnection.set_inactivity_timeout}."""
        self.inactivity_timeout_in = seconds
        self.inactivity_running = seconds > 0
        self.last_activity = self.nh.now = self.nh.seconds()

    def cancel_inactivity_timeout(self) -> None:
        """See L{INetVConnection.cancel_inactivity_timeout}."""
        self.inactivity_timeout_in = 0.0
        self.inactivity_running = False

    def get_inactivity_timeout(self) -> float:
        """The period, whether it runs now or not; 0: off."""
        return self.inactivity_timeout_in

    def set_active_timeout(self, seconds: float) -> None:
        """See L{INetVConnection.set_active_timeout}."""
        self.active_timeout_in = seconds
        self.next_activity_timeout_at = self.nh.seconds() + seconds if seconds > 0 else 0.0

    def cancel_active_timeout(self) -> None:
        """See L{INetVConnection.cancel_active_timeout}."""
        self.active_timeout_in = 0.0
        self.next_activity_timeout_at = 0.0

    def get_active_timeout(self) -> float:
        """The period; 0: off."""
        return self.active_timeout_in

    # Queues.

    def add_to_keep_alive_queue(self) -> None:
        """
        Say that nothing is going on but that the line is open.

        When there are too many, those that have waited longest are told a timeout, from within this call: see
        L{atstls.net.queues}.  The queues are for connections that came in; only the handler's thread may call.
        Source: behaviour 1.10.
        """
        self.nh.queues.add_keep_alive(self)

    def remove_from_keep_alive_queue(self) -> None:
        """Say that this does not hold any more.  Harmless when it did not."""
        self.nh.queues.remove_keep_alive(self)

    def add_to_active_queue(self) -> bool:
        """
        Say that a request begins.

        @return: False: there are too many of them, and this one should be refused.  See L{atstls.net.queues}.
        """
        return self.nh.queues.add_active(self)

    def remove_from_active_queue(self) -> None:
        """Say that it is over.  Harmless when there was none."""
        self.nh.queues.remove_active(self)

    # Facts.

    def get_remote_addr(self) -> Address | None:
        """See L{INetVConnection.get_remote_addr}."""
        if self._remote is None and self.socket is not None:
            try:
                name = self.socket.getpeername()
            except OSError:
                return None
            self._remote = named(name) or None
        return self._remote

    def get_local_addr(self) -> Address | None:
        """See L{INetVConnection.get_local_addr}.  On a transparent port: where the client wanted to go."""
        if self._local is None and self.socket is not None:
            try:
                name = original_destination(self.socket) if self.is_transparent else self.socket.getsockname()
            except OSError:
                return None
            self._local = named(name)
        return self._local

    @property
    def is_transparent(self) -> bool:
        """Was it made to somebody else, and given to us (L{atstls.net.transparent})?"""
        return self.args is not None and LISTENING_PORT in self.args

    def get_effective_remote_addr(self) -> Address | None:
        """Who the client is: the source in C{proxy_header} where there is one, else the peer."""
        header = self.proxy_header
        return self.get_remote_addr() if header is None or header.source is None else header.source

    def set_remote_addr(self, address: Address) -> None:
        """Say that the peer is C{address}, as a load balancer in between may know better than the socket."""
        self._remote = address

    def set_local_addr(self, address: Address) -> None:
        """Say what the peer connected to."""
        self._local = address

    def peer_name(self) -> str:
        """The peer for a log line."""
        address = self.get_remote_addr()
        if isinstance(address, tuple):
            host, port = address
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return "unix" if address is None or not address else str(address)

    def get_socket(self) -> int:
        """The descriptor's number; -1 when there is none."""
        return self.fd if self.socket is not None else -1

    def add_totals(self, totals: Counters) -> None:
        """For a snapshot: add what this connection counts, and will add to the others when it is done."""
        totals.read_bytes += self.read.ndone
        totals.write_bytes += self.write.ndone

    def set_arg(self, key: str, value: Any) -> None:
        """Keep C{value} with the connection, until it is freed."""
        if self.args is None:
            self.args = {}
        self.args[key] = value

    def get_arg(self, key: str) -> Any:
        """What was kept under C{key}, or C{None}."""
        return None if self.args is None else self.args.get(key)

    def get_data(self, which: int) -> Any:
        """
        One of the connection's own facts.

        @param which: DATA_READ_VIO, DATA_WRITE_VIO: the VIO of a direction; DATA_CLOSED: C{closed}; DATA_OUTPUT_VC:
            what L{set_data} was given, C{None} at first.
        @raise LocalError: there is no such fact.
        """
        if which == DATA_READ_VIO:
            return self.read
        if which == DATA_WRITE_VIO:
            return self.write
        if which == DATA_CLOSED:
            return self.closed
        if which == DATA_OUTPUT_VC:
            return self.get_arg(_OUTPUT_VC)
        raise LocalError(f"{which} is no data of a connection")

    def set_data(self, which: int, value: Any) -> None:
        """
        Change what can be changed of them.

        @param which: DATA_OUTPUT_VC: the connection that this one's bytes go to, kept until this one is freed, and
            used by nobody here; DATA_CLOSED: anything true closes.
        @raise LocalError: there is no such fact, or it is not for others to change.
        """
        if which == DATA_OUTPUT_VC:
            if not self.closed:
                self.set_arg(_OUTPUT_VC, value)
        elif which == DATA_CLOSED:
            if value:
                self.do_io_close()
        else:
            raise LocalError(f"{which} is no data of a connection that can be set")

    def apply_options(self) -> None:
        """
        Make the socket as C{options} say now; without any it stays as it is.

        @raise OSError: the system does not allow it.
        """
        if self.options is not None and self.socket is not None:
            reapply_options(self.socket, self.options)

    def get_service(self, interface: Any) -> Any:
        """This connection as something that provides C{interface}, itself or adapted; C{None} where that is not so."""
        return interface(self, None)

    def populate_protocol(self) -> tuple[str, ...]:
        """
        What is spoken here, the uppermost first, in Traffic Server's words: C{("h2", "tls/1.3", "tcp", "ipv4")}.

        What ALPN agreed on is the first.  TLS is named when the handshake is done, and not for a blind tunnel.
        """
        tags = []
        tls = self.get_service(ISSLNetVConnection)
        if tls is not None:
            if tls.negotiated_protocol:
                tags.append(tls.negotiated_protocol.decode("ascii", "backslashreplace"))
            version = tls.get_ssl_protocol()
            if version is not None:
                tags.append(_tls_tag(version))
        family = self.socket.family if self.socket is not None else None
        if family == socket.AF_UNIX:
            tags.append("unix")
        elif family is not None:
            tags += ["tcp", "ipv6" if family == socket.AF_INET6 else "ipv4"]
        return tuple(tags)

    def protocol_contains(self, prefix: str) -> str | None:
        """The first of L{populate_protocol} that begins with C{prefix}, or C{None}."""
        return next((tag for tag in self.populate_protocol() if tag.startswith(prefix)), None)

    def get_ssl_handshake_complete(self) -> bool:
        """There is no handshake to wait for."""
        return True

    def get_ssl_trace(self) -> bool:
        """What is not encrypted can be looked at on the wire."""
        return False


def _tls_tag(version: str) -> str:
    """C{tls/1.3} for OpenSSL's C{TLSv1.3}."""
    number = version.removeprefix("TLSv")
    return f"tls/{number if '.' in number else number + '.0'}"


# Who waits for an empty buffer.

_TRAP: Final = "atstls.net.write_buffer_empty"


class _Trap:
    """
    What a trapped connection remembers.

    @ivar kind: the class to go back to.
    @ivar told: an event of writing was told since the last write.
    @ivar emptied: that write has emptied the buffer.
    """

    __slots__ = ("emptied", "event", "kind", "told")

    def __init__(self, event: int, kind: type[UnixNetVConnection]) -> None:
        self.event = event
        self.kind = kind
        self.told = self.emptied = False


class _WriteTrap(UnixNetVConnection):
    """What a connection's class is joined with while somebody waits for its buffer to be empty."""

    __slots__ = ()

    def _disarm(self) -> None:
        trap: _Trap = self.get_arg(_TRAP)
        assert self.args is not None
        del self.args[_TRAP]
        self.__class__ = trap.kind  # type: ignore[assignment]  # it is not a trap any more

    def net_write_io(self) -> None:
        trap: _Trap | None = self.get_arg(_TRAP)
        super().net_write_io()
        if trap is None or not trap.emptied or self.closed or self.get_arg(_TRAP) is not trap:
            return
        self._disarm()
        vio = self.write
        if trap.told or vio.cont is None:
            return
        if self.signal(trap.event, vio) and vio.reader is not None and vio.reader.avail:
            self.reenable(vio)

    def _push_block(self, block: IOBufferBlock, count: int, last: bool) -> int:
        return 0  # It goes by way of the buffer, so that one can be told when that is empty.

    def _push(self, reader: IOBufferReader, towrite: int) -> int:
        n = super()._push(reader, towrite)
        trap: _Trap | None = self.get_arg(_TRAP)
        if trap is not None:
            trap.told = False
            trap.emptied = n > 0 and not reader.avail
        return n

    def signal(self, event: int, vio: NetState) -> bool:
        trap: _Trap | None = self.get_arg(_TRAP)
        if trap is not None and vio is self.write:
            trap.told = True
        return super().signal(event, vio)


_trapping_kinds: dict[type[UnixNetVConnection], type[UnixNetVConnection]] = {}


def _trapping(kind: type[UnixNetVConnection]) -> type[UnixNetVConnection]:
    """C{kind} as it is while somebody waits: the same slots, so that an object can change over and back."""
    found = _trapping_kinds.get(kind)
    if found is None:
        found = type(kind.__name__, (_WriteTrap, kind), {"__slots__": (), "__module__": kind.__module__})
        _trapping_kinds[kind] = found
    return found
