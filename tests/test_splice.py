# -*- test-case-name: tests.test_splice -*-
"""
Tests for L{atstls.session.splice}: pipes, their pool, and the blind tunnels that use them.
"""

import errno
import gc
import os
import random
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from atstls.events import VC_EVENT_READ_COMPLETE
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.session import splice, tunnel
from atstls.session.splice import (
    HAVE_SPLICE,
    KEPT_PIPES,
    Pipe,
    PipeBuffer,
    empty_pool,
    give_pipe,
    take_pipe,
)
from atstls.session.tunnel import TwoWayTunnel
from atstls.tls.engine import CffiEngine
from tests.support import RecordingContinuation, open_descriptors, received, reset, tcp_pair, unix_pair
from tests.test_tunnel import PlainPeer, Tunnelling
from tests.tlssupport import cuts, hook_set


class PipeTests(SynchronousTestCase):
    """Pipes are kept for the next who needs one, and not more of them than is sensible."""

    def setUp(self) -> None:
        empty_pool()
        self.addCleanup(empty_pool)
        self.before = open_descriptors()

    def test_pool(self) -> None:
        """A pipe that was given back is the next to be taken."""
        pipe = take_pipe()
        give_pipe(pipe)
        self.assertIs(pipe, take_pipe())
        pipe.close()
        self.assertEqual(self.before, open_descriptors())

    def test_pool_is_bounded(self) -> None:
        """Past a number pipes are closed; an emptied pool holds none."""
        for pipe in [take_pipe() for _ in range(KEPT_PIPES + 5)]:
            give_pipe(pipe)
        self.assertEqual(self.before + 2 * KEPT_PIPES, open_descriptors())
        empty_pool()
        self.assertEqual(self.before, open_descriptors())

    def test_pipe_that_cannot_grow(self) -> None:
        """Where the system has no room for large pipes a small one will do."""
        with mock.patch.object(splice.fcntl, "fcntl", side_effect=OSError(errno.EPERM, "no")):
            pipe = Pipe()
        os.write(pipe.into, b"x")
        self.assertEqual(b"x", os.read(pipe.out, 10))
        pipe.close()

    def test_never_waits(self) -> None:
        """Both ends are non-blocking, and no child of ours gets them."""
        pipe = Pipe()
        self.assertRaises(BlockingIOError, os.read, pipe.out, 1)
        self.assertFalse(os.get_inheritable(pipe.out) or os.get_inheritable(pipe.into))
        pipe.close()


