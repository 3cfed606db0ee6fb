"""
The three roles of a reactor's connections: who moves the bytes, who looks for those that are late, who makes them.

Each is an object that knows the others by their interfaces, so each can be another one.
"""

from typing import Any

from twisted.internet.task import LoopingCall
from zope.interface.verify import verifyObject

from atstls.edge.build import Machinery
from atstls.edge.config import NetConfig
from atstls.edge.service import EngineRoom
from atstls.events import VC_EVENT_INACTIVITY_TIMEOUT
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, NetState
from atstls.interfaces import IInactivityCop, INetHandler, INetProcessor
from atstls.net.accept import NetAccept
from atstls.net.connection import AcceptOptions
from atstls.net.cop import InactivityCop
from atstls.net.queues import NetQueues
from atstls.net.throttle import Throttle
from atstls.net.unixvc import UnixNetVConnection
from tests.support import HandReactor, OverBothPolls, RecordingContinuation, unix_pair


class FakeConnection:
    """Something with two directions, which notes when it is asked to move bytes."""

    def __init__(self) -> None:
        self.read, self.write = NetState(self), NetState(self)
        self.asked: list[str] = []

    def net_read_io(self) -> None:
        self.asked.append("read")

    def net_write_io(self) -> None:
        self.asked.append("write")


class FakeHandler:
    """Something that has connections and a clock, and never moves a byte."""

    def __init__(self) -> None:
        self.now = 0.0
        self.open_list: set[Any] = set()
        self.queues = NetQueues(self)

    def seconds(self) -> float:
        return self.now


class RoleTests(OverBothPolls):
    """
    Who does what.
    """

    def setUp(self) -> None:
        LoopingCall(int)  # The first one opens the process's own reactor: let its descriptors be there before.
        super().setUp()

    def test_three_objects(self) -> None:
        """A program has one of each for its reactor, and all of its connections share them (S002)."""
        machinery = Machinery(HandReactor())
        room = EngineRoom(machinery, NetConfig())
        (cop,) = [service for service in room if isinstance(service, InactivityCop)]
        verifyObject(INetHandler, machinery.handler)
        verifyObject(IInactivityCop, cop)
        for processor in (machinery.plain, machinery.tls):
            verifyObject(INetProcessor, processor)
            self.assertIs(machinery.handler, processor.nh)
            self.assertIs(machinery.handler, processor.allocate_vc().nh)
        self.assertIs(machinery.handler, cop.handler)

    def test_each_can_be_another(self) -> None:
        """The handler moves, the cop watches and the acceptor makes whatever keeps to the words between them (S002)."""
        # The handler: connections of another make.
        fake = FakeConnection()
        for state in (fake.read, fake.write):
            state.enabled = True
        self.handler.mark_read(fake)
        self.handler.mark_write(fake)
        self.handler.turn()
        self.assertEqual(["read", "write"], fake.asked)
        # The cop: the connections of another handler.
        handler = FakeHandler()
        vc, _ = self.connection()
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, MIOBuffer())
        vc.set_inactivity_timeout(5)
        handler.open_list.add(vc)
        cop = InactivityCop(handler, self.reactor)  # type: ignore[arg-type]  # it is a fake
        handler.now = vc.last_activity + 4
        cop.patrol()
        self.assertEqual([], cont.events)
        handler.now += 2
        cop.patrol()
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        # The acceptor: connections of whatever kind it is told to make.

        class Counted(UnixNetVConnection):
            __slots__ = ()
            told: list[int] = []  # one for the test

            def main_event(self, event: int) -> None:
                self.told.append(event)

        accepted = RecordingContinuation()
        accept = NetAccept(
            self.handler,
            lambda accept: Counted(self.handler),
            accepted,
            AcceptOptions(),
            Throttle(0),
        )
        ours, theirs = unix_pair()
        accept._accepted(ours, "")
        (made,) = accepted.given
        self.assertEqual((Counted, ["ACCEPT"]), (type(made), accepted.events))
        made.set_inactivity_timeout(1)
        self.reactor.turn(3)
        InactivityCop(self.handler, self.reactor).patrol()
        self.assertEqual([VC_EVENT_INACTIVITY_TIMEOUT], made.told)
        theirs.close()


globals().update(RoleTests.make_test_case_classes())
