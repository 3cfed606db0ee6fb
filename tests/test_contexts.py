"""
Tests for L{atstls.tls.contexts}.

Two connections of pyOpenSSL talk over memory; what matters is what they agree on.  Everything that TLS 1.2 and 1.3 may
do differently is tested with both.
"""

import gc
import os
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from unittest import mock

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import CertificateRevocationListBuilder, load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import ConfigurationError, HandshakeFailed
from atstls.tls.certificates import Certificate, PrivateKey, self_signed
from atstls.tls.contexts import (
    DEFAULT_CIPHERS,
    CertificateTable,
    ClientSettings,
    ClientVerification,
    ServerSettings,
    certificate_context,
    client_context,
    front_context,
    session_id_context,
)
from atstls.tls.verify import VerifyPolicy, VerifyProperties, verify_words

VERSIONS = ("TLSv1.2", "TLSv1.3")
CA = trustme.CA()
OTHER_CA = trustme.CA()


def as_certificate(issued: trustme.LeafCert, *names: str) -> Certificate:
    """What C{load_certificate} makes of the same PEM."""
    leaf, *chain = [load_pem_x509_certificate(pem.bytes()) for pem in issued.cert_chain_pems]
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    assert isinstance(key, PrivateKey)
    return Certificate(leaf, tuple(chain), key, names, "trustme")


