# -*- test-case-name: tests.test_resumption -*-
"""
Clients that resume sessions: who may, and all the ways in which somebody may try who must not (A060, A061, A065).

The attacker has a session that he earned honestly where nothing was demanded of him, and shows it where something is.
"""

from typing import Any

from attrs import evolve
from OpenSSL import SSL
from OpenSSL._util import lib

from atstls.errors import HandshakeFailed
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.ssl import sslvc
from atstls.ssl.sslvc import RENEGOTIATIONS, RENEGOTIATIONS_SECONDS, check_server_name, select_alpn
from atstls.tls import alerts
from atstls.tls.contexts import (
    CertificateTable,
    ClientVerification,
    ServerSettings,
    certificate_context,
    front_context,
)
from atstls.tls.engine import CffiEngine
from atstls.tls.policy import ServerPolicy
from tests.support import RecordingContinuation
from tests.tlssupport import (
    CA,
    OTHER_CA,
    OverTLS,
    TLSPeer,
    ca_file,
    cuts,
    hook_set,
    issue,
    protocol_set,
)

KINDS: dict[str, dict[str, Any]] = {"ticket": {}, "id": {"session_ticket": False}}
"""The settings with which sessions are in tickets, or here."""

NAMES = ("a.example", "*.b.example", "c.example")


def listener(settings: ServerSettings) -> ServerPolicy:
    """A policy with contexts of its own, as each listener has them."""
    table = CertificateTable()
    for name in NAMES:
        context = certificate_context(settings, [issue(name)], select_alpn=select_alpn)
        table.add(context, [name], default=name == NAMES[0])
    front = front_context(settings, select_alpn=select_alpn, check_server_name=check_server_name)
    return ServerPolicy(front, table, allow_client_renegotiation=settings.renegotiable)


def reused(peer: TLSPeer) -> bool:
    """Does the peer's OpenSSL say that the session was resumed?"""
    return bool(lib.SSL_session_reused(peer.connection._ssl))


class Resuming(OverTLS):
    """What the tests of resumption have in common."""

    def setUp(self) -> None:
        super().setUp()
        self.context = self.client_context()

    def client_context(self, certificate: Any = None) -> SSL.Context:
        """A client's context; sessions are resumed only within one."""
        number = SSL.TLS1_2_VERSION if self.version == "TLSv1.2" else SSL.TLS1_3_VERSION
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(number)
        context.set_max_proto_version(number)
        if certificate is not None:
            context.use_certificate(certificate.leaf)
            context.use_privatekey(certificate.key)
        return context

    def settings(self, kind: str, **more: Any) -> ServerSettings:
        """Settings for this run's version, with sessions of one of L{KINDS}."""
        return ServerSettings(**{"version_min": self.version, "version_max": self.version, **KINDS[kind], **more})

    def demanding(
        self, kind: str, how: ClientVerification = ClientVerification.REQUIRED, **more: Any
    ) -> ServerSettings:
        """The same, with clients' certificates."""
        more.setdefault("client_ca_file", ca_file())
        return self.settings(kind, client_verification=how, **more)

    def earn(self, policy: ServerPolicy, name: str | None = "a.example", **more: Any) -> Any:
        """A session, from a connection that ended in order."""
        vc, peer, _ = self.established(policy, name=name, context=self.context, **more)
        session = peer.connection.get_session()
        peer.shutdown()
        vc.do_io_close()
        self.run_peers(peer)
        self.assert_gone(vc)
        return session

    def attempt(
        self, policy: ServerPolicy, session: Any, name: str | None = "a.example", **more: Any
    ) -> tuple[Any, TLSPeer, RecordingContinuation]:
        """Come with C{session}, and see."""
        cut = more.pop("cut", lambda waiting: waiting)
        vc, sock = self.accept(policy, **more)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.client(sock, name=name, session=session, context=self.context, cut=cut)
        self.run_peers(peer)
        return vc, peer, cont

    def assert_kept_out(self, vc: Any, peer: TLSPeer, cont: RecordingContinuation) -> None:
        """Nothing of the application was reached."""
        self.assertEqual((["ERROR"], False), (cont.events, vc.get_ssl_handshake_complete()))
        self.assertNotEqual("", peer.reason)
        self.leave(vc, peer)

    def leave(self, vc: Any, peer: TLSPeer) -> None:
        """The peer goes, and nothing is left."""
        peer.sock.close()
        self.reactor.settle()
        self.peers.remove(peer)
        self.assert_gone(vc)

    def assert_full(self, vc: Any, peer: TLSPeer, cont: RecordingContinuation) -> None:
        """The handshake was done in full, and what follows works."""
        self.assertEqual((["READ_COMPLETE"], ""), (cont.events, peer.reason))
        self.assertFalse(reused(peer))
        self.assertFalse(vc.get_ssl_session_cache_hit())
        self.assert_speaks(vc, peer)

    def assert_resumed(self, vc: Any, peer: TLSPeer, cont: RecordingContinuation) -> None:
        self.assertEqual((["READ_COMPLETE"], ""), (cont.events, peer.reason))
        self.assertTrue(reused(peer))
        self.assertEqual(self.engine_kind is CffiEngine, vc.get_ssl_session_cache_hit())
        self.assert_speaks(vc, peer)

    def assert_speaks(self, vc: Any, peer: TLSPeer) -> None:
        _, found = self.read_all(vc)
        writer = self.write(vc, b"pong")
        peer.write(b"ping")
        self.run_peers(peer)
        self.assertEqual((b"ping", b"pong", ["WRITE_COMPLETE"]), (found, peer.plain, writer.events))


