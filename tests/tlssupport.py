"""
What the tests of TLS share: certificates and policies made once, peers that speak TLS when the test says so, attackers.

A L{TLSPeer} is pyOpenSSL over memory BIOs and the other end of a socket; nothing of it is ours.  It sends in pieces of
the test's choice, keeps every byte that came, and knows how the connection ended.  L{RecordForger} goes on where
pyOpenSSL does not: it encrypts any record that the test thinks of, with the connection's own keys.
"""

import gc
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from functools import cache
from typing import Any

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.task import LoopingCall
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from atstls.events import VC_EVENT_READ_COMPLETE, VC_EVENT_READ_READY
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_4K, IOBufferReader, MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.net.connection import NetVCOptions
from atstls.ssl.sslvc import NO_HOOKS, SSLNetVConnection, check_server_name, select_alpn
from atstls.tls.certificates import Certificate
from atstls.tls.contexts import (
    CertificateTable,
    ClientSettings,
    ServerSettings,
    certificate_context,
    client_context,
    front_context,
)
from atstls.tls.engine import CffiEngine, Engine, PublicEngine
from atstls.tls.hooks import Hook, HookPoint, HookSet
from atstls.tls.nextprotocol import SSLNextProtocolSet
from atstls.tls.policy import ClientPolicy, ServerPolicy
from tests.support import POLL_KINDS, OverBothPolls, RecordingContinuation, tcp_pair, unix_pair

VERSIONS = ("TLSv1.2", "TLSv1.3")
ENGINES: tuple[type[Engine], ...] = (CffiEngine, PublicEngine)

ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
OTHER_CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)


@cache
def issue(*names: str, ca: trustme.CA = CA, expired: bool = False) -> Certificate:
    """A certificate for C{names}, once a process."""
    issued = ca.issue_cert(*names, key_type=trustme.KeyType.ECDSA, not_after=PAST if expired else None)
    chain = [load_pem_x509_certificate(pem.bytes()) for pem in issued.cert_chain_pems]
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    return Certificate(chain[0], tuple(chain[1:]), key, tuple(names), "test")  # type: ignore[arg-type]


@cache
def ca_file(ca: trustme.CA = CA) -> str:
    """A file with C{ca}'s certificate, that lasts as long as the process."""
    handle, path = tempfile.mkstemp(suffix=".pem", dir=os.getcwd())
    with open(handle, "wb") as file:
        file.write(ca.cert_pem.bytes())
    return os.path.abspath(path)


@cache
def _server_contexts(settings: ServerSettings) -> tuple[SSL.Context, CertificateTable]:
    front = front_context(settings, select_alpn=select_alpn, check_server_name=check_server_name)
    table = CertificateTable()
    for names, default in (
        (("a.example",), True),
        (("*.b.example",), False),
        (("c.example",), False),
    ):
        context = certificate_context(settings, [issue(*names)], select_alpn=select_alpn)
        table.add(context, names, default=default)
    return front, table


def server_policy(version: str | None = None, settings: dict[str, Any] | None = None, **demands: Any) -> ServerPolicy:
    """
    A policy with certificates for a.example (the default one), *.b.example and c.example.

    @param version: this version alone; C{None}: 1.2 and 1.3.
    @param settings: more of L{ServerSettings}.
    @param demands: more of L{ServerPolicy}.
    """
    limits = {} if version is None else {"version_min": version, "version_max": version}
    front, table = _server_contexts(ServerSettings(**limits, **(settings or {})))
    return ServerPolicy(front, table, **demands)


@cache
def _client_context(settings: ClientSettings) -> SSL.Context:
    return client_context(settings)


def client_policy(version: str | None = None, settings: dict[str, Any] | None = None, **demands: Any) -> ClientPolicy:
    """A policy that trusts L{CA}; C{policy} and C{properties} in C{settings} hold for both of its halves."""
    limits = {} if version is None else {"version_min": version, "version_max": version}
    made = ClientSettings(**{"ca_file": ca_file(), **limits, **(settings or {})})
    return ClientPolicy(_client_context(made), verify=made.policy, properties=made.properties, **demands)


