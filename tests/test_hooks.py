"""
Tests for L{atstls.tls.hooks}: asking, waiting, and answers that come when nobody waits.
"""

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import LocalError
from atstls.tls.hooks import DEFAULT_OP, PARKED, TERMINATE_OP, Hook, HookPoint, HookSet, HookWalk, ParkedHook


class HookSetTests(SynchronousTestCase):
    """The hooks of a listener, by point."""

    def test_order(self) -> None:
        """Hooks of one point are asked in the order of registration, whatever was registered in between."""
        one, two, three = (lambda vc: None), (lambda vc: None), (lambda vc: None)
        hooks = HookSet([(HookPoint.CERT, one), (HookPoint.CLIENT_HELLO, three), (HookPoint.CERT, two)])
        self.assertEqual((one, two), hooks.at(HookPoint.CERT))
        self.assertEqual((three,), hooks.at(HookPoint.CLIENT_HELLO))

    def test_none(self) -> None:
        """A point without hooks costs nothing: the same empty tuple each time."""
        self.assertIs(HookSet().at(HookPoint.CERT), HookSet().at(HookPoint.VCONN_START))

    def test_same_hook_twice(self) -> None:
        """A hook that is registered twice is asked twice."""
        hook: Hook = lambda vc: None  # noqa: E731
        self.assertEqual((hook, hook), HookSet([(HookPoint.CERT, hook)] * 2).at(HookPoint.CERT))


