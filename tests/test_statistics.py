# -*- test-case-name: tests.test_statistics -*-
"""
Tests for L{atstls.statistics}: the registry, the table and the page about it, and what connections without TLS count.

What is counted of TLS is tested in C{test_statistics_tls}, what the program counts in C{test_statistics_edge}.
"""

import errno
import json
import re
import socket
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet import tcp
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from atstls.events import VC_EVENT_READ_COMPLETE, VC_EVENT_READ_READY
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_4K, MIOBuffer, new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, SHUTDOWN_READWRITE
from atstls.net.accept import _NoFactory
from atstls.net.connection import AcceptOptions
from atstls.net.cop import InactivityCop
from atstls.net.handler import look_at_connections
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.session.splice import HAVE_SPLICE, PipeBuffer, empty_pool
from atstls.session.tunnel import TwoWayTunnel
from atstls.statistics import (
    GAUGES,
    HANDSHAKE_SECONDS,
    TABLE,
    Counters,
    Distribution,
    HandshakeKind,
    Histogram,
    Kind,
    Registry,
    Snapshot,
    registry,
)
from tests.support import HandReactor, Moved, OverBothPolls, RecordingContinuation, fill, received, reset, tcp_pair

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "statistics.rst").read_text(encoding="utf-8")

NET = "proxy.process.net."
SSL = "proxy.process.ssl."


class Something:
    """Who has a value of its own."""

    value = 3


class RegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.counters = Counters()
        self.registry = Registry(self.counters)

    def test_one_in_a_process(self) -> None:
        """What the modules count into is what is read, under the name that the table has."""
        self.assertIsInstance(registry, Registry)
        before = registry.snapshot()
        registry.counters.total_accepts += 1
        self.addCleanup(setattr, registry.counters, "total_accepts", registry.counters.total_accepts - 1)
        self.assertEqual(1, (registry.snapshot() - before)["proxy.process.tcp.total_accepts"])

    def test_all_from_the_start(self) -> None:
        """Every name of the table is in the first snapshot, and 0; what there is one of each for comes by itself."""
        snapshot = self.registry.snapshot()
        self.assertEqual({each.name for each in TABLE if "<" not in each.name}, set(snapshot))
        self.assertEqual(len(TABLE), len({each.name for each in TABLE}))
        for name, value in snapshot.items():
            self.assertEqual(0, value.count if isinstance(value, Distribution) else value, name)

    def test_no_other_names(self) -> None:
        """A misspelt counter is an error where it is written, and not a number that nobody finds."""
        with self.assertRaises(AttributeError):
            self.counters.total_acepts = 1  # type: ignore[attr-defined]
        with self.assertRaises(KeyError):
            self.registry.snapshot()["proxy.process.tcp.total_acepts"]

    def test_a_snapshot_stays(self) -> None:
        """It is what was, whatever is counted afterwards."""
        kind = HandshakeKind(False, "TLSv1.3", "A", "g")
        self.counters.handshake_done(kind, 0.5)
        before = self.registry.snapshot()
        known = dict(before)
        self.counters.read_bytes += 5
        self.counters.handshake_done(kind, 0.5)
        self.assertEqual(known, dict(before))
        self.assertNotIn(SSL + "cipher.user_agent.B", before)
        self.assertEqual(
            (5, 1), ((self.registry.snapshot() - before)[NET + "read_bytes"], before[SSL + "ssl_total_tlsv13"])
        )

    def test_difference(self) -> None:
        """Counters and histograms by what was added, gauges as they are, and new names from nothing."""
        self.counters.write_bytes = 100
        self.counters.accepts_currently_open = 3
        self.counters.handshake_done(HandshakeKind(False, "TLSv1.2", "A", None), 0.004)
        before = self.registry.snapshot()
        self.counters.write_bytes += 11
        self.counters.accepts_currently_open = 2
        self.counters.handshake_done(HandshakeKind(False, "TLSv1.2", "A", None), 0.25)
        self.counters.handshake_done(HandshakeKind(False, "TLSv1.3", "B", "g"), 40)
        after = self.registry.snapshot()
        moved = after - before
        self.assertEqual((11, 2), (moved[NET + "write_bytes"], moved[NET + "accepts_currently_open"]))
        self.assertEqual((1, 1), (moved[SSL + "cipher.user_agent.A"], moved[SSL + "cipher.user_agent.B"]))
        times = moved[SSL + "handshake_time_in"]
        self.assertEqual((2, 40.25), (times.count, times.total))
        self.assertEqual({0.5: 1, None: 1}, classes(times))
        self.assertEqual({0.005: 1, 0.5: 1, None: 1}, classes(after[SSL + "handshake_time_in"]))
        nothing = after - after
        self.assertEqual(
            {NET + "accepts_currently_open": 2}, {name: value for name, value in nothing.items() if size(value)}
        )

    def test_handshakes(self) -> None:
        """Of what a handshake was, clients' suites and groups are told; versions and times of both ways."""
        for outbound, version, cipher, group, seconds in (
            (False, "TLSv1.3", "A", "g", 0.010),
            (False, "TLSv1.3", "A", "h", 0.020),
            (False, "TLSv1.2", "B", None, 0.5),
            (True, "TLSv1.3", "C", "i", 2),
            (False, "TLSv9", "A", "g", 0.001),
        ):
            self.counters.handshake_done(HandshakeKind(outbound, version, cipher, group), seconds)
        snapshot = self.registry.snapshot()
        found = {
            name.removeprefix(SSL): value for name, value in snapshot.items() if name.startswith(SSL) and size(value)
        }
        inbound, outbound = found.pop("handshake_time_in"), found.pop("handshake_time_out")
        self.assertEqual({0.001: 1, 0.01: 1, 0.02: 1, 0.5: 1}, classes(inbound))
        self.assertEqual(({2: 1}, 2), (classes(outbound), outbound.total))
        self.assertEqual(
            {
                "total_success_handshake_count_in": 4,
                "total_success_handshake_count_out": 1,
                "total_handshake_time": 531,
                "ssl_total_tlsv12": 1,
                "ssl_total_tlsv13": 3,
                "cipher.user_agent.A": 3,
                "cipher.user_agent.B": 1,
                "group.user_agent.g": 2,
                "group.user_agent.g.handshake_time": 11,
                "group.user_agent.h": 1,
                "group.user_agent.h.handshake_time": 20,
            },
            found,
        )

    def test_looking(self) -> None:
        """Who is watched is looked at for each snapshot, as long as he exists; nothing stays of that."""
        one, other = Something(), Something()
        for owner in (one, other):
            self.registry.watch(owner, _add)
        self.assertEqual(6, self.registry.snapshot()[NET + "connections_currently_open"])
        one.value = 1
        self.assertEqual(4, self.registry.snapshot()[NET + "connections_currently_open"])
        self.assertEqual(0, self.counters.connections_currently_open)
        del owner, other
        self.assertEqual(1, self.registry.totals().connections_currently_open)

    def test_plain(self) -> None:
        """All of it goes through JSON; a histogram has how many were not above each bound."""
        self.counters.handshake_done(HandshakeKind(True, "TLSv1.3", "A", None), 0.002)
        self.counters.handshake_done(HandshakeKind(True, "TLSv1.3", "A", None), 0.0021)
        self.counters.handshake_done(HandshakeKind(True, "TLSv1.3", "A", None), 31)
        snapshot = self.registry.snapshot()
        plain = json.loads(json.dumps(snapshot.plain()))
        self.assertEqual(set(snapshot), set(plain))
        times = plain[SSL + "handshake_time_out"]
        self.assertEqual((3, 31.0041), (times["count"], times["sum"]))
        self.assertEqual([f"{bound:g}" for bound in HANDSHAKE_SECONDS], list(times["buckets"]))
        self.assertEqual((0, 1, 2, 2), tuple(times["buckets"][bound] for bound in ("0.001", "0.002", "0.005", "30")))

    def test_repr(self) -> None:
        """A failed test shows what was counted, and none of the many that are 0."""
        self.counters.read_bytes = 7
        text = repr(self.registry.snapshot())
        self.assertIn("'proxy.process.net.read_bytes': 7", text)
        self.assertNotIn("write_bytes", text)
        self.assertNotIn("handshake_time", text)


def _add(owner: Something, totals: Counters) -> None:
    totals.connections_currently_open += owner.value


def size(value: Any) -> Any:
    """How much a value is."""
    return value.count if isinstance(value, Distribution) else value


def classes(distribution: Distribution) -> dict[float | None, int]:
    """The classes that are not empty, by their upper bounds."""
    return {
        bound: count for bound, count in zip((*distribution.bounds, None), distribution.counts, strict=True) if count
    }


