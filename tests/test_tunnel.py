# -*- test-case-name: tests.test_tunnel -*-
"""
Tests for L{atstls.session.tunnel}: bytes between two connections of any kinds, and their ends.
"""

import errno
import random
import socket
import weakref
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import ConnectionClosedError
from atstls.events import (
    EVENT_DONE,
    ONE_WAY_TUNNEL_EVENT_PEER_CLOSE,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_ERROR,
)
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_256K, MIOBuffer, buffer_size
from atstls.net.cop import InactivityCop
from atstls.net.handler import WIRE_BYTES
from atstls.session.splice import empty_pool
from atstls.session.tunnel import MANIPULATED_BYTES, OneWayTunnel, TwoWayTunnel
from atstls.tls.engine import CffiEngine
from tests.support import RecordingContinuation, reset, tcp_pair, unix_pair
from tests.tlssupport import OverTLS, hook_set

PLAIN, TLS, BLIND = "plain", "TLS", "blind"
PAIRS = ((PLAIN, PLAIN), (TLS, PLAIN), (PLAIN, TLS), (TLS, TLS), (BLIND, PLAIN), (PLAIN, BLIND))


class PlainPeer:
    """
    The other end of a plain connection, with the words of a L{TLSPeer}.

    @ivar end: C{"fin"} or C{"reset"}.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.plain = bytearray()
        self.to_send = bytearray()
        self.end: str | None = None
        self.paused = False

    def write(self, data: bytes) -> None:
        self.to_send += data

    def shutdown(self) -> None:
        """TCP's end, when all is sent."""
        self._ending = True

    _ending = False

    def pump(self) -> int:
        moved = 0
        if self.to_send:
            try:
                n = self.sock.send(bytes(self.to_send[: 1 << 18]))
                del self.to_send[:n]
                moved += n
            except BlockingIOError:
                pass
            except OSError:
                self.to_send.clear()
        elif self._ending:
            self._ending = False
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            moved += 1
        if not self.paused and self.end is None:
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                return moved
            except OSError:
                self.end = "reset"
                return 1
            if data:
                self.plain += data
            else:
                self.end = "fin"
            moved += 1
        return moved


class Tunnelling(OverTLS):
    """Tunnels and their two ends."""

    def setUp(self) -> None:
        empty_pool()
        super().setUp()

    def tearDown(self) -> None:
        empty_pool()
        super().tearDown()

    def side(self, kind: str, tcp: bool = False) -> tuple[Any, Any]:
        """A connection of C{kind} that is established, and its peer."""
        pair = tcp_pair() if tcp else unix_pair()
        if kind == TLS:
            vc, peer, _ = self.established(pair=pair)
            return vc, peer
        if kind == PLAIN:
            plain, sock = self.connection(pair)
            found = PlainPeer(sock)
            self.peers.append(found)  # type: ignore[arg-type]
            return plain, found
        vc, sock = self.accept(pair=pair, hooks=hook_set(vconn_start=lambda vc: vc.tunnel()))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.reactor.settle()
        found = PlainPeer(sock)
        self.peers.append(found)  # type: ignore[arg-type]
        return vc, found

    def narrow(self, vc: Any) -> None:
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)

    def tunnel(
        self, kinds: tuple[str, str], tcp: bool = False, **more: Any
    ) -> tuple[TwoWayTunnel, Any, Any, RecordingContinuation]:
        """A tunnel, its two peers, and who is told of its end."""
        one, a = self.side(kinds[0], tcp)
        other, b = self.side(kinds[1], tcp)
        cont = RecordingContinuation()
        return TwoWayTunnel(one, other, cont, **more), a, b, cont

    def clean_end(self, kind: str) -> str:
        """What a peer of C{kind} sees of an end in order."""
        return "close_notify" if kind == TLS else "fin"

    def over(self, cont: RecordingContinuation, event: str) -> None:
        """Told once, and nothing is open any more."""
        self.assertEqual([event], cont.events)
        self.reactor.settle()
        self.assertEqual(set(), self.handler.open_list)


