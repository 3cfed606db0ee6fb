"""
The life of a TLS connection, in any order: a L{RuleBasedStateMachine} over peers, hooks, users and time.

A connection of either role, over either poll, engine and version.  Its peer sends its hello in any pieces, and then
what it likes: data, ends, resets, silence, garbage, renegotiations, new keys, forged records.  Its hooks, at any point,
answer at once, later, twice, from the close, wrongly, or never.  Its user reads, writes, changes requests, closes and
shuts down, from outside and from within call-backs.  A clock moves, and the patrol looks who is late.

After each step it is held that

  - every byte reaches exactly one reader, once, in order, in both directions;
  - a request has one end; nobody hears of a connection that is closed, nor of a direction that is shut;
  - who is enabled and triggered is on the ready list, once, and who is on the list is there once;
  - before the handshake's end there is a deadline;
  - hooks are asked in order, once each, one at a time, and nothing of the application moves before the last of them;
  - no bug is logged, no error is left in OpenSSL's queue, and what the kernel does not take is bounded;

when all is quiet, that nobody waits for nothing: what an honest peer and an active user have said has arrived; and at
the end, that the close hooks were told, once, and that nothing is left: no connection in a list, no call, no
descriptor, no object, even if somebody still holds the handle of a hook.

L{EXAMPLES} lives are lived in C{trial tests}; C{ATSTLS_LIVES=5000 trial tests.test_life} lives more of them.
"""

import errno
import os
import random
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import HandshakeFailed
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, SHUTDOWN_READ, SHUTDOWN_READWRITE, SHUTDOWN_WRITE
from atstls.net.cop import InactivityCop
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL
from atstls.ssl.sslvc import LINGER_SECONDS, NOT_TLS_FAILS, NOT_TLS_PLAIN, NOT_TLS_TUNNEL
from atstls.tls import alerts
from atstls.tls.engine import CffiEngine, PublicEngine
from atstls.tls.hooks import PARKED, TERMINATE_OP, Hook, HookPoint, HookSet, ParkedHook
from atstls.tls.phases import Phase
from tests.support import POLL_KINDS, RecordingContinuation, reset, tcp_pair, unix_pair
from tests.tlssupport import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    VERSIONS,
    OverTLS,
    RecordForger,
    TLSPeer,
    client_policy,
    peer_client_context,
    peer_server_context,
    server_policy,
)

EXAMPLES = int(os.environ.get("ATSTLS_LIVES", "80"))

TERMINAL = ("READ_COMPLETE", "WRITE_COMPLETE", "EOS", "ERROR")

HANDSHAKE_SECONDS = 20

POINTS_IN = (
    HookPoint.VCONN_START,
    HookPoint.CLIENT_HELLO,
    HookPoint.SERVERNAME,
    HookPoint.CERT,
    HookPoint.VERIFY_CLIENT,
)
POINTS_OUT = (HookPoint.OUTBOUND_START, HookPoint.VERIFY_SERVER)
"""In the order in which they are asked."""

KIND = ("now", "fired", "inside", "reads", "times")
SLOW = (*KIND, "later", "later", "parked", "deferred", "coroutine")
UNKIND = (*SLOW, "never", "raises", "refuses", "terminates", "tunnels", "closes", "aborts")
"""What hooks do."""

HOOKS = st.one_of(
    *(
        # Often several of one point: they have one walk, in which an answer must not be taken for another's.
        st.lists(st.tuples(st.sampled_from((0, 1, 1, 1, 2, 3, 4)), st.sampled_from(kinds)), max_size=4)
        for kinds in (KIND, SLOW, UNKIND)
    )
)

SELDOM = st.sampled_from((False, False, False, True))
"""Whether something that ends everything is done: too often, and there would be nothing to end."""

ACTIONS = (None, None, None, "close", "abort", "read", "read nothing", "write", "shut read", "shut write", "time")
"""What a continuation does when it is told of something, the first time."""


