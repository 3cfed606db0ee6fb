"""
Thousands of connections, through every way in which one can end: nothing of them is left.

In rounds: in each every ending is gone through by one connection over TLS 1.2 and one over TLS 1.3, all of them side
by side, over socket pairs and with a clock moved by hand.  When some rounds have filled what is filled once (pools,
caches, OpenSSL's tables), objects, descriptors and memory are counted; and again behind all the others.

What may have grown:

  - Connections: none, not even until Python next looks for cycles.
  - Objects: none of this package's types, nor of OpenSSL's or of sockets; of all other types together fewer than
    L{OBJECTS}, for what the test itself and the interpreter keep, however many connections there are.
  - Descriptors: none.
  - What C libraries, OpenSSL above all, have allocated and not given back: L{ALLOCATED_KIBIBYTES}, of what glibc says
    itself.  A connection that left its TLS state would cost more than ten KiB, one that left 200 bytes is seen in
    C{trial tests}, and one that left 10 with twenty thousand.
  - Memory as the system sees it: L{KIBIBYTES}.  The allocators give back what they like, which is the noise: a MiB or
    two, however many connections there were.

C{ATSTLS_LEAK_CONNECTIONS=20000 trial tests.test_leaks} is the long way; it takes half a minute.
"""

import ctypes
import errno
import gc
import os
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import HandshakeFailed
from atstls.events import VC_EVENT_INACTIVITY_TIMEOUT
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.net.cop import InactivityCop
from atstls.session.protocol import connect_protocol
from atstls.session.splice import empty_pool
from atstls.session.tunnel import TwoWayTunnel
from atstls.ssl.sslvc import NO_HOOKS, SSLNetVConnection
from atstls.tls import alerts
from atstls.tls.engine import CffiEngine
from atstls.tls.hooks import HookSet
from atstls.tls.policy import ClientPolicy, ServerPolicy
from tests.support import RecordingContinuation, reset, tcp_pair, unix_pair, what_descriptors_are
from tests.tlssupport import (
    OTHER_CA,
    VERSIONS,
    OverTLS,
    TLSPeer,
    client_policy,
    hook_set,
    issue,
    server_policy,
)

CONNECTIONS = int(os.environ.get("ATSTLS_LEAK_CONNECTIONS", "1000"))

WARM_ROUNDS = 8

OBJECTS = 100

ALLOCATED_KIBIBYTES = 200

KIBIBYTES = 4096
"""By how much the process may be larger."""

HANDSHAKE_SECONDS = 8
ROUND_SECONDS = 12
"""Behind these everything has had its deadline: of the handshake, of silence, of lingering."""

DATA = bytes(range(256)) * 100

Ending = Generator[None, None, None]
"""What happens to one connection; each yield waits until nobody has anything to do, the last ones for time to go by."""


