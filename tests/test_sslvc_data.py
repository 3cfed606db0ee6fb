# -*- test-case-name: tests.test_sslvc_data -*-
"""
Tests for L{atstls.ssl.sslvc}: application data, its limits and its ends.
"""

import errno
import random
import socket
import weakref
from collections.abc import Callable
from typing import Any

from attrs import evolve

from atstls.errors import PeerError, PeerVanished
from atstls.events import (
    ENET_SSL_FAILED,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, SHUTDOWN_READ, SHUTDOWN_READWRITE, SHUTDOWN_WRITE
from atstls.net.cop import InactivityCop
from atstls.ssl.sslvc import LINGER_SECONDS
from atstls.tls.phases import Phase
from tests.support import RecordingContinuation, reset
from tests.tlssupport import ALERT, APPLICATION_DATA, OverTLS, TLSPeer, cuts, records, server_policy

OVERHEAD = {"TLSv1.2": 24, "TLSv1.3": 17}
"""What a record is longer than its plaintext (AES-128-GCM)."""


class Flowing(OverTLS):
    """What the tests of data have in common."""

    def narrow(self, vc: Any) -> None:
        """Let the kernel take little."""
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)

    def stuck(self, nbytes: int = 1 << 19) -> tuple[Any, TLSPeer, RecordingContinuation, bytes]:
        """A connection that has C{nbytes} to send to a peer that does not read."""
        vc, peer, _ = self.established()
        self.narrow(vc)
        peer.paused = True
        data = random.Random(nbytes).randbytes(nbytes)
        cont = self.write(vc, data)
        self.run_peers(peer)
        self.assertIsNotNone(vc._unsent)
        return vc, peer, cont, data