class NotingPeer(TLSPeer):
    """
    A peer that knows what it has put on the wire.

    @ivar wire: all of it.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.wire = bytearray()

    def put(self, data: bytes) -> int:
        """Put C{data} on the wire, as far as the kernel takes it."""
        try:
            n = self.sock.send(data)
        except OSError:
            return 0
        self.wire += data[:n]
        return n

    def _send(self) -> int:
        if not self.to_send:
            return 0
        n = self.put(bytes(self.to_send[: self.cut(len(self.to_send))]))
        del self.to_send[:n]
        return 1 if n else 0


class ActingContinuation(RecordingContinuation):
    """Does something, once, when it is told something."""

    def __init__(self, act: Callable[[], object] | None) -> None:
        super().__init__()
        self._act = act

    def handle_event(self, event: int, data: Any) -> int:
        result = super().handle_event(event, data)
        act, self._act = self._act, None
        if act is not None:
            act()
        return result


class Life(RuleBasedStateMachine):
    """
    One connection, and everybody who has to do with it.

    @cvar flush_errors: C{flushLoggedErrors} of the test.
    """

    flush_errors: Callable[..., Any] = staticmethod(lambda *kinds: [])

    def __init__(self) -> None:
        super().__init__()
        self.case: Any = None

    @initialize(
        kind=st.sampled_from(POLL_KINDS),
        engine=st.sampled_from((CffiEngine, PublicEngine)),
        version=st.sampled_from(VERSIONS),
        is_client=st.booleans(),
        tcp=st.booleans(),
        narrow=st.booleans(),
        pieces=st.sampled_from(("whole", "small", "any")),
        renegotiates=st.booleans(),
        not_tls=st.sampled_from((NOT_TLS_FAILS, NOT_TLS_TUNNEL, NOT_TLS_PLAIN)),
        default_seconds=st.sampled_from((0, 5)),
        hooks=HOOKS,
        close_hooks=st.lists(st.sampled_from(("now", "answers", "raises", "deferred", "closes")), max_size=2),
        asks=st.booleans(),
        steps=st.sampled_from((0, 3, 300, 300, 300)),
        speaks=st.booleans(),
        glued=st.booleans(),
    )
    def begin(
        self,
        kind: str,
        engine: Any,
        version: str,
        is_client: bool,
        tcp: bool,
        narrow: bool,
        pieces: str,
        renegotiates: bool,
        not_tls: int,
        default_seconds: int,
        hooks: list[tuple[int, str]],
        close_hooks: list[str],
        asks: bool,
        steps: int,
        speaks: bool,
        glued: bool,
    ) -> None:
        attributes = {"kind": kind, "engine_kind": engine, "version": version, "test": lambda self: None}
        self.case = type("Case", (OverTLS, SynchronousTestCase), attributes)("test")
        self.case.setUp()
        self.version, self.is_client, self.tcp = version, is_client, tcp
        self.generator = random.Random(1)
        self.vc: Any = None
        # The user.
        self.readings: list[tuple[RecordingContinuation, Any, int]] = []
        self.writings: list[tuple[RecordingContinuation, Any, bytes]] = []
        self.got = bytearray()
        self.told_at_close = -1
        self.told_at_shut: dict[str, int] = {}
        # The peer.
        self.sent = bytearray()
        self.honest = True
        self.forger: RecordForger | None = None
        # The hooks.
        self.asked: list[tuple[HookPoint, int]] = []
        self.told_of_close: list[int] = []
        self.held: list[Any] = []
        self.outstanding: Any = None
        self.bugs = 0
        self.freed = 0
        self.intact = True

        points = POINTS_OUT if is_client else POINTS_IN
        close = HookPoint.OUTBOUND_CLOSE if is_client else HookPoint.VCONN_CLOSE
        chosen = sorted(((number % len(points), how) for number, how in hooks), key=lambda pair: pair[0])
        self.registered = [(points[number], at) for at, (number, _) in enumerate(chosen)]
        self.close_hooks = len(close_hooks)
        hook_set = HookSet(
            [(points[number], self.hook(points[number], at, how)) for at, (number, how) in enumerate(chosen)]
            + [(close, self.close_hook(at, how)) for at, how in enumerate(close_hooks)]
        )

        pair = tcp_pair(recv_buffer_bytes=4096 if narrow else 0) if tcp else unix_pair()
        if narrow:
            pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        if is_client:
            policy = client_policy(version, handshake_timeout_seconds=HANDSHAKE_SECONDS)
            self.vc, sock = self.case.connect(policy, hooks=hook_set, pair=pair)
            self.peer = NotingPeer(sock, peer_server_context(version), server=True)
        else:

            def prepare(vc: Any) -> None:
                vc.not_tls = not_tls

            served = server_policy(
                version, handshake_timeout_seconds=HANDSHAKE_SECONDS, allow_client_renegotiation=renegotiates
            )
            self.vc, sock = self.case.accept(served, hooks=hook_set, pair=pair, prepare=prepare)
            self.peer = NotingPeer(sock, peer_client_context(version))
        self.vc.on_free = self.count_free
        self.peer.cut = {
            "whole": lambda waiting: waiting,
            "small": lambda waiting: waiting if self.peer.done else self.generator.randint(1, 40),
            "any": lambda waiting: self.generator.randint(1, waiting),
        }[pieces]
        self.cop = InactivityCop(self.case.handler, self.case.reactor, default_inactivity_seconds=default_seconds)
        if asks:
            self.read(0)
        for _ in range(steps):
            busy = self.step()
            if glued and self.peer.done and not self.sent:
                self.peer_says(500)  # behind its last message of the handshake, and in one piece with it
            if not busy:
                break
        if speaks:
            self.read(INT64_MAX)
            self.write(500)
            if self.peer.done and not glued:
                self.peer_says(500)
            self.turn(steps)

    def count_free(self) -> None:
        self.freed += 1

    # Hooks.

    def hook(self, point: HookPoint, number: int, how: str) -> Hook:
        """A hook that takes notes, and does C{how}."""

        def ask(vc: Any) -> Any:
            assert vc is self.vc or self.vc is None
            assert not vc.closed, "a hook is asked of a connection that is closed"
            assert self.outstanding is None, "a hook is asked while another one has the connection"
            self.asked.append((point, number))
            return getattr(self, f"hook_{how}")(vc)

        return ask

    def waits(self, answer: Any) -> Any:
        self.held.append(answer)
        self.outstanding = answer
        return answer

    def hook_now(self, vc: Any) -> Any:
        return None

    def hook_fired(self, vc: Any) -> Any:
        return succeed("anything")

    def hook_later(self, vc: Any) -> Any:
        return self.waits(vc.park())

    def hook_inside(self, vc: Any) -> Any:
        handle = vc.park()
        self.held.append(handle)
        handle.reenable()
        return handle

    def hook_parked(self, vc: Any) -> Any:
        return self.waits(PARKED)

    def hook_deferred(self, vc: Any) -> Any:
        return self.waits(Deferred())

    def hook_coroutine(self, vc: Any) -> Any:
        deferred = self.waits(Deferred())

        async def wait() -> None:
            await deferred

        return wait()

    def hook_never(self, vc: Any) -> Any:
        self.outstanding = Deferred()
        return self.outstanding

    def hook_raises(self, vc: Any) -> Any:
        self.bugs += 1
        raise ZeroDivisionError("a bug of the hook's")

    def hook_refuses(self, vc: Any) -> Any:
        vc.refuse(alerts.ACCESS_DENIED, "refused")

    def hook_terminates(self, vc: Any) -> Any:
        vc.hook_op = TERMINATE_OP

    def hook_tunnels(self, vc: Any) -> Any:
        vc.tunnel()

    def hook_closes(self, vc: Any) -> Any:
        self.close(-1)

    def hook_aborts(self, vc: Any) -> Any:
        self.close(errno.ECONNABORTED)

    def hook_reads(self, vc: Any) -> Any:
        if self.vc is not None:
            self.read(0)

    def hook_times(self, vc: Any) -> Any:
        vc.set_inactivity_timeout(2)

    def close_hook(self, number: int, how: str) -> Hook:
        """A hook of the close, which nobody waits for."""

        def tell(vc: Any) -> Any:
            assert vc.closed
            self.told_of_close.append(number)
            if how == "answers":
                for held in self.held:
                    self.answer(held, None)
            elif how == "raises":
                self.bugs += 1
                raise ZeroDivisionError("a bug of the close hook's")
            elif how == "closes":
                vc.do_io_close()
            elif how == "deferred":
                return Deferred()
            return None

        return tell

    def answer(self, held: Any, failure: Failure | None) -> None:
        """Answer for a hook; late or twice is allowed."""
        waited_for = self.outstanding is held
        if held is PARKED:
            waited_for = self.outstanding is not None
            self.outstanding = None
            self.vc.reenable_hook(failure)
        else:
            if waited_for:
                self.outstanding = None
            if not isinstance(held, Deferred):
                held.reenable(failure)
            elif not held.called:
                held.callback(None) if failure is None else held.errback(failure)
        if waited_for and failure is not None and not failure.check(HandshakeFailed):
            self.bugs += 1

    @rule(which=st.integers(0, 5), how=st.sampled_from(("ok", "ok", "threaded", "refused", "broken")))
    def hook_answers(self, which: int, how: str) -> None:
        if not self.held:
            return
        failure = None
        if how == "threaded" and isinstance(self.held[which % len(self.held)], ParkedHook):
            thread = threading.Thread(target=self.answer, args=(self.held[which % len(self.held)], None))
            thread.start()
            thread.join()
            return
        if how in ("refused", "broken"):
            error = HandshakeFailed("no", alerts.ACCESS_DENIED) if how == "refused" else ZeroDivisionError("a bug")
            failure = Failure(error)
        self.answer(self.held[which % len(self.held)], failure)

    @rule(times=st.integers(1, 5))
    def all_answer_again(self, times: int) -> None:
        """Each hook that was ever asked answers, mostly not for the first time, and what is waited for comes after."""
        for _ in range(times):
            for held in [held for held in self.held if held is not PARKED]:
                self.answer(held, None)
            self.turn(20)
            self.hooks_in_order()

    @rule()
    def somebody_answers(self) -> None:
        """Answers for whichever hook is waited for."""
        self.answer(PARKED, None)

    # The world.

    def step(self) -> int:
        busy: int = self.case.reactor.turn() + self.peer.pump()
        return busy

    def turn(self, turns: int) -> None:
        for _ in range(turns):
            if not self.step():
                break

    @rule(turns=st.sampled_from((1, 2, 3, 10, 100)))
    def turns(self, turns: int) -> None:
        self.turn(turns)

    @rule(seconds=st.integers(1, 8))
    def time_goes_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.case.reactor.turn(1)
            self.cop.patrol()

    @rule()
    def all_is_quiet(self) -> None:
        """Nobody has anything to do any more: then nobody may be waiting for what an honest peer has said."""
        self.intact = False
        self.settle()
        self.intact = True

    def settle(self) -> None:
        self.user_takes()
        quiet = 0
        for _ in range(20000):
            busy = self.step()
            if not self.vc.closed and self.take():
                self.vc.read.vio.reenable()
            quiet = 0 if busy else quiet + 1
            if quiet > 1:
                break
        else:
            raise AssertionError("it goes round and round")
        if self.tcp or not self.honest or self.peer.paused or self.vc.closed:
            return
        vc = self.vc
        if not vc.ready:
            assert self.outstanding is not None, f"the handshake does not go on: {vc.phase}"
            return
        if vc.phase is not Phase.OPEN:
            return
        if self.readings and not vc.read_shut and not vc.read.vio.disabled:
            cont, _, _ = self.readings[-1]
            if vc.read.vio.nbytes == INT64_MAX and not set(TERMINAL) & set(cont.events):
                assert self.got == self.sent, f"{len(self.sent) - len(self.got)} bytes do not arrive"
        if self.writings and not vc.write_shut and not vc.write.vio.disabled:
            cont, reader, data = self.writings[-1]
            if "ERROR" not in cont.events:
                assert not reader.avail, f"{reader.avail} bytes are not sent"
                assert not data or "WRITE_COMPLETE" in cont.events, cont.log
                assert self.peer.plain == self.written(), "what was sent does not arrive"

    # The peer.

    # No preconditions: when a handshake is done depends on keys, and hypothesis wants the same rules at each replay.

    @rule(size=st.integers(1, 30000))
    def peer_sends(self, size: int) -> None:
        if self.peer.done and not self.peer.reason and self.honest:
            self.peer_says(size)

    def peer_says(self, size: int) -> None:
        if self.peer.end == "close_notify" and self.version == "TLSv1.2":
            return  # OpenSSL has none to speak to.
        data = self.generator.randbytes(size)
        try:
            if self.forger is not None:
                for at in range(0, size, 16384):
                    self.peer.to_send += self.forger.record(APPLICATION_DATA, data[at : at + 16384])
            else:
                self.peer.write(data)
        except SSL.Error:
            return
        self.sent += data

    @rule()
    def peer_stalls(self) -> None:
        self.peer.paused = not self.peer.paused

    @rule(really=SELDOM)
    def peer_says_goodbye(self, really: bool) -> None:
        if not really or not self.peer.done:
            return
        if self.forger is not None:
            self.peer.to_send += self.forger.record(ALERT, b"\x01\0")
            self.honest = False
            return
        try:
            self.peer.shutdown()
        except SSL.Error:
            pass

    @rule(how=st.sampled_from(("fin", "close", "reset", "garbage", "clear text", "half a record")), really=SELDOM)
    def peer_misbehaves(self, how: str, really: bool) -> None:
        if not really:
            return
        self.honest = False
        try:
            if how == "fin":
                self.peer.send_fin()
            elif how == "close":
                self.peer.sock.close()
            elif how == "reset":
                if self.tcp and self.peer.sock.fileno() >= 0:
                    reset(self.peer.sock)
                self.peer.sock.close()
            elif how == "garbage":
                self.peer.put(self.generator.randbytes(50))
            elif how == "clear text":
                self.peer.put(b"GET / HTTP/1.0\r\n\r\n")
            else:
                self.peer.put(b"\x17\x03\x03\x40\x00" + bytes(20))
        except OSError:
            pass

    @rule(really=SELDOM)
    def peer_renegotiates(self, really: bool) -> None:
        if not really or not self.peer.done or self.version != "TLSv1.2" or self.forger is not None:
            return
        self.honest = False
        try:
            self.peer.connection.renegotiate()
            self.peer.connection.do_handshake()
        except SSL.Error:
            pass
        self.peer._take()

    @rule(what=st.sampled_from(("new keys", "new keys for both", "nothing", "warning", "fatal", "handshake")))
    def peer_forges(self, what: str) -> None:
        """The test encrypts, so that there are records that OpenSSL would never send; and everything after them."""
        peer = self.peer
        if self.forger is None:
            fresh = peer.done and not (self.sent or peer.to_send or peer.reason or peer.end)
            if self.is_client or not fresh or not self.honest:
                return
            self.forger = RecordForger(peer)
        forger = self.forger
        if what.startswith("new keys"):
            if forger.tls13:
                self.peer.to_send += forger.key_update(what.endswith("both"))
            return
        self.honest = self.honest and what == "nothing"
        self.peer.to_send += {
            "nothing": lambda: forger.record(APPLICATION_DATA, b""),
            "warning": lambda: forger.record(ALERT, b"\x01\x5a"),
            "fatal": lambda: forger.record(ALERT, b"\x02\x50"),
            "handshake": lambda: forger.record(HANDSHAKE, b"\x14\0\0\x01x"),
        }[what]()

    # The user.

    def perform(self, action: str | None) -> Callable[[], object] | None:
        """What a continuation does when it is told."""
        if action is None:
            return None
        return {
            "close": lambda: self.close(-1),
            "abort": lambda: self.close(errno.ECONNABORTED),
            "read": lambda: self.read(INT64_MAX),
            "read nothing": lambda: self.read(0),
            "write": lambda: self.write(500),
            "shut read": lambda: self.shut(SHUTDOWN_READ),
            "shut write": lambda: self.shut(SHUTDOWN_WRITE),
            "time": lambda: self.vc.set_inactivity_timeout(3),
        }[action]

    def take(self) -> int:
        """Read what is in the buffer of the last read."""
        if not self.readings:
            return 0
        data = self.readings[-1][1].read()
        self.got += data
        return len(data)

    def read(self, nbytes: int, index: int = 5, action: str | None = None) -> None:
        self.take()
        if self.vc.read_shut:
            return
        cont = ActingContinuation(self.perform(action))
        buffer = MIOBuffer(index)
        reader = buffer.alloc_reader()
        if self.vc.do_io_read(cont, nbytes, buffer) is not None:
            self.readings.append((cont, reader, nbytes))

    def written(self) -> bytes:
        """What was taken out of the buffers of writes."""
        return b"".join(data[: len(data) - reader.avail] for _, reader, data in self.writings)

    def write(self, size: int, action: str | None = None) -> None:
        if self.vc.write_shut:
            return
        cont = ActingContinuation(self.perform(action))
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        data = self.generator.randbytes(size)
        buffer.write(data)
        if self.vc.do_io_write(cont, size, reader) is not None:
            self.writings.append((cont, reader, data))

    def shut(self, howto: int) -> None:
        self.vc.do_io_shutdown(howto)
        if howto != SHUTDOWN_WRITE and self.vc.read_shut:
            self.told_at_shut.setdefault("read", self.told(self.readings))
        if howto != SHUTDOWN_READ and self.vc.write_shut:
            self.told_at_shut.setdefault("write", self.told(self.writings))

    def close(self, why: int) -> None:
        self.take()
        if not self.vc.closed:
            self.vc.do_io_close(why)
            self.told_at_close = self.told(self.readings) + self.told(self.writings)

    @rule(
        nbytes=st.sampled_from((0, 1, 1000, INT64_MAX)), index=st.sampled_from((0, 5)), action=st.sampled_from(ACTIONS)
    )
    def user_reads(self, nbytes: int, index: int, action: str | None) -> None:
        self.read(nbytes, index, action)

    @rule()
    def user_takes(self) -> None:
        self.take()
        if not self.vc.closed:
            self.vc.read.vio.reenable()

    @rule(size=st.sampled_from((0, 1, 20000, 300000)), action=st.sampled_from(ACTIONS))
    def user_writes(self, size: int, action: str | None) -> None:
        self.write(size, action)

    @rule(
        write=st.booleans(),
        how=st.sampled_from(("done", "finish", "disable", "enable", "reenable", "reenable_re")),
    )
    def user_changes_request(self, write: bool, how: str) -> None:
        if how == "finish" and not write:
            return
        vio = (self.vc.write if write else self.vc.read).vio
        if vio.op:
            getattr(vio, how)()

    @rule(how=st.sampled_from((SHUTDOWN_READ, SHUTDOWN_WRITE, SHUTDOWN_READWRITE, "end_unclean")), really=SELDOM)
    def user_shuts_down(self, how: Any, really: bool) -> None:
        if not really or self.vc.closed:
            return
        if how == "end_unclean":
            self.vc.end_unclean()
            if self.vc.write_shut:
                self.told_at_shut.setdefault("write", self.told(self.writings))
        else:
            self.shut(how)

    @rule(
        what=st.sampled_from(
            ("compact", "trap_write_buffer_empty", "enable_read", "add_to_keep_alive_queue", "add_to_active_queue")
        )
    )
    def user_does(self, what: str) -> None:
        if not self.vc.closed:
            getattr(self.vc, what)()

    @rule(inactive=st.sampled_from((0, 3)), active=st.sampled_from((0, 6)))
    def user_sets_timeouts(self, inactive: int, active: int) -> None:
        if not self.vc.closed:
            self.vc.set_inactivity_timeout(inactive)
            self.vc.set_active_timeout(active)

    @rule(why=st.sampled_from((-1, errno.ECONNABORTED)), really=SELDOM)
    def user_closes(self, why: int, really: bool) -> None:
        if really:
            self.close(why)

    # What always holds.

    @invariant()
    def always(self) -> None:
        if self.case is not None:
            self.intact = False
            self.one_end_for_a_request()
            self.silence_where_nobody_listens()
            self.every_byte_once()
            self.ready_lists()
            self.deadlines()
            self.hooks_in_order()
            self.no_bugs()
            self.intact = True

    @staticmethod
    def told(requests: list[tuple[RecordingContinuation, Any, Any]]) -> int:
        return sum(len(cont.log) for cont, _, _ in requests)

    def one_end_for_a_request(self) -> None:
        for cont, _, _ in (*self.readings, *self.writings):
            ends = [name for name in cont.events if name in TERMINAL]
            assert len(ends) <= 1, cont.log
            if ends and ends[0] != cont.events[-1]:
                assert cont.events[-1].endswith("_TIMEOUT"), cont.log

    def silence_where_nobody_listens(self) -> None:
        if self.told_at_close >= 0:
            assert self.told(self.readings) + self.told(self.writings) == self.told_at_close
        for side, requests in (("read", self.readings), ("write", self.writings)):
            if side in self.told_at_shut:
                assert self.told(requests) == self.told_at_shut[side], f"the {side} side was shut"

    def every_byte_once(self) -> None:
        self.take()
        in_clear = self.vc.attributes == TRANSPORT_BLIND_TUNNEL
        came, said = (self.peer.wire, self.peer.raw) if in_clear else (self.sent, self.peer.plain)
        if self.vc.ready or not self.vc.closed:
            assert came.startswith(self.got), "bytes that came were lost, changed or invented"
        assert self.vc.closed or self.written().startswith(said), "bytes that went were lost, changed or invented"

    def ready_lists(self) -> None:
        vc, handler = self.vc, self.case.handler
        for state, ready in ((vc.read, handler.read_ready), (vc.write, handler.write_ready)):
            assert ready.count(vc) == state.queued, f"{ready.count(vc)} times on the list, and queued is {state.queued}"
            if vc.ready and vc.socket is not None and state.triggered and (state.enabled or state.urgent):
                assert state.queued, f"forgotten: {vc.phase}, {'read' if state is vc.read else 'write'}"
        assert not (handler.read_ready or handler.write_ready) or handler._woken is not None, "nobody wakes the handler"

    def deadlines(self) -> None:
        vc = self.vc
        if vc.socket is None:
            assert vc not in self.case.handler.open_list
            assert vc.phase is Phase.CLOSED and vc.engine is None
        elif vc.phase is Phase.LINGER:
            assert 0 < vc.deadline <= self.case.reactor.seconds() + LINGER_SECONDS
        elif not vc.closed:
            assert vc.ready is (vc.deadline == 0), (vc.phase, vc.deadline)
            assert vc.ready is (vc.phase in (Phase.OPEN, Phase.TUNNEL, Phase.PLAIN)), vc.phase
        else:
            raise AssertionError("closed, and neither freed nor lingering")

    def hooks_in_order(self) -> None:
        assert self.asked == self.registered[: len(self.asked)], "order"
        if self.vc.ready and self.vc.phase is Phase.OPEN:
            assert self.asked == self.registered, "somebody was not asked"
            assert self.outstanding is None, "somebody was not waited for"
        if self.vc.closed:
            assert self.told_of_close == list(range(self.close_hooks)), self.told_of_close
            self.outstanding = None
        else:
            assert not self.told_of_close

    def no_bugs(self) -> None:
        vc = self.vc
        assert vc._unsent is None or vc._unsent_end <= vc._unsent.size
        # Those of hooks are logged when the answer counts, and if it counts.
        failures = [event["log_failure"] for event in self.case.flush_failures()]
        assert all(failure.check(ZeroDivisionError) for failure in failures), self.case.lines()
        assert len(failures) <= self.bugs, self.case.lines()
        assert lib.ERR_peek_error() == 0, "an error was left where the next connection finds it"
        assert vc.recursion == 0
        assert self.freed == (vc.socket is None), self.freed

    def teardown(self) -> None:
        if self.case is None:
            return
        case, self.vc.on_free = self.case, None if self.vc.socket is None else self.vc.on_free
        intact = self.intact
        if intact:
            self.settle()
        self.close(-1)
        if intact:
            self.silence_where_nobody_listens()
            self.hooks_in_order()
        reference = weakref.ref(self.vc)
        self.readings.clear()
        self.writings.clear()
        # The handles stay; what is the user's own, a coroutine with its frame, goes.
        self.held = [held for held in self.held if not isinstance(held, Deferred)]
        self.outstanding = None
        # The peer does not read: the linger has its end all the same.
        for _ in range(int(LINGER_SECONDS) + 1):
            case.reactor.settle()
            case.reactor.turn(1)
            self.cop.patrol()
        if intact:
            assert self.vc.socket is None, "it lingers for ever"
            assert self.freed == 1
        self.vc = None
        self.peer.sock.close()
        try:
            if intact:
                case.tearDown()
        finally:
            case.doCleanups()
            self.case = None
        self.flush_errors(ZeroDivisionError)  # the bugs of hooks, which trial keeps with their frames
        if intact:
            case.assert_collected(reference)


class LifeTests(SynchronousTestCase):
    """Whatever everybody does, in any order."""

    def test_any_order(self) -> None:
        """What always holds, holds."""
        how = settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        life = type("Life", (Life,), {"flush_errors": staticmethod(self.flushLoggedErrors)})
        run_state_machine_as_test(life, settings=how)  # type: ignore[no-untyped-call]
