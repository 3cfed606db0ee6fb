"""
Tests for L{atstls.eventsystem.continuation}.
"""

import gc
import weakref
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.events import EVENT_CONT, EVENT_DONE
from atstls.eventsystem.continuation import ACTION_RESULT_DONE, Action, Continuation
from atstls.interfaces import IAction, IContinuation


class ContinuationTests(SynchronousTestCase):
    def test_interface(self) -> None:
        """It is what every floor takes for a continuation."""
        self.assertTrue(verifyObject(IContinuation, Continuation(lambda event, data: EVENT_DONE)))

    def test_tells_the_handler(self) -> None:
        """The handler gets the event and its data, and its answer is the continuation's (N001)."""
        told: list[Any] = []

        def handler(event: int, data: Any) -> int:
            told.append((event, data))
            return EVENT_CONT

        self.assertEqual(EVENT_CONT, Continuation(handler).handle_event(100, "vio"))
        self.assertEqual([(100, "vio")], told)

    def test_state_is_the_handler(self) -> None:
        """A state machine goes to its next state by setting another handler, also from within the first."""
        told = []

        def first(event: int, data: Any) -> int:
            told.append(("first", event))
            cont.handler = second
            return EVENT_CONT

        def second(event: int, data: Any) -> int:
            told.append(("second", event))
            return EVENT_DONE

        cont = Continuation(first)
        self.assertEqual([EVENT_CONT, EVENT_DONE], [cont.handle_event(1, None), cont.handle_event(2, None)])
        self.assertEqual([("first", 1), ("second", 2)], told)


class ActionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.undone: list[str] = []
        self.cont = Continuation(lambda event, data: EVENT_DONE)
        self.action = Action(self.cont, lambda: self.undone.append("undone"))

    def test_interface(self) -> None:
        """It is what a caller gets for something that is still to come."""
        self.assertTrue(verifyObject(IAction, self.action))

    def test_cancel(self) -> None:
        """Called off, it undoes what was begun, once, and knows nobody to call any more (N002)."""
        self.assertFalse(self.action.cancelled)
        for _ in range(2):
            self.action.cancel()
            self.assertEqual((True, None), (self.action.cancelled, self.action.continuation))
            self.assertEqual(["undone"], self.undone)

    def test_cancel_from_within_the_undoing(self) -> None:
        """What is undone may itself call it off again; nothing goes round."""

        def undo() -> None:
            self.undone.append("undone")
            action.cancel()

        action = Action(self.cont, undo)
        action.cancel()
        self.assertEqual(["undone"], self.undone)

    def test_nothing_to_undo(self) -> None:
        """An action may have nothing to undo."""
        action = Action(self.cont)
        action.cancel()
        self.assertTrue(action.cancelled)

    def test_settled(self) -> None:
        """When it has happened there is nothing left to undo, and cancelling harms nothing."""
        self.action.settled()
        self.action.cancel()
        self.assertEqual([], self.undone)
        self.assertTrue(self.action.cancelled)

    def test_lets_go(self) -> None:
        """Settled or cancelled, it holds on to nothing that it would have called."""

        class Undo:
            def undo(self) -> None:
                pass

        gc.disable()
        self.addCleanup(gc.enable)
        for end in (Action.cancel, Action.settled):
            undo = Undo()
            action, gone = Action(self.cont, undo.undo), weakref.ref(undo)
            del undo
            end(action)
            self.assertIsNone(gone())

    def test_done(self) -> None:
        """An answer for what has already happened is told by identity, and has nobody left to call (N003)."""
        self.assertIsNone(ACTION_RESULT_DONE.continuation)
        self.assertFalse(ACTION_RESULT_DONE.cancelled)
