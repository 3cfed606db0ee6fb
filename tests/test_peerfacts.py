"""
Tests for L{atstls.ssl.facts}: what a TLS connection can be asked about itself and about its peer.
"""

from typing import Any
from unittest import mock

from cryptography import x509
from OpenSSL import SSL

from atstls.errors import LocalError
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.net.connection import NetVCOptions
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.certificates import Certificate
from atstls.tls.contexts import ClientVerification
from atstls.tls.phases import Phase
from atstls.tls.verify import VerifyPolicy, VerifyProperties
from tests.support import RecordingContinuation, received, reset
from tests.tlssupport import (
    CA,
    OTHER_CA,
    OverTLS,
    ca_file,
    client_policy,
    hook_set,
    issue,
    peer_client_context,
    server_policy,
)

ROOT = x509.load_pem_x509_certificate(CA.cert_pem.bytes())
FACTS = (
    "get_ssl_protocol", "get_ssl_cipher_suite", "get_ssl_group", "get_peer_certificate", "get_verified_name",
)  # fmt: skip
CHAINS = ("get_peer_certificate_chain", "get_verified_chain")


def names(chain: Any) -> list[str]:
    """Who each certificate is for: a host name, or the name of an authority."""
    found = []
    for certificate in chain:
        try:
            value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            found.append(str(value.get_values_for_type(x509.DNSName)[0]))
        except x509.ExtensionNotFound:
            found.append("root" if certificate.subject == certificate.issuer else "authority")
    return found


