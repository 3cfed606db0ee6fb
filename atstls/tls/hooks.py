# -*- test-case-name: tests.test_hooks -*-
"""
Hooks: who else is asked about a connection, and waiting for the answer.

A hook is called with the connection.  It may answer at once (C{None}), with a Deferred or a coroutine, or by returning
what C{vc.park()} gave it and calling its L{reenable<ParkedHook.reenable>} later, from any thread.  Hooks of one point
are asked in the order of registration, each once, one at a time, until one refuses.  An answer that comes late, twice,
or after the connection is gone changes nothing.

There are two ways to answer later.  The handle of C{vc.park()} answers for the hook that asked for it and for no other,
however late.  L{PARKED} with C{vc.reenable_hook()} answers for whichever hook is waited for: a second call, meant for
an earlier hook, would speak for the next one.  It is there for hooks that are known to be the only one.

Source: behaviour 1.18; A120 to A127; ATS C{TLSEventSupport}.
"""

from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from atstls.errors import LocalError

Hook = Callable[[Any], Any]

PARKED: Final = object()
"""What a hook returns that will call C{vc.reenable_hook()} itself; see L{ParkedHook} for what is safer."""

DEFAULT_OP: Final = 0
"""What hooks want of a connection, its C{hook_op}: TLS,"""
TUNNEL_OP: Final = 1
"""that it is passed on untouched,"""
TERMINATE_OP: Final = 2
"""or that it ends."""


class HookPoint(Enum):
    """When hooks are asked."""

    __hash__ = object.__hash__  # see L{atstls.tls.phases.Phase}

    VCONN_START = "vconn_start"
    """A peer has connected; no byte was read."""
    CLIENT_HELLO = "client_hello"
    """Its ClientHello was read, and nothing was decided."""
    SERVERNAME = "servername"
    CERT = "cert"
    """The certificate was chosen, and may be exchanged."""
    VERIFY_CLIENT = "verify_client"
    VCONN_CLOSE = "vconn_close"
    OUTBOUND_START = "outbound_start"
    """We have connected; no byte was sent."""
    VERIFY_SERVER = "verify_server"
    OUTBOUND_CLOSE = "outbound_close"


class HookSet:
    """
    The hooks of a listener.  Complete before the first connection: it is shared and does not change.

    @ivar by_point: those of each point that has any, in order.
    """

    def __init__(self, hooks: Iterable[tuple[HookPoint, Hook]] = ()) -> None:
        self.by_point: dict[HookPoint, tuple[Hook, ...]] = {}
        for point, hook in hooks:
            self.by_point[point] = (*self.by_point.get(point, ()), hook)

    def at(self, point: HookPoint) -> tuple[Hook, ...]:
        """The hooks of C{point}, in order."""
        return self.by_point.get(point, ())


def tell_hooks(vc: Any, hooks: Iterable[Hook], failed: Callable[[Failure], None]) -> None:
    """
    Tell C{hooks} of something that none of them can stop, nor hold up: the close of a connection.

    @param failed: told of each that fails, now or later.
    """
    for hook in hooks:
        try:
            answer = hook(vc)
            if answer is not None and isinstance(answer, Coroutine):
                answer = Deferred.fromCoroutine(answer)
        except Exception:
            failed(Failure())
        else:
            if isinstance(answer, Deferred):
                answer.addErrback(failed)


class HookWalk:
    """
    Asks the hooks of one point about one connection.

    @ivar point: which point.
    @ivar waiting: a hook has the connection and has not answered.
    """

    __slots__ = ("_answered", "_asked", "_asking", "_done", "_failure", "_hooks", "_vc", "point", "waiting")

    def __init__(
        self,
        vc: Any,
        point: HookPoint,
        hooks: tuple[Hook, ...],
        answered: Callable[[], None],
        done: Callable[[Failure | None], None],
    ) -> None:
        """
        @param answered: called when a hook that had to wait has answered: see to it that L{go_on} is called soon.
        @param done: called once, from within L{go_on}, when all have answered: with C{None}, or with the failure of
            the first that failed.  Those after it, and after one that has refused the connection, are not asked.
        """
        self.point = point
        self.waiting = False
        self._vc = vc
        self._hooks = iter(hooks)
        self._answered: Callable[[], None] | None = answered
        self._done: Callable[[Failure | None], None] | None = done
        self._asked = 0
        self._asking = False
        self._failure: Failure | None = None

    def go_on(self) -> None:
        """Ask until one has to wait."""
        while not self._failure and self._done is not None and self._vc.hook_op != TERMINATE_OP:
            hook = next(self._hooks, None)
            if hook is None:
                break
            self.waiting = self._asking = True
            self._asked = asked = self._asked + 1
            try:
                answer = hook(self._vc)
                if answer is not None and isinstance(answer, Coroutine):
                    answer = Deferred.fromCoroutine(answer)
            except Exception:
                self._failure = Failure()
                self.waiting = False
            else:
                if answer is None:  # most of them; the other questions are dear
                    self.waiting = False
                elif isinstance(answer, Deferred):
                    answer.addCallback(lambda _: None)
                    answer.addBoth(self.reenable, asked)
                elif answer is not PARKED and not isinstance(answer, ParkedHook):
                    self.waiting = False
            self._asking = False
            if self.waiting:
                return
        done, self._done = self._done, None
        if done is not None:
            failure = self._failure
            # Who keeps a handle keeps this, and shall not keep the connection, nor the frames of a failure.
            self._answered = self._vc = self._failure = None
            done(failure)

    def reenable(self, failure: Failure | None = None, asked: int = 0) -> None:
        """
        The hook that has the connection has answered.  Late, or twice: nothing happens.

        @param asked: it was the so-maniest to be asked; 0: whichever is waited for.
        """
        if not self.waiting or (asked and asked != self._asked):
            return
        self.waiting = False
        self._failure = failure
        if not self._asking and self._answered is not None:
            self._answered()

    def park(self, run_in_thread: Callable[..., Any]) -> "ParkedHook":
        """
        For the hook that is being asked: the handle with which it answers.

        @param run_in_thread: calls a function with arguments in the thread of the connection, from any.
        @raise LocalError: no hook is being asked.
        """
        if not self._asking or not self.waiting:
            raise LocalError("only a hook that is being asked can keep the connection")
        return ParkedHook(self, self._asked, run_in_thread)

    def forget(self) -> None:
        """The connection is gone: what is still to come changes nothing."""
        self._done = self._answered = self._vc = None
        self._hooks = iter(())
        self.waiting = False


class ParkedHook:
    """
    A hook has the connection: C{handle = vc.park()}, and C{return handle} in the place of an answer.

    Does not keep a connection alive that has gone.
    """

    __slots__ = ("_asked", "_run_in_thread", "_walk")

    def __init__(self, walk: HookWalk, asked: int, run_in_thread: Callable[..., Any]) -> None:
        self._walk = walk
        self._asked = asked
        self._run_in_thread = run_in_thread

    def reenable(self, failure: Failure | None = None) -> None:
        """
        Answer, for the hook that was given this.  From any thread; late or twice: nothing happens.

        @param failure: refuse the connection.
        """
        self._run_in_thread(self._walk.reenable, failure, self._asked)