def issue(*names: str, ca: trustme.CA = CA, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> Certificate:
    return as_certificate(ca.issue_cert(*names, key_type=key_type), *names)


class Joined:
    """
    A client and a server connection, and what became of their handshake.

    @ivar failures: what each side raised, by C{"client"} and C{"server"}; empty for success.
    """

    def __init__(self, client: SSL.Connection, server: SSL.Connection) -> None:
        self.client = client
        self.server = server
        self.failures: dict[str, Exception] = {}
        client.set_connect_state()
        server.set_accept_state()
        self.talk()

    def talk(self) -> None:
        """Shakes hands, for the first time or again."""
        client, server = self.client, self.server
        # Twice around is enough for TLS 1.2; the reads at the end take TLS 1.3's tickets and late alerts.
        shake: Callable[[SSL.Connection], object] = SSL.Connection.do_handshake
        take: Callable[[SSL.Connection], object] = lambda side: side.recv(1)  # noqa: E731  # as short as it is clear
        for step in (shake,) * 4 + (take,) * 2:
            for name, side, other in (("client", client, server), ("server", server, client)):
                if name not in self.failures:
                    try:
                        step(side)
                    except SSL.WantReadError:
                        pass
                    except Exception as exc:
                        self.failures[name] = exc
                try:
                    other.bio_write(side.bio_read(1 << 16))
                except SSL.WantReadError:
                    pass

    def close(self) -> None:
        """Says goodbye on both sides; without, their sessions could not be resumed."""
        self.client.shutdown()
        self.server.shutdown()


class PeersCase(SynchronousTestCase):
    """Joins clients and servers."""

    def path(self, data: bytes) -> str:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(data)
        return path

    @property
    def ca_file(self) -> str:
        return self.path(CA.cert_pem.bytes())

    def client(self, version: str = "TLSv1.3", **settings: object) -> SSL.Context:
        """A client context that speaks C{version} only."""
        settings = {"ca_file": self.ca_file, "version_min": version, "version_max": version, **settings}
        return client_context(ClientSettings(**settings))  # type: ignore[arg-type]  # the keys are ours

    def join(
        self,
        client: SSL.Context,
        front: SSL.Context,
        moved_to: SSL.Context | None = None,
        *,
        session: SSL.Session | None = None,
        name: bytes = b"a.example",
    ) -> Joined:
        client_side, server_side = SSL.Connection(client, None), SSL.Connection(front, None)
        client_side.set_tlsext_host_name(name)
        if session is not None:
            client_side.set_session(session)
        if moved_to is not None:
            server_side.set_context(moved_to)
        return Joined(client_side, server_side)

    def joined(self, *args: SSL.Context, session: SSL.Session | None = None, name: bytes = b"a.example") -> Joined:
        """Joins, and it succeeds."""
        pair = self.join(*args, session=session, name=name)
        self.assertEqual(pair.failures, {})
        return pair

    def session(self, *args: SSL.Context) -> SSL.Session:
        """A session that was earned in a full handshake and properly ended."""
        pair = self.joined(*args)
        session = pair.client.get_session()
        assert session is not None
        pair.close()
        return session


def front(settings: ServerSettings = ServerSettings()) -> SSL.Context:  # noqa: B008  # frozen
    return front_context(settings, select_alpn=None, check_server_name=None)


def behind(*certificates: Certificate, settings: ServerSettings = ServerSettings()) -> SSL.Context:  # noqa: B008
    return certificate_context(settings, certificates, select_alpn=None)


def resumed(pair: Joined) -> bool:
    # pyOpenSSL has no public call for it.
    return bool(lib.SSL_session_reused(pair.client._ssl))


class ServerContextTests(PeersCase):
    """What a server's two contexts do together."""

    certificate = issue("a.example")

    def test_certificate_from_behind(self) -> None:
        """A connection that was moved shows the certificate it was moved to."""
        for version in VERSIONS:
            pair = self.joined(self.client(version), front(), behind(self.certificate))
            self.assertEqual(pair.client.get_peer_certificate(as_cryptography=True), self.certificate.leaf)
            self.assertEqual(pair.client.get_protocol_version_name(), version)

    def test_front_alone_has_no_certificate(self) -> None:
        """A connection for which nothing was found fails in its handshake, in an orderly way."""
        checked: list[SSL.Connection] = []
        # Without a servername callback OpenSSL has no TLS 1.3 while it has no certificate, and says protocol_version.
        first = front_context(ServerSettings(), select_alpn=None, check_server_name=checked.append)
        for version in VERSIONS:
            pair = self.join(self.client(version), first)
            self.assertEqual(set(pair.failures), {"client", "server"})
            self.assertIn("handshake failure", str(pair.failures["client"]))
            self.assertEqual(checked.pop(), pair.server)

    def test_certificate_context_alone(self) -> None:
        """A listener with one certificate needs no second context."""
        for version in VERSIONS:
            self.joined(self.client(version), behind(self.certificate))

    def test_chain(self) -> None:
        """The chain of the file is what the client sees, and not more (A042)."""
        certificate = issue("a.example", ca=CA.create_child_ca())
        self.assertEqual(len(certificate.chain), 1)
        pair = self.joined(self.client(), front(), behind(certificate))
        chain = pair.client.get_peer_cert_chain(as_cryptography=True)
        self.assertEqual(chain, [certificate.leaf, *certificate.chain])

    def test_chain_is_not_made_up(self) -> None:
        """The CAs by which clients are judged are never sent as the server's own chain."""
        middle = CA.create_child_ca()
        issued = as_certificate(middle.issue_cert("a.example"), "a.example")
        bare = Certificate(issued.leaf, (), issued.key, issued.names, "bare")
        settings = ServerSettings(client_ca_file=self.path(CA.cert_pem.bytes() + middle.cert_pem.bytes()))
        client = self.client(policy=VerifyPolicy.DISABLED)
        pair = self.joined(client, front(settings), behind(bare, settings=settings))
        self.assertEqual(pair.client.get_peer_cert_chain(as_cryptography=True), [bare.leaf])

    def test_rsa_and_ecdsa(self) -> None:
        """With a certificate of each kind, a client gets the one it can use, with that one's own chain (A041)."""
        ecdsa = issue("a.example", ca=CA.create_child_ca())
        rsa = issue("a.example", ca=CA.create_child_ca(), key_type=trustme.KeyType.RSA)
        for certificates in ((ecdsa, rsa), (rsa, ecdsa)):
            server = behind(*certificates)
            for certificate, cipher in ((ecdsa, "ECDHE-ECDSA-AES128-GCM-SHA256"), (rsa, "ECDHE-RSA-AES128-GCM-SHA256")):
                pair = self.joined(self.client("TLSv1.2", cipher_suite=cipher), front(), server)
                chain = pair.client.get_peer_cert_chain(as_cryptography=True)
                self.assertEqual(chain, [certificate.leaf, *certificate.chain])

    def test_two_of_a_kind(self) -> None:
        """A second certificate with the same kind of key is refused; OpenSSL would forget the first."""
        error = self.assertRaises(ConfigurationError, behind, self.certificate, issue("a.example"))
        self.assertIn("same kind of key", str(error))

    def test_key_does_not_fit(self) -> None:
        """A certificate object with somebody else's key is refused, with its source."""
        other = issue("a.example")
        wrong = Certificate(self.certificate.leaf, (), other.key, (), "wrong.pem")
        self.assertIn("wrong.pem", str(self.assertRaises(ConfigurationError, behind, wrong)))

    def test_alpn_after_the_move(self) -> None:
        """The protocol is chosen by the context that the connection was moved to, before its handshake or during it."""

        def select_front(connection: SSL.Connection, offered: list[bytes]) -> bytes:
            return b"h2"

        def select_behind(connection: SSL.Connection, offered: list[bytes]) -> bytes:
            self.assertEqual(offered, [b"h2", b"http/1.1"])
            return b"http/1.1"

        second = certificate_context(ServerSettings(), [self.certificate], select_alpn=select_behind)
        early = front_context(ServerSettings(), select_alpn=select_front, check_server_name=None)
        late = front_context(
            ServerSettings(),
            select_alpn=select_front,
            check_server_name=lambda connection: connection.set_context(second),
        )
        for version in VERSIONS:
            client = self.client(version, alpn=(b"h2", b"http/1.1"))
            for pair in (self.joined(client, early, second), self.joined(client, late)):
                self.assertEqual(pair.client.get_alpn_proto_negotiated(), b"http/1.1")
                self.assertEqual(pair.server.get_alpn_proto_negotiated(), b"http/1.1")

    def test_alpn_none(self) -> None:
        """A server may go on without a protocol."""
        for version in VERSIONS:
            server = certificate_context(
                ServerSettings(),
                [self.certificate],
                select_alpn=lambda connection, offered: SSL.NO_OVERLAPPING_PROTOCOLS,
            )
            pair = self.joined(self.client(version, alpn=(b"h2",)), front(), server)
            self.assertEqual(pair.client.get_alpn_proto_negotiated(), b"")

    def test_alpn_refused(self) -> None:
        """What the selection raises is what the handshake raises; the client gets no_application_protocol (A075)."""
        for version in VERSIONS:

            def refuse(connection: SSL.Connection, offered: list[bytes]) -> bytes:
                raise HandshakeFailed("nothing in common")

            server = certificate_context(ServerSettings(), [self.certificate], select_alpn=refuse)
            pair = self.join(self.client(version, alpn=(b"h2",)), front(), server)
            self.assertIsInstance(pair.failures["server"], HandshakeFailed)
            self.assertIn("no application protocol", str(pair.failures["client"]))

    def test_server_name_checked(self) -> None:
        """The check is called with the connection, also for one that was moved."""
        for version in VERSIONS:
            names: list[bytes | None] = []
            first = front_context(
                ServerSettings(),
                select_alpn=None,
                check_server_name=lambda connection, names=names: names.append(connection.get_servername()),
            )
            self.joined(self.client(version), first, behind(self.certificate))
            self.assertEqual(names, [b"a.example"])

    def test_contexts_go_away(self) -> None:
        """A context that a reload replaced is freed with the last connection that uses it."""
        context = certificate_context(
            ServerSettings(), [self.certificate], select_alpn=lambda connection, offered: offered[0]
        )
        pair = self.joined(self.client(alpn=(b"h2",)), front(), context)
        kept = weakref.ref(context)
        del context
        self.assertIsNotNone(kept())
        del pair
        gc.collect()
        self.assertIsNone(kept())


class ProtocolTests(PeersCase):
    """Versions, ciphers and groups (A070-A072)."""

    certificate = issue("a.example")

    def test_versions(self) -> None:
        """The front context's limits hold; what the one behind says of them does not matter."""
        only_new = ServerSettings(version_min="TLSv1.3")
        for first, second in ((only_new, ServerSettings()), (only_new, only_new)):
            pair = self.join(self.client("TLSv1.2"), front(first), behind(self.certificate, settings=second))
            self.assertIn("protocol version", str(pair.failures["client"]))
        only_old = ServerSettings(version_max="TLSv1.2")
        pair = self.join(self.client("TLSv1.3"), front(only_old), behind(self.certificate))
        self.assertIn("protocol version", str(pair.failures["client"]))

    def test_default_ciphers(self) -> None:
        """TLS 1.2 gets forward secrecy and AEAD, whatever else the client would take."""
        everything = self.client("TLSv1.2", cipher_suite="ALL")
        pair = self.joined(everything, front(), behind(self.certificate))
        self.assertEqual(pair.client.get_cipher_name(), "ECDHE-ECDSA-AES128-GCM-SHA256")
        old = self.client("TLSv1.2", cipher_suite="ECDHE-ECDSA-AES128-SHA")
        pair = self.join(old, front(), behind(self.certificate))
        self.assertIn("handshake failure", str(pair.failures["client"]))
        for cipher in DEFAULT_CIPHERS.split(":"):
            self.assertRegex(cipher, r"^ECDHE-.*(GCM|POLY1305)")

    def test_cipher_order(self) -> None:
        """Our order counts, unless I say that the client's does, or that its wish for ChaCha20 does (A071)."""
        aes, chacha = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"
        client = self.client("TLSv1.2", cipher_suite=f"{chacha}:{aes}")
        for settings, chosen in (
            (ServerSettings(), aes),
            (ServerSettings(honor_cipher_order=False), chacha),
            (ServerSettings(prioritize_chacha=True), chacha),
        ):
            pair = self.joined(client, front(settings), behind(self.certificate, settings=settings))
            self.assertEqual(pair.client.get_cipher_name(), chosen)

    def test_named_ciphers(self) -> None:
        """I can name the ciphers of both kinds of versions."""
        settings = ServerSettings(
            cipher_suite="ECDHE-ECDSA-AES256-GCM-SHA384", tls13_cipher_suites="TLS_CHACHA20_POLY1305_SHA256"
        )
        for version, chosen in zip(
            VERSIONS, ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_CHACHA20_POLY1305_SHA256"), strict=True
        ):
            pair = self.joined(self.client(version), front(settings), behind(self.certificate, settings=settings))
            self.assertEqual(pair.client.get_cipher_name(), chosen)

    def test_where_ciphers_come_from(self) -> None:
        """
        The ciphers of the context behind are those that count, in both kinds of versions.  One more reason to make both
        contexts from the same settings.
        """
        settings = ServerSettings(
            cipher_suite="ECDHE-ECDSA-AES256-GCM-SHA384", tls13_cipher_suites="TLS_CHACHA20_POLY1305_SHA256"
        )
        for version, chosen in zip(
            VERSIONS, ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_CHACHA20_POLY1305_SHA256"), strict=True
        ):
            pair = self.joined(self.client(version), front(), behind(self.certificate, settings=settings))
            self.assertEqual(pair.client.get_cipher_name(), chosen)

    def test_group(self) -> None:
        """I can name one group for the key exchange, and the library's list begins with a modern one."""
        settings = ServerSettings(group="P-384")
        for version in VERSIONS:
            pair = self.joined(self.client(version), front(settings), behind(self.certificate))
            self.assertEqual(pair.client.get_group_name(), "secp384r1")
        pair = self.joined(self.client(), front(), behind(self.certificate))
        self.assertIn("25519", (pair.client.get_group_name() or "").lower())

    def test_renegotiation(self) -> None:
        """A TLS 1.2 client cannot begin a new handshake in the connection, unless I allow it."""
        for allowed in (False, True):
            settings = ServerSettings(allow_client_renegotiation=allowed)
            client = SSL.Context(SSL.TLS_CLIENT_METHOD)  # ours never asks for it
            client.set_max_proto_version(SSL.TLS1_2_VERSION)
            pair = self.joined(client, front(settings), behind(self.certificate))
            pair.client.renegotiate()
            pair.talk()
            if allowed:
                self.assertEqual(pair.failures, {})
                self.assertEqual(pair.client.total_renegotiations(), 1)
            else:
                self.assertIn("no renegotiation", str(pair.failures["client"]))

    def test_renegotiation_by_an_origin(self) -> None:
        """An origin that asks for a new handshake is told that there is none."""
        origin = SSL.Context(SSL.TLS_SERVER_METHOD)
        origin.use_certificate(self.certificate.leaf)
        origin.use_privatekey(self.certificate.key)
        pair = self.joined(self.client("TLSv1.2"), origin)
        pair.server.renegotiate()
        pair.talk()
        self.assertIn("no renegotiation", str(pair.failures["server"]))

    def test_idle_memory(self) -> None:
        """Each kind of context gives the buffers of idle connections back."""
        client = client_context(ClientSettings(policy=VerifyPolicy.DISABLED))
        for context in (front(), behind(self.certificate), client):
            self.assertTrue(context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS)
            self.assertTrue(context.set_options(0) & SSL.OP_NO_COMPRESSION)


class ResumptionTests(PeersCase):
    """Who may go on with a session, and who must not (A060, A061, A065)."""

    certificate = issue("a.example")
    renewed = issue("a.example")

    def test_tickets_survive_renewal(self) -> None:
        """A certificate is replaced; clients that were here before come back without a full handshake."""
        for version in VERSIONS:
            client, first = self.client(version), front()
            session = self.session(client, first, behind(self.certificate))
            pair = self.joined(client, first, behind(self.renewed), session=session)
            self.assertTrue(resumed(pair), version)
            # Also the next one, with what it got this time.
            again = pair.client.get_session()
            pair.close()
            self.assertTrue(resumed(self.joined(client, first, behind(self.renewed), session=again)), version)

    def test_another_name(self) -> None:
        """A session earned under one certificate's names is worth nothing under another's (RFC 6066, section 3)."""
        other = issue("other.example")
        for version in VERSIONS:
            client, first = self.client(version), front()
            session = self.session(client, first, behind(self.certificate))
            pair = self.joined(client, first, behind(other), session=session, name=b"other.example")
            self.assertFalse(resumed(pair), version)

    def test_another_policy(self) -> None:
        """
        A session that needed no client certificate does not get past a policy that wants one, even with the ticket
        keys of the first.
        """
        strict = ServerSettings(client_verification=ClientVerification.REQUIRED, client_ca_file=self.ca_file)
        for version in VERSIONS:
            client, first = self.client(version), front()
            session = self.session(client, first, behind(self.certificate))
            pair = self.joined(client, first, behind(self.certificate, settings=strict), session=session)
            self.assertFalse(resumed(pair), version)
            pair = self.join(client, front(strict), behind(self.certificate, settings=strict), session=session)
            self.assertFalse(resumed(pair), version)
            self.assertIn("certificate required" if version == "TLSv1.3" else "handshake failure", str(pair.failures))

    def test_what_matters(self) -> None:
        """Each thing that a client is held to, the contents of the CA file included, makes sessions worthless."""
        ca_file = self.ca_file
        base = ServerSettings(client_ca_file=ca_file)
        ids = [
            session_id_context(settings)
            for settings in (
                base,
                ServerSettings(client_ca_file=self.path(OTHER_CA.cert_pem.bytes())),
                ServerSettings(),
                ServerSettings(client_ca_file=ca_file, client_verification=ClientVerification.OPTIONAL),
                ServerSettings(client_ca_file=ca_file, client_verification=ClientVerification.REQUIRED),
                ServerSettings(client_ca_file=ca_file, verify_depth=1),
                ServerSettings(client_ca_file=ca_file, version_min="TLSv1.3"),
                ServerSettings(client_ca_file=ca_file, version_max="TLSv1.2"),
                ServerSettings(client_ca_file=ca_file, cipher_suite="ALL"),
                ServerSettings(client_ca_file=ca_file, tls13_cipher_suites="TLS_AES_128_GCM_SHA256"),
                ServerSettings(client_ca_file=ca_file, group="P-256"),
                ServerSettings(client_ca_file=ca_file, name="b"),
            )
        ]
        ids.append(session_id_context(base, ["a.example"]))
        self.assertEqual(len(set(ids)), len(ids))
        self.assertEqual({len(identity) for identity in ids}, {32})

    def test_what_does_not_matter(self) -> None:
        """The same policy has the same identity at the next start, wherever its CA file lies."""
        one, two = (ServerSettings(client_ca_file=self.ca_file, session_timeout_seconds=seconds) for seconds in (0, 60))
        self.assertEqual(session_id_context(one, ["a"]), session_id_context(two, ["a"]))
        # Written down, so that an upgrade which throws away all sessions does it on purpose.
        self.assertEqual(session_id_context(ServerSettings()).hex()[:16], "084a8e791073c22d")

    def test_switches(self) -> None:
        """Without tickets the cache serves, without the cache tickets do, without both nobody resumes."""
        for ticket, cache, expected in (
            (True, True, True),
            (False, True, True),
            (True, False, True),
            (False, False, False),
        ):
            settings = ServerSettings(session_ticket=ticket, session_cache=cache)
            for version in VERSIONS:
                client, first = self.client(version), front(settings)
                second = behind(self.certificate, settings=settings)
                session = self.session(client, first, second)
                self.assertEqual(resumed(self.joined(client, first, second, session=session)), expected)

    def test_timeout(self) -> None:
        """I can say how long sessions last, or leave it to the library."""
        self.assertEqual(front(ServerSettings(session_timeout_seconds=77)).get_timeout(), 77)
        self.assertGreater(front().get_timeout(), 0)


class ClientCertificateTests(PeersCase):
    """Clients that show who they are (A076)."""

    certificate = issue("a.example")

    def contexts(self, verification: ClientVerification, **more: object) -> tuple[SSL.Context, SSL.Context]:
        settings = ServerSettings(
            client_verification=verification,
            client_ca_file=self.path(OTHER_CA.cert_pem.bytes()),
            **more,  # type: ignore[arg-type]  # the keys are ours
        )
        return front(settings), behind(self.certificate, settings=settings)

    def test_good(self) -> None:
        """A client with a good certificate gets in, and we see it."""
        shown = issue("client.example", ca=OTHER_CA)
        for verification in (ClientVerification.OPTIONAL, ClientVerification.REQUIRED):
            for version in VERSIONS:
                pair = self.joined(self.client(version, certificate=shown), *self.contexts(verification))
                self.assertEqual(pair.server.get_peer_certificate(as_cryptography=True), shown.leaf)

    def test_none(self) -> None:
        """A client without one gets in where it is optional, and not where it is required."""
        for version in VERSIONS:
            self.joined(self.client(version), *self.contexts(ClientVerification.NONE))
            self.joined(self.client(version), *self.contexts(ClientVerification.OPTIONAL))
            pair = self.join(self.client(version), *self.contexts(ClientVerification.REQUIRED))
            self.assertIn("did not return a certificate", str(pair.failures["server"]))

    def test_bad(self) -> None:
        """A certificate from somewhere else is refused even where none at all would do."""
        shown = issue("client.example")
        for verification in (ClientVerification.OPTIONAL, ClientVerification.REQUIRED):
            for version in VERSIONS:
                pair = self.join(self.client(version, certificate=shown), *self.contexts(verification))
                self.assertIn("certificate verify failed", str(pair.failures["server"]))

    def test_certificate_context_of_another_policy(self) -> None:
        """
        The trusted CAs come from the context that the connection was moved to.  This is why both are made from the same
        settings; if not, and the other has no CAs, nobody gets in.
        """
        first, _ = self.contexts(ClientVerification.REQUIRED)
        shown = issue("client.example", ca=OTHER_CA)
        for version in VERSIONS:
            pair = self.join(self.client(version, certificate=shown), first, behind(self.certificate))
            self.assertIn("certificate verify failed", str(pair.failures["server"]))

    def test_names_of_cas(self) -> None:
        """Clients are told which CAs we trust, so that they can choose a certificate."""
        for version in VERSIONS:
            pair = self.join(self.client(version), *self.contexts(ClientVerification.OPTIONAL))
            subject = load_pem_x509_certificate(OTHER_CA.cert_pem.bytes()).subject
            told = pair.server.get_client_ca_list(as_cryptography=True)
            self.assertEqual(told, [subject])

    def test_depth(self) -> None:
        """A chain with more CAs between than I allow is refused."""
        middle = OTHER_CA.create_child_ca()
        shown = issue("client.example", ca=middle)
        _, second = self.contexts(ClientVerification.REQUIRED)
        for depth, good in ((1, True), (0, False)):
            first, _ = self.contexts(ClientVerification.REQUIRED, verify_depth=depth)
            pair = self.join(self.client(certificate=shown), first, second)
            self.assertEqual("server" not in pair.failures, good)


class ClientContextTests(PeersCase):
    """What a client's context does."""

    certificate = issue("a.example", ca=OTHER_CA)

    def context(self, policy: VerifyPolicy, properties: VerifyProperties, words: list[str]) -> SSL.Context:
        settings = ClientSettings(ca_file=self.ca_file, policy=policy, properties=properties)
        return client_context(settings, signature_failed=lambda connection, text: words.append(text))

    def test_policies(self) -> None:
        """A bad chain ends the handshake only if I enforce signatures; I hear of it unless I do not look at all."""
        for policy, properties, succeeds, told in (
            (VerifyPolicy.ENFORCED, VerifyProperties.ALL, False, True),
            (VerifyPolicy.ENFORCED, VerifyProperties.SIGNATURE, False, True),
            (VerifyPolicy.ENFORCED, VerifyProperties.NAME, True, True),
            (VerifyPolicy.PERMISSIVE, VerifyProperties.ALL, True, True),
            (VerifyPolicy.DISABLED, VerifyProperties.ALL, True, False),
        ):
            words: list[str] = []
            pair = self.join(self.context(policy, properties, words), behind(self.certificate))
            self.assertEqual(not pair.failures, succeeds, (policy, properties))
            self.assertEqual(bool(words), told)
            if not succeeds:
                self.assertIn("unknown ca", str(pair.failures["server"]))
                self.assertEqual(words, ["the issuer of the certificate is not one that we trust"])

    def test_good(self) -> None:
        """A good chain is not worth a word."""
        words: list[str] = []
        context = self.context(VerifyPolicy.ENFORCED, VerifyProperties.ALL, words)
        self.joined(context, behind(issue("a.example")))
        self.assertEqual(words, [])

    def test_asked_afterwards(self) -> None:
        """Without somebody to tell, the policy holds all the same, and OpenSSL remembers what was wrong."""
        for policy, properties, succeeds in (
            (VerifyPolicy.ENFORCED, VerifyProperties.ALL, False),
            (VerifyPolicy.ENFORCED, VerifyProperties.NAME, True),
            (VerifyPolicy.PERMISSIVE, VerifyProperties.ALL, True),
        ):
            for version in VERSIONS:
                client = self.client(version, policy=policy, properties=properties)
                pair = self.join(client, behind(self.certificate))
                self.assertEqual(not pair.failures, succeeds, (policy, properties))
                found = lib.SSL_get_verify_result(pair.client._ssl)
                self.assertEqual(verify_words(found), "the issuer of the certificate is not one that we trust")

    def test_directory_of_roots(self) -> None:
        """Roots may lie in a directory with hashed names."""
        directory = self.mktemp()
        os.mkdir(directory)
        root = load_pem_x509_certificate(OTHER_CA.cert_pem.bytes())
        hashed = X509.from_cryptography(root).get_subject().hash()
        with open(os.path.join(directory, f"{hashed:08x}.0"), "wb") as file:
            file.write(OTHER_CA.cert_pem.bytes())
        context = client_context(ClientSettings(ca_dir=directory))
        self.joined(context, behind(self.certificate))
        both = client_context(ClientSettings(ca_file=self.ca_file, ca_dir=directory))
        self.joined(both, behind(self.certificate))
        self.joined(both, behind(issue("a.example")))

    def test_roots_of_the_system(self) -> None:
        """With nothing said, the system's roots are used, and ours is none of them."""
        pair = self.join(client_context(ClientSettings()), behind(self.certificate))
        self.assertIn("certificate verify failed", str(pair.failures["client"]))


class RefusalTests(PeersCase):
    """Settings that cannot be used are told when they are read, and what could be used instead."""

    def refused(self, settings: ServerSettings | ClientSettings) -> str:
        make = front if isinstance(settings, ServerSettings) else client_context
        return str(self.assertRaises(ConfigurationError, make, settings))

    def test_versions(self) -> None:
        """An unknown version, and limits the wrong way round."""
        for kind in (ServerSettings, ClientSettings):
            words = self.refused(kind(version_min="SSLv3"))
            self.assertIn("version_min 'SSLv3'", words)
            self.assertIn("TLSv1.2, TLSv1.3", words)
            self.assertIn("version_max 'tls1.3'", self.refused(kind(version_max="tls1.3")))
            self.assertIn("no version is left", self.refused(kind(version_min="TLSv1.3", version_max="TLSv1.2")))

    def test_ciphers(self) -> None:
        """Ciphers that OpenSSL does not know, or none, or none that can be."""
        for kind in (ServerSettings, ClientSettings):
            for ciphers in ("NOPE", ":", " ", "TLS_AES_128_GCM_SHA256", "\N{SNOWMAN}"):
                self.assertIn("cipher_suite", self.refused(kind(cipher_suite=ciphers)))
            for ciphers in ("NOPE", "", ":", "\N{SNOWMAN}"):
                self.assertIn("tls13_cipher_suites", self.refused(kind(tls13_cipher_suites=ciphers)))

    def test_group(self) -> None:
        """A group that cannot be set is told with those that can."""
        for kind in (ServerSettings, ClientSettings):
            self.assertIn("P-256, P-384, P-521", self.refused(kind(group="X25519")))

    def test_numbers(self) -> None:
        """Numbers that make no sense."""
        self.assertIn("session_timeout_seconds -1", self.refused(ServerSettings(session_timeout_seconds=-1)))
        self.assertIn("verify_depth -1", self.refused(ServerSettings(verify_depth=-1)))
        self.assertIn("verify_depth -1", self.refused(ClientSettings(ca_file=self.ca_file, verify_depth=-1)))

    def test_alpn(self) -> None:
        """Protocol names that cannot be sent."""
        for name in (b"", b"x" * 256):
            self.assertIn("1 to 255 bytes", self.refused(ClientSettings(alpn=(b"h2", name))))

    def test_ca_files(self) -> None:
        """CA files that are missing, no PEM, damaged or without a certificate."""
        damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        missing, text, bad = self.mktemp(), self.path(b"hello"), self.path(damaged)
        for settings in (ServerSettings, lambda client_ca_file: ClientSettings(ca_file=client_ca_file)):
            self.assertEqual(self.refused(settings(client_ca_file=missing)), f"{missing}: there is no such file")
            self.assertIn(f"{text}: there is no CA certificate", self.refused(settings(client_ca_file=text)))
            self.assertIn(f"{bad}: the CA certificates in it cannot", self.refused(settings(client_ca_file=bad)))

    def test_revocation_list_is_no_ca(self) -> None:
        """A file with only a revocation list names no CA to clients."""
        path = self.path(self.crl())
        self.assertEqual(self.refused(ServerSettings(client_ca_file=path)), f"{path}: there is no CA certificate in it")

    def crl(self) -> bytes:
        signer = self_signed(["ca.example"])
        now = datetime(2030, 1, 1, tzinfo=timezone.utc)
        builder = CertificateRevocationListBuilder(signer.leaf.subject, now, now + timedelta(days=1))
        return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def test_ca_directories(self) -> None:
        """CA directories that are missing, or that we may not read."""
        missing, closed = self.mktemp(), self.mktemp()
        os.mkdir(closed)
        self.assertEqual(self.refused(ClientSettings(ca_dir=missing)), f"{missing}: there is no such directory")
        with mock.patch("os.access", return_value=False):
            self.assertIn("no permission", self.refused(ClientSettings(ca_dir=closed)))

    def test_verification_without_ca(self) -> None:
        """To ask for certificates without saying whose is a mistake."""
        for verification in (ClientVerification.OPTIONAL, ClientVerification.REQUIRED):
            self.assertIn("needs client_ca_file", self.refused(ServerSettings(client_verification=verification)))


LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8).map(lambda text: f"x{text}x")