@cache
def peer_client_context(version: str | None = None, alpn: tuple[bytes, ...] = ()) -> SSL.Context:
    """What clients of the tests use: trusts anybody, offers one small group so that its hello is short."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        number = SSL.TLS1_2_VERSION if version == "TLSv1.2" else SSL.TLS1_3_VERSION
        context.set_min_proto_version(number)
        context.set_max_proto_version(number)
    context.set_tmp_ecdh(ec.SECP256R1())
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    if alpn:
        context.set_alpn_protos(list(alpn))
    context.set_keylog_callback(_note_keys)
    return context


def _note_keys(connection: SSL.Connection, line: bytes) -> None:
    peer = connection.get_app_data()
    if isinstance(peer, TLSPeer):
        label, _random, secret = line.split()
        peer.secrets[label.decode()] = bytes.fromhex(secret.decode())


@cache
def peer_server_context(version: str | None = None, certificate: Certificate | None = None) -> SSL.Context:
    """What origins of the tests use."""
    limits = {} if version is None else {"version_min": version, "version_max": version}
    settings = ServerSettings(**limits)
    return certificate_context(settings, [certificate or issue("a.example")], select_alpn=None)


def records(raw: bytes | bytearray) -> list[tuple[int, bytes]]:
    """The TLS records in C{raw}: their types and what is in them.  The last one may be cut short, and is left out."""
    found = []
    at = 0
    while len(raw) >= at + 5:
        end = at + 5 + int.from_bytes(raw[at + 3 : at + 5], "big")
        if end > len(raw):
            break
        found.append((raw[at], bytes(raw[at + 5 : end])))
        at = end
    return found


def alert_in_clear(raw: bytes | bytearray) -> int | None:
    """The alert that C{raw} ends with, if it is one that anybody can read."""
    found = records(raw)
    if found and found[-1][0] == ALERT and len(found[-1][1]) == 2:
        return found[-1][1][1]
    return None


Cut = Callable[[int], int]


def whole(waiting: int) -> int:
    """Send all that there is."""
    return waiting


def one_at_a_time(waiting: int) -> int:
    """Send one byte."""
    return 1


def at_random(seed: int) -> Cut:
    """Send pieces of any size."""
    generator = random.Random(seed)
    return lambda waiting: generator.randint(1, generator.choice((1, 10, 100, 20000)))


def cuts() -> dict[str, Cut]:
    """Whole, one byte at a time, and at random; the key is for messages, and has the seed."""
    seed = random.SystemRandom().randrange(1 << 32)
    return {"whole": whole, "one at a time": one_at_a_time, f"at random, seed {seed}": at_random(seed)}


class TLSPeer:
    """
    Whom a connection of ours speaks with.

    @ivar plain: what it was told, decrypted.
    @ivar raw: what came, as it came.
    @ivar to_send: ciphertext that is not sent yet.
    @ivar done: its handshake is done.
    @ivar end: how the other side ended: C{"close_notify"}, C{"fin"}, C{"reset"}; C{None} while it has not.
    @ivar fin: whether the other side's TCP end has come.
    @ivar reason: what OpenSSL said was wrong, C{""} for nothing.
    @ivar paused: it does not read.
    @ivar answers: when it hears close_notify, it says so too.
    @ivar secrets: the keys of the connection, by their names in a key log.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: SSL.Context,
        *,
        server: bool = False,
        name: str | None = "a.example",
        session: SSL.Session | None = None,
        cut: Cut = whole,
    ) -> None:
        self.sock = sock
        self.cut = cut
        self.plain = bytearray()
        self.raw = bytearray()
        self.to_send = bytearray()
        self.done = False
        self.end: str | None = None
        self.fin = False
        self.reason = ""
        self.paused = False
        self.answers = False
        self.secrets: dict[str, bytes] = {}
        self.connection = SSL.Connection(context)
        self.connection.set_app_data(self)
        if server:
            self.connection.set_accept_state()
        else:
            if name is not None:
                self.connection.set_tlsext_host_name(name.encode())
            if session is not None:
                self.connection.set_session(session)
            self.connection.set_connect_state()

    def write(self, data: bytes) -> None:
        """Encrypt C{data}, to be sent by and by."""
        at = 0
        while at < len(data):
            at += self.connection.send(data[at : at + 16384])
        self._take()

    def shutdown(self) -> None:
        """Say close_notify."""
        self.connection.shutdown()
        self._take()

    def send_fin(self) -> None:
        """End TCP's stream."""
        self.sock.shutdown(socket.SHUT_WR)

    def _take(self) -> int:
        before = len(self.to_send)
        while True:
            try:
                self.to_send += self.connection.bio_read(1 << 16)
            except SSL.WantReadError:
                return len(self.to_send) - before

    def pump(self) -> int:
        """One piece out, all that is there in.  Was there anything to do?"""
        return self._send() + self._receive() + self._step()

    def _send(self) -> int:
        if not self.to_send:
            return 0
        try:
            n = self.sock.send(bytes(self.to_send[: self.cut(len(self.to_send))]))
        except BlockingIOError:
            return 0
        except OSError:
            self.to_send.clear()
            return 0
        del self.to_send[:n]
        return 1

    def _receive(self) -> int:
        if self.paused or self.fin:
            return 0
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return 0
        except OSError:
            self.fin = True
            self.end = self.end or "reset"
            return 1
        if not data:
            self.fin = True
            self.end = self.end or "fin"
            return 1
        self.raw += data
        self.connection.bio_write(data)
        return 1

    def _step(self) -> int:
        if self.reason:
            return 0
        try:
            if not self.done:
                self.connection.do_handshake()
                self.done = True
            while True:
                self.plain += self.connection.recv(1 << 16)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.end = self.end or "close_notify"
            if self.answers:
                self.connection.shutdown()
        except SSL.Error as exc:
            details = exc.args[0] if exc.args else ()
            self.reason = str(details[0][2]) if details and isinstance(details, list) else str(exc)
        return self._take()

    @property
    def sent_all(self) -> bool:
        """Is all that it has to say on its way?"""
        return not self.to_send


