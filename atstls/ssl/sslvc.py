# -*- test-case-name: tests.test_sslvc -*-
"""
L{SSLNetVConnection}: a connection over TLS, used like any other.

TLS is not a layer above the connection; it is a state machine inside it, entered at two places: the head of
C{net_read_io} and of C{net_write_io}, where C{_prepare} gets on with the handshake until the connection is C{ready}.
After that only C{_pull} and C{_push} differ from those of a plain connection.  The phases, and the moves between
them, are in L{atstls.tls.phases}.

For a connection that a peer made:

  1. START: hooks, before a byte is read.
  2. HELLO: the peer's first message is collected, over any number of segments and records.  OpenSSL has not seen it.
     Whose first byte is no TLS is passed on blindly, or served in clear, where the port is for that (C{not_tls}).
  3. ROUTE: hooks, the route and the certificate; all of it may wait.  A blind tunnel parts here: the bytes that were
     read become the first of the connection, and it is plain TCP from then on.
  4. HANDSHAKE: OpenSSL gets the same bytes, and speaks with the peer.
  5. VERIFY, OPEN: the peer is who we meant; a read of zero bytes completes, and whoever asked for it hands the
     connection to its protocol.

For a connection that we make, START is followed by HANDSHAKE.  The user never learns of any of this, except that a
failure is an ERROR before the first byte.

Ciphertext that the kernel does not take stays with the connection (C{_unsent}); until it is out nothing more is
encrypted, so what a slow peer costs is bounded by one batch.  WRITE_COMPLETE waits for it.  A user who closes the
connection meanwhile is rid of it, and the connection lingers until the rest and the goodbye are out, or its time is
up.

A level (C{triggered}) says that trying again could get somewhere: that the kernel may have more (C{polled}), or that
OpenSSL has ciphertext that it has not met the end of (not C{starved}).  So a request that came in one segment with
the last message of the handshake is served without another word from the kernel (TS-3714).

Source: the seed, whole; behaviour 1.14 to 1.25, and 2.
"""

import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final

from OpenSSL import SSL
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from atstls.errors import (
    AtsTlsError,
    HandshakeFailed,
    HandshakeTimeout,
    LocalError,
    PeerError,
    PeerVanished,
    VerifyFailed,
)
from atstls.events import (
    ENET_SSL_CONNECT_FAILED,
    ENET_SSL_FAILED,
    EVENT_DONE,
    VC_EVENT_ERROR,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_WRITE_COMPLETE,
)
from atstls.eventsystem.iobuffer import IOBufferBlock, IOBufferReader
from atstls.eventsystem.vio import READ, WRITE
from atstls.interfaces import IContinuation, ISSLNetVConnection
from atstls.net.connection import Address
from atstls.net.handler import NetHandler
from atstls.net.migration import HeldConnection, check_can_leave, give_to, take_away
from atstls.net.unixvc import (
    ENDED,
    FAILED,
    PEER_ENDED,
    TRANSPORT_BLIND_TUNNEL,
    WOULD_BLOCK,
    UnixNetVConnection,
)
from atstls.ssl.facts import TLSFacts
from atstls.ssl.migration import FACTS, MOVES_IN, HeldTLS, held_tls
from atstls.ssl.tally import tally_abandoned, tally_failure, tally_reason, tally_success
from atstls.ssl.trace import SSL_TRACE
from atstls.statistics import Counters, counters
from atstls.tls import alerts, engine
from atstls.tls.certificates import UNREADABLE, printable
from atstls.tls.clienthello import ClientHello, HelloReader, HelloState
from atstls.tls.engine import BETWEEN_RECORDS, Engine, client_engine, server_engine
from atstls.tls.hooks import (
    DEFAULT_OP,
    TERMINATE_OP,
    TUNNEL_OP,
    HookPoint,
    HookSet,
    HookWalk,
    ParkedHook,
    tell_hooks,
)
from atstls.tls.nextprotocol import SSLNextProtocolSet
from atstls.tls.phases import MOVES, Move, Phase, moved
from atstls.tls.policy import ClientPolicy, ServerPolicy
from atstls.tls.recordsize import RecordSizer, record_sizer
from atstls.tls.recordtail import RecordTail
from atstls.tls.sessions import OriginSession
from atstls.tls.verify import VerifyPolicy, VerifyProperties, check_peer, judge, verify_words

RECEIVE_BYTES: Final = 64 << 10
"""Ciphertext taken from the kernel at a time.  What finds no room, once it is plaintext, is kept by the engine."""

RECEIVE_MORE_BYTES: Final = 128 << 10
"""The same where there is room for all of it: half as many calls for a stream."""

PACKET_BYTES: Final = 1500
"""What comes in one packet, or nearly: for less than that the kernel need not be told to wait."""

SMALL_PACKET_BYTES: Final = 512
"""What every full packet brings (RFC 9293, 3.7.1: 536)."""

HEEDS_LOW_WATER: Final = sys.platform.startswith("linux")
"""Does the kernel heed SO_RCVLOWAT when it tells of bytes, and tell of the end all the same?  (Linux: tcp_poll().)"""

_NOT_FOLLOWED: Final = RecordTail(known=False)

BATCH_BYTES: Final = 256 << 10
"""Plaintext encrypted before the kernel is asked to take what came of it."""

RECORD_BYTES: Final = 32
"""What a record is charged besides its plaintext, so that a batch of small ones fits the wire as well."""

LINGER_SECONDS: Final = 5.0
"""How long a connection that its user has closed may take to send what it owes (nginx: lingering_timeout, 5 s)."""

DISCARD_BYTES: Final = 1 << 20
"""What a lingering connection reads and throws away, so that a reset does not overtake an alert."""

RENEGOTIATIONS: Final = 3
"""How often a client may renegotiate within L{RENEGOTIATIONS_SECONDS}, where it may (Node.js: CLIENT_RENEG_LIMIT)."""

RENEGOTIATIONS_SECONDS: Final = 600.0
"""(Node.js: CLIENT_RENEG_WINDOW.)"""

NO_HOOKS: Final = HookSet()

_wall_clock = time.time
"""Certificates are dated by it; nothing else here is."""

NOT_TLS_FAILS: Final = 0
NOT_TLS_TUNNEL: Final = 1
NOT_TLS_PLAIN: Final = 2

# What each connection passes through, by names of our own: looking up a member of an Enum takes four times as long.
_START, _HELLO, _HANDSHAKE, _LINGER = Phase.START, Phase.HELLO, Phase.HANDSHAKE, Phase.LINGER
_ACCEPTED, _HELLO_RECEIVED, _CONTEXT_CHOSEN = Move.ACCEPTED, Move.HELLO_RECEIVED, Move.CONTEXT_CHOSEN
_HANDSHAKE_DONE, _PEER_ACCEPTED, _ENDED = Move.HANDSHAKE_DONE, Move.PEER_ACCEPTED, Move.ENDED
_VCONN_START, _CLIENT_HELLO, _SERVERNAME = HookPoint.VCONN_START, HookPoint.CLIENT_HELLO, HookPoint.SERVERNAME
_CERT, _VERIFY_CLIENT, _VCONN_CLOSE = HookPoint.CERT, HookPoint.VERIFY_CLIENT, HookPoint.VCONN_CLOSE
_COMPLETE: Final = HelloState.COMPLETE

