"""
Tests for L{atstls.net.migration} and L{atstls.ssl.migration}: a connection goes from one object to another.
"""

import socket
import threading
import weakref
from typing import Any
from unittest import mock

from OpenSSL import SSL
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.endpoints.created import CreatedNetVConnection
from atstls.errors import ConnectionClosedError, LocalError
from atstls.events import (
    EVENT_DONE,
    EVENT_ERROR,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, SHUTDOWN_WRITE
from atstls.interfaces import INetVConnection, ISSLNetVConnection
from atstls.net.connection import NetVCOptions
from atstls.net.cop import InactivityCop
from atstls.net.handler import NetHandler
from atstls.net.migration import HeldConnection
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL, UnixNetVConnection
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.phases import Phase
from tests.support import (
    Moved,
    OverBothPolls,
    RecordingContinuation,
    make_handler,
    received,
    reset,
    tcp_pair,
    unix_pair,
)
from tests.tlssupport import (
    APPLICATION_DATA,
    OverTLS,
    RecordForger,
    client_policy,
    hook_set,
    peer_client_context,
    peer_server_context,
    protocol_set,
    server_policy,
)


class Movers(OverBothPolls):
    """Has two handlers of one reactor."""

    def setUp(self) -> None:
        LoopingCall(int)  # as L{OverTLS} does
        super().setUp()
        self.other, self.other_poll = make_handler(self.kind, self.reactor)

    def tearDown(self) -> None:
        for vc in list(self.other.open_list):
            vc.do_io_close()
        self.reactor.settle()
        self.assertEqual((set(), True), (self.other.open_list, self.other.idle()))
        self.other_poll.close()
        super().tearDown()

    def handlers(self) -> tuple[NetHandler, NetHandler]:
        """Where a connection can move: to another handler, or only to another object."""
        return self.other, self.handler


class PlainTests(Movers):
    """A connection without TLS."""

    def moved(self, vc: UnixNetVConnection, nh: NetHandler, cont: Any = None) -> UnixNetVConnection:
        """Another object of C{nh} for the connection of C{vc}."""
        held = vc.release()
        new = UnixNetVConnection(nh)
        self.assertEqual(EVENT_DONE, new.populate(held, cont, held.ssl))
        return new

    def read(self, vc: Any, cont: Any = None, nbytes: int = INT64_MAX) -> tuple[Any, Any]:
        cont = cont or RecordingContinuation()
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        vc.do_io_read(cont, nbytes, buffer)
        return cont, reader

    def write(self, vc: Any, data: bytes) -> RecordingContinuation:
        cont = RecordingContinuation()
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        buffer.write(data)
        vc.do_io_write(cont, len(data), reader)
        return cont

    def test_request_on_the_new_one(self) -> None:
        """The new object reads and writes on; the old one is closed, in nobody's list, and emits nothing (S031)."""
        for nh in self.handlers():
            old, theirs = self.connection()
            old_cont, old_reader = self.read(old)
            theirs.send(b"before")
            self.reactor.settle()
            before = list(old_cont.log)
            self.assertEqual(b"before", old_reader.read())
            new = self.moved(old, nh)
            self.assertTrue(verifyObject(INetVConnection, new))
            self.assertTrue(old.closed)
            self.assertEqual((-1, False, True), (old.get_socket(), old in self.handler.open_list, new in nh.open_list))
            cont, reader = self.read(new)
            theirs.send(b"after")
            self.reactor.settle()
            self.assertEqual(b"after", reader.read())
            self.write(new, b"answer")
            self.reactor.settle()
            self.assertEqual(b"answer", received(theirs))
            theirs.close()
            self.reactor.settle()
            self.assertEqual(["READ_READY", "EOS"], cont.events)
            self.assertEqual(before, old_cont.log)
            new.do_io_close()

    def test_what_waits_in_the_kernel(self) -> None:
        """Bytes that came before the move, or during it, and were not read, are read after it; so is the end."""
        for ended in (False, True):
            old, theirs = self.connection()
            self.reactor.settle()
            theirs.send(b"one")
            self.reactor.settle()
            held = old.release()
            theirs.send(b"two")
            if ended:
                theirs.shutdown(socket.SHUT_WR)
            self.reactor.settle()
            new = UnixNetVConnection(self.other)
            self.assertEqual(EVENT_DONE, new.populate(held))
            cont, reader = self.read(new)
            self.reactor.settle()
            self.assertEqual(b"onetwo", reader.read())
            self.assertEqual(["READ_READY", "EOS"][: 1 + ended], cont.events)
            new.do_io_close()

    def test_peer_that_is_gone(self) -> None:
        """A peer that has broken off meanwhile is met by the new one, as by any connection."""
        old, theirs = self.connection(tcp_pair())
        new = self.moved(old, self.other)
        reset(theirs)
        cont, _ = self.read(new)
        self.reactor.turn_until(lambda: cont.events)
        self.assertEqual((["EOS"], False), (cont.events, new.clean_shutdown))

    def test_requests_end_without_a_word(self) -> None:
        """What was asked of the old one is over: no event, nothing written, and its VIOs can be reenabled in vain."""
        old, theirs = self.connection()
        read_cont, _ = self.read(old)
        write_cont = self.write(old, b"never sent")
        reader, writer = old.read.vio, old.write.vio
        new = self.moved(old, self.handler)
        theirs.send(b"x")
        for vio in (reader, writer):
            vio.reenable()
            vio.reenable_re()
            vio.done()
        self.reactor.settle()
        self.assertEqual(([], [], b""), (read_cont.log, write_cont.log, received(theirs)))
        self.assertIsNone(old.do_io_read(read_cont, 1, MIOBuffer()))
        old.do_io_shutdown(SHUTDOWN_WRITE)
        old.do_io_close()
        old.free()
        self.write(new, b"y")
        self.reactor.settle()
        self.assertEqual(b"y", received(theirs))

    def test_from_within_a_call_back(self) -> None:
        """The user may move it from within READ_READY, READ_COMPLETE or WRITE_READY, and go on at once."""
        for event, nbytes in (
            (VC_EVENT_READ_READY, INT64_MAX),
            (VC_EVENT_READ_COMPLETE, 2),
            (VC_EVENT_WRITE_READY, INT64_MAX),
        ):
            for nh in self.handlers():
                old, theirs = self.connection()
                made: list[Any] = []

                def move(_: Any, old: Any = old, nh: Any = nh, made: Any = made) -> None:
                    new = self.moved(old, nh)
                    made.extend((new, *self.read(new)))
                    self.write(new, b"from the new one")

                cont = RecordingContinuation({event: [move]})
                if event == VC_EVENT_WRITE_READY:
                    reader = MIOBuffer().alloc_reader()
                    old.do_io_write(cont, INT64_MAX, reader)
                else:
                    self.read(old, cont, nbytes)
                    theirs.send(b"abcd"[:nbytes])
                self.reactor.settle()
                theirs.send(b"more")
                self.reactor.settle()
                self.assertEqual(1, len(cont.log))
                new, _new_cont, new_reader = made
                self.assertTrue(new_reader.read().endswith(b"more"))
                self.assertEqual(b"from the new one", received(theirs))
                self.assertNotIn(old, self.handler.open_list)
                new.do_io_close()

    def test_descriptor_of_the_old_one(self) -> None:
        """The end of the call-back in which the old one was moved does not take the descriptor from the new one."""
        old, theirs = self.connection()
        made: list[Any] = []
        cont = RecordingContinuation({VC_EVENT_READ_READY: [lambda _: made.append(self.moved(old, self.handler))]})
        self.read(old, cont)
        theirs.send(b"x")
        self.reactor.settle()
        (new,) = made
        _, reader = self.read(new)
        self.reactor.settle()
        theirs.send(b"y")
        self.reactor.settle()
        self.assertEqual(b"y", reader.read())

    def test_timeouts(self) -> None:
        """The old one's timeouts are off; the new one has none until it is given some, and tells whom it was given."""
        cops = [InactivityCop(nh, self.reactor, default_inactivity_seconds=0) for nh in self.handlers()]
        old, _ = self.connection()
        old_cont, _ = self.read(old)
        old.set_inactivity_timeout(2)
        old.set_active_timeout(3)
        cont = RecordingContinuation()
        new = self.moved(old, self.other, cont)
        self.assertEqual((0, 0), (new.get_inactivity_timeout(), new.get_active_timeout()))

        def pass_by(seconds: int) -> None:
            for _ in range(seconds):
                self.reactor.turn(1)
                for cop in cops:
                    cop.patrol()

        pass_by(5)
        self.assertEqual(([], []), (old_cont.log, cont.log))
        new.set_inactivity_timeout(2)
        pass_by(3)
        self.assertEqual(([], ["INACTIVITY_TIMEOUT"]), (old_cont.log, cont.events))

    def test_from_within_a_timeout(self) -> None:
        """A pool that is told that a connection is idle may move it."""
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        old, theirs = self.connection()
        made: list[Any] = []
        cont = RecordingContinuation(
            {VC_EVENT_INACTIVITY_TIMEOUT: [lambda _: made.append(self.moved(old, self.other))]}
        )
        self.read(old, cont)
        old.set_inactivity_timeout(1)
        self.reactor.turn(2)
        cop.patrol()
        _, reader = self.read(made[0])
        theirs.send(b"x")
        self.reactor.settle()
        self.assertEqual(b"x", reader.read())

    def test_facts(self) -> None:
        """What is of the connection moves with it: addresses, role, options, number, whether we have ended."""
        old, theirs = self.connection(tcp_pair())
        old.is_client = True
        old.options = NetVCOptions(local_port=7)
        old.id, old.submit_time, old.attributes = 4, 2.5, TRANSPORT_BLIND_TUNNEL
        old.set_remote_addr(("192.0.2.1", 443))
        old.set_arg("mine", 1)
        local = old.get_local_addr()
        old.do_io_shutdown(SHUTDOWN_WRITE)
        options = old.options
        new = self.moved(old, self.other)
        self.assertEqual(
            (True, options, 4, 2.5, TRANSPORT_BLIND_TUNNEL, ("192.0.2.1", 443), local, True, None),
            (
                new.is_client,
                new.options,
                new.id,
                new.submit_time,
                new.attributes,
                new.get_remote_addr(),
                new.get_local_addr(),
                new.write_shut,
                new.get_arg("mine"),
            ),
        )
        self.assertIsNone(old.get_arg("mine"))
        cont = self.write(new, b"x")
        self.reactor.settle()
        self.assertEqual((b"", ["ERROR"]), (received(theirs), cont.events[-1:]))

    def test_who_counts(self) -> None:
        """Whoever counts connections is told of the end of this one, once, and not of its move."""
        freed: list[str] = []
        old, _ = self.connection()
        old.on_free = lambda: freed.append("freed")
        new = self.moved(old, self.other)
        old.do_io_close()
        self.assertEqual([], freed)
        new.do_io_close()
        self.assertEqual(["freed"], freed)
        old, _ = self.connection()
        old.on_free = lambda: freed.append("held")
        held = old.release()
        held.close()
        held.close()
        self.assertEqual(["freed", "held"], freed)

    def test_queues(self) -> None:
        """A connection that waits in the keep-alive queue waits there no more."""
        old, _ = self.connection()
        old.add_to_keep_alive_queue()
        new = self.moved(old, self.other)
        self.assertFalse(self.handler.queues.keep_alive)
        new.add_to_keep_alive_queue()
        self.assertEqual(1, len(self.other.queues.keep_alive))

    def test_trapped(self) -> None:
        """Somebody who waits for an empty buffer waits in vain, and the new one is of the ordinary class."""
        old, theirs = self.connection()
        old.trap_write_buffer_empty()
        new = old.migrate(self.other)
        assert new is not None
        self.assertIs(UnixNetVConnection, type(new))
        self.write(new, b"x")
        self.reactor.settle()
        self.assertEqual(b"x", received(theirs))

    def test_collected(self) -> None:
        """Nobody knows the old one any more."""
        old, _ = self.connection()
        self.read(old)
        new = self.moved(old, self.other)
        reference = weakref.ref(old)
        del old
        self.assertIsNone(reference())
        new.do_io_close()

    # migrate().

    def test_migrate(self) -> None:
        """In one step; to where it is already it is the same object."""
        old, theirs = self.connection()
        self.assertIs(old, old.migrate(self.handler))
        new = old.migrate(self.other)
        assert new is not None
        self.assertEqual((1, self.other), (old.closed, new.nh))
        self.write(new, b"x")
        self.reactor.settle()
        self.assertEqual(b"x", received(theirs))

    def test_migrate_in_vain(self) -> None:
        """Where it cannot be watched it is closed, and that is told by there being none."""
        old, theirs = self.connection()
        with mock.patch.object(type(self.other_poll), "start", side_effect=OSError(28, "no more")):
            self.assertIsNone(old.migrate(self.other))
        self.assertEqual(b"", theirs.recv(1))
        self.assertEqual(set(), self.other.open_list)

    def test_migrate_to_another_thread(self) -> None:
        """To a handler of another thread nothing moves from here, and the connection stays as it is."""
        old, theirs = self.connection()
        self.other.thread = -1
        self.addCleanup(setattr, self.other, "thread", threading.get_ident())
        self.assertRaises(LocalError, old.migrate, self.other)
        self.write(old, b"x")
        self.reactor.settle()
        self.assertEqual(b"x", received(theirs))

    # What cannot be.

    def test_cannot_be_watched(self) -> None:
        """Who cannot be watched is still held, for another try."""
        old, theirs = self.connection()
        held = old.release()
        new = UnixNetVConnection(self.other)
        with mock.patch.object(type(self.other_poll), "start", side_effect=OSError(28, "no more")):
            self.assertEqual(EVENT_ERROR, new.populate(held))
        self.assertEqual((-1, set()), (new.get_socket(), self.other.open_list))
        new.do_io_close()
        new = UnixNetVConnection(self.other)
        self.assertEqual(EVENT_DONE, new.populate(held))
        self.write(new, b"x")
        self.reactor.settle()
        self.assertEqual(b"x", received(theirs))

    def test_wrong_thread(self) -> None:
        """Only in the thread of its handler is a connection given away or taken over (seed: lock busy)."""
        old, _ = self.connection()
        self.handler.thread = -1
        try:
            self.assertRaises(LocalError, old.release)
        finally:
            self.handler.thread = threading.get_ident()
        held = old.release()
        self.other.thread = -1
        try:
            self.assertEqual(EVENT_ERROR, UnixNetVConnection(self.other).populate(held))
        finally:
            self.other.thread = threading.get_ident()
        self.assertEqual(EVENT_DONE, UnixNetVConnection(self.other).populate(held))

    def test_in_thread(self) -> None:
        """A connection given away here can be taken over in another thread, by a handler of that one."""
        old, theirs = self.connection()
        held = old.release()
        found: list[Any] = []

        def there() -> None:
            handler, poll = make_handler(self.kind)
            new = UnixNetVConnection(handler)
            found.append(new.populate(held))
            _, reader = self.read(new)
            handler.reactor.turn()
            handler.reactor.settle()
            found.append(reader.read())
            new.do_io_close()
            poll.close()

        theirs.send(b"x")
        thread = threading.Thread(target=there)
        thread.start()
        thread.join(10)
        self.assertEqual([EVENT_DONE, b"x"], found)

    def test_not_fresh(self) -> None:
        """An object that has a connection, or had one, takes none over; a connection is taken over once."""
        old, _ = self.connection()
        used, _ = self.connection()
        closed, _ = self.connection()
        closed.do_io_close()
        held = old.release()
        for vc in (used, closed):
            self.assertRaises(LocalError, vc.populate, held)
        UnixNetVConnection(self.handler).populate(held)
        self.assertRaises(LocalError, UnixNetVConnection(self.handler).populate, held)
        held.close()

    def test_closed(self) -> None:
        """What is closed, or never was open, cannot be given away."""
        vc, _ = self.connection()
        vc.do_io_close()
        self.assertRaises(ConnectionClosedError, vc.release)
        self.assertRaises(ConnectionClosedError, UnixNetVConnection(self.handler).release)
        self.assertRaises(ConnectionClosedError, vc.migrate, self.other)

    def test_no_place(self) -> None:
        """A connection without TLS takes over no state of TLS, and no bytes that were read; nothing is lost by that."""
        ours, _ = unix_pair()
        self.keep(_)
        for held, ssl in ((HeldConnection(ours, unread=b"x"), None), (HeldConnection(ours), object())):
            vc = UnixNetVConnection(self.handler)
            self.assertRaises(LocalError, vc.populate, held, None, ssl)
            self.assertIs(ours, held.sock)
        held.close()

    def test_of_anybody(self) -> None:
        """A socket that somebody else has connected becomes one of ours, blocking or not."""
        ours, theirs = unix_pair()
        self.keep(theirs)
        ours.setblocking(True)
        vc = UnixNetVConnection(self.handler)
        self.assertEqual(EVENT_DONE, vc.populate(HeldConnection(ours, is_client=True)))
        _, reader = self.read(vc)
        self.reactor.settle()
        theirs.send(b"x")
        self.reactor.settle()
        self.assertEqual((b"x", True), (reader.read(), vc.is_client))


globals().update(PlainTests.make_test_case_classes())


class TLSTests(OverTLS):
    """A connection over TLS."""

    def moved(self, vc: Any, cont: Any = None) -> Any:
        """Another object for the connection of C{vc}, which may be of the same handler."""
        held = vc.release()
        new = SSLNetVConnection(self.handler)
        self.assertEqual(EVENT_DONE, new.populate(held, cont, held.ssl))
        self.assert_gone(vc)
        self.assertEqual((None, Phase.CLOSED), (vc.engine, vc.phase))
        return new

    def test_idle_outbound(self) -> None:
        """A pooled connection to an origin moves: the new object is answered, the old one is silent (S031)."""
        old, peer, old_cont = self.connected(hooks=hook_set())
        for number in range(3):
            data = b"request %d" % number
            new = self.moved(old)
            self.assertTrue(verifyObject(ISSLNetVConnection, new))
            self.assertTrue(new.is_client, "Traffic Server says so of every one, here it is what it was")
            self.write(new, data)
            _, got = self.read_all(new)
            self.run_peers()
            self.assertTrue(peer.plain.endswith(data))
            peer.write(b"answer")
            self.run_peers()
            self.assertEqual(b"answer", bytes(got))
            old = new
        self.assertEqual([], old_cont.log)
        new.do_io_close()
        self.run_peers()
        self.assertEqual("close_notify", peer.end)

    def test_accepted(self) -> None:
        """A connection that a peer made stays one, with all that was found out about it."""
        protocols = protocol_set(b"h2")
        old, peer, _ = self.established(
            server_policy(self.version, max_record_size=-1), alpn=(b"h2",), protocols=protocols
        )
        names = (
            "negotiated_protocol", "server_name", "policy", "handshake_began", "handshake_seconds", "is_client",
            "next_protocol_set", "npn_endpoint", "certificate", "_sizer", "id",
        )  # fmt: skip
        facts = [getattr(old, name) for name in names]
        asked = (old.get_ssl_protocol(), old.get_ssl_cipher_suite(), old.get_remote_addr())
        new = self.moved(old)
        self.assertEqual(facts, [getattr(new, name) for name in names])
        self.assertEqual((b"h2", "a.example", False), (new.negotiated_protocol, new.server_name, new.is_client))
        self.assertEqual(asked, (new.get_ssl_protocol(), new.get_ssl_cipher_suite(), new.get_remote_addr()))
        self.assertEqual((True, Phase.OPEN, b"h2"), (new.get_ssl_handshake_complete(), new.phase, new.endpoint()))
        self.assertIs(new, new.engine.connection.get_app_data())
        self.assertIsNone(old.get_ssl_protocol())
        del peer

    def test_what_was_decrypted(self) -> None:
        """Of 100 bytes in one record the old one has had 10: the new one gets the 90, unasked (O9, O18)."""
        old, peer, _ = self.established()
        cont, first = self.read(old, 10)
        peer.write(bytes(range(100)))
        self.run_peers()
        self.assertEqual((["READ_COMPLETE"], bytes(range(10))), (cont.events, first.read()))
        new = self.moved(old)
        _, rest = self.read(new, 90)
        self.reactor.settle()
        self.assertEqual(bytes(range(10, 100)), rest.read())

    def test_half_a_record(self) -> None:
        """A record of which one half was read by the old one, at any place, is whole for the new one."""
        for at in (1, 4, 5, 6, 20, -1):
            old, peer, _ = self.established()
            self.read(old)
            peer.write(b"in two halves")
            record = bytes(peer.to_send)
            peer.to_send.clear()
            peer.sock.send(record[:at])
            self.reactor.settle()
            new = self.moved(old)
            _, got = self.read_all(new)
            self.reactor.settle()
            peer.sock.send(record[at:])
            self.reactor.settle()
            self.assertEqual(b"in two halves", bytes(got))

    def test_what_the_kernel_did_not_take(self) -> None:
        """Ciphertext that a slow peer has not taken goes out first, whole and in order, then the new one's."""
        old, peer, _ = self.established(tcp=True)
        peer.paused = True
        sent = bytes(range(256)) * 40000
        cont = self.write(old, sent)
        self.run_peers()
        self.assertIsNotNone(old._unsent)
        taken = old.write.vio.ndone
        self.assertLess(taken, len(sent))
        new = self.moved(old)
        self.assertIsNotNone(new._unsent)
        self.write(new, sent[taken:] + b"end")
        peer.paused = False
        self.run_peers(until=lambda: len(peer.plain) >= len(sent) + 3)
        self.assertEqual(sent + b"end", bytes(peer.plain))
        self.assertNotIn("WRITE_COMPLETE", cont.events)

    def test_unsent_without_a_writer(self) -> None:
        """It goes out though nobody writes, and before the goodbye."""
        old, peer, _ = self.established(tcp=True)
        peer.paused = True
        self.write(old, bytes(10 << 20))
        self.run_peers()
        taken = old.write.vio.ndone
        new = self.moved(old)
        peer.paused = False
        self.run_peers(until=lambda: len(peer.plain) >= taken)
        self.assertEqual(taken, len(peer.plain))
        new.do_io_close()
        self.run_peers(until=lambda: peer.end)
        self.assertEqual(("close_notify", taken), (peer.end, len(peer.plain)))

    def test_ends(self) -> None:
        """What ended before the move has ended after it: the peer's close_notify, and ours."""
        old, peer, _ = self.established()
        cont, _ = self.read_all(old)
        peer.shutdown()
        self.run_peers()
        self.assertEqual(["EOS"], cont.events)
        new = self.moved(old)
        self.assertEqual((True, True), (new.is_eos_received(), new.clean_shutdown))
        cont, _ = self.read_all(new)
        self.reactor.settle()
        self.assertEqual(["EOS"], cont.events)
        self.write(new, b"still")
        self.run_peers()
        self.assertEqual(b"still", bytes(peer.plain))
        old, peer, _ = self.established()
        old.do_io_shutdown(SHUTDOWN_WRITE)
        new = self.moved(old)
        cont = self.write(new, b"x")
        _, got = self.read_all(new)
        peer.write(b"y")
        self.run_peers()
        self.assertEqual((["ERROR"], b"y", "close_notify"), (cont.events[-1:], bytes(got), peer.end))
        self.assertEqual(b"", bytes(peer.plain))

    def test_new_keys(self) -> None:
        """The peer changes its keys after the move, and is understood."""
        if self.version != "TLSv1.3":
            return
        old, peer, _ = self.established()
        new = self.moved(old)
        _, got = self.read_all(new)
        forger = RecordForger(peer)
        peer.sock.send(forger.record(APPLICATION_DATA, b"a") + forger.key_update())
        peer.sock.send(forger.record(APPLICATION_DATA, b"b"))
        self.run_peers()
        self.assertEqual(b"ab", bytes(got))

    def test_hooks(self) -> None:
        """Hooks of the close are told once, by who has the connection then."""
        told: list[Any] = []
        old, _peer, _ = self.established(hooks=hook_set(vconn_close=told.append))
        new = self.moved(old)
        self.assertEqual([], told)
        new.do_io_close()
        self.run_peers()
        self.assertEqual([new], told)

    def test_trace(self) -> None:
        """Who was traced goes on being traced."""
        old, peer, _ = self.established()
        old.set_ssl_trace(True)
        new = self.moved(old)
        self.assertEqual((False, True), (old.get_ssl_trace(), new.get_ssl_trace()))
        self.read_all(new)
        peer.write(b"seen")
        self.run_peers()
        self.assertIn("WIRE TRACE IN 192.0.2.9:4711 bytes=4 seen", self.lines())

    def test_counted_once(self) -> None:
        """The statistics know one connection, whatever it moves through, and each of its records and bytes once."""
        counted = Moved()
        old, peer, _ = self.established(server_policy(self.version, max_record_size=-1))
        for _ in range(3):
            self.write(old, b"x")
            self.run_peers()
            old = self.moved(old)
        old.do_io_close()
        self.run_peers()
        self.assertEqual(
            (1, 3, 3, b"xxx"),
            (counted.connections_closed, counted.default_record_size_count, counted.write_bytes, bytes(peer.plain)),
        )

    def test_records_stay_large(self) -> None:
        """Dynamic record sizes go on where they were."""
        old, peer, _ = self.established(server_policy(self.version, max_record_size=-1))
        self.write(old, bytes(1_100_000))
        self.run_peers()
        new = self.moved(old)
        self.assertGreater(new._sizer.limit(self.handler.now), 16000)
        del peer

    def test_migrate(self) -> None:
        """In one step to another handler, with the class and the engine that it had."""
        old, peer, _ = self.established()
        other, poll = make_handler(self.kind, self.reactor)
        new = old.migrate(other)
        assert new is not None
        self.assertEqual((self.engine_kind, other), (type(new.engine), new.nh))
        self.assertIsInstance(new, SSLNetVConnection)
        _, got = self.read_all(new)
        peer.write(b"x")
        self.run_peers()
        self.assertEqual(b"x", bytes(got))
        new.do_io_close()
        self.run_peers()
        poll.close()

    def test_collected(self) -> None:
        """Nobody knows the old one any more, nor the new one after its end."""
        old, _peer, _ = self.established()
        reference = weakref.ref(old)
        new = self.moved(old)
        del old
        self.assert_collected(reference)
        reference = weakref.ref(new)
        new.do_io_close()
        self.reactor.settle()
        _peer.sock.close()
        self.reactor.settle()
        del new
        self.assert_collected(reference)

    def test_in_the_handshake(self) -> None:
        """Before the handshake is done there is nothing to give away, and the attempt changes nothing."""
        vc, sock = self.accept()
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.client(sock)
        self.assertRaises(LocalError, vc.release)
        peer.pump()
        self.reactor.turn()
        self.assertRaises(LocalError, vc.release)
        self.run_peers()
        self.assertEqual(["READ_COMPLETE"], cont.events)
        self.assertTrue(self.moved(vc).ready)

    def test_from_within_the_handshake(self) -> None:
        """Whoever is told that the handshake is done may move the connection at once, with what came glued to it."""
        vc, sock = self.accept()
        made: list[Any] = []

        def move(_: Any) -> None:
            held = vc.release()
            new = SSLNetVConnection(self.handler)
            new.populate(held, None, held.ssl)
            made.extend(self.read_all(new))

        vc.do_io_read(RecordingContinuation({VC_EVENT_READ_COMPLETE: [move]}), 0, MIOBuffer())
        peer = self.client(sock)
        while not peer.done:
            peer._receive()
            peer._step()
            if peer.done:
                peer.write(b"glued")
            peer._send()
            self.reactor.settle()
        self.run_peers()
        self.assertEqual(b"glued", bytes(made[1]))

    def test_no_fresh_object(self) -> None:
        """An object that is in use takes nothing over, and what is held stays whole."""
        old, peer, _ = self.established()
        used, _, _ = self.established()
        held = old.release()
        self.assertRaises(LocalError, used.populate, held, None, held.ssl)
        new = SSLNetVConnection(self.handler)
        new.populate(held, None, held.ssl)
        self.write(new, b"x")
        self.run_peers()
        self.assertEqual(b"x", bytes(peer.plain))

    def test_cannot_be_watched(self) -> None:
        """Who cannot be watched is still held, whole, for another try."""
        old, peer, _ = self.established()
        held = old.release()
        with mock.patch.object(type(self.poll), "start", side_effect=OSError(28, "no more")):
            self.assertEqual(EVENT_ERROR, SSLNetVConnection(self.handler).populate(held, None, held.ssl))
        new = SSLNetVConnection(self.handler)
        self.assertEqual(EVENT_DONE, new.populate(held, None, held.ssl))
        self.write(new, b"x")
        self.run_peers()
        self.assertEqual(b"x", bytes(peer.plain))

    # Without TLS.

    def test_blind_tunnel(self) -> None:
        """A blind tunnel moves with the hello that nobody has read yet, first and once."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        peer = self.client(sock)
        peer._step()
        hello = bytes(peer.to_send)
        peer.pump()
        self.reactor.settle()
        self.assertIs(Phase.TUNNEL, vc.phase)
        new = self.moved(vc)
        self.assertEqual((TRANSPORT_BLIND_TUNNEL, Phase.TUNNEL), (new.attributes, new.phase))
        cont, got = self.read_all(new)
        self.reactor.settle()
        sock.send(b"more")
        self.reactor.settle()
        self.assertEqual(hello + b"more", bytes(got))
        self.peers.clear()
        del cont

    def test_in_clear(self) -> None:
        """So does a connection that came in clear, half of whose first bytes were read."""
        for nbytes in (0, 3):
            vc, sock = self.accept(prepare=lambda vc: setattr(vc, "not_tls", 2))
            vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
            sock.send(b"GET / HTTP/1.0")
            self.reactor.settle()
            self.assertIs(Phase.PLAIN, vc.phase)
            if nbytes:
                _, reader = self.read(vc, nbytes)
                self.reactor.settle()
                self.assertEqual(b"GET", reader.read())
            new = self.moved(vc)
            self.assertIs(Phase.PLAIN, new.phase)
            _, got = self.read_all(new)
            self.write(new, b"answer")
            self.reactor.settle()
            self.assertEqual((b"GET / HTTP/1.0"[nbytes:], b"answer"), (bytes(got), received(sock)))

    # Of somebody else.

    def foreign(self, *, server: bool) -> tuple[Any, socket.socket, SSL.Connection]:
        """A TLS session between a peer of the tests and somebody over memory, and the socket between them."""
        ours, theirs = unix_pair()
        self.keep(theirs)
        # The context's call-back knows peers of the tests alone.
        connection = SSL.Connection(peer_server_context(self.version) if server else peer_client_context(self.version))
        if server:
            connection.set_accept_state()
            peer = self.client(theirs)
        else:
            connection.set_tlsext_host_name(b"A.example")
            connection.set_connect_state()
            peer = self.server(theirs)
        for _ in range(10):
            try:
                connection.do_handshake()
            except SSL.WantReadError:
                pass
            self.carry(connection, ours)
            peer.pump()
            try:
                connection.bio_write(ours.recv(1 << 16))
            except BlockingIOError:
                pass
            if peer.done and connection.get_peer_finished():
                break
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        return peer, ours, connection

    def carry(self, connection: SSL.Connection, sock: socket.socket) -> None:
        try:
            sock.send(connection.bio_read(1 << 16))
        except SSL.WantReadError:
            pass

    def test_session_of_somebody_else(self) -> None:
        """A session that somebody has made goes on as a connection of ours, with the ciphertext that he had not fed."""
        for server in (True, False):
            peer, ours, connection = self.foreign(server=server)
            self.carry(connection, ours)
            peer.pump()
            peer.write(b"first")
            peer.pump()
            unread = ours.recv(1 << 16)
            vc = self.allocate(server_policy() if server else client_policy())
            held = HeldConnection(ours, ("192.0.2.9", 4711), is_client=not server, unread=unread)
            self.assertEqual(EVENT_DONE, vc.populate(held, None, connection))
            self.assertEqual((self.version, not server), (vc.get_ssl_protocol(), vc.is_client))
            if not server:
                self.assertEqual("a.example", vc.server_name)
            _, got = self.read_all(vc)
            self.reactor.settle()
            self.assertEqual(b"first", bytes(got))
            peer.write(b" second")
            self.write(vc, b"answer")
            self.run_peers()
            self.assertEqual((b"first second", b"answer"), (bytes(got), bytes(peer.plain)))
            vc.do_io_close()
            self.run_peers()
            self.assertEqual("close_notify", peer.end)

    def test_what_he_had_not_read(self) -> None:
        """What he had fed and not read is read by us, though nothing comes any more; and half a record is kept."""
        for whole in (True, False):
            peer, ours, connection = self.foreign(server=True)
            self.carry(connection, ours)
            peer.pump()
            peer.write(b"first")
            ciphertext = bytes(peer.to_send)
            peer.to_send.clear()
            connection.bio_write(ciphertext if whole else ciphertext[:7])
            vc = self.allocate(server_policy())
            vc.populate(HeldConnection(ours), None, connection)
            _, got = self.read_all(vc)
            self.reactor.settle()
            if not whole:
                self.assertEqual(b"", bytes(got))
                peer.sock.send(ciphertext[7:])
                self.reactor.settle()
            self.assertEqual(b"first", bytes(got))

    def test_what_he_had_to_say(self) -> None:
        """What he had encrypted and not sent goes out first, though nobody writes."""
        peer, ours, connection = self.foreign(server=True)
        connection.send(b"his last words")
        vc = SSLNetVConnection(self.handler)
        vc.populate(HeldConnection(ours), None, connection)
        self.run_peers()
        self.assertEqual(b"his last words", bytes(peer.plain))

    def test_session_that_is_none(self) -> None:
        """A session whose handshake is not done, or that reads its socket itself, is not taken over."""
        ours, theirs = unix_pair()
        self.keep(theirs)
        context = peer_client_context(self.version)
        half = SSL.Connection(context)
        half.set_connect_state()
        bound = SSL.Connection(context, ours)
        bound.set_connect_state()
        held = HeldConnection(ours)
        for connection in (half, bound):
            vc = SSLNetVConnection(self.handler)
            self.assertRaises(LocalError, vc.populate, held, None, connection)
            self.assertIs(ours, held.sock)
        held.close()

    def test_first_bytes(self) -> None:
        """A socket from which somebody has read already is a plain connection that begins with those bytes."""
        ours, theirs = unix_pair()
        self.keep(theirs)
        vc = SSLNetVConnection(self.handler)
        vc.populate(HeldConnection(ours, unread=b"what was read"))
        _, got = self.read_all(vc)
        self.reactor.settle()
        theirs.send(b" and what was not")
        self.reactor.settle()
        self.assertEqual(b"what was read and what was not", bytes(got))
        self.assertEqual((None, True), (vc.get_ssl_protocol(), vc.get_ssl_handshake_complete()))

    def test_connection_of_twisteds(self) -> None:
        """So do connections whose TLS an object of Twisted's has set up: its call-backs find the new one."""
        ours, theirs = unix_pair()
        context = peer_server_context(self.version)
        factory = object()
        vc = CreatedNetVConnection(self.handler, server_policy(), lambda _: SSL.Connection(context), factory)
        vc.read.triggered = vc.read.polled = True
        vc.start(ours, ("192.0.2.9", 4711))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        self.handler.queue_read(vc)
        peer = self.client(self.keep(theirs))
        self.run_peers()
        self.assertEqual(["READ_COMPLETE"], cont.events)
        other, poll = make_handler(self.kind, self.reactor)
        new = vc.migrate(other)
        assert isinstance(new, CreatedNetVConnection)
        self.assertIs(factory, new.factory.wrappedFactory)
        self.assertIs(new, new.engine.connection.get_app_data())
        self.write(new, b"x")
        self.run_peers()
        self.assertEqual(b"x", bytes(peer.plain))
        new.do_io_close()
        self.run_peers()
        poll.close()


globals().update(TLSTests.make_test_case_classes())


class HeldTests(SynchronousTestCase):
    """A connection that is nobody's."""

    def test_not_wanted(self) -> None:
        """Who gives it up closes it; the peer sees the end."""
        ours, theirs = unix_pair()
        held = HeldConnection(ours)
        held.close()
        held.close()
        self.assertEqual(b"", theirs.recv(1))
        theirs.close()
