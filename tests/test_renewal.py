# -*- test-case-name: tests.test_renewal -*-
"""
Tests for L{atstls.tls.renewal} and L{atstls.ssl.fronts}: the keys of tickets do not last for ever (A062).
"""

import os
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import ConfigurationError
from atstls.ssl.fronts import fronts
from atstls.tls.contexts import ClientVerification, ServerSettings
from atstls.tls.policy import ServerPolicy
from atstls.tls.renewal import KEY_SECONDS, RenewedFront
from tests.support import Moved
from tests.tlssupport import OverTLS, TLSPeer, ca_file, peer_client_context, server_policy


class RenewedFrontTests(SynchronousTestCase):
    """When there is another context."""

    def setUp(self) -> None:
        self.made: list[SSL.Context] = []
        self.told: list[str] = []
        self.wrong: str | None = None
        self.first = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.renewal = RenewedFront(self.first, self.make, 100, self.told.append)

    def make(self) -> SSL.Context:
        if self.wrong:
            raise ConfigurationError(self.wrong)
        self.made.append(SSL.Context(SSL.TLS_SERVER_METHOD))
        return self.made[-1]

    def test_in_time(self) -> None:
        """Each serves so long from its first use on, and not from when it was made."""
        moved = Moved()
        for now in (5000, 5001, 5099):
            self.assertIs(self.first, self.renewal.at(now))
        second = self.renewal.at(5100)
        self.assertEqual([second], self.made)
        self.assertIs(second, self.renewal.at(5199))
        # Nobody came for a long time: one, and not several.
        third = self.renewal.at(9000)
        self.assertEqual([second, third], self.made)
        self.assertIs(third, self.renewal.at(9099))
        self.assertEqual(2, moved.total_ticket_keys_renewed)

    def test_when_it_cannot_be_made(self) -> None:
        """The one from before goes on, it is told once for each time, and tried again when that time is over."""
        self.renewal.at(0)
        self.wrong = "ca.pem: it cannot be read"
        for now in (100, 101, 199):
            self.assertIs(self.first, self.renewal.at(now))
        self.assertEqual([self.wrong], self.told)
        self.wrong = None
        self.assertIsNot(self.first, self.renewal.at(200))
        self.assertEqual(1, len(self.told))


class FrontsTests(OverTLS):
    """Clients over the change."""

    def policy(self, **more: Any) -> ServerPolicy:
        limits = {"version_min": self.version, "version_max": self.version}
        settings = ServerSettings(**limits, session_key_seconds=100, **more)
        front, renewal = fronts(settings)
        return evolve(server_policy(self.version, more or None), front=front, renewal=renewal)

    def come(self, policy: ServerPolicy, session: Any) -> tuple[bool, Any]:
        """One connection: was its session resumed, and its session."""
        vc, peer, _ = self.established(policy, context=peer_client_context(self.version), session=session)
        resumed = bool(lib.SSL_session_reused(peer.connection._ssl))
        session = peer.connection.get_session()
        self.leave(vc, peer)
        return resumed, session

    def leave(self, vc: Any, peer: TLSPeer) -> None:
        peer.shutdown()
        vc.do_io_close()
        self.run_peers(peer)
        self.assert_gone(vc)

    def test_a_new_key(self) -> None:
        """A session is good until the change, and worth nothing after it; the next one is good again."""
        for settings in ({}, {"session_ticket": False}):
            policy = self.policy(**settings)
            _, session = self.come(policy, None)
            self.reactor.turn(99)
            resumed, session = self.come(policy, session)
            self.assertTrue(resumed)
            self.reactor.turn(1)
            resumed, session = self.come(policy, session)
            self.assertFalse(resumed)
            self.assertTrue(self.come(policy, session)[0])

    def test_connections_go_on(self) -> None:
        """Who is connected at the change notices nothing."""
        policy = self.policy()
        vc, peer, _ = self.established(policy)
        self.reactor.turn(100)
        other, other_peer, _ = self.established(policy)
        _, found = self.read_all(vc)
        writer = self.write(vc, b"pong")
        peer.write(b"ping")
        self.run_peers(peer)
        self.assertEqual((b"ping", b"pong", ["WRITE_COMPLETE"]), (found, peer.plain, writer.events))
        self.leave(other, other_peer)
        self.leave(vc, peer)

    def test_what_is_demanded_stays(self) -> None:
        """After the change clients still have to show a certificate."""
        policy = self.policy(client_verification=ClientVerification.REQUIRED, client_ca_file=ca_file())
        for _ in range(2):
            vc, sock = self.accept(policy)
            cont, _ = self.read(vc, 0)
            peer = self.client(sock)
            self.run_peers(peer)
            self.assertEqual(["ERROR"], cont.events)
            peer.sock.close()
            self.peers.remove(peer)
            self.reactor.turn(100)
        self.logged.clear()

    def test_a_file_that_is_gone(self) -> None:
        """Clients are served all the same, and the operator is told."""
        path = os.path.abspath(self.mktemp())
        with open(ca_file(), "rb") as old, open(path, "wb") as new:
            new.write(old.read())
        policy = self.policy(client_verification=ClientVerification.OPTIONAL, client_ca_file=path)
        _, session = self.come(policy, None)
        os.unlink(path)
        self.reactor.turn(100)
        self.assertTrue(self.come(policy, session)[0])
        self.assert_one_line(path, "key from before")

    def test_for_ever(self) -> None:
        """Who wants one key for ever has it; and each context is shown to whoever watches."""
        watched: list[SSL.Context] = []
        front, renewal = fronts(ServerSettings(session_key_seconds=0), watched.append)
        self.assertEqual(([front], None), (watched, renewal))
        _, renewal = fronts(ServerSettings(), watched.append)
        assert renewal is not None
        renewal.at(0)
        self.assertIs(renewal.at(KEY_SECONDS), watched[-1])
        self.assertEqual(3, len(watched))


globals().update(FrontsTests.make_test_case_classes())