class ResumptionTests(Resuming):
    """Who comes back."""

    def test_ticket_and_id(self) -> None:
        """A client resumes with a ticket, or what is kept here; hooks and users see that it does (A060, A061, S136)."""
        for kind in KINDS:
            policy = listener(self.settings(kind))
            session = self.earn(policy)
            seen: list[bool] = []
            hooks = hook_set(verify_client=lambda vc, seen=seen: seen.append(vc.get_ssl_session_cache_hit()))
            self.assert_resumed(*self.attempt(policy, session, hooks=hooks))
            self.assertEqual([self.engine_kind is CffiEngine], seen)

    def test_every_cut(self) -> None:
        """However the bytes come."""
        for kind in KINDS:
            policy = listener(self.settings(kind))
            session = self.earn(policy)
            for cut in cuts().values():
                self.assert_resumed(*self.attempt(policy, session, cut=cut))

    def test_off(self) -> None:
        """Neither tickets nor a cache: nobody resumes."""
        policy = listener(self.settings("id", session_cache=False))
        session = self.earn(policy)
        self.assert_full(*self.attempt(policy, session))

    def test_by_certificate(self) -> None:
        """Some certificates give tickets and others do not, behind one front; who has none is served from the cache."""
        policy = listener(self.settings("ticket"))
        giving = policy.certificates.find_by_name("a.example")
        assert giving is not None
        policy = evolve(policy, tickets=frozenset([giving]))
        sizes = []
        for name in ("a.example", "c.example"):
            session = self.earn(policy, name)
            self.assert_resumed(*self.attempt(policy, session, name))
            sizes.append(len(CffiEngine.session_of(self.peers[-2].connection)))
        # A ticket has all of the session in it, an id 32 bytes.
        self.assertGreater(sizes[0], sizes[1] + 50)
        without = listener(self.settings("ticket", session_cache=False))
        without = evolve(without, tickets=frozenset())
        self.assert_full(*self.attempt(without, self.earn(without)))

    def test_context_of_a_hook(self) -> None:
        """A hook's own context does not say what its sessions are good for: who comes back is served, in full."""
        self.context = self.client_context(issue("me.example"))
        mine = SSL.Context(SSL.TLS_SERVER_METHOD)
        mine.use_certificate(issue("a.example").leaf)
        mine.use_privatekey(issue("a.example").key)
        mine.load_verify_locations(ca_file())
        for kind in KINDS:
            policy = listener(self.demanding(kind))
            hooks = hook_set(cert=lambda vc: vc.ssl_context_set(mine) and None)
            for cut in cuts().values():
                session = self.earn(policy, hooks=hooks)
                vc, peer, cont = self.attempt(policy, session, hooks=hooks, cut=cut)
                self.assertEqual(issue("me.example").leaf, vc.get_peer_certificate())
                self.assert_full(vc, peer, cont)
        self.assertEqual([], self.lines())

    def test_client_certificate_is_known(self) -> None:
        """Who showed a certificate, and resumes, is known by it."""
        self.context = self.client_context(issue("me.example"))
        for kind in KINDS:
            policy = listener(self.demanding(kind))
            session = self.earn(policy)
            vc, peer, cont = self.attempt(policy, session)
            self.assertEqual(issue("me.example").leaf, vc.get_peer_certificate())
            self.assert_resumed(vc, peer, cont)