class TwoWayTests(Tunnelling):
    """Bytes both ways, and the ends of both directions."""

    def test_both_directions(self) -> None:
        """Megabytes in both directions at once, then an end on each side in order: an end in order for both."""
        for kinds in PAIRS:
            _tunnel, a, b, cont = self.tunnel(kinds)
            there, back = (random.Random(n).randbytes(700_000) for n in (1, 2))
            a.write(there)
            b.write(back)
            a.shutdown()
            b.shutdown()
            self.run_peers(a, b)
            self.assertTrue(b.plain == there and a.plain == back, kinds)
            self.assertEqual((self.clean_end(kinds[0]), self.clean_end(kinds[1])), (a.end, b.end))
            self.over(cont, "EOS")

    def test_half_close(self) -> None:
        """One side ends, and a long answer still comes; with data on its way in both directions."""
        for kinds in PAIRS:
            tunnel, a, b, cont = self.tunnel(kinds)
            a.write(b"q" * 100_000)
            a.shutdown()
            self.run_peers(a, b)
            self.assertEqual((100_000, self.clean_end(kinds[1])), (len(b.plain), b.end), kinds)
            self.assertEqual((None, [], True), (a.end, cont.events, tunnel.there.finished))
            answer = random.Random(3).randbytes(900_000)
            b.write(answer)
            b.shutdown()
            self.run_peers(a, b)
            self.assertTrue(a.plain == answer)
            self.assertEqual(self.clean_end(kinds[0]), a.end)
            self.over(cont, "EOS")

    def test_slow_reader_that_has_ended(self) -> None:
        """A client that has said its last word and reads slowly gets its whole answer, however late."""
        for kinds in PAIRS:
            tunnel, a, b, cont = self.tunnel(kinds)
            cop = InactivityCop(self.handler, self.reactor)
            self.narrow(tunnel.there.source)
            a.write(b"q")
            a.shutdown()
            self.run_peers(a, b)
            a.paused = True
            answer = random.Random(3).randbytes(400_000)
            b.write(answer)
            b.shutdown()
            self.run_peers(a, b)
            for _ in range(60):
                self.reactor.turn(1)
                cop.patrol()
            a.paused = False
            self.run_peers(a, b)
            self.assertTrue(a.plain == answer, kinds)
            self.assertEqual(self.clean_end(kinds[0]), a.end)
            self.over(cont, "EOS")

    def test_cut_off(self) -> None:
        """A TLS stream that was cut off is no end in order over TLS; what came of it arrives."""
        for slow in (False, True):
            for kind in (TLS, PLAIN):
                one, a = self.side(kind)
                other, b = self.side(TLS)
                cont = RecordingContinuation()
                TwoWayTunnel(one, other, cont)
                self.narrow(one)
                a.paused = slow
                data = random.Random(5).randbytes(300_000)
                b.write(data)
                self.run_peers(a, b)
                while b.to_send:
                    self.run_peers(a, b)
                    if a.paused and b.to_send:
                        a.paused = False
                b.send_fin()
                self.run_peers(a, b)
                a.paused = False
                self.run_peers(a, b)
                self.assertTrue(a.plain == data)
                self.assertEqual("fin", a.end)
                self.assertEqual([], cont.events)
                a.write(b"still there?")
                a.shutdown()
                self.run_peers(a, b)
                self.assertEqual(b"still there?", b.plain)
                self.over(cont, "EOS")

    def test_reset(self) -> None:
        """A reset is a reset on the other side, and never an end in order."""
        for kinds in PAIRS:
            for which in (0, 1):
                _tunnel, a, b, cont = self.tunnel(kinds, tcp=True)
                a.write(b"x")
                b.write(b"y")
                self.run_peers(a, b)
                gone, other = (a, b) if which == 0 else (b, a)
                reset(gone.sock)
                self.reactor.settle()
                self.run_peers(other)
                self.assertEqual("reset", other.end, kinds)
                self.over(cont, "ERROR")

    def test_end_and_reset_behind_it(self) -> None:
        """An origin that ends in order and is then reset has ended in order: all that it said arrives."""
        one, a = self.side(PLAIN)
        other, b = self.side(TLS, tcp=True)
        cont = RecordingContinuation()
        TwoWayTunnel(one, other, cont)
        self.narrow(one)
        a.paused = True
        data = random.Random(6).randbytes(100_000)
        b.write(data)
        b.shutdown()
        self.run_peers(a, b)
        self.assertTrue(b.sent_all)
        reset(b.sock)
        self.reactor.settle()
        a.paused = False
        self.run_peers(a)
        self.assertTrue(a.plain == data)
        self.assertNotEqual("reset", a.end)
        a.shutdown()
        self.run_peers(a)
        self.assertEqual(1, len(cont.events))

    def test_silence_after_half_close(self) -> None:
        """When one direction is done the other may be silent for a while, and not for ever."""
        for kinds in PAIRS:
            _tunnel, a, b, cont = self.tunnel(kinds, half_close_seconds=10)
            cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
            for _ in range(30):
                self.reactor.turn(1)
                cop.patrol()
            a.shutdown()
            self.run_peers(a, b)
            for _ in range(8):
                self.reactor.turn(1)
                cop.patrol()
            b.write(b"not yet")
            self.run_peers(a, b)
            for _ in range(8):
                self.reactor.turn(1)
                cop.patrol()
            self.assertEqual((b"not yet", []), (a.plain, cont.events))
            for _ in range(4):
                self.reactor.turn(1)
                cop.patrol()
            self.run_peers(a, b)
            self.over(cont, "ERROR")

    def test_shorter_timeout_stays(self) -> None:
        """A connection that has a shorter period of its own keeps it."""
        tunnel, a, b, _cont = self.tunnel((PLAIN, PLAIN), half_close_seconds=10)
        tunnel.there.source.set_inactivity_timeout(3)
        source, target = tunnel.there.source, tunnel.there.target
        a.shutdown()
        self.run_peers(a, b)
        self.assertEqual((3, 10), (source.get_inactivity_timeout(), target.get_inactivity_timeout()))

    def test_stalled_target(self) -> None:
        """What a stalled target costs is bounded, its source waits, and all arrives when it goes on."""
        for kinds in PAIRS:
            one, a = self.side(kinds[0])
            other, b = self.side(kinds[1])
            tunnel = TwoWayTunnel(one, other)
            self.narrow(other)
            b.paused = True
            data = random.Random(7).randbytes(3 << 20)
            a.write(data)
            self.run_peers(a, b)
            self.assertTrue(a.to_send, kinds)
            self.assertLessEqual(tunnel.there._reader.avail, buffer_size(BUFFER_SIZE_INDEX_256K))
            if kinds[1] == TLS:
                self.assertLessEqual(other._unsent_end - other._unsent_at, WIRE_BYTES)
            self.assertTrue(self.handler.idle())
            b.paused = False
            self.run_peers(a, b)
            self.assertTrue(b.plain == data)
            for vc in (one, other):
                vc.do_io_close()

    def test_closed_from_within(self) -> None:
        """Who is told of the end may close what is left, and start anew."""
        for kinds in PAIRS:
            _tunnel, a, b, cont = self.tunnel(kinds)
            vcs = list(self.handler.open_list)
            cont.script[VC_EVENT_EOS] = lambda tunnel, vcs=vcs: [vc.do_io_close() for vc in vcs]
            a.shutdown()
            b.shutdown()
            self.run_peers(a, b)
            self.over(cont, "EOS")

    def test_closed_by_somebody(self) -> None:
        """Either connection may be closed at any time by its user; the tunnel hears nothing, and nothing breaks."""
        for kinds in PAIRS:
            for which in ("source", "target"):
                tunnel, a, b, cont = self.tunnel(kinds)
                a.write(b"x" * 300_000)
                b.write(b"x" * 300_000)
                for _ in range(3):
                    self.reactor.turn()
                    a.pump()
                    b.pump()
                vcs = tunnel.there.source, tunnel.there.target
                getattr(tunnel.there, which).do_io_close()
                self.run_peers(a, b)
                for vc in vcs:
                    vc.do_io_close()
                a.sock.close()
                b.sock.close()
                self.reactor.settle()
                self.assertEqual(set(), self.handler.open_list)
                self.assertLessEqual(len(cont.events), 1)

    def test_collected(self) -> None:
        """Nothing knows a tunnel and its connections when it is over."""
        for kinds in PAIRS:
            for failing in (False, True):
                tunnel, a, b, cont = self.tunnel(kinds, tcp=failing)
                references = [weakref.ref(tunnel.there.source), weakref.ref(tunnel.there.target)]
                if failing:
                    reset(a.sock)
                else:
                    a.shutdown()
                    b.shutdown()
                self.run_peers(b) if failing else self.run_peers(a, b)
                self.assertEqual(1, len(cont.events))
                del tunnel, a, b, cont
                for reference in references:
                    self.assert_collected(reference)

    def test_without_anybody_to_tell(self) -> None:
        """Nobody needs to be told."""
        one, a = self.side(TLS)
        other, b = self.side(PLAIN)
        TwoWayTunnel(one, other)
        a.write(b"x")
        a.shutdown()
        b.shutdown()
        self.run_peers(a, b)
        self.assertEqual(set(), self.handler.open_list)

    def test_closed_connection(self) -> None:
        """A tunnel needs connections that are open."""
        for closed in (0, 1):
            one, _a = self.side(PLAIN)
            other, _b = self.side(PLAIN)
            (one, other)[closed].do_io_close()
            self.assertRaises(ConnectionClosedError, OneWayTunnel, one, other)
            for vc in (one, other):
                vc.do_io_close()