class HistogramTests(SynchronousTestCase):
    def test_classes(self) -> None:
        """A value at a bound is within, one above it is not, and what is above all has a class of its own."""
        histogram = Histogram((1.0, 2.0))
        for value in (0, 1, 1.5, 2, 2.5, 1e9, -1):
            histogram.add(value)
        distribution = histogram.so_far()
        self.assertEqual(((3, 2, 2), 7, 1000000006.0), (distribution.counts, distribution.count, distribution.total))
        histogram.add(1)
        self.assertEqual(7, distribution.count)
        self.assertEqual((1, 0, 0), (histogram.so_far() - distribution).counts)
        self.assertEqual((7, 4, 4), (histogram.so_far() + distribution).counts)


class TableTests(SynchronousTestCase):
    """The table, against the code and against the page."""

    def test_where(self) -> None:
        """What a row says that counts it does."""
        attributes = {
            each.metadata["statistic"].name: each.name
            for each in Counters.__attrs_attrs__  # type: ignore[attr-defined]  # attrs makes it
            if "statistic" in each.metadata
        }
        for statistic in TABLE:
            text = (ROOT / "atstls" / statistic.where).read_text(encoding="utf-8")
            attribute = attributes.get(statistic.name, "handshake_done(")
            word = re.sub("^(user_agent|origin_server|(total|current)_(client|server)_connections)_", "", attribute)
            self.assertTrue(f".{attribute}" in text or re.search(rf"[\"']{word}[\"']", text), statistic.name)

    def test_every_one_is_tested(self) -> None:
        """Each name, or the attribute by that name, is in a test of what moves it."""
        tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_statistics*.py"))
        names = {re.sub(r"<\w+>.*", "", each.name.removeprefix("proxy.process.").partition(".")[2]) for each in TABLE}
        reasons = {name: re.sub("^(user_agent|origin_server)_", "", name) for name in names}
        missing = [name for name, reason in sorted(reasons.items()) if name not in tests and f'"{reason}"' not in tests]
        self.assertEqual([], missing)

    def test_names(self) -> None:
        """They are Traffic Server's: a prefix, the subsystem, and the name."""
        for statistic in TABLE:
            self.assertTrue(re.fullmatch(r"proxy\.process\.(net|ssl|tcp|tunnel)\.[a-z0-9_.<>]+", statistic.name))
            self.assertTrue(statistic.meaning.endswith("."), statistic.name)
            self.assertEqual(statistic.kind is Kind.GAUGE, statistic.name in GAUGES)
            gauge = re.search("current|table_size", statistic.name) is not None
            self.assertEqual(gauge, statistic.name in GAUGES, statistic.name)

    def test_what_is_left_out(self) -> None:
        """The page tells why a name is not there, of such as are not there."""
        left_out = PAGE[PAGE.index("are not there\n") :]
        names = re.findall(r"``((?:net|ssl|tunnel)\.[\w.*]+)``", left_out)
        self.assertTrue(names)
        there = {statistic.name.removeprefix("proxy.process.") for statistic in TABLE}
        self.assertEqual(set(), there.intersection(names))
        for name in names:
            if name.endswith("*"):
                self.assertFalse([other for other in there if other.startswith(name[:-1])], name)


