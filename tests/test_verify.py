"""
Tests for L{atstls.tls.verify}.
"""

from ipaddress import ip_address
from itertools import product
from unittest import mock

from cryptography import x509
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import VerifyFailed
from atstls.tls.verify import Verdict, VerifyPolicy, VerifyProperties, check_peer, judge, verify_words
from tests.test_contexts import VERSIONS, PeersCase, behind, front, issue


class CheckPeerTests(PeersCase):
    """The certificate is for the name that we meant, or the connection fails with words that tell why."""

    def connected(self, *names: str, version: str = "TLSv1.3") -> SSL.Connection:
        """A client's connection to a server whose certificate is for C{names}."""
        return self.joined(self.client(version), front(), behind(issue(*names))).client

    def refused(self, connection: SSL.Connection, name: str) -> str:
        return str(self.assertRaises(VerifyFailed, check_peer, connection, name))

    def test_right_name(self) -> None:
        """Names match in any case, with or without a final dot, and by a wildcard for one label."""
        for version in VERSIONS:
            connection = self.connected("a.example", "*.b.example", version=version)
            for name in ("a.example", "A.EXAMPLE", "a.example.", "x.b.example"):
                check_peer(connection, name)

    def test_wrong_name(self) -> None:
        """The words name what was expected and what was found."""
        for version in VERSIONS:
            connection = self.connected("a.example", "*.b.example", version=version)
            for name in ("b.example", "a.example.evil", "nota.example", "x.y.b.example", "192.0.2.1"):
                self.assertEqual(
                    self.refused(connection, name),
                    f"expected a certificate for {name}, and this one is for a.example, *.b.example",
                )

    def test_address(self) -> None:
        """An origin that is reached by address has that address in its certificate."""
        connection = self.connected("192.0.2.1", "2001:db8::1")
        check_peer(connection, "192.0.2.1")
        check_peer(connection, "2001:db8:0::1")
        self.assertEqual(
            self.refused(connection, "192.0.2.2"),
            "expected a certificate for 192.0.2.2, and this one is for 192.0.2.1, 2001:db8::1",
        )

    def test_international_name(self) -> None:
        """International names match in either form."""
        connection = self.connected("xn--bcher-kva.example")
        check_peer(connection, "xn--bcher-kva.example")
        check_peer(connection, "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example")

    def test_many_names(self) -> None:
        """Of a certificate with many names a few are shown."""
        connection = self.connected(*(f"{letter}.example" for letter in "abcdefgh"))
        self.assertTrue(
            self.refused(connection, "z.example").endswith(
                "for a.example, b.example, c.example, d.example, e.example, 3 more"
            )
        )

    def test_not_a_name(self) -> None:
        """What can be no host name is refused as such."""
        connection = self.connected("a.example")
        for name in ("", "not a host", "a\N{SNOWMAN}\N{COMBINING ENCLOSING KEYCAP}"):
            self.assertIn("cannot be compared", self.refused(connection, name))

    def test_no_certificate(self) -> None:
        """A peer that showed none is not the one that we meant."""
        server = self.joined(self.client(), behind(issue("a.example"))).server
        self.assertEqual(
            self.refused(server, "client.example"), "expected a certificate for client.example, and the peer sent none"
        )

    def shows(self, alternatives: list[x509.GeneralName] | None) -> SSL.Connection:
        """A client's connection to a server whose certificate has odd alternative names, or C{None}."""
        connection = self.connected("a.example")
        certificate = mock.Mock(spec=x509.Certificate)
        find = certificate.extensions.get_extension_for_class = mock.Mock()
        if alternatives is None:
            find.side_effect = x509.ExtensionNotFound("none", x509.SubjectAlternativeName.oid)
        else:
            find.return_value.value = x509.SubjectAlternativeName(alternatives)
        certificate.extensions.get_extension_for_oid = find
        shown = mock.Mock()
        shown.to_cryptography.return_value = certificate
        self.patch(
            connection,
            "get_peer_certificate",
            lambda as_cryptography=False: certificate if as_cryptography else shown,
        )
        return connection

    def test_common_name_does_not_count(self) -> None:
        """A certificate without alternative names has no identity, whatever its common name says."""
        self.assertIn("this one is for no name at all", self.refused(self.shows(None), "a.example"))

    def test_forbidden_wildcard(self) -> None:
        """One name that is not allowed spoils the certificate, and the words say so."""
        connection = self.shows([x509.DNSName("a.example"), x509.DNSName("a.*.example")])
        self.assertIn("this one is for a.example, a.*.example: ", self.refused(connection, "a.example"))

    def test_hostile_names(self) -> None:
        """What a peer wrote into its certificate does not get at the terminal of whoever reads the log."""
        connection = self.shows([x509.IPAddress(ip_address("::1")), x509.DNSName("\x1b[2J\n.example")])
        words = self.refused(connection, "a.example")
        self.assertTrue(words.isprintable(), words)

    def test_broken_certificate(self) -> None:
        """A certificate against the rules of X.509 is the peer's fault, not a crash of ours."""
        for error in (
            ValueError("no\nASN.1"),
            x509.DuplicateExtension("twice", x509.SubjectAlternativeName.oid),
            x509.UnsupportedGeneralNameType("strange"),
        ):
            connection = self.connected("a.example")
            self.patch(connection, "get_peer_certificate", mock.Mock(side_effect=error))
            words = self.refused(connection, "a.example")
            self.assertIn("cannot be compared", words)
            self.assertTrue(words.isprintable(), words)


class JudgeTests(SynchronousTestCase):
    """What findings mean."""

    def test_every_case(self) -> None:
        """All policies, with all properties, with all findings (behaviour 1.19)."""
        for policy, properties, signature, name in product(
            VerifyPolicy,
            (VerifyProperties.NONE, VerifyProperties.SIGNATURE, VerifyProperties.NAME, VerifyProperties.ALL),
            (None, "bad chain"),
            (None, "bad name"),
        ):
            verdict = judge(policy, properties, signature, name)
            looked_at = [
                words
                for words, wanted in ((signature, VerifyProperties.SIGNATURE), (name, VerifyProperties.NAME))
                if words and wanted in properties and policy is not VerifyPolicy.DISABLED
            ]
            self.assertEqual(verdict.warning, "; ".join(looked_at) or None)
            self.assertEqual(verdict.accept, policy is not VerifyPolicy.ENFORCED or not looked_at)

    def test_in_so_many_words(self) -> None:
        """The cases that people ask about."""
        both = VerifyProperties.ALL
        self.assertEqual(judge(VerifyPolicy.DISABLED, both, "chain", "name"), Verdict(True, None))
        self.assertEqual(judge(VerifyPolicy.PERMISSIVE, both, "chain", "name"), Verdict(True, "chain; name"))
        self.assertEqual(judge(VerifyPolicy.ENFORCED, both, None, "name"), Verdict(False, "name"))
        self.assertEqual(judge(VerifyPolicy.ENFORCED, VerifyProperties.NAME, "chain", None), Verdict(True, None))


class VerifyWordsTests(SynchronousTestCase):
    def test_known(self) -> None:
        """The usual reasons are said in words."""
        self.assertEqual(verify_words(10), "the certificate has expired")
        self.assertEqual(verify_words(SSL.X509VerificationCodes.OK), "the certificate is good")

    def test_unknown(self) -> None:
        """A reason that a later OpenSSL may invent is told by its number."""
        self.assertEqual(verify_words(9999), "the certificate cannot be verified (X.509 error 9999)")
