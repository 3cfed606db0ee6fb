"""
Tests for L{atstls.tls.certificates}.
"""

import os
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from unittest import mock

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import ConfigurationError
from atstls.tls.certificates import Certificate, dns_name, load_certificate, printable, read_file, self_signed

NOW = datetime(2030, 6, 1, 12, tzinfo=timezone.utc)


def made(common_name: str | None, alternatives: list[x509.GeneralName] | None) -> bytes:
    """A PEM file with a certificate of exactly these names, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if alternatives is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )


class FilesCase(SynchronousTestCase):
    """Writes files, and has them refused."""

    def write(self, *parts: bytes) -> str:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.writelines(parts)
        return path

    def refused(self, *args: str | None, passphrase: str | bytes | None = None) -> str:
        """The words with which a certificate is refused."""
        return str(self.assertRaises(ConfigurationError, load_certificate, *args, passphrase=passphrase))


class FileTests(FilesCase):
    """What files are taken."""

    ca = trustme.CA()
    middle = ca.create_child_ca()
    leaf = middle.issue_cert("a.example", "*.b.example")

    @property
    def key_pem(self) -> bytes:
        return self.leaf.private_key_pem.bytes()

    @property
    def chain_pems(self) -> list[bytes]:
        return [pem.bytes() for pem in self.leaf.cert_chain_pems]

    def assertLoaded(self, certificate: Certificate) -> None:
        self.assertEqual(certificate.leaf, x509.load_pem_x509_certificate(self.chain_pems[0]))
        self.assertEqual(certificate.chain, tuple(map(x509.load_pem_x509_certificate, self.chain_pems[1:])))
        self.assertEqual(len(certificate.chain), 1)
        self.assertEqual(certificate.key.public_key(), certificate.leaf.public_key())
        self.assertEqual(certificate.names, ("a.example", "*.b.example"))

    def test_two_files(self) -> None:
        """The key may have a file of its own; messages name the certificate's."""
        cert_file = self.write(*self.chain_pems)
        certificate = load_certificate(cert_file, self.write(self.key_pem))
        self.assertLoaded(certificate)
        self.assertEqual(certificate.source, cert_file)

    def test_combined(self) -> None:
        """Certificate, chain and key may share one file, with the key in front, behind or between."""
        leaf, link = self.chain_pems
        for parts in ((self.key_pem, leaf, link), (leaf, self.key_pem, link), (leaf, link, self.key_pem)):
            self.assertLoaded(load_certificate(self.write(*parts)))

    def test_parameters_before_the_key(self) -> None:
        """The block of curve parameters that C{openssl ecparam} writes before a key does not matter."""
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        self.assertLoaded(load_certificate(self.write(*self.chain_pems), self.write(parameters, self.key_pem)))

    def test_key_not_shown(self) -> None:
        """Whoever prints a certificate object does not print its key."""
        self.assertNotIn("PrivateKey", repr(load_certificate(self.write(*self.chain_pems, self.key_pem))))

    def encrypted(self, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
        key = load_pem_private_key(self.key_pem, None)
        return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"open sesame"))

    def test_encrypted_key(self) -> None:
        """A key behind a pass phrase can be read in both forms in which people have them."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            path = self.write(*self.chain_pems, self.encrypted(form))
            self.assertLoaded(load_certificate(path, passphrase="open sesame"))
            self.assertLoaded(load_certificate(path, passphrase=b"open sesame"))

    def test_pass_phrase_not_needed(self) -> None:
        """A pass phrase for a key that is not encrypted does no harm."""
        self.assertLoaded(load_certificate(self.write(*self.chain_pems, self.key_pem), passphrase="open sesame"))

    def test_encrypted_key_without_pass_phrase(self) -> None:
        """A missing pass phrase is told, with the file of the key, and nobody is asked at a terminal."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            key_file = self.write(self.encrypted(form))
            for nothing in (None, "", b""):
                words = self.refused(self.write(*self.chain_pems), key_file, passphrase=nothing)
                self.assertIn(key_file, words)
                self.assertIn("there is no pass phrase", words)

    def test_encrypted_key_with_wrong_pass_phrase(self) -> None:
        """A wrong pass phrase is told, and not repeated."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            words = self.refused(self.write(*self.chain_pems, self.encrypted(form)), passphrase="sesame street")
            self.assertIn("pass phrase is wrong", words)
            self.assertNotIn("street", words)

    def test_missing_file(self) -> None:
        """A missing file is told by its name, be it the certificate's or the key's."""
        missing = self.mktemp()
        self.assertEqual(self.refused(missing), f"{missing}: there is no such file")
        self.assertEqual(self.refused(self.write(*self.chain_pems), missing), f"{missing}: there is no such file")

    def test_no_permission(self) -> None:
        """A file that we may not read is told as such."""
        with mock.patch("builtins.open", side_effect=PermissionError(13, "Permission denied")):
            self.assertEqual(self.refused("some.pem"), "some.pem: we have no permission to read it")

    def test_other_trouble(self) -> None:
        """What is not a file is told in the system's words."""
        path = self.mktemp()
        os.mkdir(path)
        self.assertEqual(self.refused(path), f"{path}: it cannot be read: Is a directory")

    def test_not_pem(self) -> None:
        """A DER file, or an empty one, is told apart from a PEM file without a certificate."""
        der = x509.load_pem_x509_certificate(self.chain_pems[0]).public_bytes(Encoding.DER)
        self.assertIn("it is not PEM", self.refused(self.write(der)))
        self.assertIn("it is not PEM", self.refused(self.write(b"")))
        self.assertIn("there is no certificate in it", self.refused(self.write(self.key_pem)))

    def test_damaged_certificate(self) -> None:
        """A certificate that was cut or mangled is told with its file."""
        whole = self.chain_pems[0]
        for damaged in (
            whole[: len(whole) // 2],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ):
            path = self.write(damaged, self.key_pem)
            words = self.refused(path)
            self.assertTrue(words.startswith(f"{path}: the certificate in it cannot be read"), words)

    def test_no_key(self) -> None:
        """A certificate whose key I forgot is told with the file that lacks it."""
        path = self.write(*self.chain_pems)
        self.assertEqual(self.refused(path), f"{path}: there is no private key in it")
        self.assertEqual(self.refused(path, path), f"{path}: there is no private key in it")

    def test_damaged_key(self) -> None:
        """A key that was mangled is told with the reason."""
        damaged = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        self.assertIn("the private key cannot be read", self.refused(self.write(*self.chain_pems, damaged)))

    def test_wrong_kind_of_key(self) -> None:
        """A key that cannot sign is refused before OpenSSL meets it."""
        key = x25519.X25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.assertIn("cannot be used for TLS", self.refused(self.write(*self.chain_pems, pem)))

    def test_key_of_another_certificate(self) -> None:
        """A key that does not fit is told with both files (A051)."""
        cert_file = self.write(*self.chain_pems)
        key_file = self.write(self.ca.issue_cert("c.example").private_key_pem.bytes())
        self.assertEqual(
            self.refused(cert_file, key_file), f"{key_file}: the key does not fit the certificate in {cert_file}"
        )

    def test_chain_in_wrong_order(self) -> None:
        """A file with the CA first is the commonest mistake, and gets a hint."""
        leaf, link = self.chain_pems
        self.assertIn("must come first", self.refused(self.write(link, leaf, self.key_pem)))

    def test_unknown_kind_of_public_key(self) -> None:
        """A certificate with a kind of key that nobody here knows does not fit ours, and that is all."""
        der = x509.load_pem_x509_certificate(self.chain_pems[0]).public_bytes(Encoding.DER)
        # The object identifier of EC public keys, made into one that means nothing.
        known, unknown = b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x09"
        strange = x509.load_der_x509_certificate(der.replace(known, unknown))
        path = self.write(strange.public_bytes(Encoding.PEM), self.key_pem)
        self.assertIn("does not fit", self.refused(path))

    def test_read_file(self) -> None:
        """A file is given as it is."""
        self.assertEqual(read_file(self.write(b"a", b"\r\n")), b"a\r\n")


class NameTests(FilesCase):
    """Under which names a certificate is found (A050)."""

    def names(
        self, common_name: str | None, *dns: str, others: list[x509.GeneralName] | None = None
    ) -> tuple[str, ...]:
        alternatives = [*map(x509.DNSName, dns), *(others or [])]
        return load_certificate(self.write(made(common_name, alternatives or None))).names

    def test_common_name_and_alternatives(self) -> None:
        """Both count, each once, in small letters, and the common name comes first."""
        self.assertEqual(
            self.names("WWW.Example", "b.example", "www.example", "*.Example", "B.example"),
            ("www.example", "b.example", "*.example"),
        )

    def test_common_name_alone(self) -> None:
        """An old certificate without alternative names is found by its common name, one of a single label included."""
        self.assertEqual(self.names("www.example"), ("www.example",))
        self.assertEqual(self.names("localhost"), ("localhost",))

    def test_common_name_is_no_host(self) -> None:
        """People, companies and addresses have common names too; those are no host names."""
        self.assertEqual(self.names("Bob", "b.example"), ("b.example",))
        self.assertEqual(self.names("Bob & Sons Ltd."), ())
        self.assertEqual(self.names("192.0.2.1"), ())

    def test_no_names(self) -> None:
        """A certificate without any names can still be used, as a default or by address."""
        self.assertEqual(self.names(None), ())

    def test_other_alternatives(self) -> None:
        """Alternative names that are not DNS names are no names here, and neither are senseless wildcards."""
        address = x509.IPAddress(ip_address("192.0.2.1"))
        self.assertEqual(self.names(None, "b.example", "a.*.example", "f*.example", others=[address]), ("b.example",))

    def test_unreadable_names(self) -> None:
        """A certificate whose alternative names are rubbish is refused with its file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([])
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"rubbish")
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOW, NOW + timedelta(days=1))
            .add_extension(extension, critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self.write(certificate.public_bytes(Encoding.PEM), pem)
        self.assertTrue(self.refused(path).startswith(f"{path}: the names in the certificate cannot be read"))


class DNSNameTests(SynchronousTestCase):
    """One spelling for each name."""

    def test_spellings(self) -> None:
        """Case, a final dot and the form of an international name do not matter."""
        for text, name in (
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com", "*.example.com"),
            ("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "xn--bcher-kva.example"),
            ("*.B\N{LATIN CAPITAL LETTER U WITH DIAERESIS}CHER.example", "*.xn--bcher-kva.example"),
            ("my_host.internal", "my_host.internal"),
            ("localhost", "localhost"),
            ("3com.com", "3com.com"),
        ):
            self.assertEqual(dns_name(text), name)

    def test_no_host_names(self) -> None:
        """What can never be asked for is not a name."""
        for text in (
            "",
            ".",
            "*",
            "*.",
            "a..b",
            ".a",
            "a b",
            "a.*.com",
            "f*.com",
            "*.*.com",
            "-a.com",
            "a-.com",
            "192.0.2.1",
            "::1",
            "a\n.com",
            "a.com\n",
            "\N{SNOWMAN}\N{COMBINING ENCLOSING KEYCAP}.com",
            "x" * 64 + ".com",
            "x." * 126 + "com",
        ):
            self.assertIsNone(dns_name(text), text)

    def test_longest(self) -> None:
        """253 characters are the most."""
        self.assertEqual(len(dns_name("x." * 125 + "com") or ""), 253)

    @given(st.text())
    def test_settled(self, text: str) -> None:
        """The spelling of a spelling is the same again."""
        name = dns_name(text)
        if name is not None:
            self.assertEqual(dns_name(name), name)


class ExpiryTests(SynchronousTestCase):
    """An operator is told of certificates that peers will refuse."""

    def test_leaf(self) -> None:
        """Too early, in time, too late."""
        certificate = self_signed(["a.example"], now=NOW)
        self.assertIsNone(certificate.expiry_warning(NOW))
        late = certificate.expiry_warning(NOW + timedelta(days=365))
        self.assertEqual(late, "self-signed: expired at 2031-06-01 11:00 UTC")
        early = certificate.expiry_warning(NOW - timedelta(hours=2))
        self.assertEqual(early, "self-signed: not valid before 2030-06-01 11:00 UTC")

    def test_chain(self) -> None:
        """A certificate in the chain may be the one that is over; it is named."""
        leaf = self_signed(["a.example"], now=NOW)
        link = self_signed(["The-CA.example"], now=NOW - timedelta(days=365))
        certificate = Certificate(leaf.leaf, (link.leaf,), leaf.key, leaf.names, "a.pem")
        self.assertEqual(
            certificate.expiry_warning(NOW),
            "a.pem, chain certificate CN=The-CA.example: expired at 2030-06-01 11:00 UTC",
        )

    def test_printable(self) -> None:
        """What somebody wrote into a certificate does not get at the terminal of whoever reads the log."""
        self.assertEqual(printable("CN=a"), "CN=a")
        self.assertEqual(printable("a\x1b[2J\n"), "'a\\x1b[2J\\n'")


class SelfSignedTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Host names and addresses each become what a client compares with."""
        certificate = self_signed(["A.example", "*.b.example", "192.0.2.1", "::1", "a.example"])
        alternatives = certificate.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(alternatives.get_values_for_type(x509.DNSName), ["a.example", "*.b.example", "a.example"])
        self.assertEqual(alternatives.get_values_for_type(x509.IPAddress), [ip_address("192.0.2.1"), ip_address("::1")])
        self.assertEqual(certificate.names, ("a.example", "*.b.example"))
        self.assertEqual(certificate.chain, ())

    def test_lifetime(self) -> None:
        """It is valid now, by the clock of a peer that is a little late too, and no longer than clients bear."""
        certificate = self_signed(["localhost"])
        now = datetime.now(timezone.utc)
        self.assertIsNone(certificate.expiry_warning(now))
        self.assertIsNone(certificate.expiry_warning(now - timedelta(minutes=50)))
        leaf = certificate.leaf
        self.assertLessEqual(leaf.not_valid_after_utc - leaf.not_valid_before_utc, timedelta(days=825))

    def test_key(self) -> None:
        """The key is on P-256, which everybody can use."""
        key = self_signed(["localhost"]).key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.assertEqual(key.curve.name, "secp256r1")

    def test_long_name(self) -> None:
        """A name longer than a common name may be is no trouble."""
        name = "x" * 60 + ".example.com"
        self.assertEqual(self_signed([name]).names, (name,))

    def test_refused(self) -> None:
        """No names, and things that are no names, are told."""
        self.assertIn("at least one", str(self.assertRaises(ConfigurationError, self_signed, [])))
        error = self.assertRaises(ConfigurationError, self_signed, ["localhost", "not a host"])
        self.assertIn("'not a host'", str(error))