class HookWalkTests(SynchronousTestCase):
    """One connection, the hooks of one point."""

    def setUp(self) -> None:
        self.notes: list[Any] = []
        self.vc = SimpleNamespace(hook_op=DEFAULT_OP)

    def walk(self, *hooks: Hook) -> HookWalk:
        """A walk that has begun."""
        walk = HookWalk(
            self.vc, HookPoint.CERT, hooks, lambda: self.notes.append("answered"), lambda why: self.notes.append(why)
        )
        self.current = walk
        walk.go_on()
        return walk

    def hook(self, name: str, answer: Any = None, act: Callable[[], object] | None = None) -> Hook:
        """A hook that takes a note and gives C{answer}."""

        def ask(vc: Any) -> Any:
            self.assertIs(self.vc, vc)
            self.notes.append(name)
            if act is not None:
                act()
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask

    def test_all_at_once(self) -> None:
        """Hooks that answer at once are asked in order, once each, and then it is done, once."""
        walk = self.walk(self.hook("a"), self.hook("b"), self.hook("c"))
        self.assertEqual(["a", "b", "c", None], self.notes)
        walk.go_on()
        walk.reenable()
        self.assertEqual(["a", "b", "c", None], self.notes)
        self.assertFalse(walk.waiting)

    def refuse(self) -> None:
        """What C{vc.refuse()} leaves."""
        self.vc.hook_op = TERMINATE_OP

    def test_refused(self) -> None:
        """Nobody is asked about a connection that was refused."""
        self.walk(self.hook("a", act=self.refuse), self.hook("b"))
        self.assertEqual(["a", None], self.notes)

    def test_refused_later(self) -> None:
        """Nor when it is refused while the hook is waited for."""
        answer: Deferred[None] = Deferred()
        walk = self.walk(self.hook("a", answer), self.hook("b"))
        self.refuse()
        answer.callback(None)
        walk.go_on()
        self.assertEqual(["a", "answered", None], self.notes)

    def test_no_hooks(self) -> None:
        """Nobody to ask: done."""
        self.walk()
        self.assertEqual([None], self.notes)

    def test_any_answer_but_waiting_is_yes(self) -> None:
        """A hook that returns something odd has answered."""
        self.walk(self.hook("a", False), self.hook("b", "no"), self.hook("c", 0))
        self.assertEqual(["a", "b", "c", None], self.notes)

    def test_deferred(self) -> None:
        """A hook may answer by a Deferred; those after it are asked when it has fired and we went on."""
        answer: Deferred[None] = Deferred()
        walk = self.walk(self.hook("a", answer), self.hook("b"))
        self.assertEqual((["a"], True), (self.notes, walk.waiting))
        answer.callback(None)
        self.assertEqual((["a", "answered"], False), (self.notes, walk.waiting))
        walk.go_on()
        self.assertEqual(["a", "answered", "b", None], self.notes)

    def test_deferred_that_has_fired(self) -> None:
        """One that has fired already is an answer at once: nobody is told that it was waited for."""
        self.walk(self.hook("a", succeed("x")), self.hook("b"))
        self.assertEqual(["a", "b", None], self.notes)

    def test_deferred_that_fails(self) -> None:
        """Its failure ends the walk, is handed on, and is not logged as unhandled."""
        answer: Deferred[None] = Deferred()
        walk = self.walk(self.hook("a", answer), self.hook("b"))
        answer.errback(Failure(ValueError("no")))
        walk.go_on()
        self.assertEqual(["a", "answered"], self.notes[:2])
        self.assertIsInstance(self.notes[2].value, ValueError)
        self.assertEqual(3, len(self.notes))
        self.assertEqual([], self.flushLoggedErrors())

    def test_deferred_that_has_failed(self) -> None:
        """The same when it had failed before it was returned."""
        answer: Deferred[None] = Deferred()
        answer.errback(Failure(ValueError("no")))
        self.walk(self.hook("a", answer), self.hook("b"))
        self.assertEqual("a", self.notes[0])
        self.assertIsInstance(self.notes[1].value, ValueError)
        self.assertEqual(2, len(self.notes))

    def test_coroutine(self) -> None:
        """A hook may be a coroutine function."""
        gate: Deferred[None] = Deferred()

        async def hook(vc: Any) -> None:
            self.notes.append("begun")
            await gate
            self.notes.append("ended")

        walk = self.walk(hook, self.hook("b"))
        self.assertEqual(["begun"], self.notes)
        gate.callback(None)
        walk.go_on()
        self.assertEqual(["begun", "ended", "answered", "b", None], self.notes)

    def test_coroutine_that_raises(self) -> None:
        """What it raises is its failure."""

        async def hook(vc: Any) -> None:
            raise ValueError("no")

        self.walk(hook, self.hook("b"))
        self.assertIsInstance(self.notes[0].value, ValueError)
        self.assertEqual(1, len(self.notes))

    def test_coroutine_without_a_wait(self) -> None:
        """One that never waits is an answer at once."""

        async def hook(vc: Any) -> None:
            self.notes.append("a")

        self.walk(hook, self.hook("b"))
        self.assertEqual(["a", "b", None], self.notes)

    def test_raises(self) -> None:
        """A hook that raises refuses; those after it are not asked, and asked again the failure is not told again."""
        walk = self.walk(self.hook("a", ValueError("no")), self.hook("b"))
        self.assertEqual("a", self.notes[0])
        self.assertIsInstance(self.notes[1].value, ValueError)
        walk.go_on()
        self.assertEqual(2, len(self.notes))

    def test_parked(self) -> None:
        """PARKED waits for reenable, which says so, once, and moves nothing by itself."""
        walk = self.walk(self.hook("a", PARKED), self.hook("b"))
        self.assertTrue(walk.waiting)
        walk.reenable()
        walk.reenable()
        self.assertEqual(["a", "answered"], self.notes)
        walk.go_on()
        self.assertEqual(["a", "answered", "b", None], self.notes)

    def test_parked_and_refused(self) -> None:
        """reenable may carry a failure."""
        walk = self.walk(self.hook("a", PARKED), self.hook("b"))
        failure = Failure(ValueError("no"))
        walk.reenable(failure)
        walk.go_on()
        self.assertEqual(["a", "answered", failure], self.notes)

    def test_reenabled_from_within(self) -> None:
        """A hook that answers before it returns PARKED has answered at once (TS-4075's kin: O12, O13)."""
        self.walk(self.hook("a", PARKED, act=lambda: self.current.reenable()), self.hook("b"))
        self.assertEqual(["a", "b", None], self.notes)

    def test_refused_from_within(self) -> None:
        """A hook that refuses before it returns, whatever it returns, has refused."""
        for answer in (PARKED, None):
            self.notes.clear()
            failure = Failure(ValueError("no"))
            self.walk(
                self.hook("a", answer, act=lambda failure=failure: self.current.reenable(failure)),  # type: ignore[misc]
                self.hook("b"),
            )
            self.assertEqual(["a", failure], self.notes)

    def test_go_on_too_early(self) -> None:
        """Who goes on while a hook waits asks nobody twice, and nobody too early."""
        walk = self.walk(self.hook("a", PARKED), self.hook("b"))
        self.assertTrue(walk.waiting)  # its owner looks at this first
        walk.reenable()
        walk.go_on()
        self.assertEqual(1, self.notes.count("a"))

    def test_forgotten_while_waiting(self) -> None:
        """The connection has gone: the answer changes nothing, and nobody is told."""
        answer: Deferred[None] = Deferred()
        walk = self.walk(self.hook("a", answer), self.hook("b"))
        walk.forget()
        answer.callback(None)
        walk.reenable()
        walk.go_on()
        self.assertEqual(["a"], self.notes)

    def test_late_failure_is_swallowed(self) -> None:
        """A Deferred that fails when the connection has gone is no news either."""
        answer: Deferred[None] = Deferred()
        self.walk(self.hook("a", answer)).forget()
        answer.errback(Failure(ValueError("late")))
        del answer
        self.assertEqual(["a"], self.notes)
        self.assertEqual([], self.flushLoggedErrors())

    def test_forgotten_from_within(self) -> None:
        """A hook that closes the connection is the last to be asked, and done is not told."""
        for answer in (None, PARKED):
            self.notes.clear()
            self.walk(self.hook("a", answer, act=lambda: self.current.forget()), self.hook("b"))
            self.assertEqual(["a"], self.notes)

    def park(self) -> ParkedHook:
        """What the hook that is being asked gets from C{vc.park()}."""
        return self.current.park(lambda function, *arguments: function(*arguments))

    def keeping(self, name: str, handles: list[ParkedHook]) -> Hook:
        """A hook that keeps the connection."""

        def ask(vc: Any) -> Any:
            self.notes.append(name)
            handles.append(self.park())
            return handles[-1]

        return ask

    def begin(self, *hooks: Hook) -> HookWalk:
        """A walk that is known before it begins."""
        self.current = HookWalk(
            self.vc, HookPoint.CERT, hooks, lambda: self.notes.append("answered"), lambda why: self.notes.append(why)
        )
        self.current.go_on()
        return self.current

    def test_a_handle_answers_for_its_hook_alone(self) -> None:
        """However late or often it is used, it never speaks for the next hook (A124)."""
        handles: list[ParkedHook] = []
        walk = self.begin(self.keeping("a", handles), self.keeping("veto", handles))
        self.assertTrue(walk.waiting)
        handles[0].reenable()
        handles[0].reenable()
        walk.go_on()
        self.assertEqual((["a", "answered", "veto"], True), (self.notes, walk.waiting))
        handles[0].reenable()
        handles[0].reenable(Failure(ValueError("not mine to say")))
        self.assertTrue(walk.waiting, "the veto was overruled")
        handles[1].reenable(Failure(ValueError("no")))
        walk.go_on()
        self.assertEqual("no", str(self.notes[-1].value))
        handles[1].reenable()
        walk.go_on()
        self.assertEqual(5, len(self.notes))

    def test_a_handle_used_from_within(self) -> None:
        """An answer before the handle is returned is an answer at once."""

        def hook(vc: Any) -> Any:
            handle = self.park()
            handle.reenable()
            return handle

        walk = self.begin(hook, self.hook("b"))
        self.assertEqual((["b", None], False), (self.notes, walk.waiting))

    def test_no_handle_for_who_is_not_asked(self) -> None:
        """It is for hooks, while they are asked."""
        handles: list[ParkedHook] = []
        self.begin(self.keeping("a", handles))
        self.assertRaises(LocalError, self.park)
        handles[0].reenable()
        self.current.go_on()
        self.assertRaises(LocalError, self.park)

    def test_a_handle_keeps_nothing_alive(self) -> None:
        """Who keeps a handle for ever does not keep the connection."""

        class Connection:
            hook_op = DEFAULT_OP

        handles: list[ParkedHook] = []
        connection = Connection()
        gone = weakref.ref(connection)
        self.vc = connection
        self.begin(self.keeping("a", handles), self.keeping("b", handles)).forget()
        handles[0].reenable()
        self.vc = SimpleNamespace(hook_op=DEFAULT_OP)
        del connection
        gc.collect()
        self.assertIsNone(gone())
        self.assertEqual(["a"], self.notes)

    def test_second_answer_of_a_hook_is_not_the_next_ones(self) -> None:
        """A hook that calls reenable and whose Deferred fires later as well has not answered for the next hook."""
        answer: Deferred[None] = Deferred()
        walk = self.walk(self.hook("a", answer), self.hook("veto", PARKED))
        walk.reenable()
        walk.go_on()
        self.assertEqual((["a", "answered", "veto"], True), (self.notes, walk.waiting))
        answer.callback(None)
        self.assertTrue(walk.waiting, "the veto was overruled")
        walk.reenable(Failure(ValueError("no")))
        walk.go_on()
        self.assertIsInstance(self.notes[-1].value, ValueError)