class ReadTests(Flowing):
    """From the peer to us."""

    def test_every_cut(self) -> None:
        """The bytes arrive, once and in order, however they come; then the end, in order."""
        for name, cut in cuts().items():
            vc, peer, _ = self.established()
            cont, found = self.read_all(vc)
            data = random.Random(2).randbytes(30000)
            peer.cut = cut
            for at in range(0, len(data), 1000):
                peer.write(data[at : at + 1000])
            peer.shutdown()
            self.run_peers(peer, turns=100000)
            self.assertTrue(data == found, name)
            self.assertEqual({"READ_READY", "EOS"}, set(cont.events))
            self.assertEqual(("EOS", len(data)), (cont.events[-1], cont.log[-1][1]))
            self.assertEqual((True, True), (vc.clean_shutdown, vc.is_eos_received()))

    def test_data_then_end(self) -> None:
        """Data and the end in one piece: READ_READY with the data, then EOS, once (S094)."""
        vc, peer, _ = self.established()
        cont, reader = self.read(vc)
        peer.write(b"0123456789")
        peer.shutdown()
        self.run_peers(peer)
        self.assertEqual([("VC_EVENT_READ_READY", 10, INT64_MAX), ("VC_EVENT_EOS", 10, INT64_MAX)], cont.log)
        self.assertEqual((b"0123456789", 0, None), (reader.read(), vc.lerrno, vc.error))
        peer.send_fin()
        self.reactor.settle()
        self.assertEqual(2, len(cont.log))

    def test_asked_behind_the_end(self) -> None:
        """Who asks again behind the end, whichever it was, is told the same again."""

        def goodbye(peer: TLSPeer) -> None:
            peer.shutdown()
            self.run_peers(peer)

        def damage(peer: TLSPeer) -> None:
            peer.write(b"bad")
            peer.to_send[-1] ^= 1
            self.run_peers(peer)

        for leave in (goodbye, TLSPeer.send_fin, damage, lambda peer: reset(peer.sock)):
            vc, peer, _ = self.established(tcp=True)
            first, _ = self.read_all(vc)
            leave(peer)
            self.reactor.turn_until(lambda cont=first: cont.events)
            facts = (vc.clean_shutdown, vc.is_eos_received(), vc.lerrno, type(vc.error))
            second, _ = self.read_all(vc)
            self.reactor.settle()
            self.assertEqual((1, first.events), (len(first.events), second.events))
            self.assertEqual(facts, (vc.clean_shutdown, vc.is_eos_received(), vc.lerrno, type(vc.error)))

    def test_end_without_goodbye(self) -> None:
        """TCP's end alone is an end, but not a clean one (O49, S098), also in the middle of a record."""
        for extra in (0, 11):
            vc, peer, _ = self.established()
            cont, found = self.read_all(vc)
            peer.write(b"data")
            self.run_peers(peer)
            if extra:
                peer.write(b"never whole")
                peer.sock.send(bytes(peer.to_send[:extra]))
            peer.send_fin()
            self.reactor.settle()
            self.assertEqual((["READ_READY", "EOS"], b"data"), (cont.events, found))
            self.assertEqual((False, True), (vc.clean_shutdown, vc.is_eos_received()))

    def test_reset(self) -> None:
        """A reset is an end that says why."""
        vc, peer, _ = self.established(tcp=True)
        cont, _found = self.read_all(vc)
        reset(peer.sock)
        self.reactor.settle()
        self.assertEqual((["EOS"], errno.ECONNRESET, False), (cont.events, vc.lerrno, vc.clean_shutdown))
        self.assertIsInstance(vc.error, PeerVanished)

    def test_reset_after_goodbye(self) -> None:
        """What was ended in order stays so, whatever comes behind."""
        vc, peer, _ = self.established(tcp=True)
        cont, found = self.read_all(vc)
        peer.write(b"all")
        peer.shutdown()
        self.run_peers(peer)
        reset(peer.sock)
        self.reactor.settle()
        self.assertEqual((b"all", ["READ_READY", "EOS"], True), (found, cont.events, vc.clean_shutdown))

    def test_damage(self) -> None:
        """A flipped byte: what came before it, then ERROR, and the alert for the peer (S099)."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        peer.write(b"good")
        sent = len(peer.to_send)
        peer.write(b"bad")
        peer.to_send[-1] ^= 1
        self.assertGreater(len(peer.to_send), sent)
        self.run_peers(peer)
        self.assertEqual((b"good", ["READ_READY", "ERROR"]), (found, cont.events))
        self.assertEqual(ENET_SSL_FAILED, vc.lerrno)
        self.assertIsInstance(vc.error, PeerError)
        self.assertIn("bad record mac", peer.reason)
        vc.do_io_close()
        self.run_peers(peer)
        self.assertNotIn("close_notify", str(peer.end))

    def test_damage_while_the_peer_does_not_read(self) -> None:
        """The same when there is no room for the alert; nothing is lost but the alert's place in line."""
        vc, peer, writer, data = self.stuck()
        cont, _found = self.read_all(vc)
        peer.write(b"bad")
        peer.to_send[-1] ^= 1
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        vc.do_io_close()
        self.assertIs(Phase.LINGER, vc.phase)
        self.assertNotIn("WRITE_COMPLETE", writer.events)
        peer.paused = False
        self.run_peers(peer)
        self.assertEqual(bytes(peer.plain), data[: len(peer.plain)])
        self.assertIn("bad record mac", peer.reason)

    def test_exact(self) -> None:
        """Exactly what was asked for, and the rest at the next request without another word from the kernel (S097)."""
        vc, peer, _ = self.established()
        cont, reader = self.read(vc, 10)
        peer.write(b"x" * 10 + b"y" * 90)
        peer.shutdown()
        self.run_peers(peer)
        self.assertEqual([("VC_EVENT_READ_COMPLETE", 10, 10)], cont.log)
        self.assertEqual(b"x" * 10, reader.read())
        self.assert_idle()
        cont, reader = self.read(vc, 90)
        self.reactor.turn()
        self.assertEqual([("VC_EVENT_READ_COMPLETE", 90, 90)], cont.log)
        self.assertEqual(b"y" * 90, reader.read())
        cont, reader = self.read(vc, 1)
        self.reactor.turn()
        self.assertEqual(["EOS"], cont.events)

    def test_request_in_the_place_of_another(self) -> None:
        """Who is told of bytes may ask anew, into another buffer and for somebody else; the next bytes are theirs."""
        vc, peer, _ = self.established()
        second: list[Any] = []

        def swap(vio: Any) -> None:
            second.append(self.read(vc, 5))

        first = RecordingContinuation({VC_EVENT_READ_READY: swap})
        self.read(vc, 100, cont=first)
        peer.write(b"one")
        self.run_peers(peer)
        peer.write(b"two45")
        self.run_peers(peer)
        self.assertEqual(["READ_READY"], first.events)
        cont, reader = second[0]
        self.assertEqual((["READ_COMPLETE"], b"two45"), (cont.events, reader.read()))

    def test_nobody_reads(self) -> None:
        """Bytes that nobody wants cost one turn and nothing after it; taken back is taken back."""
        vc, peer, _ = self.established()
        cont, _reader = self.read(vc)
        vc.do_io_read(None, 0, None)
        peer.write(b"x" * 100)
        self.run_peers(peer)
        self.assertEqual([], cont.events)
        self.assert_idle()
        _cont, found = self.read_all(vc)
        self.run_peers(peer)
        self.assertEqual(b"x" * 100, found)

    def test_closed_when_told(self) -> None:
        """No event after a close, though there is more (S113)."""
        for event, nbytes in ((VC_EVENT_READ_READY, INT64_MAX), (VC_EVENT_READ_COMPLETE, 5)):
            vc, peer, _ = self.established()
            cont = RecordingContinuation({event: lambda vio: vio.vc_server.do_io_close()})
            self.read(vc, nbytes, cont=cont)
            peer.write(b"x" * 50000)
            peer.shutdown()
            self.run_peers(peer)
            self.assertEqual(1, len(cont.events))
            self.assertEqual("close_notify", peer.end)
            peer.sock.close()
            self.reactor.settle()
            self.assert_gone(vc)

    def test_shutdown_read(self) -> None:
        """After SHUTDOWN_READ no event of that direction; the other works."""
        vc, peer, _ = self.established()
        cont, _reader = self.read(vc)
        vc.do_io_shutdown(SHUTDOWN_READ)
        peer.write(b"unheard")
        peer.shutdown()
        writer = self.write(vc, b"heard")
        self.run_peers(peer)
        self.assertEqual(([], ["WRITE_COMPLETE"], b"heard"), (cont.events, writer.events, peer.plain))
        self.assertIsNone(peer.end)

    def test_timeouts(self) -> None:
        """Inactivity is told to who reads, bytes put it off, and the connection stays (S014)."""
        vc, peer, _ = self.established()
        cont, _found = self.read_all(vc)
        cop = InactivityCop(self.handler, self.reactor)
        vc.set_inactivity_timeout(3)
        for second in range(6):
            if second < 3:
                peer.write(b"x")
            self.run_peers(peer)
            self.reactor.turn(1)
            cop.patrol()
        self.assertEqual(["READ_READY"] * 3 + ["INACTIVITY_TIMEOUT"], cont.events)
        peer.write(b"x")
        self.run_peers(peer)
        self.assertEqual("READ_READY", cont.events[-1])