globals().update(ResumptionTests.make_test_case_classes())


class AttackTests(Resuming):
    """Who must not."""

    def test_past_the_client_certificate(self) -> None:
        """A session that cost no certificate is worth none, at another policy for the same name (A065)."""
        for kind in KINDS:
            lax = [listener(self.settings(kind)), listener(self.demanding(kind, ClientVerification.OPTIONAL))]
            strict = listener(self.demanding(kind))
            for earned_under in lax:
                session = self.earn(earned_under)
                self.assert_kept_out(*self.attempt(strict, session))
            optional = lax[1]
            vc, peer, cont = self.attempt(optional, self.earn(lax[0]))
            self.assertIsNone(vc.get_peer_certificate())
            self.assert_full(vc, peer, cont)

    def test_with_the_ticket_keys_of_the_strict_one(self) -> None:
        """Even with tickets that can be read, and a cache that is shared, the other policy's sessions are nothing."""
        for kind in KINDS:
            strict = listener(self.demanding(kind))
            lax = evolve(listener(self.settings(kind)), front=strict.front)
            hooks = hook_set(verify_client=lambda vc: None)
            # The front says what is demanded; as a slip of a hook's, nothing is.
            lax_front = listener(self.settings(kind))
            mixed = evolve(strict, front=lax_front.front)
            session = self.earn(lax_front)
            self.assertFalse(reused(self.attempt(mixed, session, hooks=hooks)[1]))
            self.assert_kept_out(*self.attempt(lax, session))

    def test_another_authority(self) -> None:
        """A certificate of one authority is worth nothing where another one is trusted, resumed or not."""
        self.context = self.client_context(issue("me.example"))
        for kind in KINDS:
            session = self.earn(listener(self.demanding(kind)))
            other = listener(self.demanding(kind, client_ca_file=ca_file(OTHER_CA)))
            self.assert_kept_out(*self.attempt(other, session))

    def test_the_other_way(self) -> None:
        """Nor does who showed a certificate carry it to where none is asked for."""
        self.context = self.client_context(issue("me.example", ca=CA))
        for kind in KINDS:
            session = self.earn(listener(self.demanding(kind)))
            vc, peer, cont = self.attempt(listener(self.settings(kind)), session)
            self.assertIsNone(vc.get_peer_certificate())
            self.assert_full(vc, peer, cont)

    def test_two_listeners(self) -> None:
        """What was earned at one listener is worth nothing at another, though both demand the same."""
        for kind in KINDS:
            for names in (("one", "two"), ("", "")):
                one, two = (listener(self.settings(kind, name=name)) for name in names)
                session = self.earn(one)
                self.assert_full(*self.attempt(two, session))
                self.assert_resumed(*self.attempt(one, session))

    def test_rules_by_name(self) -> None:
        """One listener, two rules: a session of the open name does not open the closed one (SNI changed)."""
        for kind in KINDS:
            policies = {"a.example": listener(self.settings(kind)), "c.example": listener(self.demanding(kind))}

            def choose(vc: Any, policies: Any = policies) -> None:
                vc.policy = policies[vc.server_name]

            hooks = hook_set(client_hello=choose)
            session = self.earn(policies["a.example"], hooks=hooks)
            self.assert_resumed(*self.attempt(policies["a.example"], session, hooks=hooks))
            self.assert_kept_out(*self.attempt(policies["a.example"], session, "c.example", hooks=hooks))

    def test_late_change_of_policy(self) -> None:
        """A hook that becomes strict when the certificate is chosen already is obeyed."""
        for kind in KINDS:
            lax, strict = listener(self.settings(kind)), listener(self.demanding(kind))

            def choose(vc: Any, strict: Any = strict) -> None:
                vc.policy = strict

            session = self.earn(lax)
            self.assert_kept_out(*self.attempt(lax, session, hooks=hook_set(cert=choose)))

    def test_versions_and_ciphers(self) -> None:
        """A policy with other limits takes no session, and its limits hold."""
        for kind in KINDS:
            lax = listener(self.settings(kind, version_min="TLSv1.2", version_max="TLSv1.3"))
            session = self.earn(lax)
            other = "TLSv1.3" if self.version == "TLSv1.2" else "TLSv1.2"
            self.assert_kept_out(
                *self.attempt(listener(self.settings(kind, version_min=other, version_max=other)), session)
            )
            self.assert_full(*self.attempt(listener(self.settings(kind)), session))
            limited = self.settings(
                kind,
                version_min="TLSv1.2", version_max="TLSv1.3",
                cipher_suite="ECDHE-ECDSA-CHACHA20-POLY1305", tls13_cipher_suites="TLS_CHACHA20_POLY1305_SHA256",
            )  # fmt: skip
            vc, peer, cont = self.attempt(listener(limited), session)
            self.assertIn("CHACHA20", vc.get_ssl_cipher_suite())
            self.assert_full(vc, peer, cont)

    def test_name_of_another_certificate(self) -> None:
        """The names of another certificate: a handshake in full (RFC 6066, section 3)."""
        for kind in KINDS:
            policy = listener(self.settings(kind))
            session = self.earn(policy)
            for name in ("c.example", "x.b.example"):
                vc, peer, cont = self.attempt(policy, session, name)
                self.assertEqual(name, vc.server_name)
                self.assert_full(vc, peer, cont)

    def test_name_of_the_same_certificate(self) -> None:
        """
        Another name of one certificate: over TLS 1.3 that is allowed (RFC 8446, 4.6.1), and the new name counts; over
        TLS 1.2 it is a handshake in full, however the bytes come.  Hooks are asked once.
        """
        for kind in KINDS:
            policy = listener(self.settings(kind))
            session = self.earn(policy, "x.b.example")
            for cut in cuts().values():
                asked: list[str] = []
                hooks = hook_set(cert=lambda vc, asked=asked: asked.append(vc.server_name))
                vc, peer, cont = self.attempt(
                    policy, session, "y.b.example", hooks=hooks, cut=cut, protocols=protocol_set(b"h2")
                )
                self.assertEqual((["y.b.example"], "y.b.example"), (asked, vc.server_name))
                if self.version == "TLSv1.2":
                    self.assert_full(vc, peer, cont)
                    session = self.earn(policy, "x.b.example")  # the id was forgotten
                else:
                    self.assert_resumed(vc, peer, cont)

    def test_name_left_out_or_put_in(self) -> None:
        """A session with a name, shown without one, and the other way round."""
        for kind in KINDS:
            policy = listener(self.settings(kind))
            for first, second in (("a.example", None), (None, "a.example")):
                vc, peer, cont = self.attempt(policy, self.earn(policy, first), second)
                self.assertEqual(second, vc.server_name)
                (self.assert_full if self.version == "TLSv1.2" else self.assert_resumed)(vc, peer, cont)

    def test_name_in_two_ways(self) -> None:
        """The check that OpenSSL reads the name that we read stands, with a session and without."""
        for kind in KINDS:
            policy = listener(self.settings(kind))
            for session in (None, self.earn(policy)):

                def lie(vc: Any) -> None:
                    vc.hello = vc.hello._replace(server_name_bytes=b"c.example")

                vc, peer, cont = self.attempt(policy, session, hooks=hook_set(cert=lie))
                self.assert_kept_out(vc, peer, cont)
                self.assertIsInstance(vc.error, HandshakeFailed)
                self.assertEqual(alerts.ILLEGAL_PARAMETER, vc.error.alert)

    def test_certificate_that_has_expired(self) -> None:
        """Who was let in by a certificate that is good no longer has to show one that is."""
        self.context = self.client_context(issue("me.example"))
        now = [issue("me.example").leaf.not_valid_before_utc.timestamp()]
        self.patch(sslvc, "_wall_clock", lambda: now[0])
        for kind in KINDS:
            for how in (ClientVerification.REQUIRED, ClientVerification.OPTIONAL):
                now[0] = issue("me.example").leaf.not_valid_after_utc.timestamp() - 1
                policy = listener(self.demanding(kind, how))
                session = self.earn(policy)
                self.assert_resumed(*self.attempt(policy, session))
                now[0] += 1
                # To OpenSSL, whose clock is another one, the certificate is still good.
                vc, peer, cont = self.attempt(policy, session)
                self.assertEqual(issue("me.example").leaf, vc.get_peer_certificate())
                self.assert_full(vc, peer, cont)

    def test_certificate_that_has_expired_said_twice(self) -> None:
        """
        The same when a TLS 1.3 client has to say hello twice (HelloRetryRequest): with a ticket it goes on in full; a
        session that is kept here cannot be taken out then, and it is refused.
        """
        if self.version == "TLSv1.2":
            return  # has one hello
        self.context = self.client_context(issue("me.example"))
        now = [0.0]
        self.patch(sslvc, "_wall_clock", lambda: now[0])
        for kind in KINDS:
            now[0] = issue("me.example").leaf.not_valid_after_utc.timestamp() - 1
            policy = listener(self.demanding(kind, group="P-384"))
            session = self.earn(policy)
            self.assert_resumed(*self.attempt(policy, session))
            now[0] += 1
            vc, peer, cont = self.attempt(policy, session)
            if kind == "ticket":
                self.assertEqual(issue("me.example").leaf, vc.get_peer_certificate())
                self.assert_full(vc, peer, cont)
            else:
                self.assert_kept_out(vc, peer, cont)
            self.assert_full(*self.attempt(policy, None))

    def test_session_of_an_expired_certificate_alone(self) -> None:
        """And who has none to show any more is kept out."""
        me = issue("me.example")
        naked = self.client_context()
        for kind in KINDS:
            policy = listener(self.demanding(kind))
            now = [me.leaf.not_valid_before_utc.timestamp()]
            self.patch(sslvc, "_wall_clock", lambda now=now: now[0])
            self.context = self.client_context(me)
            earned = CffiEngine.session_of(self._open(policy).connection)
            self.context = naked
            for then, resumes in ((now[0], True), (me.leaf.not_valid_after_utc.timestamp(), False)):
                now[0] = then
                vc, sock = self.accept(policy)
                cont, _ = self.read(vc, 0)
                peer = self.client(sock, context=naked)
                self.assertTrue(CffiEngine(peer.connection).offer(earned))
                self.run_peers(peer)
                if resumes:
                    self.assertEqual(["READ_COMPLETE"], cont.events)
                    self.assertTrue(reused(peer))
                else:
                    self.assert_kept_out(vc, peer, cont)

    def _open(self, policy: ServerPolicy) -> TLSPeer:
        return self.established(policy, context=self.context)[1]