class PipeBufferTests(SynchronousTestCase):
    """A buffer whose bytes are in the kernel."""

    if not HAVE_SPLICE:
        skip = "this system has no splice"

    def setUp(self) -> None:
        self.addCleanup(empty_pool)
        self.buffer = PipeBuffer()
        self.addCleanup(self.buffer.close)
        self.reader = self.buffer.alloc_reader()
        self.ours, self.theirs = unix_pair()
        for sock in (self.ours, self.theirs):
            self.addCleanup(sock.close)

    def test_in_and_out(self) -> None:
        """Bytes go in, are counted, and come out; a pipe is held meanwhile, and there is no room."""
        self.assertIs(self.buffer, self.buffer.pipe)
        self.assertIsNone(self.buffer.write_block())
        self.assertTrue(self.buffer.has_room())
        self.theirs.send(b"0123456789")
        self.assertEqual(10, self.buffer.fill_from(self.ours.fileno(), 1000))
        self.assertEqual((10, False), (self.reader.avail, self.buffer.has_room()))
        self.assertEqual(-1, self.buffer.fill_from(self.ours.fileno(), 1000))
        self.assertEqual(-1, self.buffer.fill_with(b"x"))
        self.assertEqual(4, self.buffer.drain_to(self.ours.fileno(), 4))
        self.assertEqual((6, False), (self.reader.avail, self.buffer.has_room()))
        self.assertEqual(6, self.buffer.drain_to(self.ours.fileno(), 1000))
        self.assertEqual((0, True, None), (self.reader.avail, self.buffer.has_room(), self.buffer.held))
        self.assertEqual(b"0123456789", received(self.theirs))

    def test_limit(self) -> None:
        """No more than was asked for; the rest stays in the socket."""
        self.theirs.send(b"0123456789")
        self.assertEqual(3, self.buffer.fill_from(self.ours.fileno(), 3))
        self.assertEqual(b"3456789", received(self.ours))

    def test_nothing_there(self) -> None:
        """A socket without bytes would block, and an end is an end; neither holds a pipe."""
        self.assertRaises(BlockingIOError, self.buffer.fill_from, self.ours.fileno(), 10)
        self.assertIsNone(self.buffer.held)
        self.theirs.close()
        self.assertEqual(0, self.buffer.fill_from(self.ours.fileno(), 10))
        self.assertIsNone(self.buffer.held)

    def test_full_target(self) -> None:
        """A socket that takes nothing would block, and the bytes stay."""
        self.theirs.send(b"x" * 100)
        self.buffer.fill_from(self.ours.fileno(), 1000)
        try:
            while True:
                self.ours.send(bytes(10000))
        except BlockingIOError:
            pass
        self.assertRaises(BlockingIOError, self.buffer.drain_to, self.ours.fileno(), 1000)
        self.assertEqual(100, self.reader.avail)
        self.buffer.close()

    def test_fill_with(self) -> None:
        """Bytes that were read before come first, as many as the pipe takes."""
        self.assertEqual(5, self.buffer.fill_with(memoryview(b"hello")))
        self.assertEqual(5, self.buffer.drain_to(self.ours.fileno(), 100))
        self.assertEqual(b"hello", received(self.theirs))
        n = self.buffer.fill_with(bytes(1 << 21))
        self.assertTrue(0 < n < 1 << 21)
        self.assertEqual(n, self.reader.avail)
        self.buffer.close()

    def test_close(self) -> None:
        """What is in it is thrown away with its pipe, which nobody else may get; twice is once."""
        empty_pool()
        before = open_descriptors()
        self.buffer.fill_with(b"secret")
        self.buffer.close()
        self.buffer.close()
        self.assertEqual((0, before), (self.reader.avail, open_descriptors()))