class NetTests(OverBothPolls):
    """
    What connections without TLS count.
    """

    def setUp(self) -> None:
        # The first ones open descriptors for Twisted's own purposes: let them be there before.
        LoopingCall(lambda: None)
        first = HandReactor()
        tcp.Port(0, _NoFactory(), reactor=first).startListening()
        first.removeAll()[0].connectionLost(None)
        super().setUp()
        # Handlers of other tests that are not collected yet are nobody's affair here.
        self.patch(registry, "_looks", WeakKeyDictionary())
        registry.watch(self.handler, look_at_connections)
        self.moved = Moved()
        self.before = registry.snapshot()

    def since(self) -> Snapshot:
        """What has happened since the test began."""
        return registry.snapshot() - self.before

    def net(self, *names: str) -> tuple[Any, ...]:
        """Values of now, of that."""
        moved = self.since()
        return tuple(moved[NET + name] for name in names)

    def reading(self, vc: Any, nbytes: int = INT64_MAX) -> RecordingContinuation:
        """Read and throw away."""
        buffer = MIOBuffer(BUFFER_SIZE_INDEX_4K)
        reader = buffer.alloc_reader()

        def take(_: Any) -> None:
            reader.consume(reader.avail)

        cont = RecordingContinuation({VC_EVENT_READ_READY: take, VC_EVENT_READ_COMPLETE: take})
        vc.do_io_read(cont, nbytes, buffer)
        return cont

    def writing(self, vc: Any, data: bytes) -> None:
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        buffer.write(data)
        vc.do_io_write(RecordingContinuation(), len(data), reader)

    def test_bytes_of_open_connections(self) -> None:
        """They are there as soon as they have moved, request after request, and once, however the connection ends."""
        for end in ("close", "abort", "peer", "reset", "shutdown"):
            self.before = registry.snapshot()
            vc, peer = self.connection(tcp_pair())
            self.reading(vc, 10)
            peer.send(b"x" * 10)
            self.reactor.turn_until(lambda: self.net("read_bytes") == (10,))
            cont = self.reading(vc)
            peer.send(b"x" * 5)
            self.reactor.turn_until(lambda: self.net("read_bytes") == (15,))
            self.writing(vc, b"y" * 7)
            self.reactor.settle()
            self.writing(vc, b"y" * 8)
            self.reactor.settle()
            expected = (15, 15)
            self.assertEqual(expected, self.net("read_bytes", "write_bytes"), end)
            self.assertEqual(b"y" * 15, received(peer))
            if end == "close":
                vc.do_io_close()
            elif end == "abort":
                vc.do_io_close(errno.ECONNABORTED)
            elif end == "shutdown":
                vc.do_io_shutdown(SHUTDOWN_READWRITE)
                self.assertEqual(expected, self.net("read_bytes", "write_bytes"), end)
                vc.do_io_close()
            else:
                peer.close() if end == "peer" else reset(peer)
                self.reactor.turn_until(lambda: cont.log)  # noqa: B023
                vc.do_io_close()
            self.assertEqual((*expected, 0), self.net("read_bytes", "write_bytes", "connections_currently_open"), end)
            vc.free()
            self.assertEqual(expected, self.net("read_bytes", "write_bytes"), end)

    def test_bytes_of_a_tunnel(self) -> None:
        """What is read on one side is what is written on the other, through memory or through the kernel's pipes."""
        one, left = self.connection(tcp_pair())
        other, right = self.connection(tcp_pair())
        TwoWayTunnel(one, other)
        left.send(b"there" * 100)
        right.send(b"back")
        self.reactor.turn_until(lambda: self.net("read_bytes", "write_bytes") == (504, 504))
        left.close()
        right.close()
        self.reactor.turn_until(lambda: not self.handler.open_list)
        self.assertEqual((504, 504, 0), self.net("read_bytes", "write_bytes", "connections_currently_open"))

    def test_bytes_that_are_spliced(self) -> None:
        """Bytes that are never in our memory count like others."""
        vc, peer = self.connection(tcp_pair())
        pipe = PipeBuffer()
        pipe.alloc_reader()
        self.addCleanup(empty_pool)
        self.addCleanup(pipe.close)
        vc.do_io_read(RecordingContinuation(), INT64_MAX, pipe)
        peer.send(b"x" * 1000)
        self.reactor.turn_until(lambda: self.net("read_bytes") == (1000,))
        vc.do_io_close()
        self.assertEqual((1000,), self.net("read_bytes"))
        pipe.close()
        empty_pool()

    if not HAVE_SPLICE:
        test_bytes_that_are_spliced.skip = "os.splice is Linux's alone; elsewhere tunnels copy"  # type: ignore[attr-defined]

    def test_turns(self) -> None:
        """A turn is counted, and how many it found on its lists; one that finds nothing to read, besides."""
        vcs = [self.connection() for _ in range(3)]
        for vc, _ in vcs:
            self.reading(vc)
        self.reactor.settle()
        self.moved = Moved()
        self.handler.turn()
        counted = self.moved
        self.assertEqual(
            (1, 0, 0), (counted.net_handler_run, counted.calls_to_readfromnet, counted.calls_to_writetonet)
        )
        for vc, _ in vcs:
            vc.read.triggered = vc.read.polled = True
            self.handler.queue_read(vc)
        self.handler.turn()
        self.assertEqual(
            (2, 3, 3), (counted.net_handler_run, counted.calls_to_readfromnet, counted.calls_to_read_nodata)
        )
        self.writing(vcs[0][0], b"x")
        self.handler.turn()
        self.assertEqual((3, 1), (counted.net_handler_run, counted.calls_to_writetonet))

    def test_no_room_to_write(self) -> None:
        """A write that the kernel takes nothing of is counted."""
        vc, peer = self.connection()
        self.writing(vc, bytes(8 << 20))
        self.reactor.settle()
        self.moved = Moved()
        vc.write.triggered = vc.write.polled = True
        self.handler.queue_write(vc)
        self.handler.turn()
        self.assertEqual(1, self.moved.calls_to_write_nodata)
        done = self.net("write_bytes")[0]
        self.assertTrue(0 < done < 8 << 20)
        self.assertEqual(done, vc.write.vio.ndone)
        vc.do_io_close()
        self.assertEqual(done, len(received(peer)))
        self.assertEqual((done,), self.net("write_bytes"))

    def test_nothing_to_read_and_no_room_to_write(self) -> None:
        """However bytes are moved: from one block, from several, by the kernel's pipes."""
        vc, _peer = self.connection()
        fill(vc.socket)
        kinds = [MIOBuffer(BUFFER_SIZE_INDEX_4K), *([PipeBuffer()] if HAVE_SPLICE else [])]
        for buffer in kinds:
            reader = buffer.alloc_reader()
            vc.do_io_read(RecordingContinuation(), INT64_MAX, buffer)
            self.moved = Moved()
            vc.read.triggered = vc.read.polled = True
            self.handler.queue_read(vc)
            self.handler.turn()
            self.assertEqual((1, 0), (self.moved.calls_to_read_nodata, self.moved.calls_to_write_nodata))
            if isinstance(buffer, PipeBuffer):
                buffer.fill_with(b"x" * 10)
            else:
                buffer.write(b"x" * 10)
            vc.do_io_write(RecordingContinuation(), 10, reader)
            vc.write.triggered = vc.write.polled = True
            self.handler.queue_write(vc)
            self.handler.turn()
            self.assertEqual((1, 1), (self.moved.calls_to_read_nodata, self.moved.calls_to_write_nodata))
            vc.do_io_read(None, 0, None)
            vc.do_io_write(None, 0, None)
            if isinstance(buffer, PipeBuffer):
                buffer.close()
        empty_pool()
        self.assertEqual((0, 0), self.net("read_bytes", "write_bytes"))

    def test_open(self) -> None:
        """Connections are open while they have a descriptor."""
        vcs = [self.connection()[0] for _ in range(4)]
        self.assertEqual((4,), self.net("connections_currently_open"))
        vcs.pop().do_io_close()
        vcs.pop().free()
        self.assertEqual((2,), self.net("connections_currently_open"))

    # Coming in.

    def dial(self, accept: Any, count: int) -> list[socket.socket]:
        host = accept.get_host()
        return [self.keep(socket.create_connection((host.host, host.port))) for _ in range(count)]

    def test_accepting(self) -> None:
        """Ports while they are open; all whom the kernel gave us; and those of them who were turned away."""
        throttle = Throttle(0, self.reactor.seconds)
        processor = NetProcessor(self.handler, throttle)
        cont = RecordingContinuation()
        gauge = registry.snapshot()[NET + "accepts_currently_open"]
        accept, second = (processor.accept(cont, AcceptOptions(local_ip="127.0.0.1")) for _ in range(2))
        self.assertEqual((gauge + 2,), self.net("accepts_currently_open"))
        second.cancel()
        second.cancel()
        self.assertEqual((gauge + 1,), self.net("accepts_currently_open"))
        self.dial(accept, 3)
        self.reactor.turn_until(lambda: len(cont.log) == 3)
        throttle.change(3)
        self.dial(accept, 2)
        self.reactor.turn_until(lambda: self.moved.total_accepts == 5)
        self.assertEqual((2, 3), self.net("connections_throttled_in", "connections_currently_open"))
        self.assertEqual(5, self.since()["proxy.process.tcp.total_accepts"])
        accept.cancel()
        self.assertEqual((gauge,), self.net("accepts_currently_open"))

    def test_a_port_that_cannot_be_opened(self) -> None:
        """It was never open."""
        processor = NetProcessor(self.handler, Throttle(0))
        cont = RecordingContinuation()
        accept = processor.accept(cont, AcceptOptions(local_ip="127.0.0.1"))
        options = AcceptOptions(
            local_ip="127.0.0.1",
            local_port=accept.get_host().port,
            f_callback_on_open=True,  # type: ignore[attr-defined]
        )
        gauge = registry.snapshot()[NET + "accepts_currently_open"]
        processor.accept(cont, options).cancel()
        self.assertEqual(["ACCEPT_FAILED"], cont.events)
        self.assertEqual((gauge,), self.net("accepts_currently_open"))
        accept.cancel()

    def test_not_begun(self) -> None:
        """A connection of ours that the limit forbids."""
        throttle = Throttle(1, self.reactor.seconds)
        processor = NetProcessor(self.handler, throttle)
        self.connection()
        cont = RecordingContinuation()
        processor.connect_re(cont, ("127.0.0.1", 1))
        self.assertEqual((["OPEN_FAILED"], (1,)), (cont.events, self.net("connections_throttled_out")))

    # Waiting.

    def test_queues(self) -> None:
        """A request that finds no room; and those who kept the line open and were told that their time is up."""
        queues = self.handler.queues
        first, second = (self.connection()[0] for _ in range(2))
        for vc in (first, second):
            vc.do_io_read(RecordingContinuation(), INT64_MAX, new_empty_MIOBuffer(0))
        queues.max_requests_in = 1
        self.assertEqual((True, False), (first.add_to_active_queue(), second.add_to_active_queue()))
        self.assertEqual((1, 0), self.net("max.requests_throttled_in", "dynamic_keep_alive_timeout_in_count"))
        queues.max_connections_in = 1
        self.reactor.advance(2.5)
        first.add_to_keep_alive_queue()
        second.add_to_keep_alive_queue()
        self.assertEqual(
            (1, 2.5), self.net("dynamic_keep_alive_timeout_in_count", "dynamic_keep_alive_timeout_in_total")
        )

    def test_default_inactivity(self) -> None:
        """One who set no timeout and was told the default's."""
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=5)
        vc, _ = self.connection()
        cont = self.reading(vc)
        own, _ = self.connection()
        told = self.reading(own)
        own.set_inactivity_timeout(5)
        self.reactor.advance(6)
        cop.patrol()
        self.assertEqual((["INACTIVITY_TIMEOUT"],) * 2, (cont.events, told.events))
        self.assertEqual((1,), self.net("default_inactivity_timeout_count"))

    def test_a_flood(self) -> None:
        """Fifty connections of every ending: what was read and written is what the peers say, and nothing is left."""
        processor = NetProcessor(self.handler, Throttle(0, self.reactor.seconds))
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        cont = RecordingContinuation()
        accepted = cont.given
        accept = processor.accept(cont, AcceptOptions(local_ip="127.0.0.1"))
        clients = self.dial(accept, 50)
        self.reactor.turn_until(lambda: len(accepted) == 50)
        for number, vc in enumerate(accepted):
            self.reading(vc, INT64_MAX if number % 3 else 20)
            self.writing(vc, b"y" * number)
        for number, client in enumerate(clients):
            client.send(b"x" * (number + 1))
        most = sum(min(number + 1, 20) for number in range(50))
        self.reactor.turn_until(lambda: self.net("read_bytes")[0] >= most)
        self.reactor.settle()
        by_port = {client.getsockname()[1]: number for number, client in enumerate(clients)}
        wanted = 0
        for number, vc in enumerate(accepted):
            sent = by_port[vc.get_remote_addr()[1]] + 1
            wanted += sent if number % 3 else min(sent, 20)
        self.assertEqual((wanted, 50), self.net("read_bytes", "connections_currently_open"))
        for number, (vc, client) in enumerate(zip(accepted, clients, strict=True)):
            end = number % 5
            if end == 0:
                vc.do_io_close()
            elif end == 1:
                vc.do_io_close(errno.ECONNABORTED)
            elif end == 2:
                client.close()
            elif end == 3:
                reset(client)
            else:
                vc.set_inactivity_timeout(1)
        self.reactor.settle()
        self.reactor.advance(2)
        cop.patrol()
        for vc in accepted:
            vc.do_io_close()
        self.reactor.settle()
        accept.cancel()
        self.assertEqual(
            (wanted, sum(range(50)), 0),
            self.net("read_bytes", "write_bytes", "connections_currently_open"),
        )
        self.assertEqual(50, self.since()["proxy.process.tcp.total_accepts"])


globals().update(NetTests.make_test_case_classes())
