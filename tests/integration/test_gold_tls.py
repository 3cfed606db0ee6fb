"""
Traffic Server's gold tests of TLS itself (C{tls}), against the program: records, versions, sessions, certificates.

Which gold test stands where is in L{tests.integration.gold}; those that another module has are not written again.
"""

import os
import ssl
from typing import Any

import trustme
from OpenSSL import SSL

from tests.integration.peers import DATA, V12, VERSIONS, CutOff, Secure, picky_context, records
from tests.integration.twistd import (
    CA,
    OPENSSL,
    OTHER_CA,
    EdgeTestCase,
    Origin,
    client_context,
    server_context,
)

HTTPS = "[listen https]\nport = 0\n"

SMALL, LARGE, THRESHOLD = 1300, 16383, 1_000_000
"""Of the dynamic record size: records, and the bytes behind which the large ones begin."""


class RecordSizeTests(EdgeTestCase):
    """How much is in a record, as a client sees it."""

    def _sizes(self, size: int, count: int) -> dict[int, list[int]]:
        """What an answer of C{count} bytes is cut into, by the version of TLS."""
        data = os.urandom(count)

        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            connection.sendall(data)

        origin = self.origin(serve)
        edge = self.start(f"[ssl]\nmax_record_size = {size}\n{HTTPS}forward_route = 127.0.0.1:{origin.port}\n")
        sizes = {}
        for version in VERSIONS:
            context = picky_context(version)
            context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
            client = Secure(self.tcp(edge.port()), context)
            client.raw = bytearray()
            client.shake_hands()
            self.assertTrue(client.exactly(count) == data)
            # A nonce and a tag with TLS 1.2, a type and a tag with TLS 1.3; of which the handshake's and the
            # tickets' records look like data too, and come first.
            overhead = 24 if version == V12 else 17
            found = [len(content) - overhead for kind, content in records(bytes(client.raw)) if kind == DATA]
            while sum(found) - found[0] >= count:
                del found[0]
            sizes[version] = found
        edge.stop()
        return sizes

    def test_tls_record_size_fixed(self) -> None:
        """With 4096 no record of a MiB has more, and none is needlessly small (tls_record_size)."""
        for found in self._sizes(4096, 1 << 20).values():
            self.assertEqual(4096, max(found))
            self.assertLess(len(found), 1.2 * (1 << 20) / 4096)

    def test_tls_record_size_dynamic(self) -> None:
        """
        Of 2 MiB a million bytes come in records that fit a segment, before there is a large one; none is larger than
        16383 (tls_record_size).
        """
        for found in self._sizes(-1, 2 << 20).values():
            first_large = next(at for at, size in enumerate(found) if size > SMALL)
            self.assertGreaterEqual(sum(found[:first_large]), THRESHOLD)
            self.assertLess(sum(found[:first_large]), THRESHOLD + 2 * SMALL)
            self.assertEqual(LARGE, max(found))