class SpliceTests(Tunnelling):
    """Blind tunnels over pipes: nothing of it shows, but that it is there."""

    engines = (CffiEngine,)

    def blind(
        self, cut: Any = None, tcp: bool = False, point: str = "client_hello"
    ) -> tuple[TwoWayTunnel, Any, PlainPeer, RecordingContinuation, bytes]:
        """A client that says hello to us and is passed on, hello first."""
        vc, sock = self.accept(pair=tcp_pair() if tcp else None, hooks=hook_set(**{point: lambda vc: vc.tunnel()}))
        found: list[TwoWayTunnel] = []
        cont = RecordingContinuation()
        origin, other = self.connection(tcp_pair() if tcp else None)
        begin = RecordingContinuation(
            {VC_EVENT_READ_COMPLETE: lambda vio: found.append(TwoWayTunnel(vc, origin, cont))}
        )
        vc.do_io_read(begin, 0, MIOBuffer())
        peer = self.client(sock, **({} if cut is None else {"cut": cut}))
        peer._step()
        hello = bytes(peer.to_send)
        back = PlainPeer(other)
        for _ in range(5000):
            busy = self.reactor.turn() + peer._send() + back.pump()
            if not busy and found:
                break
        return found[0], peer, back, cont, hello

    def test_hello_at_every_cut(self) -> None:
        """The origin gets the hello once, byte for byte, however it came, and what follows it."""
        for name, cut in cuts().items():
            tunnel_, peer, origin, _cont, hello = self.blind(cut)
            self.assertEqual(HAVE_SPLICE, isinstance(tunnel_.there._buffer, PipeBuffer))
            self.assertTrue(origin.plain == hello, name)
            peer.sock.send(b"\x17\x03\x03more")
            self.reactor.settle()
            origin.pump()
            self.assertTrue(origin.plain == hello + b"\x17\x03\x03more", name)
            for vc in list(self.handler.open_list):
                vc.do_io_close()

    def test_handshake_through(self) -> None:
        """Client and origin shake hands with each other, and with nobody else."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        origin, other = self.connection()
        begin = RecordingContinuation({VC_EVENT_READ_COMPLETE: lambda vio: TwoWayTunnel(vc, origin)})
        vc.do_io_read(begin, 0, MIOBuffer())
        client, server = self.client(sock), self.server(other)
        self.run_peers(client, server)
        self.assertTrue(client.done and server.done)
        data = random.Random(1).randbytes(1 << 20)
        client.write(data)
        server.write(data[::-1])
        self.run_peers(client, server)
        self.assertTrue(server.plain == data and client.plain == data[::-1])
        client.shutdown()
        server.shutdown()
        self.run_peers(client, server)
        client.send_fin()
        server.send_fin()
        self.run_peers(client, server)
        self.assertEqual(set(), self.handler.open_list)

    def test_no_pipe_while_silent(self) -> None:
        """A silent tunnel holds no pipe, and a finished one has given its own back."""
        tunnel_, peer, origin, cont, _hello = self.blind()
        self.assertIsNone(tunnel_.there._buffer.held)
        empty_pool()
        silent = open_descriptors()
        peer.sock.send(bytes(1000))
        self.reactor.settle()
        empty_pool()
        self.assertEqual(silent, open_descriptors())
        peer.send_fin()
        origin.shutdown()
        for _ in range(5):
            self.reactor.settle()
            origin.pump()
        self.over(cont, "EOS")

    def stalled(self) -> tuple[TwoWayTunnel, Any, PlainPeer, RecordingContinuation]:
        """A tunnel with bytes in its pipe, since the origin does not read."""
        tunnel_, peer, origin, cont, _hello = self.blind(tcp=True)
        self.narrow(tunnel_.there.target)
        empty_pool()
        origin.paused = True
        for _ in range(100):
            try:
                peer.sock.send(bytes(100000))
            except BlockingIOError:
                pass
            self.reactor.settle()
        self.assertIsNotNone(tunnel_.there._buffer.held)
        return tunnel_, peer, origin, cont

    def test_killed_with_bytes_in_it(self) -> None:
        """A tunnel that fails with bytes in its pipe closes the pipe: nobody else ever sees them."""
        _tunnel, _peer, origin, cont = self.stalled()
        reset(origin.sock)
        self.reactor.settle()
        self.over(cont, "ERROR")
        for pipe in splice._pool:
            self.assertRaises(BlockingIOError, os.read, pipe.out, 1)

    def test_closed_by_somebody_with_bytes_in_it(self) -> None:
        """When the connections are closed and the tunnel is not told, its pipe goes with it."""
        tunnel_, _peer, _origin, cont = self.stalled()
        for vc in (tunnel_.there.source, tunnel_.there.target):
            vc.do_io_close()
        self.assertEqual([], cont.events)
        del tunnel_
        gc.collect()
        self.assertEqual([], splice._pool)

    def no_pipes(self, error: int = errno.EMFILE) -> Any:
        """From here on there is no descriptor for a pipe."""
        empty_pool()
        return mock.patch.object(splice.os, "pipe2", side_effect=OSError(error, "no more"))

    def test_no_descriptors_for_the_hello(self) -> None:
        """Without a descriptor for a pipe a tunnel comes by memory: all of it arrives, from the hello on."""
        for error in (errno.EMFILE, errno.ENFILE):
            with self.no_pipes(error):
                _tunnel, peer, origin, cont, hello = self.blind()
                peer.sock.send(b"more")
                self.reactor.settle()
                origin.pump()
            self.assertTrue(origin.plain == hello + b"more")
            self.assertEqual(([], []), (cont.events, self.flush_failures()))

    def test_no_descriptors_in_the_middle(self) -> None:
        """The same when the descriptors run out later, and are there again later still; a reset is still a reset."""
        _tunnel, peer, origin, cont, hello = self.blind(tcp=True)
        with self.no_pipes():
            peer.sock.send(b"more")
            self.reactor.settle()
            origin.pump()
        peer.sock.send(b" and more")
        self.reactor.settle()
        origin.pump()
        self.assertTrue(origin.plain == hello + b"more and more")
        with self.no_pipes():
            reset(origin.sock)
            self.reactor.settle()
        self.over(cont, "ERROR")

    def test_no_descriptors_and_a_slow_reader(self) -> None:
        """Nothing is lost when the origin takes little at a time, and no more is read than fits."""
        _tunnel, peer, origin, _cont, hello = self.blind()
        data = random.Random(7).randbytes(3_000_000)
        sent = 0
        with self.no_pipes():
            origin.paused = True
            while True:
                try:
                    sent += peer.sock.send(data[sent : sent + 100_000])
                except BlockingIOError:
                    break
                self.reactor.settle()
            self.assertLess(sent, len(data))
            self.assertFalse(_tunnel.there._buffer.has_room())
            origin.paused = False
            for _ in range(1000):
                origin.pump()
                self.reactor.settle()
                if len(origin.plain) == len(hello) + sent:
                    break
        self.assertTrue(origin.plain == hello + data[:sent])

    def test_other_errors_of_pipes(self) -> None:
        """What is not a lack of descriptors ends the tunnel."""
        with self.no_pipes(errno.ENOMEM):
            tunnel_, _peer, _origin, cont, _hello = self.blind()
        self.assertEqual(errno.ENOMEM, tunnel_.there.result)
        self.assertEqual((["ERROR"], []), (cont.events, self.flush_failures()))

    def test_target_gone(self) -> None:
        """An origin that is gone while bytes are on their way ends the tunnel."""
        _tunnel, peer, origin, cont, _hello = self.blind(tcp=True)
        reset(origin.sock)
        peer.sock.send(b"into the void")
        self.reactor.settle()
        self.over(cont, "ERROR")

    def test_without_splice(self) -> None:
        """Where there is no splice, or one side is TLS, the bytes come by memory."""
        with mock.patch.object(tunnel, "HAVE_SPLICE", False):
            tunnel_, _peer, origin, _cont, hello = self.blind()
            self.assertNotIsInstance(tunnel_.there._buffer, PipeBuffer)
            self.assertTrue(origin.plain == hello)
        one, _a = self.side("blind")
        other, _b = self.side("TLS")
        both = TwoWayTunnel(one, other)
        self.assertNotIsInstance(both.there._buffer, PipeBuffer)

    def test_hello_that_fits_no_pipe(self) -> None:
        """A pipe of one page takes the hello piece by piece."""

        class SmallPipe(Pipe):
            def __init__(self) -> None:
                super().__init__()
                splice.fcntl.fcntl(self.into, splice._F_SETPIPE_SZ, 4096)

        empty_pool()
        with mock.patch.object(splice, "Pipe", SmallPipe):
            vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
            origin, other = self.connection()
            begin = RecordingContinuation({VC_EVENT_READ_COMPLETE: lambda vio: TwoWayTunnel(vc, origin)})
            vc.do_io_read(begin, 0, MIOBuffer())
            peer = self.client(sock)
            peer._step()
            hello = bytes(peer.to_send) + random.Random(2).randbytes(30000)
            sock.send(hello)
            back = PlainPeer(other)
            self.run_peers(back)  # type: ignore[arg-type]
            self.assertTrue(back.plain == hello)
        empty_pool()


globals().update(SpliceTests.make_test_case_classes())
