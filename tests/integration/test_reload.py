"""
SIGHUP, sent to the real program: what becomes of the sessions of its clients.
"""

import signal
import ssl

from tests.integration.twistd import EdgeTestCase, client_context, until, write_certificate

READ_AGAIN = "the configuration was read again"


class SessionTests(EdgeTestCase):
    """Whether clients resume."""

    def test_sessions_go_on(self) -> None:
        """A new certificate is no reason for a full handshake; a policy that asks for more is."""
        lax = (
            f"[listen https]\nport = 0\nalpn =\nforward_route = 127.0.0.1:{self.origin().port}\n"
            "[certificate a]\nssl_cert_name = a.pem\nssl_key_name = a.key\n"
        )
        strict = lax + "[ssl]\nclient.certification_level = 1\nCA.cert.filename = a.pem\n"
        write_certificate(self.directory, "a", "a.example")
        edge = self.start(lax, "--config", "tap.cfg")
        port = edge.port()

        def change(configuration: str) -> None:
            (self.directory / "tap.cfg").write_text(configuration)
            before = edge.log.count(READ_AGAIN)
            edge.send(signal.SIGHUP)
            until(lambda: edge.log.count(READ_AGAIN) > before, "a reload")

        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(version=version)
            first = self.tls(port, "a.example", context)
            first.sendall(b"x")
            self.assertEqual(b"x", first.recv(100))  # and with it, over TLS 1.3, the ticket
            session = first.session
            write_certificate(self.directory, "a", "a.example")
            for configuration, resumed in ((lax, True), (strict, False)):
                change(configuration)
                self.assertIs(resumed, self.tls(port, "a.example", context, session=session).session_reused)
            change(lax)