_SHAKING_HANDS: Final = (Phase.HELLO, Phase.ROUTE, Phase.HANDSHAKE, Phase.VERIFY)


class SessionRefused(HandshakeFailed):
    """What the client wants to resume must not be: it may shake hands in full, if it is not too late for that."""


@implementer(ISSLNetVConnection)
class SSLNetVConnection(TLSFacts):
    """
    A connection over TLS, made by a peer or by us.

    @ivar policy: what is demanded; a hook may put another in its place before the handshake.
    @ivar phase: where it stands.
    @ivar engine: TLS itself; C{None} before the handshake and in a blind tunnel.
    @ivar hello: what the client said first; C{None} before that and after the handshake.
    @ivar certificate: the context whose certificate is shown; a hook may set it.
    @ivar hook_op: what a hook wants: C{DEFAULT_OP}, C{TUNNEL_OP} or C{TERMINATE_OP}.
    @ivar not_tls: what becomes of a client whose first byte is not TLS's: C{NOT_TLS_FAILS}; C{NOT_TLS_TUNNEL}, a blind
        tunnel; C{NOT_TLS_PLAIN}, the same as others without TLS.
    @ivar offered: the protocols offered by ALPN, in order; C{None}: all that are registered.
    @ivar eos_received: the peer's TLS stream has ended, in whatever way; C{clean_shutdown}: by close_notify.
    """

    __slots__ = (
        "_discarded", "_hello_reader", "_holder", "_lingers", "_low_water", "_origin_session", "_renegotiations",
        "_sizer", "_tail", "_unsent", "_unsent_at", "_unsent_end", "_walk",
        "certificate", "engine", "eos_received", "handshake_began", "handshake_seconds", "hello", "hook_op", "hooks",
        "negotiated_protocol", "next_protocol_set", "not_tls", "npn_endpoint", "offered", "phase", "policy", "refusal",
        "server_name", "session_accept",
    )  # fmt: skip

    _log = Logger()
    says_goodbye = True
    engine_kind: type[Engine] | None = None
    """Which way to call OpenSSL; the tests choose."""

    def __init__(self, nh: NetHandler, policy: ServerPolicy | ClientPolicy | None = None) -> None:
        UnixNetVConnection.__init__(self, nh)  # super() costs more than the call.
        self.ready = False
        self.policy = policy
        self.hooks = NO_HOOKS
        self.phase = _START
        self.engine: Engine | None = None
        self.hello: ClientHello | None = None
        self.certificate: SSL.Context | None = None
        self.hook_op = DEFAULT_OP
        self.not_tls = NOT_TLS_FAILS
        self.refusal: HandshakeFailed | None = None
        self.server_name: str | None = None
        self.offered: tuple[bytes, ...] | None = None
        self.next_protocol_set: SSLNextProtocolSet | None = None
        self.negotiated_protocol: bytes | None = None
        self.npn_endpoint: Any = None
        self.session_accept: Any = None
        self.eos_received = False
        self.handshake_began = 0.0
        self.handshake_seconds = 0.0
        self._hello_reader: HelloReader | None = None
        self._holder: bytearray | None = None
        self._walk: HookWalk | None = None
        self._origin_session: OriginSession | None = None
        self._renegotiations: tuple[float, ...] = ()
        self._sizer: RecordSizer | None = None
        self._tail: RecordTail | None = _NOT_FOLLOWED
        self._low_water = 1
        self._unsent: IOBufferBlock | None = None
        self._unsent_at = self._unsent_end = 0
        self._discarded = 0
        self._lingers = False

    # Beginning.

    def start(self, sock: socket.socket, remote: Address | None = None) -> None:
        """See L{UnixNetVConnection.start}.  The deadline of the handshake begins to run."""
        UnixNetVConnection.start(self, sock, remote)
        self.handshake_began = self.last_activity
        policy = self.policy
        assert policy is not None
        if policy.handshake_timeout_seconds > 0:
            self.deadline = self.handshake_began + policy.handshake_timeout_seconds
        # As client we begin when the kernel says that we are connected, which is when we could write.
        (self.write if self.is_client else self.read).urgent = True

    def populate(
        self, con: HeldConnection, cont: IContinuation | None = None, ssl: HeldTLS | SSL.Connection | None = None
    ) -> int:
        """
        See L{UnixNetVConnection.populate}.

        @param ssl: C{con.ssl} of a connection that was one of these; or a pyOpenSSL connection over memory, whose
            handshake somebody has made and whose peer he has judged, C{con.unread} being ciphertext that it has not
            seen; C{None}: there is no TLS, and C{con.unread} is the first of what the user reads.
        """
        held = held_tls(ssl, self.engine_kind)
        result = give_to(self, con, None)
        if result != EVENT_DONE:
            return result
        self.phase = moved(Phase.START, MOVES_IN[held.phase])
        for name, value in held.facts.items():
            setattr(self, name, value)
        tls = self.engine = held.engine
        self.ready = True
        if tls is None:
            self.attributes = TRANSPORT_BLIND_TUNNEL
            self._holder = bytearray(con.unread) or None
        else:
            tls.connection.set_app_data(self)
            if con.unread:
                tls.feed(con.unread, len(con.unread))
            tls.starved = False  # Whatever it has, the first read finds it.
            if self._sizer is None and self.policy is not None:
                self._sizer = record_sizer(self.policy.max_record_size)
            if held.traced:
                self.set_ssl_trace(True)
            self._send_first(held.unsent)
        if cont is not None:
            self.do_io_read(cont, 0, None)
        return EVENT_DONE

    def _send_first(self, unsent: bytes) -> None:
        """Ciphertext that another owner of this connection has left behind, then what the engine has to say."""
        if unsent:
            wire = self.nh.keep_wire()
            wire.view[: len(unsent)] = unsent
            self._unsent, self._unsent_at, self._unsent_end = wire, 0, len(unsent)
            self.write.urgent = True
            self.nh.queue_write(self)
        else:
            self._flush()

    def release(self) -> HeldConnection:
        """See L{UnixNetVConnection.release}.  Hooks of the close are told by whoever has the connection then."""
        check_can_leave(self)
        self._wait_for(1)
        unsent = b""
        if self._unsent is not None:
            unsent = bytes(self._unsent.view[self._unsent_at : self._unsent_end])
            self._drop_unsent()
        facts = {name: getattr(self, name) for name in FACTS}
        ssl = HeldTLS(self.engine, self.phase, unsent, facts, self.get_ssl_trace())
        holder, self.hooks, self._sizer, self._origin_session = self._holder, NO_HOOKS, None, None
        held = take_away(self, ssl)
        counters.connections_closed -= 1  # It goes on.
        held.unread = bytes(holder or b"")
        return held

    def _prepare(self) -> bool:
        """Get on with what comes before the first byte of the application.  True: it is done."""
        walk = self._walk
        if walk is not None:
            if walk.waiting:
                return False
            walk.go_on()
        elif self.phase is _HANDSHAKE:
            if self._hear():
                self._shake_hands()
        elif self.phase is _HELLO:
            self._collect_hello()
        elif self.phase is _START:
            self._begin()
        elif self.phase is _LINGER:
            self._discard()
        return self.ready

    def _move(self, move: Move) -> None:
        phase = MOVES.get((self.phase, move))
        self.phase = moved(self.phase, move) if phase is None else phase

    def _begin(self) -> None:
        if self.is_client:
            if self._connected():
                self.read.urgent = True
                self._ask_hooks(HookPoint.OUTBOUND_START, self._begin_as_client)
        else:
            self._ask_hooks(_VCONN_START, self._begin_as_server)

    def _begin_as_server(self) -> None:
        if self.hook_op == TUNNEL_OP:
            self._become_tunnel(bytearray())
            return
        self._move(_ACCEPTED)
        counters.total_attempts_handshake_count_in += 1
        self._hello_reader = HelloReader()
        self._await_hello()

    def _await_hello(self) -> None:
        """Nothing was read yet: most clients speak a moment after they were let in, and the kernel says when."""
        if self.read.polled:
            self._collect_hello()
        else:
            self._rest(self.read)

    def _begin_as_client(self) -> None:
        policy = self.policy
        assert isinstance(policy, ClientPolicy)
        self._move(Move.CONNECTED)
        counters.total_attempts_handshake_count_out += 1
        name = self.server_name
        try:
            self.engine = client_engine(policy.context, name, self, self.engine_kind)
        except HandshakeFailed as exc:
            self._fail(exc)
            return
        if (self.options is not None and self.options.origin_trace is not None) or self.get_arg(SSL_TRACE):
            self._begin_trace()
        if policy.sessions is not None:
            self._origin_session = policy.sessions.offer(self._session_key(policy), self.engine, self.nh.seconds())
        self._shake_hands()

    def _session_key(self, policy: ClientPolicy) -> Hashable:
        """All that a session of this connection depends on; see L{atstls.tls.sessions}."""
        address = self.get_remote_addr()
        return (policy.context, policy.verify, policy.properties, self.server_name, self._meant(), address)

    # Hooks.

    def _ask_hooks(self, point: HookPoint, then: Any) -> None:
        hooks = self.hooks.by_point.get(point)
        if hooks is None:
            then()
            return

        def done(failure: Failure | None) -> None:
            self._walk = None
            if self.closed:
                return
            if failure is None and self.hook_op != TERMINATE_OP:
                self.read.urgent = True
                then()
            else:
                self._fail(self._refusal_of(failure, point))

        self._walk = HookWalk(self, point, hooks, self._hook_answered, done)
        self._walk.go_on()
        if self._walk is not None:
            # Parked: neither direction is served until the answer comes, but for what the kernel has not taken yet.
            self.read.urgent = False
            self.write.urgent = self._unsent is not None

    def _ask_no_more(self) -> None:
        """The connection is closed: a hook that has it is not waited for, and those of the close are told, once."""
        if self._walk is not None:
            self._walk.forget()
            self._walk = None
        by_point, self.hooks = self.hooks.by_point, NO_HOOKS
        point = HookPoint.OUTBOUND_CLOSE if self.is_client else _VCONN_CLOSE
        hooks = by_point.get(point)
        if hooks is not None:
            tell_hooks(self, hooks, lambda failure: self._hook_broke(failure, point))

    def _hook_broke(self, failure: Failure, point: HookPoint) -> None:
        self._log.failure("the {point} hook failed for {peer}", failure, point=point.value, peer=self.peer_name())

    def _refusal_of(self, failure: Failure | None, point: HookPoint) -> AtsTlsError:
        if self.refusal is not None:
            return self.refusal
        if failure is None:
            return HandshakeFailed("refused by a hook", alerts.HANDSHAKE_FAILURE)
        if isinstance(failure.value, AtsTlsError):
            return failure.value
        self._hook_broke(failure, point)
        return HandshakeFailed(f"the {point.value} hook failed", alerts.INTERNAL_ERROR)

    def _hook_answered(self) -> None:
        if self.socket is None or self.closed:
            return
        state = self.read
        state.urgent = state.triggered = True
        self.nh.queue_read(self)

    def reenable_hook(self, failure: Failure | None = None) -> None:
        """
        Answer for the hook that is waited for, which returned L{PARKED<atstls.tls.hooks.PARKED>}.  From any thread;
        when none is waited for: harmless.  A hook that is not alone answers by what L{park} gave it.

        @param failure: refuse the connection.
        """
        walk = self._walk
        if walk is not None:
            _in_thread_of(self.nh, walk.reenable, failure)

    def park(self) -> ParkedHook:
        """
        For a hook: keep the connection, and answer later.

        @return: what the hook returns, and whose C{reenable()} is the answer, from any thread.
        @raise LocalError: no hook is being asked.
        """
        if self._walk is None:
            raise LocalError("only a hook that is being asked can keep the connection")
        return self._walk.park(partial(_in_thread_of, self.nh))

    def tunnel(self) -> None:
        """For a hook: pass the connection on as it came, untouched, the hello first.  A refusal stands."""
        if self.hook_op != TERMINATE_OP:
            self.hook_op = TUNNEL_OP

    def set_ssl_handshake_complete(self, complete: bool) -> None:
        """
        Before the first byte was answered: let there be no handshake, but a blind tunnel (seed:
        C{setSSLHandShakeComplete}).

        @param complete: False changes nothing.
        @raise LocalError: it is too late.
        """
        if complete and not self.ready:
            if self.phase not in (Phase.START, Phase.HELLO, Phase.ROUTE):
                raise LocalError("the handshake has begun, and cannot be left out any more")
            self.tunnel()

    def refuse(self, alert: int, reason: str) -> None:
        """For a hook: end the handshake with C{alert}; C{reason} is for our log.  No hook behind it is asked."""
        self.hook_op = TERMINATE_OP
        self.refusal = HandshakeFailed(reason, alert)

    def called_hooks(self, point: HookPoint) -> bool:
        """Is C{point} the one whose hooks are being asked?"""
        return self._walk is not None and self._walk.point is point

    # The hello.

    def _receive(self) -> int:
        """Ciphertext from the kernel into the shared wire: the bytes, or what C{_pull} returns."""
        state = self.read
        if not state.polled:
            state.triggered = False
            return WOULD_BLOCK
        try:
            n = self.socket.recv_into(self.nh.wire.memory, RECEIVE_BYTES)
        except BlockingIOError:
            counters.calls_to_read_nodata += 1
            self._rest(state)
            return WOULD_BLOCK
        except OSError as exc:
            return self._read_failed(exc)
        if not n:
            return ENDED
        if n < RECEIVE_BYTES and not self.read_hup:
            state.polled = state.triggered = False
            rest = self.nh.rest
            if rest is not None:
                rest(self, state)
        return n

    def _collect_hello(self) -> None:
        n = self._receive()
        if n <= 0:
            if n != WOULD_BLOCK:
                self._fail(self._vanished("the client left before it said what it wants", n))
            return
        reader = self._hello_reader
        assert reader is not None
        state = reader.feed(self.nh.wire.view[:n])
        if state is _COMPLETE:
            assert reader.hello is not None
            self.hello = reader.hello
            self.server_name = reader.hello.server_name
            self._move(_HELLO_RECEIVED)
            self._ask_hooks(_CLIENT_HELLO, self._hello_known)
        elif state is HelloState.NEED_MORE:
            if self.read.triggered:
                self.nh.queue_read(self)
        elif state is HelloState.TOO_LARGE:
            assert reader.error is not None
            self._fail(reader.error)
        elif state is HelloState.NOT_TLS and self.not_tls != NOT_TLS_FAILS:
            self._become_tunnel(reader.raw, Move.TUNNEL_CHOSEN if self.not_tls == NOT_TLS_TUNNEL else Move.CLEAR_TEXT)
        else:
            # OpenSSL knows best what to answer to what is not TLS, or not right.
            self._move(Move.HELLO_UNREADABLE)
            self._open_engine()
            self._shake_hands()

    def _vanished(self, reason: str, result: int) -> AtsTlsError:
        error = self.error
        if isinstance(error, PeerVanished) or result == ENDED:
            return PeerVanished(reason)
        return PeerError(f"{reason}: {error}")

    def _hello_known(self) -> None:
        if self.hook_op == TUNNEL_OP:
            self._tunnel_with_hello()
        else:
            self._ask_hooks(_SERVERNAME, self._choose_certificate)

    def _tunnel_with_hello(self) -> None:
        assert self._hello_reader is not None
        self._become_tunnel(self._hello_reader.raw)

    def _choose_certificate(self) -> None:
        policy = self.policy
        hello = self.hello
        assert isinstance(policy, ServerPolicy) and hello is not None
        if self.hook_op == TUNNEL_OP:
            self._tunnel_with_hello()
            return
        if self.certificate is None:
            table = policy.certificates
            found = table.find_by_name(self.server_name)
            if found is None and not (policy.strict_server_name and self.server_name):
                address = self.certificate_addr()
                found = table.find_by_address(address if isinstance(address, tuple) else None) or table.default
            if found is None:
                reason = f"no certificate for {self.server_name or 'a client that sends no name'}"
                self._fail(HandshakeFailed(reason, alerts.UNRECOGNIZED_NAME))
                return
            self.certificate = found
        if hello.alpn and self._select_protocol(hello.alpn) is None and self._protocols():
            offered = ", ".join(printable(name.decode("latin-1")) for name in hello.alpn[:8])
            self._fail(HandshakeFailed(f"no protocol in common with {offered}", alerts.NO_APPLICATION_PROTOCOL))
            return
        self._ask_hooks(_CERT, self._certificate_chosen)

    def certificate_addr(self) -> Address | None:
        """Where the client has connected to, for a certificate that is for an address."""
        return self.get_local_addr()

    def _certificate_chosen(self) -> None:
        if self.hook_op == TUNNEL_OP:
            self._tunnel_with_hello()
            return
        self._move(_CONTEXT_CHOSEN)
        self._open_engine()
        self._shake_hands()

    def ssl_context_set(self, context: SSL.Context) -> bool:
        """
        Show the certificate of C{context}.

        @return: False when it is too late: the handshake has begun.
        """
        if self.engine is not None or self.phase not in (Phase.START, Phase.HELLO, Phase.ROUTE):
            return False
        self.certificate = context
        return True

    def _open_engine(self) -> None:
        policy = self.policy
        reader = self._hello_reader
        assert isinstance(policy, ServerPolicy) and reader is not None
        front = policy.front if policy.renewal is None else policy.renewal.at(self.nh.now)
        self.engine = server_engine(front, self.certificate, self, self.engine_kind)
        if policy.wire_trace is not None or (self.args is not None and SSL_TRACE in self.args):
            self._begin_trace()
        if policy.tickets is not None and self.certificate not in policy.tickets:
            self.engine.connection.set_options(SSL.OP_NO_TICKET)
        self.engine.feed(reader.raw, len(reader.raw))
        counters.total_handshake_bytes_read_in += len(reader.raw)

    def _engine_anew(self, tls: Engine) -> Engine | None:
        """
        The client wants to resume what must not be resumed: have it shake hands in full.

        @return: the engine for that; C{None}: it is too late, or its hello is refused for the second time.
        """
        if not isinstance(self.refusal, SessionRefused) or self._hello_reader is None:
            return None
        tls.forget_session()
        self.refusal = None
        counters.total_handshake_bytes_read_in -= len(self._hello_reader.raw)  # It is the same hello.
        self._open_engine()
        self._hello_reader = None
        # The cache has forgotten it; tickets, which are kept by clients, are not looked at now.
        tls = self.engine  # type: ignore[assignment]  # it was made just now
        tls.connection.set_options(SSL.OP_NO_TICKET)
        return tls

    # ALPN.

    def register_next_protocol_set(self, protocols: SSLNextProtocolSet) -> None:
        """Offer C{protocols} (seed: C{registerNextProtocolSet}).  Once for a connection."""
        assert self.next_protocol_set is None, "a connection has one set of protocols"
        self.next_protocol_set = protocols

    def _protocols(self) -> tuple[bytes, ...]:
        if self.offered is not None:
            return self.offered
        return self.next_protocol_set.names if self.next_protocol_set is not None else ()

    def _select_protocol(self, theirs: Any) -> bytes | None:
        for name in self._protocols():
            if name in theirs:
                return name
        return None

    def endpoint(self) -> Any:
        """See L{ISSLNetVConnection.endpoint}."""
        return self.npn_endpoint

    # The handshake.

    def _shake_hands(self) -> None:
        tls = self.engine
        assert tls is not None
        while True:
            result = tls.handshake()
            if result >= 0 and self.hello is None and not self.is_client:
                # OpenSSL can read what we cannot: then nobody has decided whether this client may come in.
                self.refusal = HandshakeFailed("the ClientHello breaks the rules", alerts.DECODE_ERROR)
            elif result < 0 and tls.reason == engine.NO_SESSION_ID_CONTEXT:
                # Somebody's own context, where certificates of clients are asked for: OpenSSL fails who comes back.
                self.refusal = SessionRefused(tls.reason, alerts.INTERNAL_ERROR)
            if self.refusal is not None:
                anew = self._engine_anew(tls)
                if anew is not None:
                    tls = anew
                    continue
                self.engine = None  # with all that it would have said
                self._fail(self.refusal)
                return
            self._hello_reader = None
            if result == engine.DONE:
                tls.settled()
                unread = tls.unread()
                if unread is not None:
                    self._tail = RecordTail.after(unread)
                # Over TLS 1.3 what is left to say are tickets: with the answer, when the question came along already.
                if self.is_client or tls.answers or not unread:
                    self._flush()
                self._move(_HANDSHAKE_DONE)
                self._verify()
                return
            flushed = self._flush()
            if result < 0:
                self._fail(self._handshake_error(tls))
                return
            if not flushed and self._unsent is None:
                self._fail(self._vanished("the peer left during the handshake", ENDED))
                return
            if not self._hear():
                return

    def _hear(self) -> bool:
        """Give OpenSSL what the peer says during the handshake.  False: nothing, for now or, if it has left, ever."""
        n = self._receive()
        if n > 0:
            assert self.engine is not None
            counters.total_handshake_bytes_read_in += n
            self.engine.feed_block(self.nh.wire, n)
            return True
        if n < 0:
            self._fail(self._vanished("the peer left during the handshake", n))
        return False

    def _handshake_error(self, tls: Engine) -> AtsTlsError:
        if "certificate verify failed" in tls.reason:
            why = f": {verify_words(tls.verify_result)}" if tls.verify_result else ""
            return VerifyFailed(f"the certificate was not accepted{why}")
        return HandshakeFailed(tls.reason)

    def _verify(self) -> None:
        """OpenSSL is content.  Are we?"""
        tls, policy = self.engine, self.policy
        assert tls is not None
        if isinstance(policy, ClientPolicy):
            error = self._judge(tls, policy)
            if error is not None:
                tls.shutdown()
                self._flush()
                self._fail(error)
                return
            point = HookPoint.VERIFY_SERVER
        else:
            point = _VERIFY_CLIENT
        self._ask_hooks(point, self._open)

    def _judge(self, tls: Engine, policy: ClientPolicy) -> VerifyFailed | None:
        if policy.verify is VerifyPolicy.DISABLED:
            return None
        wrong_chain = verify_words(tls.verify_result) if tls.verify_result else None
        wrong_name = None
        expected = self._meant()
        if VerifyProperties.NAME in policy.properties:
            try:
                if expected is None:
                    raise VerifyFailed("there is no name to look for in the certificate")
                check_peer(tls.connection, expected)
            except VerifyFailed as exc:
                wrong_name = str(exc)
        verdict = judge(policy.verify, policy.properties, wrong_chain, wrong_name)
        if verdict.accept:
            if verdict.warning:
                self._log.warn(
                    "the origin {peer} is not who we meant: {reason}; going on, as its policy is PERMISSIVE",
                    peer=self.peer_name(), reason=verdict.warning,
                )  # fmt: skip
            return None
        return VerifyFailed(verdict.warning or "not the peer that we meant")

    def _meant(self) -> str | None:
        """As client: the name, or the address, that has to be in the certificate."""
        return (self.options.sni_servername if self.options else None) or self.server_name

    def _open(self) -> None:
        """The handshake is done and the peer is accepted: tell whoever waited for that, once."""
        tls, policy = self.engine, self.policy
        assert tls is not None and policy is not None
        self._move(_PEER_ACCEPTED)
        if self.is_client:
            self.negotiated_protocol = tls.connection.get_alpn_proto_negotiated() or None
            if self._origin_session is not None:
                self._origin_session.opened(tls, self.nh.seconds(), _seconds_left(tls.connection))
        if self.negotiated_protocol is not None and self.next_protocol_set is not None:
            self.npn_endpoint = self.next_protocol_set.find_endpoint(self.negotiated_protocol)
        self._sizer = record_sizer(policy.max_record_size)
        self.handshake_seconds = self.nh.seconds() - self.handshake_began
        tally_success(tls, self.is_client, self.handshake_seconds, self.hello)
        self.hello = None
        self._settle()
        # What came in one piece with the last message of the handshake is in the engine: let the first read look.
        tls.starved = False
        self._tell_established()

    def _settle(self) -> None:
        self.ready = True
        self.deadline = 0.0
        self.last_activity = self.nh.now
        self.read.urgent = False
        self.read.triggered = True
        if self.write_shut:
            self._end_writing()

    def _tell_established(self) -> None:
        """Requests of no bytes are done; others go on."""
        state = self.read
        if state.op == READ and state.nbytes == 0 and state.cont is not None and state.writer is not None:
            if not self.signal_done(VC_EVENT_READ_COMPLETE, state):
                return
        elif state.enabled and state.triggered:
            self.nh.queue_read(self)
        state = self.write
        if state.op == WRITE and state.nbytes == 0 and state.cont is not None and state.writer is not None:
            self.signal_done(VC_EVENT_WRITE_COMPLETE, state)
        elif state.enabled and state.triggered:
            self.nh.queue_write(self)

    # Failure.

    def _fail(self, error: AtsTlsError) -> None:
        """The handshake came to nothing: the alert, one line in the log, and ERROR for the user."""
        session, self._origin_session = self._origin_session, None
        if session is not None:
            session.failed()
        alert = error.alert if isinstance(error, PeerError) else None
        if alert is not None and self.engine is None:
            self._send_alert(alert)
        if self.phase is not _START:
            tally_failure(error, self.is_client)
        self._move(Move.REFUSED)
        self._lingers = not isinstance(error, (PeerVanished, HandshakeTimeout))
        self.ready = False
        self.deadline = 0.0
        self.read.urgent = False
        lerrno = getattr(error, "lerrno", ENET_SSL_FAILED)
        if lerrno == ENET_SSL_FAILED and self.is_client:
            lerrno = ENET_SSL_CONNECT_FAILED
        if self.is_client:
            self._log.warn(
                "handshake with origin {peer} for {name} failed: {reason}",
                peer=self.peer_name(), name=self.server_name or "no name", reason=str(error), vc=self,
            )  # fmt: skip
        else:
            self._log.info(
                "handshake of {peer} for {name} failed: {reason}",
                peer=self.peer_name(), name=self.server_name or "no name", reason=str(error), vc=self,
            )  # fmt: skip
        if self.get_ssl_trace():
            self.wire_said(f"handshake failed: {error}")
        self.lerrno, self.error = lerrno, error
        for state in (self.read, self.write):
            if state.cont is not None:
                self.signal_done(VC_EVENT_ERROR, state)
                if not self.closed:
                    self.do_io_close()
                return
        self.do_io_close()

    def _send_alert(self, alert: int) -> None:
        """An alert in clear: nothing else was sent."""
        if self._unsent is None:
            record = alerts.alert_record(alert)
            wire = self.nh.wire
            wire.view[: len(record)] = record
            self._send_wire(len(record))

    def deadline_passed(self) -> None:
        """The handshake lasted too long, or the goodbye did."""
        if self.closed:
            self.free()
            return
        seconds = self.policy.handshake_timeout_seconds if self.policy is not None else 0
        where = f"in the phase {self.phase.value!r}" + (
            f", waiting for a {self._walk.point.value} hook" if self._walk is not None else ""
        )
        self._fail(HandshakeTimeout(f"not done after {seconds:g} s, {where}"))

    # Blind tunnel.

    def get_transparent_pass_through(self) -> bool:
        """Is a client whose first byte is not TLS's passed on blindly (seed: C{getTransparentPassThrough})?"""
        return self.not_tls == NOT_TLS_TUNNEL

    def set_transparent_pass_through(self, wanted: bool) -> None:
        """Say so, before its first byte was read."""
        self.not_tls = NOT_TLS_TUNNEL if wanted else NOT_TLS_FAILS

    def _become_tunnel(self, holder: bytearray, move: Move = Move.TUNNEL_CHOSEN) -> None:
        """From here on plain TCP; C{holder} comes first."""
        if self.phase is not _START:
            counters.total_tunnelled_handshake_count_in += 1
        self._move(move)
        self.attributes = TRANSPORT_BLIND_TUNNEL
        self._holder = holder or None
        self._hello_reader = None
        self.hello = None
        self._settle()
        self._tell_established()

    # Bytes.

    def _pull(self, block: IOBufferBlock, limit: int) -> int:
        """Up to C{limit} bytes of plaintext to C{block.end}; the block is not changed otherwise."""
        tls = self.engine
        if tls is None:
            return super()._pull(block, limit) if self._holder is None else self._pull_holder(block, limit)
        state = self.read
        if tls.starved:
            # _receive(), in place: this is done for every piece of every stream.
            if not state.polled:
                state.triggered = False
                return WOULD_BLOCK
            if self.read_ended:
                return self._cut_off()
            nh = self.nh
            wire = nh.wire
            size = RECEIVE_MORE_BYTES if limit > RECEIVE_MORE_BYTES < block.size - block.end else RECEIVE_BYTES
            try:
                n = self.socket.recv_into(wire.memory, size)
            except BlockingIOError:
                counters.calls_to_read_nodata += 1
                self._rest(state)
                return WOULD_BLOCK
            except OSError as exc:
                return self._read_failed(exc)
            if not n:
                return self._cut_off()
            if n < size:
                if not self.read_hup:
                    state.polled = False
                    rest = nh.rest
                    if rest is not None:
                        rest(self, state)
                elif self.read_hup == PEER_ENDED:
                    self.read_ended = True
            tls.unanswered += n
            got = tls.receive(wire, n, block, limit)
            if tls.starved != BETWEEN_RECORDS:
                if not tls.condition:  # else there is no record any more
                    self._follow(n, n < size)
            elif self._tail is not None:
                self._tail = None
                self._wait_for(1)
        else:
            got = tls.receive(None, 0, block, limit)
        state.triggered = state.polled or not tls.starved
        if got:
            if tls.bulky:
                self.bulky = True
            if tls.answers or tls.unanswered > RECEIVE_BYTES:
                self._answer(tls)
                state.triggered = state.polled or not tls.starved
            return got
        if tls.condition == engine.OPEN:
            self._answer(tls)
            if tls.condition == engine.OPEN:
                return WOULD_BLOCK
        if tls.condition == engine.CLOSED:
            if not self.eos_received:
                counters.ssl_error_zero_return += 1
            self.eos_received = True
            self.clean_shutdown = True
            return ENDED
        self._flush()  # The alert that says why.
        if self.lerrno != ENET_SSL_FAILED:
            tally_reason(tls.reason, self.is_client)
        self.lerrno = ENET_SSL_FAILED
        self.error = PeerError(tls.reason)
        return FAILED

    def _follow(self, count: int, last: bool) -> None:
        """
        C{count} bytes of the wire, at the end of which there may be a part of a record.

        @param last: the kernel has no more for now: it is asked to keep quiet until it has the rest of that record.
        """
        tail = self._tail
        if tail is None:
            tail = self._tail = RecordTail()
        missing = tail.follow(self.nh.wire.memory, count)
        if last:
            # Who sends bit by bit needs to be read so: the kernel acknowledges at once what is read, or a full packet.
            self._wait_for(missing if missing > PACKET_BYTES and count >= SMALL_PACKET_BYTES else 1)

    def _wait_for(self, count: int) -> None:
        """The kernel says nothing of less than C{count} bytes, but of the end."""
        if count != self._low_water and HEEDS_LOW_WATER:
            self._low_water = count
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def _cut_off(self) -> int:
        """The peer's TCP stream ended, and TLS did not: an end, but not a clean one (O49)."""
        if self.get_ssl_trace():
            self.wire_said("the peer ended without close_notify")
        self.eos_received = True
        self.clean_shutdown = False
        counters.ssl_error_read_eos += 1
        return ENDED

    def _read_failed(self, exc: OSError) -> int:
        result = super()._read_failed(exc)
        if self.ready and self.engine is not None:
            counters.ssl_error_syscall += 1
            self.eos_received = self.eos_received or result == ENDED
        return result

    def _write_failed(self, exc: OSError) -> int:
        if self.ready and self.engine is not None:
            counters.ssl_error_syscall += 1
        return super()._write_failed(exc)

    def _answer(self, tls: Engine) -> None:
        """
        Reading may have left something to say.  It goes out, or behind what the kernel has not taken yet.

        Over TLS 1.2 that is the refusal of a renegotiation, and the end of a connection that is not worth its
        cost; or, where it is allowed, our part of it, at once, and whether or not the user has anything to say.  Over
        TLS 1.3 it is new keys, as often as the peer likes; until it asks for more than it reads.
        """
        tls.unanswered = 0
        if tls.writing_waits:
            tls.writing_waits = False
            state = self.write
            state.triggered = state.polled
            if state.enabled and state.triggered:
                self.nh.queue_write(self)
        wire = self.nh.wire
        n = tls.drain(wire)
        if not n:
            return
        kept, end = self._unsent, self._unsent_end
        if kept is None:
            self._send_wire(n)
        elif end + n <= kept.size:
            kept.view[end : end + n] = wire.view[:n]
            self._unsent_end = end + n
        else:
            tls.give_up("the peer asks for answers that it does not read")
        policy = self.policy
        if isinstance(policy, ServerPolicy) and policy.allow_client_renegotiation:
            if len(self._renegotiations) > RENEGOTIATIONS:
                self._log.warn(
                    "{peer} asked to renegotiate more than {times} times in {seconds:g} s: the connection ends",
                    peer=self.peer_name(), times=RENEGOTIATIONS, seconds=RENEGOTIATIONS_SECONDS, vc=self,
                )  # fmt: skip
                tls.give_up(engine.RENEGOTIATED_TOO_OFTEN)
            return
        if tls.answers and not self.write_shut:
            tls.give_up(engine.RENEGOTIATION_REFUSED)

    def _begins_anew(self) -> None:
        """The client renegotiates.  (OpenSSL is at work: what follows from it is for L{_answer}.)"""
        now = self.nh.now
        self._renegotiations = (
            *(time for time in self._renegotiations if now - time < RENEGOTIATIONS_SECONDS), now
        )  # fmt: skip

    def _pull_holder(self, block: IOBufferBlock, limit: int) -> int:
        """What was read of a blind tunnel before it became one."""
        holder = self._holder
        assert holder is not None
        end = block.end
        n = min(block.size - end, limit, len(holder))
        block.view[end : end + n] = holder[:n]
        self._held_back(n)
        return n

    def _pull_pipe(self, pipe: Any, limit: int) -> int:
        holder = self._holder
        if holder is None:
            return super()._pull_pipe(pipe, limit)
        try:
            n: int = pipe.fill_with(memoryview(holder)[:limit])
        except OSError as exc:
            return self._read_failed(exc)
        if n > 0:
            self._held_back(n)
        return n

    def _held_back(self, count: int) -> None:
        """C{count} bytes of the holder are on their way."""
        assert self._holder is not None
        if count == len(self._holder):
            self._holder = None
            self.read.triggered = self.read.polled
        else:
            self._holder = self._holder[count:]

    def _push_block(self, block: IOBufferBlock, count: int, last: bool) -> int:
        """See L{UnixNetVConnection._push_block}.  All of it, unless records are to be of some size, or it must wait."""
        tls = self.engine
        if tls is None:
            return super()._push_block(block, count, last)
        if self._sizer is not None or tls.write(block, 0, count) <= 0:
            return 0  # _push() knows what to do.
        if tls.bulky:
            self.bulky = True
        if last:
            self.write_shut = True
            tls.shutdown()
        wire = self.nh.wire
        n = tls.drain(wire)
        try:
            sent = self.socket.send(wire.view[:n])
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            return self._write_failed(exc)
        if sent < n:
            self._keep_unsent(sent, n)
        elif n == wire.size:
            self._flush()
        return count

    def _push(self, reader: IOBufferReader, towrite: int) -> int:
        """Up to C{towrite} bytes of C{reader}: encrypted, and given to the kernel as far as it takes them."""
        tls = self.engine
        if tls is None:
            return super()._push(reader, towrite)
        if self.write_shut:
            self.lerrno = errno.EPIPE
            return FAILED
        if self._unsent is not None and not self._flush():
            return self._stuck()
        block, offset = reader.block, reader.offset
        assert block is not None
        if towrite > BATCH_BYTES:
            towrite = BATCH_BYTES
        if self._sizer is None and towrite <= block.end - offset:
            written = total = tls.write(block, offset, towrite)
        else:
            written, total = self._encrypt(tls, reader, towrite)
        if total > 0:
            buffer = reader.buffer
            if total == reader.avail and block.next is None and buffer.sole is reader:
                # consume(), in place, for all of one block
                reader.avail = block.start = block.end = 0
                reader.block = buffer.tail = None
                block.pool.append(block)
            else:
                reader.consume(total)
        if tls.bulky:
            self.bulky = True
        nh = self.nh
        vio = self.write
        if vio.ends and total == vio.nbytes - vio.ndone:
            self.write_shut = True
            tls.shutdown()
        wire = nh.wire
        n = tls.drain(wire)
        if n:
            try:
                sent = self.socket.send(wire.view[:n])
            except BlockingIOError:
                counters.calls_to_write_nodata += 1
                sent = 0
            except OSError as exc:
                return self._write_failed(exc)
            if sent < n:
                self._keep_unsent(sent, n)
            elif n == wire.size:
                self._flush()
        if total > 0:
            return total
        if written < 0:
            self.lerrno = errno.EPIPE
            self.error = PeerError(tls.reason)
            return FAILED
        if tls.answers:
            # A new handshake is going on: to try again is of use when the peer has said more, see _answer().
            tls.writing_waits = True
            self.write.triggered = False
        return WOULD_BLOCK

    def _encrypt(self, tls: Engine, reader: IOBufferReader, towrite: int) -> tuple[int, int]:
        """
        Up to C{towrite} bytes of C{reader}, which lie in several blocks, or shall be in records of some size.

        @return: what the engine said last, and the bytes that it took.
        """
        sizer = self._sizer
        block, offset = reader.block, reader.offset
        total = 0
        room = BATCH_BYTES
        while True:
            assert block is not None
            n = block.end - offset
            if n <= 0:
                block = block.next
                assert block is not None
                offset = block.start - n
                continue
            if n > towrite - total:
                n = towrite - total
            if sizer is not None:
                limit = sizer.limit(self.nh.now)
                if n > limit:
                    n = limit
            written = tls.write(block, offset, n)
            if written <= 0:
                break
            if sizer is not None:
                sizer.wrote(written, self.nh.now)
            offset += written
            total += written
            room -= RECORD_BYTES
            if total >= towrite or total >= room:
                break
        return written, total

    def _stuck(self) -> int:
        """The kernel took nothing: would block, or the connection is broken."""
        if self._unsent is not None:
            return WOULD_BLOCK
        self.lerrno = self.lerrno or errno.EPIPE
        return FAILED

    # Ciphertext on its way out.

    def _send_wire(self, n: int) -> bool:
        """Send C{n} bytes of the shared wire.  True: the kernel has them.  What it does not take is kept."""
        try:
            sent = self.socket.send(self.nh.wire.view[:n])
        except BlockingIOError:
            counters.calls_to_write_nodata += 1
            sent = 0
        except OSError as exc:
            self._write_failed(exc)
            return False
        if sent < n:
            self._keep_unsent(sent, n)
            return False
        return True

    def _keep_unsent(self, at: int, end: int) -> None:
        self._unsent = self.nh.keep_wire()
        self._unsent_at, self._unsent_end = at, end
        self.write.urgent = True
        self._rest(self.write)

    def _flush(self) -> bool:
        """Send what was kept, then what the engine has.  True: the kernel has all of it."""
        wire = self._unsent
        if wire is not None:
            try:
                sent = self.socket.send(wire.view[self._unsent_at : self._unsent_end])
            except BlockingIOError:
                counters.calls_to_write_nodata += 1
                self._rest(self.write)
                return False
            except OSError as exc:
                self._drop_unsent()
                self._write_failed(exc)
                return False
            self._unsent_at += sent
            self.last_activity = self.nh.now
            if self._unsent_at < self._unsent_end:
                self._rest(self.write)
                return False
            self._drop_unsent()
        tls = self.engine
        if tls is None:
            return True
        while True:
            n = tls.drain(self.nh.wire)
            if not n:
                return True
            if not self.ready:
                counters.total_handshake_bytes_write_out += n
            full = n == self.nh.wire.size
            if not self._send_wire(n):
                return False
            if not full:
                return True

    def _drop_unsent(self) -> None:
        if self._unsent is not None:
            self.nh.return_wire(self._unsent)
            self._unsent = None
        self.write.urgent = False

    def _attend(self) -> bool:
        """See L{UnixNetVConnection._attend}: what was kept goes first."""
        if self._unsent is None:
            self.write.urgent = False
            return True
        flushed = self._flush()
        if self.closed:
            self._leave()
            return False
        if not flushed and self._unsent is None and self.ready:
            # The connection is broken, and the writer does not know it yet.
            state = self.write
            state.owed = False
            if state.op == WRITE and state.cont is not None:
                self.signal_error(state, self.lerrno or errno.EPIPE, self.error)
            return False
        return flushed

    def _connected(self) -> bool:
        """As client: has the kernel made the connection?"""
        refused = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refused:
            error = PeerError(f"not connected: {os.strerror(refused)}")
            error.lerrno = refused
            self._fail(error)
            return False
        return True

    # The end.

    def _end_writing(self) -> None:
        """close_notify, in the place of TCP's own end, which would keep us from answering what still comes."""
        tls = self.engine
        if not self.ready:
            return  # What comes first has to be said; _settle() comes back to this.
        if tls is None:
            super()._end_writing()
        else:
            tls.shutdown()
            if self._unsent is None:
                self._flush()

    def _say_goodbye(self) -> None:
        """
        See L{UnixNetVConnection._say_goodbye}: close_notify where it is true and can arrive.

        Not after a handshake that was not done, nor after a failure, nor to a peer whose end came without one.
        """
        self._ask_no_more()
        tls = self.engine
        if tls is None or not self.ready:
            super()._say_goodbye()
            return
        if self.closed < 0:
            tls.keep_session()
            self._drop_unsent()
            super()._say_goodbye()
            return
        left = tls.condition != engine.CLOSED and self._peer_has_left()
        if not self.write_shut and tls.condition != engine.FAILED:
            if left:
                tls.keep_session()
            else:
                tls.shutdown()
        if self._unsent is None:
            self._flush()

    def _peer_has_left(self) -> bool:
        """Has the peer ended without close_notify?  Looks at the kernel's next byte without taking it."""
        if self.eos_received:
            return True
        try:
            left = not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        # Still speaking: closing over unread bytes would be a reset, which would overtake our last ones.
        self._lingers = not left
        return left

    def end_unclean(self) -> None:
        """End the writing direction with TCP's end and no close_notify: what we pass on was cut off."""
        if self.engine is None:
            super().end_unclean()
        elif self.ready and not self.write_shut and not self.closed:
            self.write_shut = True
            self._disable(self.write)
            self.write.stop()
            self.engine.keep_session()
            # Now: an origin that answers with an alert, as OpenSSL 3 does, has nothing against the session.
            self._leave_session()
            UnixNetVConnection._end_writing(self)

    def end_tcp(self) -> None:
        """
        TCP's own end behind close_notify, for a user who only listens: nothing that the peer says is answered any more.

        Not while close_notify itself waits for the kernel; the end of all comes soon enough.
        """
        if self.write_shut and self._unsent is None and not self.closed:
            UnixNetVConnection._end_writing(self)

    def _leave(self) -> None:
        """Free it, unless it still has something to send, or an alert that a reset would overtake."""
        if self.socket is None:
            return
        if self.closed < 0 or (self._unsent is None and not self._lingers):
            self.free()
            return
        if self.phase is not _LINGER:
            if self.phase in _SHAKING_HANDS:
                tally_abandoned(self.is_client)
            self._move(Move.LEFT)
            self.ready = False
            self.deadline = self.nh.seconds() + LINGER_SECONDS
        if self._unsent is not None:
            self.write.urgent = True
            return
        self._last_words()

    def _last_words(self) -> None:
        """All is sent.  Say so to TCP, and wait for the peer's end: closing over unread bytes would be a reset."""
        UnixNetVConnection._end_writing(self)
        self.read.urgent = True
        self._discard()

    def _discard(self) -> None:
        if self._unsent is not None:
            return
        while self._discarded < DISCARD_BYTES:
            try:
                n = self.socket.recv_into(self.nh.wire.memory, RECEIVE_BYTES)
            except BlockingIOError:
                self._rest(self.read)
                return
            except OSError:
                break
            if not n:
                break
            self._discarded += n
        self.free()

    def free(self) -> None:
        """See L{UnixNetVConnection.free}."""
        if self.socket is None:
            return
        if self._unsent is not None:
            self._drop_unsent()
        if not self.closed:  # Else do_io_close() has told them.
            self._ask_no_more()
        if self._origin_session is not None:
            self._leave_session()
        UnixNetVConnection.free(self)
        counters.connections_closed += 1
        if self.phase in _SHAKING_HANDS:
            tally_abandoned(self.is_client)
        self._move(_ENDED)
        self.engine = None
        self.hello = self._hello_reader = self._holder = None
        self.next_protocol_set = self.npn_endpoint = self.session_accept = None
        sizer, self._sizer = self._sizer, None
        if sizer is not None:
            counters.default_record_size_count += sizer.default_records
            counters.max_record_size_count += sizer.max_records

    def _leave_session(self) -> None:
        """Nothing more is learned about the session with the origin."""
        session, self._origin_session = self._origin_session, None
        if session is not None and self.engine is not None:
            session.ended(self.engine)

    def compact(self) -> None:
        """See L{UnixNetVConnection.compact}."""
        self.bulky = False
        tls = self.engine
        if tls is not None and tls.starved and self._unsent is None and self._flush():
            tls.compact()

    # Facts.

    def add_totals(self, totals: Counters) -> None:
        """See L{UnixNetVConnection.add_totals}."""
        super().add_totals(totals)
        sizer = self._sizer
        if sizer is not None:
            totals.default_record_size_count += sizer.default_records
            totals.max_record_size_count += sizer.max_records

    def get_ssl_handshake_complete(self) -> bool:
        """See L{ISSLNetVConnection.get_ssl_handshake_complete}."""
        return self.ready