class FactsTests(OverTLS):
    """Questions and answers."""

    def nothing(self, vc: Any) -> None:
        for fact in FACTS:
            self.assertIsNone(getattr(vc, fact)(), fact)
        for chain in CHAINS:
            self.assertEqual((), getattr(vc, chain)(), chain)
        for flag in ("is_eos_received", "get_ssl_client_renegotiation_abort", "get_ssl_session_cache_hit"):
            self.assertFalse(getattr(vc, flag)(), flag)

    def test_before_and_after(self) -> None:
        """Before TLS begins there are no facts, nor after the end, nor in a tunnel; and asking does no harm."""
        self.nothing(SSLNetVConnection(self.handler))
        vc, sock = self.accept()
        self.nothing(vc)
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        peer = self.client(sock)
        self.nothing(vc)
        self.run_peers(peer)
        self.assertIsNotNone(vc.get_ssl_group())
        vc.do_io_close()
        self.run_peers(peer)
        self.assert_gone(vc)
        self.nothing(vc)
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        peer = self.client(sock)
        peer.pump()
        peer.pump()
        self.reactor.settle()
        self.assertIs(Phase.TUNNEL, vc.phase)
        self.nothing(vc)

    def test_in_every_step(self) -> None:
        """Whenever it is asked in the handshake, it does not fail."""
        vc, sock = self.accept()
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        peer = self.client(sock, cut=lambda waiting: 40)
        while not peer.done:
            peer.pump()
            self.reactor.turn()
            for name in (*FACTS, *CHAINS):
                getattr(vc, name)()
        self.run_peers(peer)

    def test_same_as_the_peer(self) -> None:
        """What we say was agreed upon is what the peer says."""
        for vc, peer in (self.established()[:2], self.connected()[:2]):
            connection = peer.connection
            self.assertEqual(
                (connection.get_protocol_version_name(), connection.get_cipher_name(), connection.get_group_name()),
                (vc.get_ssl_protocol(), vc.get_ssl_cipher_suite(), vc.get_ssl_group()),
            )
            self.assertEqual(self.version, vc.get_ssl_protocol())

    # Clients.

    def client_certificate(self, certificate: Certificate | None, how: ClientVerification) -> Any:
        """A connection to which a client came with C{certificate}."""
        settings = {"client_verification": how, "client_ca_file": ca_file()}
        context = peer_client_context(self.version)
        if certificate is not None:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            number = SSL.TLS1_2_VERSION if self.version == "TLSv1.2" else SSL.TLS1_3_VERSION
            context.set_min_proto_version(number)
            context.set_max_proto_version(number)
            context.use_certificate(certificate.leaf)
            for other in certificate.chain:
                context.add_extra_chain_cert(other)
            context.use_privatekey(certificate.key)
        return self.established(server_policy(self.version, settings), context=context)[0]

    def test_certificate_of_a_client(self) -> None:
        """Its certificate is the first of what it showed, and the chain leads to the root that we trust."""
        certificate = issue("client.example")
        vc = self.client_certificate(certificate, ClientVerification.REQUIRED)
        self.assertEqual(certificate.leaf, vc.get_peer_certificate())
        self.assertEqual((certificate.leaf, *certificate.chain), vc.get_peer_certificate_chain())
        self.assertEqual((certificate.leaf, *certificate.chain, ROOT), vc.get_verified_chain())
        self.assertIsNone(vc.get_verified_name(), "clients are not meant by name")

    def test_client_without_one(self) -> None:
        """Who showed none has none, whether it was asked for one or not."""
        for how in (ClientVerification.NONE, ClientVerification.OPTIONAL):
            vc = self.client_certificate(None, how)
            self.assertEqual(
                (None, (), ()), (vc.get_peer_certificate(), vc.get_peer_certificate_chain(), vc.get_verified_chain())
            )

    # Origins.

    def test_origin(self) -> None:
        """Of an origin I have what it showed, how it is trusted, and the name for which it is who I meant."""
        vc, _, _ = self.connected()
        leaf = issue("a.example")
        self.assertEqual(leaf.leaf, vc.get_peer_certificate())
        self.assertEqual((leaf.leaf, *leaf.chain), vc.get_peer_certificate_chain())
        self.assertEqual((leaf.leaf, *leaf.chain, ROOT), vc.get_verified_chain())
        self.assertEqual("a.example", vc.get_verified_name())

    def test_origin_by_address(self) -> None:
        """An address is a name too, though it is not asked for."""
        vc, sock = self.connect(name=None)
        vc.options = NetVCOptions(sni_servername="192.0.2.1")
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.server(sock, issue("192.0.2.1"))
        self.run_peers()
        self.assertEqual("192.0.2.1", vc.get_verified_name())

    def test_names_that_were_not_found(self) -> None:
        """Where nobody looks at the name there is none; nor where it is another, and the policy goes on with it."""
        for name, settings, expected, trusted in (
            ("a.example", {"policy": VerifyPolicy.DISABLED}, None, None),
            ("a.example", {"properties": VerifyProperties.SIGNATURE}, None, True),
            ("b.example", {"policy": VerifyPolicy.PERMISSIVE}, None, True),
            ("a.example", {"policy": VerifyPolicy.PERMISSIVE}, "a.example", True),
            ("a.example", {"policy": VerifyPolicy.PERMISSIVE, "ca_file": ca_file(OTHER_CA)}, "a.example", False),
        ):
            vc, _, _ = self.connected(client_policy(self.version, settings), name=name)
            self.assertEqual(expected, vc.get_verified_name(), settings)
            chain = vc.get_verified_chain()
            if trusted is not None and (trusted or vc.engine.tells_reuse):
                # Which pyOpenSSL's public methods do not tell: that it was in vain.
                self.assertEqual(["a.example", "root"] if trusted else [], names(chain), settings)
            self.logged.clear()

    def test_unreadable(self) -> None:
        """A certificate that cannot be read is none, wherever the unreadable one stands."""
        vc, _, _ = self.connected()
        for method in ("get_peer_certificate", "get_peer_cert_chain", "get_verified_chain"):
            with mock.patch.object(SSL.Connection, method, side_effect=ValueError("negative serial number")):
                self.assertEqual(method != "get_peer_certificate", vc.get_peer_certificate() is not None)
                self.assertEqual(method == "get_verified_chain", bool(vc.get_peer_certificate_chain()))
                self.assertEqual(method != "get_verified_chain", bool(vc.get_verified_chain()))
                self.assertEqual(method != "get_peer_certificate", vc.get_verified_name() is not None)

    # Ends.

    def test_ends(self) -> None:
        """The peer's end is seen whatever it was like; only close_notify is a clean one (S024)."""
        for how, clean in (("close_notify", True), ("fin", False), ("reset", False)):
            vc, peer, _ = self.established(tcp=True)
            cont, _ = self.read_all(vc)
            self.assertFalse(vc.is_eos_received())
            if how == "close_notify":
                peer.shutdown()
                peer.pump()
            elif how == "fin":
                peer.send_fin()
            else:
                reset(peer.sock)
            self.peers.clear()
            self.reactor.turn_until(lambda cont=cont: cont.events)
            self.assertEqual((["EOS"], True, clean), (cont.events, vc.is_eos_received(), vc.clean_shutdown), how)

    def test_our_own_end(self) -> None:
        """That we have ended says nothing of the peer."""
        vc, peer, _ = self.established()
        self.read_all(vc)
        vc.do_io_shutdown(6)
        self.run_peers(peer)
        self.assertEqual(("close_notify", False), (peer.end, vc.is_eos_received()))

    def test_failure_is_no_end(self) -> None:
        """A stream that is broken has not ended."""
        vc, peer, _ = self.established()
        cont, _ = self.read_all(vc)
        peer.sock.send(b"\x17\x03\x03\0\x20" + bytes(32))
        self.run_peers(peer)
        self.assertEqual((["ERROR"], False), (cont.events, vc.is_eos_received()))

    def test_renegotiation(self) -> None:
        """That a client wished to begin anew is known of its connection (S020)."""
        if self.version != "TLSv1.2":
            return
        vc, peer, _ = self.established()
        cont, _ = self.read_all(vc)
        self.assertFalse(vc.get_ssl_client_renegotiation_abort())
        peer.connection.renegotiate()
        try:
            peer.connection.do_handshake()
        except SSL.WantReadError:
            pass
        peer._take()
        self.run_peers(peer)
        self.assertEqual((["ERROR"], True), (cont.events, vc.get_ssl_client_renegotiation_abort()))

    # No handshake.

    def test_handshake_left_out(self) -> None:
        """Before it has answered a connection becomes a tunnel by my saying that its handshake is done (S017)."""
        for point in (None, "vconn_start", "client_hello", "cert"):
            hooks = hook_set(**({} if point is None else {point: lambda vc: vc.set_ssl_handshake_complete(True)}))
            vc, sock = self.accept(hooks=hooks)
            cont = RecordingContinuation()
            vc.do_io_read(cont, 0, MIOBuffer())
            if point is None:
                vc.set_ssl_handshake_complete(False)
                vc.set_ssl_handshake_complete(True)
            peer = self.client(sock)
            peer._step()
            hello = bytes(peer.to_send)
            peer.pump()
            self.reactor.settle()
            self.assertEqual((["READ_COMPLETE"], True), (cont.events, vc.get_ssl_handshake_complete()))
            self.assertEqual((TRANSPORT_BLIND_TUNNEL, None), (vc.attributes, vc.get_ssl_protocol()))
            _, got = self.read_all(vc)
            self.reactor.settle()
            self.assertEqual((hello, b""), (bytes(got), received(sock)))
            vc.do_io_close()
            self.peers.clear()

    def test_too_late(self) -> None:
        """When we have answered it is too late, which is said, and done it is done."""
        vc, sock = self.accept()
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        peer = self.client(sock)
        peer.pump()
        peer.pump()
        self.reactor.settle()
        self.assertIs(Phase.HANDSHAKE, vc.phase)
        self.assertRaises(LocalError, vc.set_ssl_handshake_complete, True)
        vc.set_ssl_handshake_complete(False)
        self.run_peers(peer)
        vc.set_ssl_handshake_complete(True)
        vc.set_ssl_handshake_complete(False)
        self.assertEqual((True, self.version), (vc.get_ssl_handshake_complete(), vc.get_ssl_protocol()))


globals().update(FactsTests.make_test_case_classes())
