# -*- test-case-name: tests.test_sessions -*-
"""
Tests for L{atstls.tls.sessions}: connections to origins that need not shake hands in full, and those that must (A063).
"""

import gc
import weakref
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import HandshakeFailed, VerifyFailed
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.net.connection import NetVCOptions
from atstls.ssl import sslvc
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls import engine
from atstls.tls import sessions as module
from atstls.tls.certificates import Certificate
from atstls.tls.contexts import ClientSettings, ServerSettings, certificate_context, client_context
from atstls.tls.engine import FAILED, CffiEngine
from atstls.tls.policy import ClientPolicy
from atstls.tls.sessions import LIFETIME_SECONDS, SESSIONS, OriginSessions, offer_seconds
from atstls.tls.verify import VerifyPolicy, VerifyProperties
from tests.support import RecordingContinuation, reset, unix_pair
from tests.tlssupport import OTHER_CA, OverTLS, TLSPeer, ca_file, hook_set, issue


class Origins(OverTLS):
    """What these tests have in common."""

    def setUp(self) -> None:
        super().setUp()
        self.sessions = OriginSessions()
        self.origin = self.origin_context()

    def origin_context(self, certificate: Certificate | None = None, seconds: int = 0, **more: Any) -> SSL.Context:
        """An origin: its tickets and its cache are in its context."""
        limits = {"version_min": self.version, "version_max": self.version}
        settings = ServerSettings(**limits, session_timeout_seconds=seconds, **more)
        return certificate_context(settings, [certificate or issue("a.example")], select_alpn=None)

    def policy(self, sessions: OriginSessions | None = None, **more: Any) -> ClientPolicy:
        """What is demanded of origins, in a context of its own."""
        limits = {"version_min": self.version, "version_max": self.version}
        settings = ClientSettings(**{"ca_file": ca_file(), **limits, **more})
        return ClientPolicy(
            client_context(settings),
            verify=settings.policy,
            properties=settings.properties,
            sessions=sessions or self.sessions,
        )

    def dial(
        self,
        policy: ClientPolicy,
        name: str | None = "a.example",
        *,
        meant: str | None = None,
        address: tuple[str, int] | str = ("192.0.2.1", 443),
        origin: SSL.Context | None = None,
        hooks: Any = None,
    ) -> tuple[Any, TLSPeer, RecordingContinuation]:
        """Connect, and let the origin answer."""
        ours, theirs = unix_pair()
        vc = self.allocate(policy)
        vc.is_client = True
        vc.options = NetVCOptions(sni_servername=meant or name)
        vc.server_name = name
        if hooks is not None:
            vc.hooks = hooks
        vc.start(ours, address)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = TLSPeer(self.keep(theirs), origin or self.origin, server=True)
        self.peers.append(peer)
        self.run_peers(peer)
        return vc, peer, cont

    def resumed(self, dialled: tuple[Any, TLSPeer, RecordingContinuation]) -> bool:
        """Is it open, and was a session resumed?  Both sides agree."""
        vc, peer, cont = dialled
        self.assertEqual((["READ_COMPLETE"], ""), (cont.events, peer.reason))
        theirs = bool(lib.SSL_session_reused(peer.connection._ssl))
        if self.engine_kind is CffiEngine:
            self.assertEqual(theirs, vc.get_ssl_session_cache_hit())
        return theirs

    def hear(self, vc: Any, peer: TLSPeer) -> None:
        """The origin says something, and is read: over TLS 1.3 tickets come along."""
        peer.write(b"hello")
        _, found = self.read_all(vc)
        self.run_peers(peer)
        self.assertEqual(b"hello", found)

    def leave(self, vc: Any, peer: TLSPeer) -> None:
        """The connection ends in order."""
        vc.do_io_close()
        peer.shutdown()
        self.run_peers(peer)
        peer.sock.close()
        self.reactor.settle()
        self.peers.remove(peer)
        self.assert_gone(vc)

    def earn(self, policy: ClientPolicy, **more: Any) -> None:
        """A connection that leaves a session behind."""
        vc, peer, cont = self.dial(policy, **more)
        self.assertEqual((["READ_COMPLETE"], ""), (cont.events, peer.reason))
        self.hear(vc, peer)
        self.leave(vc, peer)

    def counters(self) -> tuple[int, int, int]:
        return self.sessions.hits, self.sessions.misses, self.sessions.timeouts