class RecordForger:
    """
    Encrypts any record as a client whose handshake is done, and who has not written anything.

    @param peer: made from L{peer_client_context}, so that its keys and its one cipher are known.
    """

    def __init__(self, peer: TLSPeer) -> None:
        self.peer = peer
        self.tls13 = peer.connection.get_protocol_version() == 0x0304
        if self.tls13:
            self._secret = peer.secrets["CLIENT_TRAFFIC_SECRET_0"]
            self._sequence = 0
            self._derive()
        else:
            seed = (peer.connection.server_random() or b"") + (peer.connection.client_random() or b"")
            block = _prf12(peer.secrets["CLIENT_RANDOM"], b"key expansion" + seed, 40)
            self._key, self._iv = AESGCM(block[:16]), block[32:36]
            self._sequence = 1

    def _derive(self) -> None:
        self._key = AESGCM(_expand(self._secret, b"key", 16))
        self._iv = _expand(self._secret, b"iv", 12)

    def record(self, kind: int, content: bytes) -> bytes:
        """A record as it goes over the wire."""
        number = self._sequence.to_bytes(8, "big")
        self._sequence += 1
        if self.tls13:
            inner = content + bytes((kind,))
            header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
            nonce = bytes(a ^ b for a, b in zip(self._iv, number.rjust(12, b"\0"), strict=True))
            return header + self._key.encrypt(nonce, inner, header)
        header = bytes((kind, 3, 3))
        sealed = self._key.encrypt(self._iv + number, content, number + header + len(content).to_bytes(2, "big"))
        return header + (len(sealed) + 8).to_bytes(2, "big") + number + sealed

    def key_update(self, answer: bool = True) -> bytes:
        """TLS 1.3: go on with the next key, and ask the other side to do so as well."""
        sealed = self.record(HANDSHAKE, b"\x18\0\0\x01" + bytes((answer,)))
        self._secret = _expand(self._secret, b"traffic upd", 32)
        self._sequence = 0
        self._derive()
        return sealed


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(label),)) + label + b"\0"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)


def _prf12(secret: bytes, seed: bytes, length: int) -> bytes:
    def mac(data: bytes) -> bytes:
        hmac = HMAC(secret, hashes.SHA256())
        hmac.update(data)
        return hmac.finalize()

    found, a = b"", seed
    while len(found) < length:
        a = mac(a)
        found += mac(a + seed)
    return found[:length]


def protocol_set(*names: bytes) -> SSLNextProtocolSet:
    """A set that prefers the names in this order; the endpoint of each is its name."""
    made = SSLNextProtocolSet()
    for name in reversed(names):
        made.register_endpoint(name, name)
    return made


def hook_set(**hooks: Hook | Iterable[Hook]) -> HookSet:
    """Hooks by the names of their points: C{client_hello=...}."""
    found = []
    for point, some in hooks.items():
        for hook in [some] if callable(some) else some:
            found.append((HookPoint(point), hook))
    return HookSet(found)


