"""
Traffic Server's gold tests of what is read again while it runs, against the program: SIGHUP.

Which gold test stands where is in L{tests.integration.gold}; those that another module has are not written again.
"""

import signal
import ssl
import threading
from typing import Any

from tests.integration.peers import Later
from tests.integration.twistd import OTHER_CA, EdgeTestCase, Twistd, client_context, server_context, until
from tests.integration.twistd import write_certificate as write_pair

HTTPS = "[listen https]\nport = 0\n"

READ_AGAIN = "the configuration was read again"
AS_IT_WAS = "the configuration stays as it was"


class ReloadTests(EdgeTestCase):
    """What changes for those who come, and what does not for those who are there."""

    def reload(self, edge: Twistd, configuration: str | None = None, answer: str = READ_AGAIN) -> None:
        """Have everything read again, and wait until that is done, or refused."""
        if configuration is not None:
            (self.directory / "tap.cfg").write_text(configuration)
        before = edge.log.count(answer)
        edge.send(signal.SIGHUP)
        until(lambda: edge.log.count(answer) > before, answer)

    def shown(self, port: int, name: str = "www.example.com", context: ssl.SSLContext | None = None) -> bytes:
        """The certificate that a client sees."""
        client = self.tls(port, name, context)
        found = client.getpeercert(binary_form=True)
        client.close()
        assert found is not None
        return found

    def is_served(self, client: Any) -> None:
        """C{client} gets its word back."""
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(10))

    def test_tls_reload_under_load(self) -> None:
        """
        The certificate is exchanged again and again while clients come without a pause: each of them is served, sees
        each certificate whole, and in the end the last one; who was there stays (tls_reload_under_load).
        """
        origin = self.origin()
        edge = self.start(
            f"{HTTPS}forward_route = 127.0.0.1:{origin.port}\n" + self.certificate("www", "www.example.com"),
            "--config", "tap.cfg",
        )  # fmt: skip
        port = edge.port()
        old = self.tls(port, "www.example.com", client_context())
        over = threading.Event()

        def come(version: ssl.TLSVersion) -> set[bytes]:
            seen = set()
            context = client_context(version=version)
            while not over.is_set():
                client = self.tls(port, "www.example.com", context)
                self.is_served(client)
                found = client.getpeercert(binary_form=True)
                assert found is not None
                seen.add(found)
                client.close()
            return seen

        coming = [Later(come, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) * 3]
        certificates = [self.shown(port)]
        for _ in range(8):
            write_pair(self.directory, "www", "www.example.com")
            self.reload(edge)
            certificates.append(self.shown(port))
        over.set()
        seen = set().union(*(later.result() for later in coming))
        self.assertEqual(9, len(set(certificates)))
        self.assertLessEqual(seen, set(certificates))
        self.assertGreater(len(seen), 2)
        self.assertEqual(certificates[-1], self.shown(port))
        self.is_served(old)
        self.assertNotIn("Traceback", edge.log)

    def test_ssl_multicert_loader(self) -> None:
        """
        A certificate that cannot be used keeps what there was when it comes with a reload, and the program from
        starting when it is there from the start; or it is left out, where that is wanted (ssl_multicert_loader,
        exit_on_cert_load_fail).
        """
        good = self.certificate("www", "www.example.com")
        broken = "[certificate broken]\nssl_cert_name = broken.pem\nssl_key_name = broken.key\n"
        edge = self.start(HTTPS + good, "--config", "tap.cfg")
        port = edge.port()
        before = self.shown(port)
        write_pair(self.directory, "www", "www.example.com")
        (self.directory / "broken.pem").write_text("not a certificate")
        (self.directory / "broken.key").write_text("nor a key")
        self.reload(edge, HTTPS + good + broken, AS_IT_WAS)
        edge.says(r"\[certificate broken\] .*broken.pem")
        self.assertEqual(before, self.shown(port))
        self.reload(edge, HTTPS + good)
        self.assertNotEqual(before, self.shown(port))
        edge.stop()
        edge = self.start(HTTPS + good + broken)
        self.assertEqual(1, edge.ended())
        self.assertIn("broken.pem", edge.errors)
        edge = self.start("[ssl]\nserver.multicert.exit_on_load_fail = 0\n" + HTTPS + good + broken)
        self.shown(edge.port(), context=client_context())
        self.assertIn("broken.pem", edge.log)

    def test_tls_check_cert_selection_reload(self) -> None:
        """
        The same name, signed by another authority: who comes sees the new one and needs to trust it, and who is there
        is not asked anything (tls_check_cert_selection_reload).
        """
        edge = self.start(
            f"{HTTPS}forward_route = 127.0.0.1:{self.origin().port}\n" + self.certificate("www", "www.example.com"),
            "--config", "tap.cfg",
        )  # fmt: skip
        port = edge.port()
        old = self.tls(port, "www.example.com", client_context())
        write_pair(self.directory, "www", "www.example.com", ca=OTHER_CA)
        self.reload(edge)
        self.tls(port, "www.example.com", client_context(trust=OTHER_CA))
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.tls(port, "www.example.com", client_context())
        self.is_served(old)

    def test_tls_sni_yaml_reload(self) -> None:
        """
        Rules are exchanged, a tunnel leads elsewhere, and a file with a mistake changes nothing; tunnels that are
        there stay where they lead (tls_sni_yaml_reload, tls_tunnel).
        """
        one, other = (self.origin(context=server_context(f"{name}.example.com")) for name in ("one", "other"))
        edge = self.start(f"{HTTPS}[sni t.com]\ntunnel_route = 127.0.0.1:{one.port}\n", "--config", "tap.cfg")
        port = edge.port()
        old = self.tls(port, "t.com")
        self.is_served(old)
        self.reload(edge, f"{HTTPS}[sni t.com]\ntunnel_route = 127.0.0.1:{other.port}\n")
        self.is_served(self.tls(port, "t.com"))
        self.assertEqual((1, 1), (one.connections, other.connections))
        self.reload(edge, f"{HTTPS}[sni t.com]\ntunnel_route = 127.0.0.1:{one.port}\nip_allow = x\n", AS_IT_WAS)
        edge.says(r"\[sni t.com\] ip_allow: ")
        self.is_served(self.tls(port, "t.com"))
        self.assertEqual((1, 2), (one.connections, other.connections))
        self.is_served(old)
        self.reload(edge, f"{HTTPS}[sni t.com]\ntunnel_route = 127.0.0.1:{other.port}\nip_allow = 192.0.2.1\n")
        self.assertRaises(ssl.SSLError, self.tls, port, "t.com")
        self.is_served(old)
        self.assertNotIn("Traceback", edge.log)