class ReuseTests(Origins):
    """The next connection."""

    def test_second_connection(self) -> None:
        """It resumes, and the one after it; with tickets and with ids; bytes go both ways."""
        for more in ({}, {"session_ticket": False}):
            self.sessions = OriginSessions()
            self.origin = self.origin_context(**more)
            policy = self.policy()
            self.earn(policy)
            for _ in range(3):
                vc, peer, cont = self.dial(policy)
                self.assertTrue(self.resumed((vc, peer, cont)))
                self.hear(vc, peer)
                writer = self.write(vc, b"request")
                self.run_peers(peer)
                self.assertEqual((b"request", ["WRITE_COMPLETE"]), (peer.plain, writer.events))
                self.leave(vc, peer)
            self.assertEqual((3, 1, 0), self.counters())
            self.assertEqual(3 if self.engine_kind is CffiEngine else 0, self.sessions.reused)
            self.assertEqual(1, len(self.sessions))

    def test_while_the_first_one_lives(self) -> None:
        """What an open connection has read is enough: nobody waits for its end."""
        policy = self.policy()
        vc, peer, _ = self.dial(policy)
        if self.version == "TLSv1.3":
            # Its tickets are not read yet, so there is nothing to offer.
            self.assertFalse(self.resumed(self.dial(policy)))
            self.assertEqual(0, self.sessions.hits if self.engine_kind is CffiEngine else 0)
            vc, peer, _ = self.dial(policy)
            self.hear(vc, peer)
        self.assertTrue(self.resumed(self.dial(policy)))
        self.assertFalse(vc.closed)

    def test_without_the_bytes(self) -> None:
        """Where OpenSSL's sessions cannot be had as bytes, pyOpenSSL's objects do: connections resume all the same."""
        self.patch(engine, "HAVE_SESSION_BYTES", False)
        policy = self.policy()
        self.earn(policy)
        for _ in range(2):
            vc, peer, cont = self.dial(policy)
            self.assertTrue(self.resumed((vc, peer, cont)))
            self.hear(vc, peer)
            self.leave(vc, peer)
        (entry,) = self.sessions._entries.values()
        self.assertIsInstance(entry.session, SSL.Session)

    def test_without(self) -> None:
        """A policy without a place for sessions never resumes."""
        policy = evolve(self.policy(), sessions=None)
        self.earn(policy)
        self.assertFalse(self.resumed(self.dial(policy)))
        self.assertEqual((0, 0, 0), self.counters())

    def test_any_end(self) -> None:
        """However the connection ended, short of TLS being broken."""

        def abort(vc: Any, peer: TLSPeer) -> None:
            vc.do_io_close(5)

        def cut_off(vc: Any, peer: TLSPeer) -> None:
            peer.sock.close()
            self.reactor.settle()
            vc.do_io_close()

        def goodbye(vc: Any, peer: TLSPeer) -> None:
            peer.shutdown()
            self.run_peers(peer)
            vc.do_io_close()

        for end in (abort, cut_off, goodbye):
            self.sessions = OriginSessions()
            policy = self.policy()
            vc, peer, _ = self.dial(policy)
            self.hear(vc, peer)
            end(vc, peer)
            peer.sock.close()
            self.peers.remove(peer)
            self.reactor.settle()
            self.assert_gone(vc)
            self.assertTrue(self.resumed(self.dial(policy)), end.__name__)

    def test_what_we_cut_off(self) -> None:
        """
        When we pass on that somebody was cut off, the origin answers with a fatal alert, as OpenSSL 3 does: it has
        nothing against the session.
        """
        policy = self.policy()
        vc, peer, _ = self.dial(policy)
        self.hear(vc, peer)
        vc.end_unclean()
        peer.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.reactor.settle()
        self.assertEqual(FAILED, vc.engine.condition)
        vc.do_io_close()
        reset(peer.sock)
        self.peers.remove(peer)
        self.reactor.settle()
        self.assert_gone(vc)
        self.assertEqual(1, len(self.sessions))
        if self.engine_kind is CffiEngine:
            self.assertTrue(self.resumed(self.dial(policy)))

    def test_connection_that_moves(self) -> None:
        """A connection that moved to another object leaves its session when it ends there, and not before."""
        policy = self.policy()
        old, peer, _ = self.dial(policy)
        self.hear(old, peer)
        held = old.release()
        vc = SSLNetVConnection(self.handler)
        vc.populate(held, None, held.ssl)
        self.assertTrue(self.resumed(self.dial(policy)))
        again, other, _ = self.dial(policy)
        self.leave(vc, peer)
        self.hear(again, other)
        self.leave(again, other)
        self.assertTrue(self.resumed(self.dial(policy)))
        self.assertEqual(1, len(self.sessions))

    def test_a_younger_one_counts(self) -> None:
        """The end of an older connection does not put its session in the place of a younger one's."""
        policy = self.policy()
        first, second = self.dial(policy), self.dial(policy)
        for vc, peer, _ in (first, second):
            self.hear(vc, peer)
        self.leave(*first[:2])
        self.assertEqual(1, len(self.sessions))
        self.leave(*second[:2])
        self.assertTrue(self.resumed(self.dial(policy)))

    def test_origin_without_sessions(self) -> None:
        """An origin that lets nobody resume is offered nothing that could not be, and nothing is kept of it."""
        origin = self.origin_context(session_ticket=False, session_cache=False)
        policy = self.policy()
        for _ in range(2):
            vc, peer, cont = self.dial(policy, origin=origin)
            self.assertFalse(self.resumed((vc, peer, cont)))
            self.leave(vc, peer)
        if self.engine_kind is CffiEngine:
            self.assertEqual((0, 0), (len(self.sessions), self.sessions.hits))

    def test_origin_has_forgotten(self) -> None:
        """An origin that was started anew shakes hands in full, and its new session is the one that counts."""
        policy = self.policy()
        self.earn(policy)
        self.origin = self.origin_context()
        self.earn(policy)
        self.assertEqual(1, self.sessions.hits)
        self.assertTrue(self.resumed(self.dial(policy)))

    def test_nothing_remains_of_connections(self) -> None:
        """The cache keeps no connection, open or closed."""
        policy = self.policy()
        vc, peer, _ = self.dial(policy)
        self.hear(vc, peer)
        connection = weakref.ref(vc.engine.connection)
        self.leave(vc, peer)
        del vc, peer
        gc.collect()
        self.assertEqual((None, 1), (connection(), len(self.sessions)))

    def test_close_during_the_handshake(self) -> None:
        """Who gives up in mid-handshake leaves what was there before."""
        policy = self.policy()
        self.earn(policy)
        ours, theirs = unix_pair()
        vc = self.allocate(policy)
        vc.is_client, vc.server_name = True, "a.example"
        vc.start(ours, ("192.0.2.1", 443))
        vc.options = NetVCOptions(sni_servername="a.example")
        self.reactor.settle()
        vc.do_io_close()
        self.keep(theirs).close()
        self.reactor.settle()
        self.assertTrue(self.resumed(self.dial(policy)))