globals().update(AttackTests.make_test_case_classes())


class RenegotiationTests(Resuming):
    """TLS 1.2: who may renegotiate may not do so without end."""

    versions = ("TLSv1.2",)

    def ask(self, peer: TLSPeer) -> None:
        peer.connection.renegotiate()
        try:
            peer.connection.do_handshake()
        except SSL.WantReadError:
            pass
        peer._take()

    def test_flood(self) -> None:
        """So many are answered, though the user writes nothing; the next one ends the connection, with a line."""
        policy = listener(self.settings("ticket", allow_client_renegotiation=True))
        for cut in cuts().values():
            vc, peer, _ = self.established(policy, cut=cut)
            cont, found = self.read_all(vc)
            for times in range(1, RENEGOTIATIONS + 1):
                self.ask(peer)
                self.run_peers(peer)
                self.assertEqual(times, peer.connection.total_renegotiations())
                peer.write(b"x")
                self.run_peers(peer)
            self.assertEqual(([], b"x" * RENEGOTIATIONS), (self.lines(), found))
            self.assertFalse(vc.get_ssl_client_renegotiation_abort())
            cont.log.clear()
            self.ask(peer)
            self.run_peers(peer)
            self.assertEqual(["ERROR"], cont.events)
            self.assertIn("too often", str(vc.error))
            self.assertTrue(vc.get_ssl_client_renegotiation_abort())
            self.assert_one_line(vc.peer_name(), "renegotiate", str(RENEGOTIATIONS))
            vc.do_io_close()
            self.leave(vc, peer)
            self.logged.clear()

    def test_flood_behind_data(self) -> None:
        """The same when each one comes with data in front of it: what came before the end is delivered."""
        policy = listener(self.settings("ticket", allow_client_renegotiation=True))
        vc, peer, _ = self.established(policy)
        cont, found = self.read_all(vc)
        for _ in range(RENEGOTIATIONS + 5):
            if "ERROR" in cont.events:
                break
            peer.write(b"data")
            self.ask(peer)
            self.run_peers(peer)
        self.assertEqual("ERROR", cont.events[-1])
        self.assertEqual(b"data" * (RENEGOTIATIONS + 1), found)
        self.assertEqual(1, len(self.lines()))

    def test_now_and_then(self) -> None:
        """A client that renegotiates now and then may do so for ever."""
        policy = listener(self.settings("ticket", allow_client_renegotiation=True))
        vc, peer, _ = self.established(policy)
        cont, _found = self.read_all(vc)
        for times in range(1, 4 * RENEGOTIATIONS):
            self.ask(peer)
            self.run_peers(peer)
            self.assertEqual(times, peer.connection.total_renegotiations())
            self.reactor.turn(RENEGOTIATIONS_SECONDS / RENEGOTIATIONS)
        self.assertEqual(([], []), (cont.events, self.lines()))
        self.assertLessEqual(len(vc._renegotiations), RENEGOTIATIONS + 1)

    def test_origin_that_asks_for_it(self) -> None:
        """An origin has no business to ask us: the connection ends, and what came before is delivered."""
        origin = SSL.Context(SSL.TLS_SERVER_METHOD)
        origin.use_certificate(issue("a.example").leaf)
        origin.use_privatekey(issue("a.example").key)
        vc, sock = self.connect()
        opened, _ = self.read(vc, 0)
        peer = TLSPeer(sock, origin, server=True)
        self.peers.append(peer)
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], opened.events)
        cont, found = self.read_all(vc)
        peer.write(b"answer")
        peer.connection.renegotiate()
        try:
            peer.connection.do_handshake()
        except SSL.WantReadError:
            pass
        peer._take()
        self.run_peers(peer)
        self.assertEqual((["READ_READY", "ERROR"], b"answer"), (cont.events, found))
        self.assertIn("renegotiate", str(vc.error))
        self.assertEqual("no renegotiation", peer.reason)
        vc.do_io_close()
        self.leave(vc, peer)

    def test_moving_is_no_new_start(self) -> None:
        """A connection that moved to another object has used up what it has used up."""
        policy = listener(self.settings("ticket", allow_client_renegotiation=True))
        vc, peer, _ = self.established(policy)
        for _ in range(RENEGOTIATIONS):
            self.read_all(vc)
            self.ask(peer)
            self.run_peers(peer)
        self.assertEqual([], self.lines())
        held = vc.release()
        moved = sslvc.SSLNetVConnection(self.handler)
        moved.populate(held, None, held.ssl)
        cont, _ = self.read_all(moved)
        self.ask(peer)
        self.run_peers(peer)
        self.assertEqual((["ERROR"], 1), (cont.events, len(self.lines())))

    def test_not_with_client_certificates(self) -> None:
        """Where clients are asked for a certificate they are refused: who they are would be lost."""
        for how in (ClientVerification.REQUIRED, ClientVerification.OPTIONAL):
            self.context = self.client_context(issue("me.example"))
            policy = listener(self.demanding("ticket", how, allow_client_renegotiation=True))
            vc, peer, _ = self.established(policy, context=self.context)
            cont, _found = self.read_all(vc)
            self.ask(peer)
            self.run_peers(peer)
            self.assertEqual(["ERROR"], cont.events)
            self.assertEqual(issue("me.example").leaf, vc.get_peer_certificate())
            vc.do_io_close()
            self.run_peers(peer)
            self.assertEqual("no renegotiation", peer.reason)


globals().update(RenegotiationTests.make_test_case_classes())
