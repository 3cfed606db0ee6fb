"""
Tests for L{atstls.session.multitunnel}: one source and several targets, and their ends.
"""

import errno
import gc
import random
import weakref
from typing import Any

from atstls.errors import ConnectionClosedError, LocalError
from atstls.events import EVENT_DONE, VC_EVENT_EOS, VC_EVENT_OOB_COMPLETE
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_256K, buffer_size
from atstls.net.unixvc import UnixNetVConnection
from atstls.session.multitunnel import ONE_WAY_MULTI_TUNNEL_LIMIT, OneWayMultiTunnel
from tests.support import RecordingContinuation, reset, unix_pair
from tests.test_tunnel import PLAIN, TLS, Tunnelling


class MultiTunnelTests(Tunnelling):
    def make(
        self, *kinds: str, tcp: bool = False, **more: Any
    ) -> tuple[OneWayMultiTunnel, Any, list[Any], RecordingContinuation]:
        """A tunnel whose source and targets are of C{kinds}, the source's peer, the targets' peers, who is told."""
        source, sender = self.side(kinds[0], tcp)
        sides = [self.side(kind, tcp) for kind in kinds[1:]]
        cont = RecordingContinuation()
        tunnel = OneWayMultiTunnel(source, [vc for vc, _ in sides], cont, **more)
        return tunnel, sender, [peer for _, peer in sides], cont

    def run_to_end(self, sender: Any, receivers: list[Any]) -> None:
        self.run_peers(sender, *receivers, until=lambda: all(peer.end for peer in receivers))

    def run_all(self, sender: Any, receivers: list[Any], until: Any = None) -> None:
        self.run_peers(sender, *receivers, until=until)

    def test_everybody_gets_everything(self) -> None:
        """Each target gets all of it and the end, in order, whatever kinds they are (N122)."""
        sent = random.Random(1).randbytes(1 << 20)
        for kinds in ((PLAIN, PLAIN), (PLAIN, PLAIN, TLS), (TLS, PLAIN, TLS, PLAIN, TLS)):
            tunnel, sender, receivers, cont = self.make(*kinds)
            sender.write(sent)
            sender.shutdown()
            self.run_to_end(sender, receivers)
            for kind, peer in zip(kinds[1:], receivers, strict=True):
                self.assertEqual((sent, self.clean_end(kind)), (bytes(peer.plain), peer.end))
            self.over(cont, "EOS")
            self.assertEqual(([0] * len(receivers), 0), (list(tunnel.results.values()), tunnel.result))

    def test_as_many_as_asked(self) -> None:
        """So many bytes and no more, to each (N122)."""
        _, sender, receivers, cont = self.make(PLAIN, PLAIN, PLAIN, nbytes=5)
        sender.write(b"0123456789")
        self.run_to_end(sender, receivers)
        self.assertEqual([(b"01234", "fin")] * 2, [(bytes(peer.plain), peer.end) for peer in receivers])
        self.over(cont, "EOS")

    def test_slowest_sets_the_pace(self) -> None:
        """While one target takes nothing, no more is read than the buffer holds; then all get the rest (N122)."""
        tunnel, sender, receivers, cont = self.make(PLAIN, PLAIN, PLAIN, PLAIN)
        receivers[1].paused = True
        sent = bytes(8 << 20)
        sender.write(sent)
        sender.shutdown()
        self.run_all(sender, receivers)
        ahead = len(receivers[0].plain)
        self.assertEqual(ahead, len(receivers[2].plain))
        bound = 2 * buffer_size(BUFFER_SIZE_INDEX_256K) + (1 << 20)  # and what the kernel holds for the slow one
        self.assertTrue(0 < ahead < bound, ahead)
        self.assertLessEqual(tunnel._buffer.max_read_avail(), 2 * buffer_size(BUFFER_SIZE_INDEX_256K))
        self.assert_idle()
        receivers[1].paused = False
        self.run_to_end(sender, receivers)
        self.assertEqual([len(sent)] * 3, [len(peer.plain) for peer in receivers])
        self.over(cont, "EOS")

    def test_the_end_waits_for_the_kernel(self) -> None:
        """What was encrypted and not yet taken by the kernel when the source ends still goes out, and then the end."""
        tunnel, sender, receivers, cont = self.make(PLAIN, TLS)
        (target,) = tunnel._branches
        (peer,) = receivers
        peer.paused = True
        sent = 0
        while not target.write.urgent:
            sender.write(bytes(4096))
            sent += 4096
            self.reactor.settle()
            sender.pump()
            self.reactor.settle()
        self.assertEqual(0, target.write.vio.reader.avail)
        sender.shutdown()
        sender.pump()
        self.reactor.settle()
        self.assertEqual(([], True), (cont.events, target.write.owed))
        peer.paused = False
        self.run_to_end(sender, receivers)
        self.assertEqual((sent, "close_notify"), (len(peer.plain), peer.end))
        self.over(cont, "EOS")

    def test_a_target_that_fails_drops_out(self) -> None:
        """It holds nobody up any more; at the end I am told that not all got everything (N122)."""
        tunnel, sender, receivers, cont = self.make(PLAIN, PLAIN, PLAIN, tcp=True)
        receivers[0].paused = True
        sent = bytes(32 << 20)
        sender.write(sent)
        sender.shutdown()
        self.run_all(sender, receivers)
        self.assertLess(len(receivers[1].plain), len(sent))
        first = next(iter(tunnel._branches))
        reset(receivers[0].sock)
        self.run_all(sender, [receivers[1]], until=lambda: receivers[1].end)
        self.assertEqual((len(sent), "fin"), (len(receivers[1].plain), receivers[1].end))
        self.assertIn(tunnel.results[first], (errno.ECONNRESET, errno.EPIPE))
        self.assertEqual(tunnel.result, tunnel.results[first])
        self.over(cont, "ERROR")

    def test_all_targets_fail(self) -> None:
        """Without targets there is nothing to read for: the source is closed (N122)."""
        _, sender, receivers, cont = self.make(PLAIN, PLAIN, PLAIN, tcp=True)
        for peer in receivers:
            reset(peer.sock)
        sender.write(bytes(1 << 20))
        self.run_all(sender, [], until=lambda: cont.log)
        self.over(cont, "ERROR")

    def test_reset_of_the_source(self) -> None:
        """A reset of the source never looks like an end in order (N122)."""
        tunnel, sender, receivers, cont = self.make(PLAIN, PLAIN, TLS, tcp=True)
        sender.write(b"half of it")
        self.run_all(sender, receivers, until=lambda: all(peer.plain for peer in receivers))
        reset(sender.sock)
        self.run_all(receivers[0], receivers[1:], until=lambda: cont.log)
        self.run_all(receivers[0], receivers[1:], until=lambda: receivers[0].end)
        self.assertEqual("reset", receivers[0].end)
        self.assertNotEqual("close_notify", receivers[1].end)
        self.assertEqual([errno.ECONNRESET] * 2, list(tunnel.results.values()))
        self.over(cont, "ERROR")

    def test_cut_off(self) -> None:
        """A TLS source without close_notify is passed on as what it is (N122)."""
        _, sender, receivers, cont = self.make(TLS, TLS, TLS)
        sender.write(b"half")
        self.run_all(sender, receivers, until=lambda: all(peer.plain for peer in receivers))
        sender.send_fin()
        self.run_to_end(sender, receivers)
        self.assertEqual([(b"half", "fin")] * 2, [(bytes(peer.plain), peer.end) for peer in receivers])
        self.over(cont, "EOS")

    def test_too_few(self) -> None:
        """Fewer bytes than were promised are an error (N122)."""
        tunnel, sender, receivers, cont = self.make(PLAIN, PLAIN, nbytes=10)
        sender.write(b"short")
        sender.shutdown()
        self.run_all(sender, receivers, until=lambda: cont.log)
        self.assertEqual(errno.ECONNRESET, tunnel.result)
        self.over(cont, "ERROR")

    def test_timeouts(self) -> None:
        """A target that is too slow drops out, a source that is ends it all (N122)."""
        tunnel, sender, receivers, cont = self.make(PLAIN, PLAIN, PLAIN)
        slow = next(iter(tunnel._branches))
        slow.main_event(105)
        self.assertEqual(({slow: errno.ETIMEDOUT}, []), (tunnel.results, cont.events))
        sender.write(b"on")
        self.run_all(sender, receivers, until=lambda: receivers[1].plain)
        tunnel.source.main_event(106)
        self.assertEqual(errno.ETIMEDOUT, tunnel.result)
        self.over(cont, "ERROR")

    def test_left_open(self) -> None:
        """If I want them left, the connections are there afterwards, and nobody asks of them (N122)."""
        tunnel, sender, receivers, cont = self.make(PLAIN, PLAIN, PLAIN, nbytes=3, close_all=False)
        targets = list(tunnel._branches)
        sender.write(b"abc")
        self.run_all(sender, receivers, until=lambda: cont.log)
        self.assertEqual((["EOS"], 3), (cont.events, len(self.handler.open_list)))
        self.assertEqual([None] * 3, [tunnel.source.read.vio.cont, *(vc.write.vio.cont for vc in targets)])
        self.assertEqual(EVENT_DONE, tunnel.handle_event(VC_EVENT_EOS, None))
        for vc in (tunnel.source, *targets):
            vc.do_io_close()

    def test_unknown_event(self) -> None:
        """An event that tunnels do not know is an error of whoever sent it."""
        tunnel, *_, cont = self.make(PLAIN, PLAIN)
        tunnel.handle_event(VC_EVENT_OOB_COMPLETE, tunnel.source_vio)
        self.assertEqual(errno.EINVAL, tunnel.result)
        self.over(cont, "ERROR")
        self.assertEqual(1, len([line for line in self.lines() if "does not know" in line]))

    def test_refused(self) -> None:
        """One to four targets, all different, all open; otherwise nothing is asked of anybody (N122)."""
        vcs = [self.connection()[0] for _ in range(ONE_WAY_MULTI_TUNNEL_LIMIT + 2)]
        self.assertEqual(4, ONE_WAY_MULTI_TUNNEL_LIMIT)
        for targets in ([], vcs[1:], [vcs[1], vcs[1]]):
            self.assertRaises(LocalError, OneWayMultiTunnel, vcs[0], targets)
        vcs[1].do_io_close()
        self.assertRaises(ConnectionClosedError, OneWayMultiTunnel, vcs[0], vcs[1:3])
        self.assertRaises(ConnectionClosedError, OneWayMultiTunnel, vcs[1], vcs[2:3])
        self.assertEqual([0, 0], [vcs[0].read.vio.op, vcs[2].write.vio.op])

    def test_collected(self) -> None:
        """When it is over nothing of it is left."""
        ours, theirs = unix_pair()
        vc = UnixNetVConnection(self.handler)
        vc.start(ours)
        target, receiver = self.connection()
        tunnel = OneWayMultiTunnel(vc, [target])
        theirs.close()
        self.reactor.settle()
        self.assertTrue(tunnel.finished)
        self.assertEqual(b"", receiver.recv(1))
        references = [weakref.ref(vc), weakref.ref(target)]
        del vc, target, tunnel
        gc.collect()
        self.assertEqual([None, None], [reference() for reference in references])


globals().update(MultiTunnelTests.make_test_case_classes())