globals().update(ReuseTests.make_test_case_classes())


class BorderTests(Origins):
    """What was earned under one policy never serves another."""

    def never(self, one: ClientPolicy, two: ClientPolicy, **other: Any) -> Any:
        """A session of C{one} is not offered under C{two}; what became of it."""
        self.earn(one)
        before = self.sessions.hits
        vc, peer, _ = self.dial(two, **other)
        self.assertEqual(before, self.sessions.hits)
        self.assertFalse(lib.SSL_session_reused(peer.connection._ssl))
        # And the first one is none the worse for it.
        self.assertTrue(self.resumed(self.dial(one)))
        return vc

    def test_another_authority(self) -> None:
        """An origin that one policy trusts is refused by another, however often it was accepted before."""
        vc = self.never(self.policy(), self.policy(ca_file=ca_file(OTHER_CA)))
        self.assertIsInstance(vc.error, VerifyFailed)

    def test_not_verified_at_all(self) -> None:
        """What nobody looked at serves nobody who looks."""
        lax = self.policy(policy=VerifyPolicy.DISABLED, ca_file=None)
        vc = self.never(lax, self.policy(ca_file=ca_file(OTHER_CA)))
        self.assertIsInstance(vc.error, VerifyFailed)

    def test_same_context(self) -> None:
        """Policies that share a context, as a program may have it, do not share sessions."""
        lax = self.policy(policy=VerifyPolicy.PERMISSIVE, ca_file=ca_file(OTHER_CA))
        for verify in VerifyPolicy:
            for properties in (VerifyProperties.SIGNATURE, VerifyProperties.NAME, VerifyProperties.ALL):
                if (verify, properties) == (lax.verify, lax.properties):
                    continue
                strict = evolve(lax, verify=verify, properties=properties)
                vc = self.never(lax, strict)
                if verify is VerifyPolicy.ENFORCED and VerifyProperties.SIGNATURE in properties:
                    self.assertEqual(self.engine_kind is CffiEngine, isinstance(vc.error, VerifyFailed))
                self.sessions._entries.clear()

    def test_another_certificate_of_ours(self) -> None:
        """Who we are to the origin is part of it."""
        self.never(self.policy(certificate=issue("me.example")), self.policy(certificate=issue("you.example")))
        self.never(self.policy(certificate=issue("me.example")), self.policy())

    def test_equal_settings(self) -> None:
        """Equal settings, but other contexts: what was behind the names of files may have changed."""
        self.never(self.policy(), self.policy())

    def test_another_name_or_address(self) -> None:
        """The name that is asked for, the one that is looked for, and where it is, each counts."""
        both = self.origin_context(issue("a.example", "b.example"))
        self.origin = both
        policy = self.policy()
        self.never(policy, policy, name="b.example")
        self.never(policy, policy, name=None, meant="a.example")
        vc = self.never(policy, policy, meant="evil.example")
        self.assertIsInstance(vc.error, VerifyFailed)
        for address in (("192.0.2.2", 443), ("192.0.2.1", 444), "/run/socket"):
            self.never(policy, policy, address=address)

    def test_judged_anew(self) -> None:
        """A resumed connection is warned of as the first one was, and its hooks are asked."""
        policy = self.policy(policy=VerifyPolicy.PERMISSIVE, ca_file=ca_file(OTHER_CA))
        self.origin = self.origin_context(issue("other.example"))
        asked: list[bool] = []
        hooks = hook_set(verify_server=lambda vc: asked.append(vc.get_ssl_session_cache_hit()))
        said = []
        for _ in range(2):
            vc, peer, cont = self.dial(policy, hooks=hooks)
            self.assertEqual(["READ_COMPLETE"], cont.events)
            self.hear(vc, peer)
            self.leave(vc, peer)
            said.append(self.lines())
            self.logged.clear()
        self.assertEqual(said[0], said[1])
        self.assertIn("other.example", said[1][0])
        cffi = self.engine_kind is CffiEngine
        self.assertEqual(cffi, "not one that we trust" in said[1][0])
        self.assertEqual([False, cffi], asked)
        self.assertEqual(1, self.sessions.hits)

    def test_refused(self) -> None:
        """Nothing is kept of an origin that was refused, by us or by a hook; nor of one that was accepted before."""

        def refuse(vc: Any) -> None:
            vc.refuse(40, "no")

        policy = self.policy()
        self.dial(self.policy(), name="other.example")
        self.dial(self.policy(ca_file=ca_file(OTHER_CA)))
        self.dial(policy, hooks=hook_set(verify_server=refuse))
        self.assertEqual(0, len(self.sessions))
        self.earn(policy)
        self.dial(policy, hooks=hook_set(verify_server=refuse))
        self.assertEqual(0, len(self.sessions))

    def test_handshake_that_breaks(self) -> None:
        """What was offered when a handshake broke is not offered again."""
        policy = self.policy()
        self.earn(policy)
        ours, theirs = unix_pair()
        vc = self.allocate(policy)
        vc.is_client, vc.server_name = True, "a.example"
        vc.options = NetVCOptions(sni_servername="a.example")
        vc.start(ours, ("192.0.2.1", 443))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        self.reactor.settle()
        self.keep(theirs).send(b"\x15\x03\x03\x00\x02\x02\x28")
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        self.assertIsInstance(vc.error, HandshakeFailed)
        self.assertEqual((1, 0), (self.sessions.hits, len(self.sessions)))
        self.assertFalse(self.resumed(self.dial(policy)))

    def test_connection_that_breaks(self) -> None:
        """A session whose TLS was broken is good no longer (RFC 5246, 7.2.2)."""
        policy = self.policy()
        vc, peer, _ = self.dial(policy)
        self.hear(vc, peer)
        cont, _ = self.read(vc)
        peer.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        vc.do_io_close()
        reset(peer.sock)
        self.reactor.settle()
        self.assertEqual(0, len(self.sessions))


