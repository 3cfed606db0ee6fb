# -*- test-case-name: tests.test_vio -*-
"""
L{VIO}: one request to move bytes, and how far it has come.  L{NetState}: one direction of a connection, with its VIO.

Source: seed, "net_read_io"; behaviour 1.4 and 1.6; ATS C{I_VIO.h}, C{P_UnixNetState.h}.
"""

from typing import Any, Final

from zope.interface import implementer

from atstls.eventsystem.iobuffer import MIOBufferAccessor
from atstls.interfaces import IVIO, IContinuation
from atstls.statistics import counters

NONE: Final = 0
READ: Final = 1
WRITE: Final = 2
CLOSE: Final = 3
ABORT: Final = 4
SHUTDOWN_READ: Final = 5
SHUTDOWN_WRITE: Final = 6
SHUTDOWN_READWRITE: Final = 7

INT64_MAX: Final = 2**63 - 1
"""C{nbytes} of a VIO whose length is not known: it runs until the peer ends."""

BY_HAND: Final = 1
BY_ITS_END: Final = 2
"""Why a VIO is switched off: its user did it; or its last event, EOS or ERROR, was told, and there is no other."""


@implementer(IVIO)
class VIO(MIOBufferAccessor):
    """
    A request of C{nbytes} bytes, of which C{ndone} are done, into C{writer} or out of C{reader}.

    It is its own buffer accessor, C{vio.buffer} is the VIO: one object and one look-up fewer on the data path.  For the
    same reason it is one object with the L{NetState} of its direction, which in Traffic Server it lies in.

    @ivar enabled: the user wants bytes moved.
    @ivar partner: the VIO at the other end of the same buffer, when nobody has to be asked in between: it is reenabled
        in the place of READ_READY and WRITE_READY, which are not told then.  The last events are.  A new request ends
        it.
    @ivar disabled: why it is switched off, C{BY_HAND} or C{BY_ITS_END}; 0: it is not.
    @ivar quiet: nobody waits for WRITE_COMPLETE, which is not told then; until the next request.
    @ivar ends: the bytes that it asks for are the last: the writing direction ends with them, in the same segment where
        that can be.
    """

    __slots__ = ("cont", "disabled", "enabled", "ends", "nbytes", "ndone", "op", "partner", "quiet", "vc_server")

    op: int
    cont: IContinuation | None
    nbytes: int
    ndone: int
    vc_server: Any
    partner: "NetState | None"
    quiet: bool
    ends: bool
    disabled: int
    enabled: bool

    @property
    def buffer(self) -> MIOBufferAccessor:
        """The pair of writer and reader (seed: C{vio.buffer})."""
        return self

    def ntodo(self) -> int:
        """Bytes still wanted; 0 or less means that there is nothing to do."""
        return self.nbytes - self.ndone

    def done(self) -> None:
        """Ask for no more than what is in the buffer now.  No event tells of it."""
        self.nbytes = self.ndone + (self.reader.avail if self.reader is not None else 0)
        if not self.nbytes:
            # It is not one of those requests of no bytes by which a handshake is waited for (O1).
            self.writer = None

    def finish(self) -> None:
        """As L{done}, and what is sent then is the last of its direction.  WRITE_COMPLETE follows, if there is any."""
        self.done()
        self.ends = True

    def reenable(self) -> None:
        """Let the connection go on with this VIO.  Call-backs come later, never from within this call."""
        if not self.enabled:
            vc = self.vc_server  # read once: it may be freed while another thread asks
            if vc is not None:
                vc.reenable(self)

    def reenable_re(self) -> None:
        """As L{reenable}, but moves bytes at once where it can, and so may call back before it returns."""
        vc = self.vc_server
        if vc is not None:
            vc.reenable_re(self)

    def set_continuation(self, cont: IContinuation | None) -> None:
        """Tell C{cont} from now on."""
        self.cont = cont

    def disable(self) -> None:
        """Switch the VIO off by hand: L{reenable} has no effect until L{enable}."""
        self.disabled = self.disabled or BY_HAND
        self.enabled = False

    def enable(self) -> None:
        """Take L{disable} back and reenable.  Behind EOS and ERROR it has no effect, as L{reenable} has none."""
        if self.disabled != BY_ITS_END:
            self.disabled = 0
            self.reenable()

    def is_disabled(self) -> bool:
        """True between L{disable} and L{enable}."""
        return self.disabled == BY_HAND

    def stop(self) -> None:
        """Back to a VIO that asks for nothing, of nobody."""
        if self.ndone:
            if self.op == READ:
                counters.read_bytes += self.ndone
            else:
                counters.write_bytes += self.ndone
            self.ndone = 0
        if self.partner is not None:
            self.partner.partner = None
            self.partner = None
        self.op = NONE
        self.cont = self.writer = self.reader = None
        self.nbytes = 0
        self.disabled = 0
        self.quiet = self.ends = False


class NetState(VIO):
    """
    One direction of a connection, and the request that is going on in it.

    @ivar triggered: trying again could get somewhere.
    @ivar polled: the kernel may have more than was taken from it (a layer above may be triggered for other reasons).
    @ivar urgent: the connection has something of its own to do in this direction, whatever its user wants: a
        handshake, or ciphertext that the kernel has not taken yet.
    @ivar owed: WRITE_COMPLETE is due as soon as that ciphertext is out.
    @ivar queued: the connection stands on the handler's ready list for this direction.
    """

    __slots__ = ("owed", "polled", "queued", "triggered", "urgent")

    def __init__(self, vc: Any) -> None:
        self.vc_server = vc
        self.op = NONE
        self.cont = self.writer = self.reader = self.partner = None
        self.nbytes = self.ndone = self.disabled = 0
        self.quiet = self.ends = self.enabled = False
        self.triggered = self.polled = self.urgent = self.owed = self.queued = False

    @property
    def vio(self) -> VIO:
        """The request (seed: C{read.vio}, C{write.vio})."""
        return self