class OverTLS(OverBothPolls):
    """
    Tests that are run over both polls, both engines and both versions of TLS.

    @cvar versions: which versions; a test of one version alone says so here.
    @cvar version: this run's.
    @cvar engine_kind: this run's.
    """

    versions: tuple[str, ...] = VERSIONS
    engines: tuple[type[Engine], ...] = ENGINES
    version: str
    engine_kind: type[Engine]

    @classmethod
    def make_test_case_classes(cls) -> dict[str, type[SynchronousTestCase]]:
        """One test case for each of the eight ways, or fewer."""
        made = {}
        for kind in POLL_KINDS:
            for engine in cls.engines:
                for version in cls.versions:
                    way = f"{kind.capitalize()}{engine.__name__.removesuffix('Engine')}{version[-1]}"
                    name = f"{cls.__name__.removesuffix('Tests')}Over{way}Tests"
                    attributes: dict[str, Any] = {
                        "kind": kind,
                        "engine_kind": engine,
                        "version": version,
                        "__module__": cls.__module__,
                        "__doc__": cls.__doc__,
                    }
                    made[name] = type(name, (cls, SynchronousTestCase), attributes)
        return made

    def setUp(self) -> None:
        # What stays open from its first use on is none of a test's: here the reactor, whose clock this replaces.
        LoopingCall(int)
        super().setUp()
        self.logged: list[dict[str, Any]] = []
        self.peers: list[TLSPeer] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def tearDown(self) -> None:
        super().tearDown()
        self.assertEqual(0, lib.ERR_peek_error(), "an error was left where the next connection finds it")

    def _observe(self, event: dict[str, Any]) -> None:
        if str(event.get("log_namespace", "")).startswith("atstls"):
            self.logged.append(event)

    def lines(self) -> list[str]:
        """What was logged, as an operator reads it."""
        return [formatEvent(event) for event in self.logged]

    # Making connections.

    def allocate(self, policy: ServerPolicy | ClientPolicy) -> SSLNetVConnection:
        """A connection with this run's engine."""
        kind = self.engine_kind
        # The name and the module are what the log knows it by.
        attributes = {"__slots__": (), "engine_kind": kind, "__module__": SSLNetVConnection.__module__}
        vc = type("SSLNetVConnection", (SSLNetVConnection,), attributes)
        return vc(self.handler, policy)  # type: ignore[no-any-return]

    def accept(
        self,
        policy: ServerPolicy | None = None,
        *,
        hooks: HookSet = NO_HOOKS,
        pair: tuple[socket.socket, socket.socket] | None = None,
        protocols: SSLNextProtocolSet | None = None,
        prepare: Callable[[SSLNetVConnection], object] | None = None,
    ) -> tuple[SSLNetVConnection, socket.socket]:
        """A connection that a peer made, and the peer's socket."""
        ours, theirs = pair or unix_pair()
        vc = self.allocate(policy or server_policy(self.version))
        vc.hooks = hooks
        if protocols is not None:
            vc.register_next_protocol_set(protocols)
        if prepare is not None:
            prepare(vc)
        vc.read.triggered = vc.read.polled = True
        vc.start(ours, ("192.0.2.9", 4711))
        if vc.read.urgent:
            self.handler.queue_read(vc)
        return vc, self.keep(theirs)

    def client(self, sock: socket.socket, **more: Any) -> TLSPeer:
        """A client of this run's version."""
        alpn = more.pop("alpn", ())
        context = more.pop("context", None) or peer_client_context(self.version, alpn)
        peer = TLSPeer(sock, context, **more)
        self.peers.append(peer)
        return peer

    def server(self, sock: socket.socket, certificate: Certificate | None = None, **more: Any) -> TLSPeer:
        """An origin of this run's version."""
        peer = TLSPeer(sock, peer_server_context(self.version, certificate), server=True, **more)
        self.peers.append(peer)
        return peer

    def connect(
        self,
        policy: ClientPolicy | None = None,
        name: str | None = "a.example",
        *,
        hooks: HookSet = NO_HOOKS,
        pair: tuple[socket.socket, socket.socket] | None = None,
    ) -> tuple[SSLNetVConnection, socket.socket]:
        """A connection that we make, and the origin's socket."""
        ours, theirs = pair or unix_pair()
        vc = self.allocate(policy or client_policy(self.version))
        vc.is_client = True
        vc.options = NetVCOptions(sni_servername=name)
        vc.server_name = name
        vc.hooks = hooks
        vc.start(ours, ("192.0.2.1", 443))
        return vc, self.keep(theirs)

    def run_peers(self, *peers: TLSPeer, turns: int = 20000, until: Callable[[], Any] | None = None) -> None:
        """
        Turn the reactor and the peers until nobody has anything to do.

        @param until: for what the kernel delivers when it likes: until this is true, however quiet it is.
        """
        quiet = 0
        for _ in range(turns):
            busy = self.reactor.turn()
            for peer in peers or self.peers:
                busy += peer.pump()
            quiet = 0 if busy else quiet + 1
            if until is not None:
                if until():
                    return
                if quiet:
                    time.sleep(0.0005)
            elif quiet > 1:
                return
        raise AssertionError(f"still busy after {turns} turns")

    def established(
        self, policy: ServerPolicy | None = None, *, tcp: bool = False, name: str | None = "a.example", **more: Any
    ) -> "tuple[SSLNetVConnection, TLSPeer, RecordingContinuation]":
        """A connection that a peer made, with its handshake done; and the peer, and who was told of it."""
        cut = more.pop("cut", whole)
        session = more.pop("session", None)
        alpn = more.pop("alpn", ())
        context = more.pop("context", None)
        pair = more.pop("pair", None) or (tcp_pair() if tcp else None)
        vc, sock = self.accept(policy, pair=pair, **more)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.client(sock, name=name, cut=cut, session=session, alpn=alpn, context=context)
        self.run_peers(peer)
        self.assertEqual((["READ_COMPLETE"], True, ""), (cont.events, peer.done, peer.reason))
        cont.log.clear()
        return vc, peer, cont

    def connected(
        self, policy: ClientPolicy | None = None, *, tcp: bool = False, **more: Any
    ) -> "tuple[SSLNetVConnection, TLSPeer, RecordingContinuation]":
        """A connection that we made, with its handshake done; and the origin, and who was told of it."""
        vc, sock = self.connect(policy, pair=tcp_pair() if tcp else None, **more)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.server(sock)
        self.run_peers(peer)
        self.assertEqual((["READ_COMPLETE"], True, ""), (cont.events, peer.done, peer.reason))
        cont.log.clear()
        return vc, peer, cont

    # Using them.

    def read(
        self, vc: Any, nbytes: int = INT64_MAX, size_index: int = BUFFER_SIZE_INDEX_4K, cont: Any = None
    ) -> "tuple[RecordingContinuation, IOBufferReader]":
        """Ask for bytes, into a fresh buffer; READ_READY consumes nothing."""
        cont = cont or RecordingContinuation()
        buffer = MIOBuffer(size_index)
        reader = buffer.alloc_reader()
        vc.do_io_read(cont, nbytes, buffer)
        return cont, reader

    def read_all(self, vc: Any, nbytes: int = INT64_MAX) -> "tuple[RecordingContinuation, bytearray]":
        """Ask for bytes and take them as they come."""
        found = bytearray()
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()

        def take(data: Any) -> None:
            found.extend(reader.read())

        cont = RecordingContinuation({VC_EVENT_READ_READY: take, VC_EVENT_READ_COMPLETE: take})
        vc.do_io_read(cont, nbytes, buffer)
        return cont, found

    def write(self, vc: Any, data: bytes, cont: Any = None) -> RecordingContinuation:
        """Ask for all of C{data} to be sent."""
        cont = cont or RecordingContinuation()
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        buffer.write(data)
        vc.do_io_write(cont, len(data), reader)
        return cont

    # Looking at what is left.

    def assert_gone(self, vc: Any) -> None:
        """C{vc} is closed, and in nobody's list."""
        self.assertTrue(vc.closed)
        self.assertIsNone(vc.socket)
        self.assertNotIn(vc, self.handler.open_list)

    def assert_collected(self, reference: Any) -> None:
        """What C{reference}, a weak one, stood for is no more."""
        self.peers.clear()
        self.logged.clear()
        gc.collect()
        self.assertIsNone(reference(), "something still knows the connection")

    def assert_one_line(self, *words: str) -> None:
        """One line was logged, with all of C{words}, and no traceback."""
        lines = self.lines()
        self.assertEqual(1, len(lines), lines)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertEqual([], self.flush_failures())

    def flush_failures(self) -> list[Any]:
        """Tracebacks that were logged."""
        return [event for event in self.logged if event.get("log_failure") is not None]