globals().update(ReadTests.make_test_case_classes())


class WriteTests(Flowing):
    """From us to the peer."""

    def test_eight_megabytes(self) -> None:
        """A lot arrives in order, in few records, with one WRITE_COMPLETE (S100)."""
        vc, peer, _ = self.established()
        data = random.Random(4).randbytes(8 << 20)
        cont = self.write(vc, data)
        self.run_peers(peer)
        self.assertTrue(data == peer.plain)
        self.assertEqual("WRITE_COMPLETE", cont.events[-1])
        self.assertEqual(1, cont.events.count("WRITE_COMPLETE"))

    def test_asked_for_more(self) -> None:
        """WRITE_READY asks for bytes while the buffer has room; once it is drained, after reenable."""
        vc, peer, _ = self.established()
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        left = [b"a" * 1000, b"b" * 1000, b"c" * 1000]
        cont = RecordingContinuation({VC_EVENT_WRITE_READY: lambda vio: left and buffer.write(left.pop(0))})
        vio = vc.do_io_write(cont, 3000, reader)
        for _ in range(3):
            vio.reenable()
            self.run_peers(peer)
        self.assertEqual(b"a" * 1000 + b"b" * 1000 + b"c" * 1000, bytes(peer.plain))
        self.assertEqual("WRITE_COMPLETE", cont.events[-1])
        self.assert_idle()

    def test_complete_means_that_the_kernel_has_it(self) -> None:
        """WRITE_COMPLETE waits for the last byte of ciphertext; a close right after it loses nothing."""
        vc, peer, cont, data = self.stuck()
        self.assertNotIn("WRITE_COMPLETE", cont.events)
        cont.script[VC_EVENT_WRITE_COMPLETE] = lambda vio: vio.vc_server.do_io_close()
        peer.paused = False
        self.run_peers(peer)
        self.assertTrue(data == peer.plain)
        self.assertEqual(("WRITE_COMPLETE", "close_notify"), (cont.events[-1], peer.end))
        self.assert_gone(vc)

    def test_owed_and_asked_anew(self) -> None:
        """A new request in the place of one whose WRITE_COMPLETE is owed: that is not told, its bytes arrive."""
        vc, peer, cont, data = self.stuck(1 << 17)
        self.assertTrue(vc.write.owed)
        again = self.write(vc, b"and more")
        peer.paused = False
        self.run_peers(peer)
        self.assertTrue(data + b"and more" == peer.plain)
        self.assertNotIn("WRITE_COMPLETE", cont.events)
        self.assertEqual("WRITE_COMPLETE", again.events[-1])

    def test_close_delivers_what_was_encrypted(self) -> None:
        """A close with ciphertext unsent: its user is rid of it, the peer gets the rest, then the goodbye."""
        vc, peer, cont, data = self.stuck(1 << 17)
        vc.do_io_close()
        self.assertEqual((Phase.LINGER, 1), (vc.phase, vc.closed))
        told = list(cont.events)
        peer.paused = False
        self.run_peers(peer)
        self.assertTrue(data == peer.plain)
        self.assertEqual(("close_notify", told), (peer.end, cont.events))
        self.assert_gone(vc)

    def test_lingering_ends(self) -> None:
        """A peer that takes nothing keeps a closed connection for a while, and no longer."""
        vc, _peer, _cont, _data = self.stuck()
        vc.do_io_close()
        cop = InactivityCop(self.handler, self.reactor)
        for _ in range(int(LINGER_SECONDS)):
            self.assertIsNotNone(vc.socket)
            self.reactor.turn(1)
            cop.patrol()
        self.assert_gone(vc)

    def test_peer_leaves_while_lingering(self) -> None:
        """It goes as soon as the peer has gone."""
        vc, peer, _cont, _data = self.stuck()
        vc.do_io_close()
        peer.sock.close()
        self.reactor.settle()
        self.assert_gone(vc)

    def test_unread_bytes(self) -> None:
        """Closing over bytes that nobody read is not a reset that overtakes the last words."""
        vc, peer, _ = self.established(tcp=True)
        peer.write(b"x" * 100000)
        peer.pump()
        self.write(vc, b"last words")
        self.reactor.settle()
        vc.do_io_close()
        self.reactor.settle()
        self.assertIs(Phase.LINGER, vc.phase)
        self.run_peers(peer, until=lambda: peer.fin)
        self.assertEqual((b"last words", "close_notify"), (peer.plain, peer.end))
        peer.sock.close()
        self.reactor.turn_until(lambda: vc.socket is None)

    def test_lingering_does_not_read_for_ever(self) -> None:
        """A peer that goes on sending is cut off after a while."""
        vc, peer, _ = self.established()
        peer.write(bytes(3 << 20))
        peer.pump()
        vc.do_io_close()
        for _ in range(1000):
            self.reactor.turn()
            peer._send()
            if vc.socket is None:
                break
        self.assert_gone(vc)

    def test_abort(self) -> None:
        """A close that says why is a reset, at once, without a goodbye, whatever is unsent."""
        vc, peer, cont = self.established(tcp=True)
        self.write(vc, b"x")
        self.run_peers(peer)
        vc.do_io_close(errno.ECONNABORTED)
        self.assert_gone(vc)
        self.run_peers(peer)
        self.assertEqual(("reset", [], errno.ECONNABORTED), (peer.end, cont.events, vc.lerrno))
        vc, peer, cont, _data = self.stuck()
        vc.do_io_close(errno.ECONNABORTED)
        self.assert_gone(vc)
        self.assertIsNone(vc._unsent)

    def test_reset_while_writing(self) -> None:
        """A peer that is gone is an ERROR for who writes, soon (S109)."""
        vc, peer, _ = self.established(tcp=True)
        reset(peer.sock)
        cont = self.write(vc, bytes(1 << 20))
        self.reactor.settle()
        self.assertEqual("ERROR", cont.events[-1])
        self.assertIn(vc.lerrno, (errno.EPIPE, errno.ECONNRESET))
        self.assertIsInstance(vc.error, PeerVanished)
        vc.do_io_close()
        self.assert_gone(vc)

    def test_reset_while_something_is_unsent(self) -> None:
        """The same while ciphertext waits, and when WRITE_COMPLETE is owed: ERROR instead, once."""
        for nbytes in (1 << 17, 1 << 20):
            vc, peer, cont, _data = self.stuck(nbytes)
            peer.sock.close()
            self.reactor.settle()
            self.assertEqual((1, 0), (cont.events.count("ERROR"), cont.events.count("WRITE_COMPLETE")))
            self.assertFalse(vc.write.owed)
            vc.do_io_close()
            self.assert_gone(vc)

    def test_gone_with_nobody_to_tell(self) -> None:
        """What was unsent of a request that was taken back is nobody's loss."""
        vc, peer, cont, _data = self.stuck()
        vc.do_io_write(None, 0, None)
        told = len(cont.events)
        peer.sock.close()
        self.reactor.settle()
        self.assertEqual(told, len(cont.events))
        vc.do_io_close()
        self.assert_gone(vc)

    def test_nothing_to_write(self) -> None:
        """A write of nothing puts nothing on the wire, and tells nobody (S112)."""
        vc, peer, _ = self.established()
        cont = RecordingContinuation()
        vc.do_io_write(cont, 0, MIOBuffer().alloc_reader())
        before = len(peer.raw)
        self.run_peers(peer)
        self.assertEqual((0, []), (len(peer.raw) - before, cont.events))

    def test_write_after_shutdown(self) -> None:
        """Who writes after ending the direction is told so."""
        vc, peer, _ = self.established()
        vc.do_io_shutdown(SHUTDOWN_WRITE)
        cont = self.write(vc, b"late")
        self.run_peers(peer)
        self.assertEqual((["ERROR"], errno.EPIPE), (cont.events, vc.lerrno))

    def test_write_that_openssl_refuses(self) -> None:
        """A TLS stream that is broken for writing is an ERROR, and never an end (O8, O46)."""
        vc, peer, _ = self.established()
        vc.engine.shutdown()
        cont = self.write(vc, b"late")
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        self.assertIsInstance(vc.error, PeerError)