def _in_thread_of(nh: NetHandler, function: Callable[..., Any], *arguments: Any) -> None:
    """Call C{function} where connections of C{nh} may be touched: now, or soon."""
    if nh.thread == threading.get_ident():
        function(*arguments)
    else:
        nh.reactor.callFromThread(function, *arguments)


def _seconds_left(connection: SSL.Connection) -> float:
    """How long the certificate of the peer is still good; without one for ever."""
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        return float("inf") if certificate is None else certificate.not_valid_after_utc.timestamp() - _wall_clock()
    except UNREADABLE:
        return 0.0


def check_server_name(connection: SSL.Connection) -> None:
    """
    What the front contexts of listeners call when OpenSSL has read the hello.

    Has it read the same name as we did?  If not, the policy of the wrong name would be applied.  Over TLS 1.2, the name
    that OpenSSL gives is that of the session that it is about to resume, which has to be the same too (RFC 6066,
    section 3).  And was the session earned with a client certificate that is good no longer?  OpenSSL does not look.

    Raising here would print a traceback, so the connection is told, and ends or begins anew before a byte of OpenSSL's
    answer is sent.
    """
    vc = connection.get_app_data()
    if not isinstance(vc, SSLNetVConnection):
        return
    hello = vc.hello
    if hello is None:
        if vc.ready:
            vc._begins_anew()
        return
    if connection.get_servername() != hello.server_name_bytes:
        vc.refusal = SessionRefused("the server name was read in two ways", alerts.ILLEGAL_PARAMETER)
        return
    # At this point only a session has a certificate, and only where one is asked for.
    if connection.get_verify_mode() != SSL.VERIFY_NONE and _seconds_left(connection) <= 0:
        reason = "the certificate that its session was earned with is good no longer"
        vc.refusal = SessionRefused(reason, alerts.CERTIFICATE_EXPIRED)


def select_alpn(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """
    What the contexts of listeners call to choose a protocol: the connection's own set decides.

    A client with which we have none in common was refused before OpenSSL saw it.
    """
    vc = connection.get_app_data()
    if not isinstance(vc, SSLNetVConnection):
        return SSL.NO_OVERLAPPING_PROTOCOLS
    if vc.ready:
        # It begins anew, which changes nothing about who speaks.
        chosen = vc.negotiated_protocol if vc.negotiated_protocol in offered else None
    else:
        vc.negotiated_protocol = chosen = vc._select_protocol(offered)
    return SSL.NO_OVERLAPPING_PROTOCOLS if chosen is None else chosen