class VersionTests(EdgeTestCase):
    """Which versions are spoken with whom."""

    def test_tls_client_versions_minmax(self) -> None:
        """
        A rule for a name holds in the place of the listener's range, inside it and outside of it; other names, and
        clients without one, have the listener's (tls_client_versions_minmax).
        """
        for low, high, listeners in (("TLSv1.2", "TLSv1.2", {"1.2"}), ("TLSv1.3", "TLSv1.3", {"1.3"})):
            edge = self.start(
                f"[ssl]\nserver.version.min = {low}\nserver.version.max = {high}\n{HTTPS}"
                "[sni both.example.com]\nvalid_tls_version_min_in = TLSv1.2\nvalid_tls_version_max_in = TLSv1.3\n"
                "[sni old.example.com]\nvalid_tls_version_min_in = TLSv1.2\nvalid_tls_version_max_in = TLSv1.2\n"
                "[sni new.example.com]\nvalid_tls_version_min_in = TLSv1.3\nvalid_tls_version_max_in = TLSv1.3\n"
            )
            for name, spoken in (
                ("both.example.com", {"1.2", "1.3"}),
                ("old.example.com", {"1.2"}),
                ("new.example.com", {"1.3"}),
                ("other.example.com", listeners),
                (None, listeners),
            ):
                found = set()
                for number, version in (("1.2", ssl.TLSVersion.TLSv1_2), ("1.3", ssl.TLSVersion.TLSv1_3)):
                    try:
                        self.tls(edge.port(), name, client_context(trust=None, version=version))
                        found.add(number)
                    except ssl.SSLError as exc:
                        self.assertEqual("TLSV1_ALERT_PROTOCOL_VERSION", exc.reason)
                self.assertEqual(spoken, found, (low, name))
            edge.stop()

    def test_old_versions_are_not_spoken(self) -> None:
        """Clients that can do no more than TLS 1.1 are told so, whatever is configured (tls_client_versions)."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        edge = self.start(HTTPS)
        for version in ("-tls1", "-tls1_1"):
            done = self.run_command(
                OPENSSL, "s_client", version, "-cipher", "DEFAULT@SECLEVEL=0", "-connect", f"127.0.0.1:{edge.port()}"
            )
            self.assertIn(b"alert protocol version", done.stderr)
        self.assertEqual(2, edge.log.count("handshake of"))


class SessionTests(EdgeTestCase):
    """Clients that come back."""

    def _reused(self, port: int, *arguments: str) -> bool:
        """Does C{openssl s_client}, asked for the same a second time, say that its session was reused?"""
        assert OPENSSL is not None
        session = str(self.directory / "session")
        common = (OPENSSL, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "www.example.com", *arguments)
        for way in ("-sess_out", "-sess_in"):
            # It reads until the end of the answer, so that what comes behind the handshake is there too.
            done = self.run_command(*common, way, session, "-ign_eof", data=b"GET / HTTP/1.0\r\n\r\n")
            self.assertIn(b"atstls is running", done.stdout)
        reused = b"Reused, " in done.stdout
        self.assertNotEqual(reused, b"New, " in done.stdout)
        return reused

    def test_tls_session_reuse(self) -> None:
        """By ticket and without one, over either version, where it is allowed, and only there (tls_session_reuse)."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        for tickets, cache in ((1, 2), (0, 2), (1, 0), (0, 0)):
            edge = self.start(
                f"[ssl]\nserver.session_ticket.enable = {tickets}\nsession_cache = {cache}\n{HTTPS}"
                + self.certificate("www", "www.example.com")
            )
            for arguments, expected in (
                (("-tls1_2",), tickets or cache),
                (("-tls1_2", "-no_ticket"), cache),
                (("-tls1_3",), tickets or cache),
            ):
                self.assertEqual(bool(expected), self._reused(edge.port(), *arguments), (tickets, cache, arguments))
            edge.stop()

    def test_tls_sni_ticket(self) -> None:
        """A rule forbids tickets for a name, or allows them where they are forbidden, over TLS 1.2 (tls_sni_ticket)."""
        for enabled, names in ((1, ("on", "default")), (0, ("on",))):
            edge = self.start(
                f"[ssl]\nserver.session_ticket.enable = {enabled}\nsession_cache = 0\n{HTTPS}"
                "[sni on.example.com]\nssl_ticket_enabled = 1\n[sni off.example.com]\nssl_ticket_enabled = 0\n"
            )
            for name in ("on", "off", "default"):
                context = client_context(trust=None, version=ssl.TLSVersion.TLSv1_2)
                client = self.tls(edge.port(), f"{name}.example.com", context)
                assert client.session is not None
                self.assertEqual(name in names, client.session.has_ticket, (enabled, name))
            edge.stop()