globals().update(TwoWayTests.make_test_case_classes())


class OneWayTests(Tunnelling):
    """One direction, with all that can be asked of it."""

    versions = ("TLSv1.3",)
    engines = (CffiEngine,)

    def one_way(
        self, nbytes: int | None = None, kinds: tuple[str, str] = (TLS, TLS), **more: Any
    ) -> tuple[OneWayTunnel, Any, Any, RecordingContinuation]:
        one, a = self.side(kinds[0])
        other, b = self.side(kinds[1])
        cont = RecordingContinuation()
        args = () if nbytes is None else (nbytes,)
        return OneWayTunnel(one, other, cont, *args, **more), a, b, cont

    def test_end(self) -> None:
        """When the source ends and all was sent, both are closed, in order."""
        for kinds in PAIRS:
            tunnel, a, b, cont = self.one_way(kinds=kinds)
            a.write(b"x" * 100_000)
            a.shutdown()
            self.run_peers(a, b)
            self.assertEqual((100_000, self.clean_end(kinds[1])), (len(b.plain), b.end))
            self.assertEqual((0, [tunnel]), (tunnel.result, cont.given))
            self.over(cont, "EOS")

    def test_limit(self) -> None:
        """So many bytes and no more; then it is over."""
        tunnel, a, b, cont = self.one_way(1000)
        a.write(b"x" * 5000)
        self.run_peers(a, b)
        self.assertEqual((1000, "close_notify", 0), (len(b.plain), b.end, tunnel.result))
        a.sock.close()
        self.over(cont, "EOS")

    def test_fewer_than_promised(self) -> None:
        """A source that ends before: failed."""
        tunnel, a, b, cont = self.one_way(1000)
        a.write(b"x" * 500)
        a.shutdown()
        self.run_peers(a, b)
        self.assertEqual(errno.ECONNRESET, tunnel.result)
        self.assertNotEqual("close_notify", b.end)
        self.over(cont, "ERROR")

    def test_water_mark(self) -> None:
        """What waits for a stalled target is one block more than the water mark, and all of it arrives."""
        for water_mark in (0, 600_000):
            tunnel, a, b, cont = self.one_way(water_mark=water_mark)
            self.narrow(tunnel.target)
            b.paused = True
            a.write(bytes(3 << 20))
            self.run_peers(a, b)
            held = tunnel._buffer.max_read_avail()
            self.assertTrue(water_mark < held <= water_mark + buffer_size(BUFFER_SIZE_INDEX_256K), held)
            b.paused = False
            a.shutdown()
            self.run_peers(a, b)
            self.assertEqual(3 << 20, len(b.plain))
            self.over(cont, "EOS")

    def test_connections_are_left(self) -> None:
        """With close_both=False both go on without the tunnel; the rest of the source's bytes are there."""
        tunnel, a, b, cont = self.one_way(10, close_both=False)
        a.write(b"0123456789rest")
        self.run_peers(a, b)
        self.assertEqual((b"0123456789", None, ["EOS"]), (b.plain, b.end, cont.events))
        _cont, found = self.read_all(tunnel.source)
        self.write(tunnel.target, b"more")
        self.run_peers(a, b)
        self.assertEqual((b"rest", b"0123456789more"), (found, b.plain))

    def test_manipulate(self) -> None:
        """What the target gets may be something else, also of another length; the last bytes too."""

        def double(reader: Any, out: MIOBuffer) -> None:
            out.write(reader.read().upper() * 2)

        def hold_back(reader: Any, out: MIOBuffer) -> None:
            data = reader.read(reader.avail - reader.avail % 3)
            if data:
                out.write(data)

        for manipulate, expected in ((double, b"ABC" * 2), (hold_back, b"abc")):
            _tunnel, a, b, cont = self.one_way(manipulate=manipulate)
            a.write(b"abc")
            a.shutdown()
            self.run_peers(a, b)
            self.assertEqual((expected, "close_notify"), (b.plain, b.end))
            self.over(cont, "EOS")

    def test_manipulate_and_stall(self) -> None:
        """What was manipulated for a stalled target is bounded, and all arrives when it goes on."""
        tunnel, a, b, cont = self.one_way(manipulate=lambda reader, out: out.write(reader.read()))
        self.narrow(tunnel.target)
        b.paused = True
        data = random.Random(8).randbytes(4 << 20)
        a.write(data)
        self.run_peers(a, b)
        self.assertTrue(a.to_send)
        assert tunnel._out is not None
        self.assertLess(tunnel._out.max_read_avail(), MANIPULATED_BYTES + buffer_size(BUFFER_SIZE_INDEX_256K) + 1)
        a.shutdown()
        b.paused = False
        self.run_peers(a, b)
        self.assertTrue(b.plain == data)
        self.over(cont, "EOS")

    def test_timeout(self) -> None:
        """A timeout is the end of both."""
        tunnel, _a, _b, cont = self.one_way()
        tunnel.source.main_event(VC_EVENT_ACTIVE_TIMEOUT)
        self.assertEqual(errno.ETIMEDOUT, tunnel.result)
        self.over(cont, "ERROR")

    def test_other_direction_failed(self) -> None:
        """PEER_CLOSE: it is over, with the other's result; the connections are the other's."""
        tunnel, _a, _b, cont = self.one_way()
        tunnel.handle_event(ONE_WAY_TUNNEL_EVENT_PEER_CLOSE, errno.EPIPE)
        self.assertEqual((errno.EPIPE, True, ["ERROR"]), (tunnel.result, tunnel.finished, cont.events))
        self.assertEqual((0, 0), (tunnel.source.closed, tunnel.target.closed))
        self.assertEqual(EVENT_DONE, tunnel.handle_event(VC_EVENT_EOS, tunnel.source_vio))
        self.assertEqual(["ERROR"], cont.events)

    def test_unknown_event(self) -> None:
        """What a tunnel does not know ends it, and is said."""
        tunnel, _a, _b, cont = self.one_way()
        tunnel.handle_event(4711, None)
        self.assertEqual(errno.EINVAL, tunnel.result)
        self.assert_one_line("4711")
        self.over(cont, "ERROR")

    def test_error(self) -> None:
        """An error of either connection is the end of both, and nobody takes it for an end in order."""
        tunnel, a, b, cont = self.one_way()
        a.write(b"bad")
        a.to_send[-1] ^= 1
        self.run_peers(a, b)
        self.assertNotEqual("close_notify", b.end)
        self.over(cont, "ERROR")
        tunnel, a, b, cont = self.one_way()
        tunnel.target.lerrno = 0
        tunnel.handle_event(VC_EVENT_ERROR, tunnel.target_vio)
        self.assertEqual(errno.EIO, tunnel.result)


