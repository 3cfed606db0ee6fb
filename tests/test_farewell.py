"""
Tests for L{atstls.net.farewell}: who is turned away with a text, and who without.
"""

import socket

from twisted.internet import tcp

from atstls.net.accept import NetAccept, _NoFactory
from atstls.net.connection import AcceptOptions
from atstls.net.farewell import FAREWELL_SECONDS, FAREWELLS_AT_ONCE
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.ssl.accept import SSLNetAccept
from tests.support import HandReactor, Moved, OverBothPolls, RecordingContinuation, reset

TEXT = b"we are full, come again\r\n"


class FarewellTests(OverBothPolls):
    def setUp(self) -> None:
        # The first port that listens opens a descriptor for Twisted's own purposes: let it be there before.
        reactor = HandReactor()
        tcp.Port(0, _NoFactory(), reactor=reactor).startListening()
        reactor.removeAll()[0].connectionLost(None)
        super().setUp()
        self.throttle = Throttle(0, self.reactor.seconds)
        self.cont = RecordingContinuation()
        self.moved = Moved()
        processor = NetProcessor(self.handler, self.throttle)
        self.accept: NetAccept = processor.accept(self.cont, AcceptOptions(local_ip="127.0.0.1"))
        self.throttle.change(1)
        self.throttle.message = TEXT
        self.dial()
        self.reactor.turn_until(lambda: self.cont.log)

    def tearDown(self) -> None:
        self.accept.cancel()
        super().tearDown()

    def dial(self, count: int = 1) -> list[socket.socket]:
        clients = []
        host = self.accept.port.getHost()
        for _ in range(count):
            client = self.keep(socket.create_connection((host.host, host.port)))
            client.settimeout(5)
            clients.append(client)
        return clients

    def refused(self, count: int) -> None:
        self.reactor.turn_until(lambda: self.moved.connections_throttled_in == count)

    def all_of(self, client: socket.socket) -> bytes:
        found = b""
        while piece := client.recv(1000):
            found += piece
        return found

    def test_asked(self) -> None:
        """Who asks is answered with the text, and the end after it is in order (N102)."""
        (client,) = self.dial()
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        self.refused(1)
        self.reactor.turn_until(lambda: not self.accept._farewells)
        self.assertEqual(TEXT, self.all_of(client))
        self.assertEqual((["ACCEPT"], []), (self.cont.events, self.reactor.getDelayedCalls()))

    def test_silent(self) -> None:
        """Who says nothing gets it after a moment, and no sooner (N102)."""
        (client,) = self.dial()
        self.refused(1)
        self.reactor.turn(FAREWELL_SECONDS - 0.01)
        self.assertEqual(1, len(self.accept._farewells))
        self.reactor.turn(0.01)
        self.assertEqual((TEXT, set()), (self.all_of(client), self.accept._farewells))

    def test_bounded(self) -> None:
        """A few at once, whatever they do; the others are closed without (N102)."""
        clients = self.dial(FAREWELLS_AT_ONCE + 3)
        self.refused(FAREWELLS_AT_ONCE + 3)
        self.assertEqual(FAREWELLS_AT_ONCE, len(self.accept._farewells))
        self.reactor.turn(FAREWELL_SECONDS)
        answers = [self.all_of(client) for client in clients]
        self.assertEqual([TEXT] * FAREWELLS_AT_ONCE + [b""] * 3, answers)

    def test_gone(self) -> None:
        """Who leaves meanwhile, in order or not, leaves nothing behind (N102)."""
        one, other = self.dial(2)
        self.refused(2)
        reset(one)
        other.shutdown(socket.SHUT_WR)
        self.reactor.turn_until(lambda: not self.accept._farewells)
        self.assertEqual(TEXT, self.all_of(other))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_nothing_came(self) -> None:
        """Woken for nothing, it waits on."""
        self.dial()
        self.refused(1)
        (farewell,) = self.accept._farewells
        farewell.doRead()
        self.assertEqual({farewell}, self.accept._farewells)
        farewell.connectionLost(None)
        self.assertEqual((set(), "atstls"), (self.accept._farewells, farewell.logPrefix()))

    def test_cancel(self) -> None:
        """A port that closes waits for nobody."""
        (client,) = self.dial()
        self.refused(1)
        self.accept.cancel()
        self.assertEqual((b"", []), (self.all_of(client), self.reactor.getDelayedCalls()))

    def test_no_text(self) -> None:
        """Without a text the connection is closed at once."""
        self.throttle.message = b""
        (client,) = self.dial()
        self.refused(1)
        self.assertEqual((b"", set()), (self.all_of(client), self.accept._farewells))

    def test_over_tls(self) -> None:
        """A TLS client would not understand a text in clear: its connection is closed at once."""
        self.assertEqual((True, False), (NetAccept.speaks_first, SSLNetAccept.speaks_first))
        self.accept.speaks_first = False
        (client,) = self.dial()
        self.refused(1)
        self.assertEqual((b"", set()), (self.all_of(client), self.accept._farewells))


globals().update(FarewellTests.make_test_case_classes())