class ClientVerifyTests(EdgeTestCase):
    """Whom a rule for a name is for, where it matters most."""

    def test_tls_client_verify3(self) -> None:
        """
        What is demanded for a name is demanded of whoever asks for just that name, however it is spelt, and of nobody
        who asks for one that contains it (tls_client_verify3).
        """
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        edge = self.start(
            f"[ssl]\nCA.cert.filename = ca.pem\n{HTTPS}"
            "[sni bob.bar.com]\nverify_client = STRICT\n[sni *.baz.com]\nverify_client = STRICT\n"
            "[sni free.baz.com]\nverify_client = NONE\n"
        )
        for name, strict in (
            ("bob.bar.com", True),
            ("BOB.Bar.com", True),
            ("bob.bar.com.", True),
            ("bob.bar.comm", False),
            ("bob.bar.com.evil.com", False),
            ("xbob.bar.com", False),
            ("x.bob.bar.com", False),
            ("bobxbar.com", False),
            ("a.baz.com", True),
            ("free.baz.com", False),
            ("a.free.baz.com", False),
            ("baz.com", False),
            ("xbaz.com", False),
            (None, False),
        ):
            for issuer, expected in ((None, not strict), (OTHER_CA, not strict), (CA, True)):
                self.assertEqual(expected, self._served(edge.port(), name, issuer), (name, issuer and issuer is CA))
        self.assertNotIn("Traceback", edge.log)

    def _served(self, port: int, name: str | None, issuer: trustme.CA | None) -> bool:
        context = picky_context()
        if issuer is not None:
            issuer.issue_cert("client.example.com").configure_cert(context)
        client = Secure(self.tcp(port), context, name)
        try:
            client.shake_hands()
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv().startswith(b"HTTP/")
        except (ConnectionError, CutOff, SSL.Error):
            return False


class VerifyServerTests(EdgeTestCase):
    """What is demanded of origins."""

    def test_tls_verify(self) -> None:
        """
        Every policy with every property, of an origin that is right, one with another name and one of an unknown
        authority; by listener and by rule; and what is overlooked under PERMISSIVE is told (tls_verify, 2, 3).
        """
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        origins = {
            "good": self.origin(context=server_context("*.good.com")),
            "name": self.origin(context=server_context("elsewhere.example.com")),
            "signer": self.origin(context=server_context("*.signer.com", ca=OTHER_CA)),
        }
        policies = ("DISABLED", "PERMISSIVE", "ENFORCED")
        properties = ("SIGNATURE", "NAME", "ALL", "NONE")
        text = "[ssl]\nclient.CA.cert.filename = ca.pem\nclient.verify.server.policy = PERMISSIVE\n"
        for what, origin in origins.items():
            text += f"[listen {what}]\nport = 0\npartial_blind_route = 127.0.0.1:{origin.port}\n"
            for policy in policies:
                for checked in properties:
                    name = f"{policy}-{checked}.{what}.com".lower()
                    text += f"[sni {name}]\nverify_server_policy = {policy}\nverify_server_properties = {checked}\n"
        edge = self.start(text)
        warned = 0
        for what in origins:
            for policy in policies:
                for checked in properties:
                    wrong = (what == "name" and checked in ("NAME", "ALL")) or (
                        what == "signer" and checked in ("SIGNATURE", "ALL")
                    )
                    name = f"{policy}-{checked}.{what}.com".lower()
                    self.assertEqual(not wrong or policy != "ENFORCED", self._served(edge.port(what), name), name)
                    warned += wrong and policy == "PERMISSIVE"
        # Without a rule the policy of all holds; a wildcard is for one label; and an underscore is as good as a letter.
        for what, name, wrong in (
            ("good", "a.good.com", False),
            ("good", "under_score.good.com", False),
            ("good", "a.b.good.com", True),
            ("good", "good.com", True),
            ("name", "a.name.com", True),
            ("signer", "a.signer.com", True),
        ):
            self.assertTrue(self._served(edge.port(what), name), name)
            warned += wrong
        self.assertEqual(warned, edge.log.count("going on, as its policy is PERMISSIVE"))
        self.assertNotIn("Traceback", edge.log)

    def _served(self, port: int, name: str) -> bool:
        try:
            client = self.tls(port, name)
            client.sendall(b"ping")
            return client.recv(10) == b"ping"
        except (ssl.SSLError, ConnectionError):
            return False