globals().update(BorderTests.make_test_case_classes())


class BoundTests(Origins):
    """Time and room."""

    def test_time_is_up(self) -> None:
        """A session serves as long as the settings say, from the handshake in full on: new tickets prolong nothing."""
        self.sessions = OriginSessions(seconds=100)
        policy = self.policy()
        self.earn(policy)
        for _ in range(3):
            self.reactor.turn(33)
            self.earn(policy)
        self.assertEqual((3, 1, 0), self.counters())
        self.reactor.turn(1)
        self.assertFalse(self.resumed(self.dial(policy)))
        self.assertEqual((3, 2, 1), self.counters())

    def test_time_is_up_while_it_lives(self) -> None:
        """So it is for the session of a connection that is still open."""
        self.sessions = OriginSessions(seconds=100)
        policy = self.policy()
        vc, peer, _ = self.dial(policy)
        self.hear(vc, peer)
        self.reactor.turn(100)
        self.assertFalse(self.resumed(self.dial(policy)))
        self.leave(vc, peer)

    def test_origin_says_how_long(self) -> None:
        """A ticket is offered no longer than its origin has said."""
        self.origin = self.origin_context(seconds=50)
        policy = self.policy()
        self.earn(policy)
        self.reactor.turn(49)
        self.earn(policy)
        self.reactor.turn(1)
        self.assertEqual(1, self.sessions.hits)
        self.dial(policy)
        # Without the C functions nobody can read it, and the origin is the one to refuse.
        self.assertEqual(1 if self.engine_kind is CffiEngine else 2, self.sessions.hits)

    def test_certificate_expires(self) -> None:
        """A session ends with the certificate that was shown for it."""
        leaf = issue("a.example").leaf
        self.patch(sslvc, "_wall_clock", lambda: leaf.not_valid_after_utc.timestamp() - 10)
        policy = self.policy()
        self.earn(policy)
        self.reactor.turn(9)
        self.assertTrue(self.resumed(self.dial(policy)))
        self.reactor.turn(1)
        self.assertFalse(self.resumed(self.dial(policy)))

    def test_room(self) -> None:
        """There are never more than so many; the oldest goes first, and a newer one in its place is new."""
        self.sessions = OriginSessions(size=2)
        self.origin = self.origin_context(issue("*.b.example"))
        policy = self.policy()
        for name in ("1", "2", "1", "3"):
            self.earn(policy, name=f"{name}.b.example")
            self.assertLessEqual(len(self.sessions), 2)
        found = [self.resumed(self.dial(policy, name=f"{name}.b.example")) for name in ("1", "3")]
        self.assertEqual([True, True], found)
        self.assertFalse(self.resumed(self.dial(policy, name="2.b.example")))

    def test_room_of_those_that_live(self) -> None:
        """Those that are open count as well, and end in peace when they were forgotten."""
        self.sessions = OriginSessions(size=1)
        self.origin = self.origin_context(issue("*.b.example"))
        policy = self.policy()
        dialled = [self.dial(policy, name=f"{name}.b.example") for name in "123"]
        self.assertEqual(1, len(self.sessions))
        for vc, peer, _ in dialled:
            self.leave(vc, peer)
        self.assertLessEqual(len(self.sessions), 1)

    def test_too_large(self) -> None:
        """An origin cannot have us keep a certificate of any size."""
        self.patch(module, "LARGEST_BYTES", 300)
        policy = self.policy()
        self.earn(policy)
        self.assertEqual(0 if self.engine_kind is CffiEngine else 1, len(self.sessions))