globals().update(WriteTests.make_test_case_classes())


class HalfCloseTests(Flowing):
    """One direction ends and the other goes on."""

    def test_we_end(self) -> None:
        """SHUTDOWN_WRITE says close_notify, and the peer can still send to us (S013)."""
        for howto in (SHUTDOWN_WRITE, SHUTDOWN_WRITE):
            vc, peer, _ = self.established(tcp=True)
            cont, found = self.read_all(vc)
            self.write(vc, b"question")
            self.run_peers(peer)
            vc.do_io_shutdown(howto)
            vc.do_io_shutdown(howto)
            self.run_peers(peer)
            self.assertEqual((b"question", "close_notify", False), (peer.plain, peer.end, peer.fin))
            data = random.Random(8).randbytes(200000)
            peer.write(data)
            peer.shutdown()
            self.run_peers(peer, until=lambda cont=cont: "EOS" in cont.events)
            self.assertTrue(data == found)
            self.assertTrue(vc.clean_shutdown)
            vc.do_io_close()
            self.assert_gone(vc)

    def test_peer_ends(self) -> None:
        """The peer says close_notify, and its whole answer still arrives, however long and slow."""
        vc, peer, _ = self.established()
        self.narrow(vc)
        cont, found = self.read_all(vc)
        peer.write(b"question")
        peer.shutdown()
        self.run_peers(peer)
        self.assertEqual((b"question", ["READ_READY", "EOS"]), (found, cont.events))
        data = random.Random(9).randbytes(1 << 20)
        writer = self.write(vc, data)
        # pyOpenSSL reads on after its own goodbye.
        self.run_peers(peer)
        self.assertTrue(data == peer.plain)
        self.assertEqual("WRITE_COMPLETE", writer.events[-1])
        vc.do_io_close()
        self.run_peers(peer)
        self.assertEqual("close_notify", peer.end)
        self.assert_gone(vc)

    def test_peer_ends_tcp_as_well(self) -> None:
        """The same when the peer's TCP end follows its goodbye at once."""
        vc, peer, _ = self.established(tcp=True)
        cont, _found = self.read_all(vc)
        peer.write(b"question")
        peer.shutdown()
        peer.pump()
        peer.send_fin()
        self.run_peers(peer)
        self.assertEqual("EOS", cont.events[-1])
        data = random.Random(9).randbytes(1 << 20)
        self.write(vc, data)
        self.run_peers(peer, until=lambda: len(peer.plain) == len(data))
        self.assertTrue(data == peer.plain)

    def test_end_behind_what_is_unsent(self) -> None:
        """SHUTDOWN_WRITE while ciphertext waits: the goodbye comes behind it."""
        vc, peer, _cont, data = self.stuck(1 << 17)
        vc.do_io_shutdown(SHUTDOWN_WRITE)
        peer.paused = False
        self.run_peers(peer)
        self.assertTrue(data == peer.plain)
        self.assertEqual("close_notify", peer.end)
        vc.do_io_close()
        self.assert_gone(vc)

    def test_both(self) -> None:
        """SHUTDOWN_READWRITE ends both; the connection is still there to be closed."""
        vc, peer, _ = self.established()
        cont, _found = self.read_all(vc)
        vc.do_io_shutdown(SHUTDOWN_READWRITE)
        peer.write(b"x")
        self.run_peers(peer)
        self.assertEqual(("close_notify", []), (peer.end, cont.events))
        self.assertIsNotNone(vc.socket)

    def test_unclean(self) -> None:
        """end_unclean ends TCP's stream and says no goodbye; twice is once; and nothing after a close."""
        vc, peer, _ = self.established()
        vc.end_unclean()
        vc.end_unclean()
        self.run_peers(peer)
        self.assertEqual("fin", peer.end)
        _cont, found = self.read_all(vc)
        peer.write(b"still")
        self.run_peers(peer)
        self.assertEqual(b"still", found)
        vc.do_io_close()
        vc.end_unclean()
        self.assert_gone(vc)

    def test_close(self) -> None:
        """A close in order: close_notify, then TCP's end."""
        vc, peer, _ = self.established()
        vc.do_io_close()
        self.assert_gone(vc)
        self.run_peers(peer)
        self.assertEqual(("close_notify", True), (peer.end, peer.fin))
        kinds = [kind for kind, _ in records(peer.raw)]
        self.assertEqual(ALERT if self.version == "TLSv1.2" else APPLICATION_DATA, kinds[-1])

    def test_close_after_the_peers_fin(self) -> None:
        """Nothing is said to a peer that has left without a word (O39, S012)."""
        for leave in ("send_fin", "reset"):
            vc, peer, _ = self.established(tcp=True)
            got = len(peer.raw)
            if leave == "reset":
                reset(peer.sock)
            else:
                peer.send_fin()
            vc.do_io_close()
            self.reactor.settle()
            if leave != "reset":
                self.run_peers(peer)
                self.assertEqual((0, "fin"), (len(peer.raw) - got, peer.end))
            self.assert_gone(vc)

    def test_close_after_the_peers_goodbye(self) -> None:
        """A goodbye is answered by one."""
        vc, peer, _ = self.established()
        self.read_all(vc)
        peer.shutdown()
        self.run_peers(peer)
        vc.do_io_close()
        vc.do_io_close()
        self.run_peers(peer)
        self.assertEqual("close_notify", peer.end)
        self.assert_gone(vc)

    def test_collected(self) -> None:
        """However it ended, nothing knows a closed connection (S004)."""
        ends: list[Callable[[Any, TLSPeer], object]] = [
            lambda vc, peer: vc.do_io_close(),
            lambda vc, peer: vc.do_io_close(errno.ECONNRESET),
            lambda vc, peer: (peer.sock.close(), self.reactor.settle(), vc.do_io_close()),
            lambda vc, peer: (peer.shutdown(), self.run_peers(peer), vc.do_io_close()),
        ]
        for end in ends:
            vc, peer, _ = self.established()
            self.read_all(vc)
            self.write(vc, b"x" * 1000)
            self.run_peers(peer)
            end(vc, peer)
            reference = weakref.ref(vc)
            del vc, peer, _
            self.assert_collected(reference)