class CertificateTableTests(SynchronousTestCase):
    """Which certificate a client gets (A040)."""

    def setUp(self) -> None:
        self.table = CertificateTable()
        self.one, self.two, self.three = (SSL.Context(SSL.TLS_SERVER_METHOD) for _ in range(3))

    def test_empty(self) -> None:
        """An empty table finds nothing."""
        self.assertIsNone(self.table.find("a.example", ("192.0.2.1", 443)))
        self.assertIsNone(self.table.find(None, None))

    def test_most_specific_wins(self) -> None:
        """The exact name, then the wildcard, then address and port, then the address, then the default."""
        four, five = (SSL.Context(SSL.TLS_SERVER_METHOD) for _ in range(2))
        self.table.add(five, ["*"])
        self.table.add(four, (), addresses=["192.0.2.1"])
        self.table.add(self.three, (), addresses=["192.0.2.1:8443"])
        self.table.add(self.two, ["*.example"])
        self.table.add(self.one, ["a.example"])
        for name, port, context in (
            ("a.example", 8443, self.one),
            ("b.example", 8443, self.two),
            ("c.other", 8443, self.three),
            ("c.other", 443, four),
            (None, 443, four),
            ("", 443, four),
        ):
            self.assertIs(self.table.find(name, ("192.0.2.1", port)), context)
        self.assertIs(self.table.find("c.other", ("192.0.2.2", 8443)), five)
        self.assertIs(self.table.find(None, None), five)
        self.assertIs(self.table.default, five)

    def test_spelling(self) -> None:
        """Case and a final dot do not matter, on neither side."""
        self.table.add(self.one, ["A.Example.", "*.B.example"])
        for name in ("a.example", "A.EXAMPLE", "a.example.", "X.b.Example."):
            self.assertIs(self.table.find(name, None), self.one)

    def test_wildcard_is_one_label(self) -> None:
        """A wildcard stands for one label: no more, no less, and not for part of one."""
        self.table.add(self.one, ["*.bob.com"])
        self.assertIs(self.table.find("a.bob.com", None), self.one)
        for name in ("bob.com", ".bob.com", "a.b.bob.com", "abob.com", "a.bob.com.evil", "com", "*", "..", "."):
            self.assertIsNone(self.table.find(name, None), name)

    @given(st.lists(LABELS, min_size=1, max_size=4), st.lists(LABELS, max_size=4))
    def test_other_names_never_match(self, labels: list[str], more: list[str]) -> None:
        """C{notbob.com} and C{bob.com.evil} are never taken for C{bob.com}, whatever stands for bob and evil."""
        name = ".".join(labels)
        table = CertificateTable()
        table.add(self.one, [name, f"*.{name}"])
        self.assertIs(table.find(name, None), self.one)
        self.assertIs(table.find(f"a.{name}", None), self.one)
        for other in (f"not{name}", f"{name}.evil", f"a.{name}.evil", f"a.not{name}", f"b.a.{name}", f"{name}x"):
            self.assertIsNone(table.find(other, None), other)
        asked = ".".join((*more, *labels))
        self.assertEqual(table.find(asked, None) is self.one, len(more) < 2, asked)

    def test_addresses(self) -> None:
        """Addresses of both families, with and without port, in any spelling; and what a dual socket makes of IPv4."""
        self.table.add(self.one, (), addresses=["192.0.2.1", "[2001:db8::1]:443"])
        self.table.add(self.two, (), addresses=["2001:DB8:0::1", "192.0.2.1:443", "[::1]"])
        for host, port, context in (
            ("192.0.2.1", 1, self.one),
            ("192.0.2.1", 443, self.two),
            ("::ffff:192.0.2.1", 443, self.two),
            ("2001:db8::1", 443, self.one),
            ("2001:db8:0:0::1", 444, self.two),
            ("::1", 444, self.two),
        ):
            self.assertIs(self.table.find(None, (host, port)), context, (host, port))
        self.assertIsNone(self.table.find(None, ("192.0.2.2", 443)))
        self.assertIsNone(self.table.find(None, ("/run/some.socket", 0)))

    def test_default(self) -> None:
        """The default may be said in three ways."""
        for arguments in ({"names": ["*"]}, {"names": (), "addresses": ["*"]}, {"names": (), "default": True}):
            table = CertificateTable()
            self.assertEqual(table.add(self.one, **arguments), ())
            self.assertIs(table.default, self.one)

    def test_first_stays(self) -> None:
        """What is there already stays, and I am told of what I said twice."""
        self.table.add(self.one, ["a.example", "*.b.example", "*"], addresses=["192.0.2.1"])
        taken = self.table.add(
            self.two, ["A.example", "*.b.example", "c.example"], addresses=["192.0.2.1", "192.0.2.2"], default=True
        )
        self.assertEqual(taken, ("A.example", "*.b.example", "192.0.2.1", "*"))
        self.assertIs(self.table.find("a.example", None), self.one)
        self.assertIs(self.table.find("c.example", None), self.two)
        self.assertIs(self.table.default, self.one)
        self.assertEqual(self.table.add(self.one, ["a.example", "*"]), ())

    def test_by_name_only(self) -> None:
        """A strict server asks for the name alone, and is not given the default."""
        self.table.add(self.one, ["a.example", "*"])
        self.assertIs(self.table.find_by_name("a.example"), self.one)
        self.assertIsNone(self.table.find_by_name("b.example"))
        self.assertIsNone(self.table.find_by_name(None))

    def test_bad_names(self) -> None:
        """What is no host name is refused, says what may be, and leaves the table as it was."""
        for name in ("a.*.com", "f*.com", "*.*.com", "*com", "", "a b", "192.0.2.1"):
            error = self.assertRaises(ConfigurationError, self.table.add, self.one, ["good.example", name])
            self.assertIn(repr(name), str(error))
            self.assertIn("*.example.com", str(error))
        self.assertIsNone(self.table.find("good.example", None))

    def test_bad_addresses(self) -> None:
        """What is no address is refused, says what may be, and leaves the table as it was."""
        for address in (
            "",
            "a.example",
            "192.0.2.1:",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "192.0.2.1:https",
            "192.0.2.300",
            "[::1",
            "[::1]443",
            "[::1]:",
            "[::1]:x",
            "1:2:3",
            "192.0.2.1:\N{SUPERSCRIPT TWO}",
        ):
            error = self.assertRaises(ConfigurationError, self.table.add, self.one, ["a.example"], addresses=[address])
            self.assertIn("[2001:db8::1]:443", str(error))
        self.assertIsNone(self.table.find("a.example", None))
