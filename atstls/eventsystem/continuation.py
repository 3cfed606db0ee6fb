# -*- test-case-name: tests.test_continuation -*-
"""
L{Continuation}: what is told of events.  L{Action}: a call-back that can still be called off.

Source: seed, "EventSystem"; ATS C{I_Continuation.h}, C{I_Action.h}.
"""

from collections.abc import Callable
from typing import Any, Final

from zope.interface import implementer

from atstls.interfaces import IAction, IContinuation

Handler = Callable[[int, Any], int]


@implementer(IContinuation)
class Continuation:
    """
    An object with a current handler.  A state machine changes its state by changing its handler.

    A subclass with one state may override L{handle_event} itself and save a call for each event.
    """

    handler: Handler

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def handle_event(self, event: int, data: Any) -> int:
        """See L{IContinuation.handle_event}."""
        return self.handler(event, data)


@implementer(IAction)
class Action:
    """
    A handle on something that will call C{continuation} later.

    @ivar cancelled: True once L{cancel} was called; the continuation is then not called any more.
    """

    def __init__(self, continuation: IContinuation | None, on_cancel: Callable[[], None] | None = None) -> None:
        self.continuation = continuation
        self.cancelled = False
        self._on_cancel = on_cancel

    def cancel(self) -> None:
        """Call it off.  Harmless when called twice, and when it has happened already."""
        if self.cancelled:
            return
        self.cancelled = True
        self.continuation = None
        undo, self._on_cancel = self._on_cancel, None
        if undo is not None:
            undo()

    def settled(self) -> None:
        """What was waited for has happened: cancelling has nothing left to undo."""
        self._on_cancel = None


ACTION_RESULT_DONE: Final = Action(None)
"""The answer of a call that has already called back, before it returned."""