globals().update(HalfCloseTests.make_test_case_classes())


class RecordSizeTests(Flowing):
    """How large our records are (1.23)."""

    def sizes(self, max_record_size: int, pieces: list[tuple[float, int]]) -> list[list[int]]:
        """Plaintext bytes of the records for each piece, which comes so many seconds after the one before."""
        policy = evolve(server_policy(self.version), max_record_size=max_record_size)
        vc, peer, _ = self.established(policy)
        found = []
        total = 0
        for seconds, nbytes in pieces:
            self.reactor.turn(seconds)
            before = len(peer.raw)
            cont = self.write(vc, bytes(nbytes))
            total += nbytes
            self.run_peers(peer)
            self.assertEqual("WRITE_COMPLETE", cont.events[-1])
            found.append([len(body) - OVERHEAD[self.version] for _, body in records(peer.raw[before:])])
            self.assertEqual(nbytes, sum(found[-1]))
        self.assertEqual(total, len(peer.plain))
        return found

    def test_no_clamp(self) -> None:
        """Mode 0: records are as large as TLS has them (S105)."""
        (sizes,) = self.sizes(0, [(0, 100000)])
        self.assertEqual(16384, max(sizes))
        self.assertLessEqual(len(sizes), 9)

    def test_fixed(self) -> None:
        """A fixed size is never exceeded, and used (S101)."""
        for limit in (1, 100, 4096, 16383):
            (sizes,) = self.sizes(limit, [(0, 300 if limit == 1 else 60000)])
            self.assertEqual(limit, max(sizes))
            self.assertLess(sum(size < limit for size in sizes), 3)

    def test_dynamic(self) -> None:
        """Small records for the first million bytes, then large ones; small again after a second of silence."""
        first, second, third, fourth = self.sizes(-1, [(2, 999_999), (0.5, 100_000), (0.9, 20_000), (1.1, 20_000)])
        self.assertEqual(1300, max(first))
        self.assertEqual(16383, max(second))
        self.assertLessEqual(sorted(second)[-3], 16383)
        self.assertGreater(max(third), 1300)
        self.assertEqual(1300, max(fourth))


globals().update(RecordSizeTests.make_test_case_classes())


class BrokenKernelTests(Flowing):
    """What the kernel may answer and seldom does."""

    versions = ("TLSv1.2",)

    def test_kernel_says_something_else(self) -> None:
        """An error of the kernel that is no end is an ERROR with its number."""
        vc, peer, _ = self.established()
        cont, _found = self.read_all(vc)
        peer.write(b"x")
        peer.pump()
        broken = vc.socket

        class Socket:
            def __getattr__(self, name: str) -> Any:
                return getattr(broken, name)

            def recv_into(self, *args: Any) -> int:
                raise OSError(errno.ENOMEM, "no memory")

        vc.socket = Socket()
        self.reactor.settle()
        self.assertEqual((["ERROR"], errno.ENOMEM), (cont.events, vc.lerrno))
        vc.do_io_close()


globals().update(BrokenKernelTests.make_test_case_classes())
