"""
Tests for L{atstls.interfaces}: one interface for each role, and whoever has a role says so and keeps to it.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementedBy, implementer
from zope.interface.exceptions import BrokenMethodImplementation
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyClass

import atstls
from atstls import interfaces
from atstls.interfaces import IConnectionHook, IContinuation


def roles() -> dict[str, InterfaceClass]:
    """The interfaces of the library, by name."""
    return {
        name: value
        for name, value in vars(interfaces).items()
        if isinstance(value, InterfaceClass) and value is not Interface
    }


def classes() -> Iterator[type[Any]]:
    """The classes of the package, each once."""
    for module in pkgutil.walk_packages(atstls.__path__, "atstls."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name and not isinstance(found, InterfaceClass):
                yield found


class RoleTests(SynchronousTestCase):
    """
    Who plays which role.
    """

    def test_every_role_is_played(self) -> None:
        """An interface that nobody keeps to would be words; a hook is any callable, of somebody else's."""
        played = {interface for found in classes() for interface in implementedBy(found)}
        played |= {base for interface in played for base in interface.__iro__}
        self.assertEqual(["IConnectionHook"], [name for name, role in roles().items() if role not in played])
        expected = """
            IVConnection INetVConnection ISSLNetVConnection IVIO IContinuation IMIOBuffer IIOBufferReader IAction
            INetProcessor INetAccept ISessionAccept INetHandler IInactivityCop INextProtocolSet IConnectionHook
        """
        self.assertEqual(set(), set(expected.split()) - set(roles()))

    def test_every_class_keeps_to_its_role(self) -> None:
        """Each method that a role has is there, and can be called as the interface says."""
        checked = 0
        mine = set(roles().values())
        for found in classes():
            for interface in implementedBy(found):
                if interface in mine:
                    self.assertTrue(verifyClass(interface, found), (found, interface))
                    checked += 1
        self.assertGreater(checked, 20)

    def test_who_is_told_of_events_says_so(self) -> None:
        """A class with handle_event() is a continuation."""
        told = [found for found in classes() if hasattr(found, "handle_event")]
        self.assertGreater(len(told), 10)
        self.assertEqual([], [found for found in told if not IContinuation.implementedBy(found)])

    def test_every_word_is_explained(self) -> None:
        """Who reads an interface learns what each of its methods and attributes means."""
        silent = [
            f"{name}.{word}"
            for name, role in roles().items()
            for word, element in role.namesAndDescriptions()
            if not element.getDoc()
        ]
        self.assertEqual([], silent)
        self.assertTrue(all(role.getDoc() for role in roles().values()))

    def test_of_others(self) -> None:
        """A class that is none of ours can play a role, and is told when it does not."""

        @implementer(IContinuation)
        class Told:
            def handle_event(self, event: int, data: Any) -> int:
                return 0

        @implementer(IContinuation)
        class NotTold:
            def handle_event(self, event: int) -> int:
                return 0

        @implementer(IConnectionHook)
        class Hook:
            def __call__(self, vc: Any) -> None:
                pass

        self.assertTrue(verifyClass(IContinuation, Told))
        self.assertTrue(verifyClass(IConnectionHook, Hook))
        self.assertRaises(BrokenMethodImplementation, verifyClass, IContinuation, NotTold)
        self.assertIsInstance(IConnectionHook["__call__"], Method)