class _MallInfo(ctypes.Structure):
    """glibc's C{struct mallinfo2}."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def allocated_kibibytes() -> int:
    """What was allocated by C{malloc} and not given back, Python's own small objects left out; 0: it cannot be told."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # not glibc, or an old one
        return 0
    mallinfo.restype = _MallInfo
    info = mallinfo()
    return int((info.uordblks + info.hblkhd) // 1024)


def figures() -> tuple[Counter[str], set[str], int, int]:
    """Objects by the names of their types, descriptors by what they are, KiB that are allocated, KiB of memory."""
    gc.collect()
    objects = Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    kibibytes = pages * os.sysconf("SC_PAGE_SIZE") // 1024
    return objects, set(what_descriptors_are().values()), allocated_kibibytes(), kibibytes


class Echo(Protocol):
    """Sends back what comes."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class LeakTests(OverTLS, SynchronousTestCase):
    """Nothing is left of anybody."""

    kind = "edge"
    engine_kind = CffiEngine
    version = VERSIONS[0]

    if sys.platform != "linux":
        skip = "there is no /proc to look into"

    def setUp(self) -> None:
        empty_pool()
        super().setUp()
        self.addCleanup(empty_pool)
        self.cop = InactivityCop(self.handler, self.reactor)
        self.count = 0
        self.alive: list[weakref.ref[SSLNetVConnection]] = []

    def tearDown(self) -> None:
        empty_pool()
        super().tearDown()

    # Beginning.

    def allocate(self, policy: ServerPolicy | ClientPolicy) -> SSLNetVConnection:
        """As programs do, and not of a class of its own."""
        vc = SSLNetVConnection(self.handler, policy)
        self.alive.append(weakref.ref(vc))
        return vc

    def come(self, hooks: HookSet = NO_HOOKS, **more: Any) -> "tuple[Any, RecordingContinuation, Any]":
        """A connection that a peer made; who is told of it; the peer's socket."""
        self.count += 1
        policy = more.pop("policy", None) or server_policy(self.version, handshake_timeout_seconds=HANDSHAKE_SECONDS)
        vc, sock = self.accept(policy, hooks=hooks, **more)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        return vc, cont, sock

    def opened(self, hooks: HookSet = NO_HOOKS, **more: Any) -> "Generator[None, None, tuple[Any, TLSPeer]]":
        """A connection that a peer made, with its handshake done, and the peer."""
        vc, cont, sock = self.come(hooks, **more)
        peer = self.client(sock)
        yield
        self.assertEqual((["READ_COMPLETE"], True), (cont.events, peer.done))
        return vc, peer

    def told(self, vc: Any) -> RecordingContinuation:
        """Reads on and closes the connection at its end, whatever that is."""
        cont, _ = self.read_all(vc)
        cont.script = {
            **cont.script,
            **dict.fromkeys((3, 104, VC_EVENT_INACTIVITY_TIMEOUT), lambda vio: vio.vc_server.do_io_close()),
        }
        return cont

    def speak(self, vc: Any, peer: TLSPeer) -> Ending:
        """Some bytes each way."""
        _, found = self.read_all(vc)
        before = len(peer.plain)
        peer.write(DATA)
        self.write(vc, DATA)
        yield
        self.assertEqual((DATA, DATA), (bytes(found), bytes(peer.plain[before:])))

    # Ends in order.

    def ending_peer_first(self) -> Ending:
        vc, peer = yield from self.opened()
        yield from self.speak(vc, peer)
        cont = self.told(vc)
        peer.shutdown()
        yield
        self.assertEqual((["EOS"], "close_notify"), (cont.events, peer.end))

    def ending_we_first(self) -> Ending:
        vc, peer = yield from self.opened()
        yield from self.speak(vc, peer)
        vc.do_io_close()
        yield
        self.assertEqual("close_notify", peer.end)
        peer.shutdown()

    def ending_resumed(self) -> Ending:
        vc, peer = yield from self.opened()
        yield from self.speak(vc, peer)
        session = peer.connection.get_session()
        vc.do_io_close()
        yield
        again, cont, sock = self.come()
        self.client(sock, session=session)
        yield
        self.assertEqual((["READ_COMPLETE"], True), (cont.events, again.get_ssl_session_cache_hit()))
        again.do_io_close()

    def ending_protocol(self) -> Ending:
        vc, peer = yield from self.opened()

        connect_protocol(vc, Echo(), self.reactor)
        peer.write(DATA)
        yield
        self.assertEqual(DATA, bytes(peer.plain))
        peer.shutdown()
        yield
        self.assertEqual("close_notify", peer.end)

    def ending_hooked(self) -> Ending:
        """Every hook is asked, and answers by and by."""
        held: list[Any] = []

        def keep(vc: Any) -> Any:
            held.append(vc.park())
            return held[-1]

        points = ("vconn_start", "client_hello", "servername", "cert", "verify_client")
        vc, cont, sock = self.come(hook_set(**dict.fromkeys(points, keep)))
        self.client(sock)
        for number in range(len(points)):
            yield
            self.assertEqual(number + 1, len(held))
            held[-1].reenable()
        yield
        self.assertEqual(["READ_COMPLETE"], cont.events)
        vc.do_io_close()

    # Other ends.

    def ending_aborted(self) -> Ending:
        vc, peer = yield from self.opened(pair=tcp_pair())
        vc.do_io_close(errno.ECONNABORTED)
        yield
        self.assertNotEqual("close_notify", peer.end)

    def ending_reset(self) -> Ending:
        vc, peer = yield from self.opened(pair=tcp_pair())
        cont = self.told(vc)
        reset(peer.sock)
        self.reactor.turn_until(lambda: vc.closed)
        self.assertEqual(1, len(cont.events))

    def ending_cut_off(self) -> Ending:
        vc, peer = yield from self.opened()
        cont = self.told(vc)
        peer.send_fin()
        yield
        self.assertEqual(["EOS"], cont.events)

    def ending_garbage_in_the_middle(self) -> Ending:
        vc, peer = yield from self.opened()
        cont = self.told(vc)
        peer.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_renegotiation(self) -> Ending:
        if self.version != "TLSv1.2":
            return
        vc, peer = yield from self.opened()
        cont = self.told(vc)
        try:
            peer.connection.renegotiate()
            peer.connection.do_handshake()
        except SSL.Error:
            pass
        peer._take()
        yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_silence(self) -> Ending:
        vc, _ = yield from self.opened()
        cont = self.told(vc)
        vc.set_inactivity_timeout(2)
        yield
        while not vc.closed:
            yield
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)

    def ending_peer_does_not_read(self) -> Ending:
        vc, peer = yield from self.opened()
        peer.paused = True
        self.write(vc, DATA * 50)
        yield
        self.assertIsNotNone(vc._unsent)
        vc.do_io_close()
        yield

    # Handshakes that fail.

    def ending_no_hello(self) -> Ending:
        vc, cont, _ = self.come()
        while not vc.closed:
            yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_half_a_hello(self) -> Ending:
        vc, cont, sock = self.come()
        sock.send(b"\x16\x03\x01\x01\x00\x01")
        while not vc.closed:
            yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_left_at_once(self) -> Ending:
        _, cont, sock = self.come()
        sock.close()
        yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_left_after_the_hello(self) -> Ending:
        _, cont, sock = self.come()
        peer = self.client(sock)
        peer.pump()
        peer.pump()
        sock.close()
        yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_garbage(self) -> Ending:
        _, cont, sock = self.come()
        sock.send(b"GET / HTTP/1.0\r\n\r\n")
        yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_no_version_in_common(self) -> Ending:
        other = VERSIONS[1 - VERSIONS.index(self.version)]
        _, cont, sock = self.come(policy=server_policy(other, handshake_timeout_seconds=HANDSHAKE_SECONDS))
        peer = self.client(sock)
        yield
        self.assertEqual((["ERROR"], False), (cont.events, peer.done))

    def ending_not_trusted_by_the_client(self) -> Ending:
        vc, _, sock = self.come()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_verify(SSL.VERIFY_PEER)
        peer = self.client(sock, context=context)
        cont = self.told(vc)
        yield
        self.assertEqual((1, False), (len(cont.events), peer.done))

    def ending_refused(self) -> Ending:
        for point in ("vconn_start", "client_hello", "cert", "verify_client"):
            _, cont, sock = self.come(hook_set(**{point: lambda vc: vc.refuse(alerts.ACCESS_DENIED, "no")}))
            self.client(sock)
            yield
            self.assertEqual(["ERROR"], cont.events)

    # Those that a hook has.

    def ending_parked_and_left(self) -> Ending:
        held: list[Any] = []

        def keep(vc: Any) -> Any:
            held.append(vc.park())
            return held[-1]

        vc, cont, sock = self.come(hook_set(client_hello=keep))
        self.client(sock)
        yield
        sock.close()
        while not vc.closed:
            yield
        self.assertEqual(["ERROR"], cont.events)
        held[0].reenable()
        held[0].reenable(Failure(HandshakeFailed("late", alerts.ACCESS_DENIED)))

    def ending_parked_for_ever(self) -> Ending:
        vc, cont, sock = self.come(hook_set(verify_client=lambda vc: Deferred()))
        self.client(sock)
        while not vc.closed:
            yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_parked_coroutine(self) -> Ending:
        deferred: Deferred[None] = Deferred()

        async def wait(vc: Any) -> None:
            await deferred

        vc, cont, sock = self.come(hook_set(cert=wait))
        self.client(sock)
        while not vc.closed:
            yield
        self.assertEqual(["ERROR"], cont.events)
        # Until then the coroutine's own frame has the connection.
        deferred.callback(None)

    # Tunnels.

    def ending_tunnel(self) -> Ending:
        vc, cont, sock = self.come(hook_set(client_hello=lambda vc: vc.tunnel()))
        peer = self.client(sock)
        yield
        self.assertEqual(["READ_COMPLETE"], cont.events)
        plain, other = self.connection(unix_pair())
        self.count += 1
        origin = self.server(other)
        ended = RecordingContinuation()
        TwoWayTunnel(vc, plain, ended)
        peer.write(DATA) if peer.done else None
        yield
        self.assertTrue(peer.done and origin.done)
        peer.write(DATA)
        origin.write(DATA)
        yield
        self.assertEqual((DATA, DATA), (bytes(peer.plain), bytes(origin.plain)))
        for end in (peer, origin):
            end.shutdown()
            yield
            end.send_fin()
            yield
        self.assertTrue(vc.closed and plain.closed)

    def ending_tunnel_cut(self) -> Ending:
        vc, _, sock = self.come(hook_set(vconn_start=lambda vc: vc.tunnel()), pair=tcp_pair())
        yield
        plain, _ = self.connection(unix_pair())
        self.count += 1
        TwoWayTunnel(vc, plain, RecordingContinuation())
        sock.send(DATA)
        yield
        reset(sock)
        self.reactor.turn_until(lambda: vc.closed and plain.closed)

    def ending_forward(self) -> Ending:
        vc, peer = yield from self.opened()
        plain, origin = self.connection(unix_pair())
        self.count += 1
        TwoWayTunnel(vc, plain, RecordingContinuation())
        peer.write(DATA)
        yield
        self.assertEqual(DATA, origin.recv(1 << 20))
        origin.close()
        yield
        peer.shutdown()
        yield
        self.assertTrue(vc.closed and plain.closed)

    # Connections that we make.

    def go(self, **more: Any) -> "tuple[Any, RecordingContinuation, Any]":
        """A connection that we make; who is told of it; the origin's socket."""
        self.count += 1
        policy = client_policy(self.version, handshake_timeout_seconds=HANDSHAKE_SECONDS)
        vc, sock = self.connect(policy, **more)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        return vc, cont, sock

    def ending_out(self) -> Ending:
        vc, cont, sock = self.go()
        origin = self.server(sock)
        yield
        self.assertEqual(["READ_COMPLETE"], cont.events)
        yield from self.speak(vc, origin)
        vc.do_io_close()
        yield
        self.assertEqual("close_notify", origin.end)

    def ending_out_untrusted(self) -> Ending:
        _, cont, sock = self.go()
        self.server(sock, issue("a.example", ca=OTHER_CA))
        yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_out_wrong_name(self) -> Ending:
        _, cont, sock = self.go(name="c.example")
        self.server(sock)
        yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_out_silent(self) -> Ending:
        vc, cont, _ = self.go()
        while not vc.closed:
            yield
        self.assertEqual(["ERROR"], cont.events)

    def ending_out_left(self) -> Ending:
        _, cont, sock = self.go()
        sock.close()
        yield
        self.assertEqual(["ERROR"], cont.events)

    # The test.

    def quiet(self) -> None:
        """Until nobody has anything to do."""
        waiting = True
        while waiting:
            waiting = bool(self.reactor.turn())
            for peer in self.peers:
                if peer.sock.fileno() >= 0 and peer.pump():
                    waiting = True

    def round(self, endings: list[Callable[["LeakTests"], Ending]]) -> None:
        """Every ending over each version, side by side."""
        running = [(version, ending(self)) for ending in endings for version in VERSIONS]
        seconds = 0
        while running:
            left = []
            for self.version, ending in running:
                try:
                    next(ending)
                except StopIteration:
                    continue
                left.append((self.version, ending))
            running = left
            self.quiet()
            if seconds < ROUND_SECONDS:
                seconds += 1
                self.reactor.turn(1)
                self.cop.patrol()
        for _ in range(ROUND_SECONDS):
            self.reactor.turn(1)
            self.cop.patrol()
        self.quiet()
        self.assertEqual(set(), self.handler.open_list)
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        for peer in self.peers:
            peer.connection.set_app_data(None)
        self.peers.clear()
        self.assertEqual([], self.flush_failures())
        self.logged.clear()
        # Nothing of ours waits for the collector of cycles.
        self.assertEqual([], [vc for vc in (reference() for reference in self.alive) if vc is not None])
        self.alive.clear()

    def test_nothing_grows(self) -> None:
        """Objects, descriptors and memory are after thousands of connections what they were after the first."""
        endings = [value for name, value in sorted(vars(LeakTests).items()) if name.startswith("ending_")]
        for _ in range(WARM_ROUNDS):
            self.round(endings)
        objects, descriptors, allocated, kibibytes = figures()
        self.count = 0
        while self.count < CONNECTIONS:
            self.round(endings)
        objects_then, descriptors_then, allocated_then, kibibytes_then = figures()
        if "ATSTLS_LEAK_CONNECTIONS" in os.environ:
            print(
                f"\n{self.count} connections; objects {objects.total()} -> {objects_then.total()}; "
                f"allocated {allocated} -> {allocated_then} KiB; memory {kibibytes} -> {kibibytes_then} KiB"
            )
        self.assertEqual(set(), descriptors_then - descriptors)
        grown = objects_then - objects
        ours = {name: more for name, more in grown.items() if name.startswith(("atstls.", "OpenSSL.", "socket."))}
        self.assertEqual({}, ours)
        self.assertLess(sum(grown.values()), OBJECTS, grown)
        self.assertLess(allocated_then - allocated, ALLOCATED_KIBIBYTES)
        self.assertLess(kibibytes_then - kibibytes, KIBIBYTES)