globals().update(BoundTests.make_test_case_classes())


def der(tag: int, *content: bytes) -> bytes:
    """An element with a short or a long length."""
    joined = b"".join(content)
    length = bytes([len(joined)]) if len(joined) < 128 else b"\x82" + len(joined).to_bytes(2, "big")
    return bytes([tag]) + length + joined


def session(version: int, identity: bytes, hint: int | None, padding: int = 0) -> bytes:
    """What OpenSSL would write."""
    parts = [
        der(2, b"\x01"), der(2, version.to_bytes(2, "big")), der(4, b"\x13\x01"), der(4, identity), der(4, bytes(48)),
        der(0xA1, der(2, b"\x01")), der(0xA3, der(0x30, bytes(padding))),
    ]  # fmt: skip
    if hint is not None:
        parts.append(der(0xA9, der(2, hint.to_bytes(4, "big"))))
    return der(0x30, *parts)


class OfferTests(SynchronousTestCase):
    """Which sessions may be offered at all."""

    def test_each(self) -> None:
        """Not without an identity; over TLS 1.3 not without a lifetime, nor with none at all."""
        for version, identity, hint, expected in (
            (0x0303, bytes(32), None, float("inf")),
            (0x0303, bytes(32), 300, 300.0),
            (0x0303, b"", 300, None),
            (0x0303, b"", None, None),
            (0x0304, bytes(32), 7200, 7200.0),
            (0x0304, bytes(32), None, None),
            (0x0304, b"", None, None),
        ):
            for padding in (0, 200, 1000):
                self.assertEqual(expected, offer_seconds(session(version, identity, hint, padding)))
        self.assertEqual(None, offer_seconds(b""))

    def test_figures(self) -> None:
        """As Traffic Server has them, and OpenSSL."""
        self.assertEqual((10240, 7200), (SESSIONS, LIFETIME_SECONDS))