globals().update(OneWayTests.make_test_case_classes())


class StreamTests(SynchronousTestCase):
    """Every byte arrives once, in order, whatever the cuts, the pauses and the sizes of buffers."""

    @settings(max_examples=40, deadline=None, database=None)
    @given(
        st.sampled_from(PAIRS),
        st.sampled_from(("TLSv1.2", "TLSv1.3")),
        st.sampled_from(("edge", "reactor")),
        st.integers(0, 12),
        st.lists(
            st.tuples(st.sampled_from(("write", "write", "pause", "go on", "turn", "answer")), st.integers(1, 40000)),
            max_size=25,
        ),
        st.booleans(),
    )
    def test_any(
        self, kinds: tuple[str, str], version: str, poll: str, index: int, steps: list[Any], narrow: bool
    ) -> None:
        attributes = {"kind": poll, "version": version, "engine_kind": CffiEngine}
        case = type("Case", (Tunnelling, SynchronousTestCase), {**attributes, "test": lambda self: None})("test")
        case.setUp()
        try:
            tunnel, a, b, cont = case.tunnel(kinds, size_index=index)
            if narrow:
                case.narrow(tunnel.there.target)
            generator = random.Random(index)
            sent, answered = bytearray(), bytearray()
            for what, size in steps:
                if what == "write":
                    data = generator.randbytes(size)
                    sent += data
                    a.write(data)
                elif what == "answer":
                    data = generator.randbytes(size)
                    answered += data
                    b.write(data)
                elif what == "turn":
                    for _ in range(size % 5):
                        case.reactor.turn()
                        a.pump()
                        b.pump()
                else:
                    b.paused = what == "pause"
            b.paused = False
            a.shutdown()
            case.run_peers(a, b)
            self.assertTrue(sent == b.plain)
            self.assertEqual(case.clean_end(kinds[1]), b.end)
            b.shutdown()
            case.run_peers(a, b)
            self.assertTrue(answered == a.plain)
            case.over(cont, "EOS")
        finally:
            case.tearDown()
            case.doCleanups()
