"""
What the configuration demands of TLS, for all listeners or for one name, from outside.
"""

import ssl
import subprocess
import time
from typing import Any

import trustme

from tests.integration.twistd import CA, OPENSSL, OTHER_CA, EdgeTestCase, client_context, server_context, until

HTTPS = "[listen https]\nport = 0\n"
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class TLSSettingsTestCase(EdgeTestCase):
    """Has clients that may show a certificate."""

    def outcome(self, port: int, name: str, ca: trustme.CA | None = None, version: Any = None) -> str:
        """C{"served"}, or the alert by which a client was refused; over TLS 1.3 it comes when the client is done."""
        context = client_context(trust=None, version=version)
        if ca is not None:
            ca.issue_cert("client.example.com", key_type=trustme.KeyType.ECDSA).configure_cert(context)
        try:
            client = self.tls(port, name, context)
            client.sendall(b"ping")
            return "served" if client.recv(10) == b"ping" else "ended"
        except ssl.SSLError as exc:
            return str(exc.reason)


class ClientCertificateTests(TLSSettingsTestCase):
    """Who may come in shows a certificate."""

    def test_levels(self) -> None:
        """No certificate, a good one, a bad one; NONE, MODERATE, STRICT; by rule; over both versions (A012)."""
        origin = self.origin()
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        edge = self.start(
            HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n[ssl]\nCA.cert.filename = ca.pem\n"
            "[sni none.example.com]\nverify_client = NONE\n"
            "[sni moderate.example.com]\nverify_client = MODERATE\n"
            "[sni strict.example.com]\nverify_client = STRICT\n"
        )
        port = edge.port()
        missing = {V12: "SSLV3_ALERT_HANDSHAKE_FAILURE", V13: "TLSV13_ALERT_CERTIFICATE_REQUIRED"}
        unknown = "TLSV1_ALERT_UNKNOWN_CA"
        for version in (V12, V13):
            for level, expected in (
                ("other", ("served", "served", "served")),
                ("none", ("served", "served", "served")),
                ("moderate", ("served", "served", unknown)),
                ("strict", (missing[version], "served", unknown)),
            ):
                found = tuple(self.outcome(port, f"{level}.example.com", ca, version) for ca in (None, CA, OTHER_CA))
                self.assertEqual(expected, found, f"{level} {version!r}")
        edge.says("strict.example.com failed: peer did not return a certificate")
        edge.says("strict.example.com failed: the certificate was not accepted: the issuer of the certificate is not")
        self.assertNotIn("Traceback", edge.log)

    def test_authorities_by_name(self) -> None:
        """A certificate is good where its authority is trusted, and nowhere else (A013); for all by one level."""
        origin = self.origin()
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        (self.directory / "other.pem").write_bytes(OTHER_CA.cert_pem.bytes())
        edge = self.start(
            HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n"
            "[ssl]\nclient.certification_level = 2\nCA.cert.filename = ca.pem\n"
            "[sni b.example.com]\nverify_client_ca_certs = other.pem\n"
        )
        for name, ca, served in (
            ("a.example.com", CA, True),
            ("a.example.com", OTHER_CA, False),
            ("b.example.com", CA, False),
            ("b.example.com", OTHER_CA, True),
        ):
            self.assertEqual(served, self.outcome(edge.port(), name, ca) == "served", (name, ca is CA))

    def test_no_way_around_in_clear(self) -> None:
        """Where certificates are needed, clear text is refused on a port that takes it."""
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        edge = self.start(
            HTTPS + "flags = ssl, allow-plain\n[ssl]\nclient.certification_level = 2\nCA.cert.filename = ca.pem\n"
        )
        sock = self.tcp(edge.port())
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assertRaises(ConnectionResetError, sock.recv, 10)
        edge.says("is refused: clients need a certificate, and it speaks no TLS")

    def test_shown_to_origins(self) -> None:
        """A rule has a certificate of its own to show to the next host."""
        context = server_context("www.example.com")
        context.verify_mode = ssl.CERT_REQUIRED
        OTHER_CA.configure_trust(context)
        origin = self.origin(context=context)
        issued = OTHER_CA.issue_cert("edge.example.com", key_type=trustme.KeyType.ECDSA)
        (self.directory / "own.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        (self.directory / "own.key").write_bytes(issued.private_key_pem.bytes())
        edge = self.start(
            HTTPS + f"partial_blind_route = 127.0.0.1:{origin.port}\n[ssl]\nclient.verify.server.policy = DISABLED\n"
            "[sni www.example.com]\nclient_cert = own.pem\nclient_key = own.key\n"
        )
        self.assertEqual("served", self.outcome(edge.port(), "www.example.com"))
        self.assertNotEqual("served", self.outcome(edge.port(), "other.example.com", version=V12))


class NameTests(TLSSettingsTestCase):
    """What holds for one name."""

    def test_tickets(self) -> None:
        """One name gives tickets, another one does not (A032)."""
        edge = self.start(HTTPS + "[ssl]\nsession_cache = 0\n[sni without.example.com]\nssl_ticket_enabled = 0\n")
        for name, given in (("with.example.com", True), ("without.example.com", False)):
            client = self.tls(edge.port(), name, client_context(trust=None, version=V12))
            assert client.session is not None
            self.assertEqual(given, client.session.has_ticket, name)

    def test_ciphers(self) -> None:
        """One name has ciphers of its own."""
        edge = self.start(HTTPS + "[sni own.example.com]\nserver_cipher_suite = ECDHE-ECDSA-AES256-GCM-SHA384\n")
        for name, expected in (
            ("own.example.com", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            ("other.example.com", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ):
            client = self.tls(edge.port(), name, client_context(trust=None, version=V12))
            cipher = client.cipher()
            assert cipher is not None
            self.assertEqual(expected, cipher[0])

    def test_strict_names(self) -> None:
        """A name that no certificate is for is refused where that is asked for; no name at all is not."""
        text = HTTPS + self.certificate("one", "www.example.com") + "[ssl]\nserver.strict_sni = 1\n"
        edge = self.start(text)
        for version in (V12, V13):
            context = client_context(trust=None, version=version)
            self.tls(edge.port(), "www.example.com", context)
            self.tls(edge.port(), None, context)
            with self.assertRaises(ssl.SSLError) as caught:
                self.tls(edge.port(), "other.example.com", context)
            self.assertEqual("TLSV1_UNRECOGNIZED_NAME", caught.exception.reason)
        edge.says("other.example.com failed: no certificate for other.example.com")

    def test_renegotiation_is_answered(self) -> None:
        """Where it is allowed a TLS 1.2 client begins anew at once, and its request after that is answered (S064)."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        origin = self.origin()
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n[ssl]\nallow_client_renegotiation = 1\n")
        client = subprocess.Popen(
            [OPENSSL, "s_client", "-tls1_2", "-state", "-connect", f"127.0.0.1:{edge.port()}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        assert client.stdin is not None and client.stdout is not None
        until(lambda: origin.connections, "a connection")
        began = time.monotonic()
        client.stdin.write(b"R\n")
        client.stdin.flush()
        said = b""
        while b"RENEGOTIATING" not in said or not said.partition(b"RENEGOTIATING")[2].count(b"finished\n"):
            line = client.stdout.readline()
            self.assertNotEqual(b"", line, said)
            said += line
        self.assertLess(time.monotonic() - began, 5)
        client.stdin.write(b"ping\n")
        client.stdin.flush()
        until(lambda: bytes(origin.received[0]) == b"ping\n", "the request")
        while b"ping" not in said:
            line = client.stdout.readline()
            self.assertNotEqual(b"", line, said)
            said += line

    def test_key_log(self) -> None:
        """The secrets of both sides are in the file, as those of the client; only its owner reads it (A078)."""
        origin = self.origin(context=server_context("www.example.com"))
        edge = self.start(
            HTTPS + f"partial_blind_route = 127.0.0.1:{origin.port}\n"
            "[ssl]\nkeylog_file = keys\nclient.verify.server.policy = DISABLED\n"
        )
        port = edge.port()
        edge.says(r"warn\] tap.cfg: \[ssl\] keylog_file: the secrets of all connections are written to \S*/keys")
        for version in (V12, V13):
            context = client_context(trust=None, version=version)
            context.keylog_filename = str(self.directory / f"client-{version}")
            client = self.tls(port, "www.example.com", context)
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(10))
        keys = self.directory / "keys"
        self.assertEqual(0o600, keys.stat().st_mode & 0o777)
        written = keys.read_text().splitlines()
        for version in (V12, V13):
            own = (self.directory / f"client-{version}").read_text().splitlines()
            self.assertEqual(set(), {line for line in own if not line.startswith("#")} - set(written))
        kinds = {line.split()[1] for line in written}
        self.assertEqual(4, len(kinds), "two connections, and one to the origin for each")


class WireTraceTests(TLSSettingsTestCase):
    """What is said inside TLS, for whom it is meant to be seen."""

    def test_one_name(self) -> None:
        """Who asks for the name is traced, on both sides, and of another client nothing is there."""
        origin = self.origin(context=server_context("www.example.com"))
        edge = self.start(
            HTTPS + f"partial_blind_route = 127.0.0.1:{origin.port}\n"
            "[ssl]\nclient.verify.server.policy = DISABLED\nwire_trace_enabled = 1\nwire_trace_percentage = 100\n"
            "wire_trace_server_name = www.example.com\nwire_trace_addr = 127.0.0.1\n"
        )
        edge.says(r"warn\] tap.cfg: \[ssl\] wire_trace_enabled: what is said inside TLS is written to the log")
        for name, said in (("other.example.com", b"hidden"), ("www.example.com", b"shown\n")):
            client = self.tls(edge.port(), name, client_context(trust=None))
            client.sendall(said)
            self.assertEqual(said, client.recv(10))
            who = f"127.0.0.1:{client.getsockname()[1]}"
            client.close()
        there = f"127.0.0.1:{origin.port} CLIENT {who}"
        for line in (
            rf"WIRE TRACE {who} handshake done: TLSv1.3 TLS_AES_128_GCM_SHA256, new session, server name www",
            rf"WIRE TRACE {there} handshake done: TLSv1.3 ",
            rf"WIRE TRACE IN {who} bytes=6 shown\\n",
            rf"WIRE TRACE OUT {there} bytes=6 shown\\n",
            rf"WIRE TRACE IN {there} bytes=6 shown\\n",
            rf"WIRE TRACE OUT {who} bytes=6 shown\\n",
        ):
            edge.says(line)
        self.assertNotIn("hidden", edge.log)
        self.assertNotIn("Traceback", edge.log)

    def test_nobody(self) -> None:
        """Without a percentage it is nobody, which the log says."""
        edge = self.start(HTTPS + "[ssl]\nwire_trace_enabled = 1\n")
        edge.says(r"warn\] tap.cfg: \[ssl\] wire_trace_percentage: it is 0, so that nothing is traced")
        self.tls(edge.port(), "www.example.com", client_context(trust=None)).close()
        self.assertNotIn("WIRE TRACE", edge.log)
