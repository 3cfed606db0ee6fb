"""
Traffic Server's gold tests of hooks (C{tls_hooks}), against the program itself.

There a test plugin is told how many hooks of which kind it has, which of them take their time, and writes down who was
asked; here it is a module with the same hooks.  Each test has a listener of its own, named as the test.  Which gold
test stands where is in L{tests.integration.gold}.
"""

import os
import re
import socket
import ssl
import time
from collections import Counter
from pathlib import Path

from OpenSSL import SSL

from tests.integration.peers import VERSIONS, Secure, SharedEdgeTestCase, picky_context
from tests.integration.twistd import (
    CA,
    OPENSSL,
    OTHER_CA,
    PATIENCE,
    ROOT,
    EdgeTestCase,
    Origin,
    Twistd,
    client_context,
    server_context,
    until,
)

DELAY_SECONDS = 0.05
"""What a slow hook takes; ATS's takes seconds, and means the same."""

HANDSHAKE_SECONDS = 1
PARKED_SECONDS = 1.3

PLUGIN = f"""
from twisted.internet import reactor

from atstls.tls import alerts


def note(what):
    with open("asked", "a") as file:
        file.write(what + "\\n")


def hooks(what):
    def at_once(vc):
        note(what)

    def delayed(vc):
        note(what + " delayed")
        handle = vc.park()
        reactor.callLater({DELAY_SECONDS}, lambda: (note(what + " goes on"), handle.reenable()))
        return handle

    def threaded(vc):
        note(what + " threaded")
        handle = vc.park()
        reactor.callInThread(handle.reenable)
        return handle

    return at_once, delayed, threaded


preaccept, preaccept_delayed, preaccept_threaded = hooks("preaccept")
client_hello, client_hello_delayed, _ = hooks("client hello")
sni, sni_delayed, _ = hooks("sni")
cert, cert_delayed, cert_threaded = hooks("cert")
out_start, out_start_delayed, _ = hooks("out start")
close, _, _ = hooks("close")
out_close, _, _ = hooks("out close")


def keeps(vc):
    # Longer than a handshake may take; and it answers all the same, twice.
    note("parked")
    handle = vc.park()

    def late():
        handle.reenable()
        handle.reenable()
        note("late")

    reactor.callLater({PARKED_SECONDS}, late)
    return handle


def veto_client(vc):
    certificate = vc.get_peer_certificate()
    if certificate is None:
        vc.refuse(alerts.CERTIFICATE_REQUIRED, "the client shows nothing")
    elif "bad" in certificate.subject.rfc4514_string() or vc.server_name == "bad.example.com":
        vc.refuse(alerts.ACCESS_DENIED, "the client is not wanted")


def veto_server(vc):
    if vc.server_name == "bad.example.com":
        vc.refuse(alerts.ACCESS_DENIED, "the origin is not wanted")
"""

LISTENERS = {
    "hooks1": "vconn_start = plugin:preaccept_delayed",
    "hooks2": "servername = plugin:sni_delayed",
    "hooks3": "cert = plugin:cert_delayed",
    "hooks4": "vconn_start = plugin:preaccept_delayed; servername = plugin:sni; cert = plugin:cert_delayed",
    "hooks6": "vconn_start = plugin:preaccept, plugin:preaccept_delayed; cert = plugin:cert",
    "hooks7": "servername = plugin:sni_delayed, plugin:sni; cert = plugin:cert",
    "hooks8": "cert = plugin:cert_delayed, plugin:cert_threaded; servername = plugin:sni",
    "hooks9": "cert = plugin:cert",
    "hooks10": "cert = plugin:cert_delayed, plugin:cert, plugin:cert; vconn_start = plugin:preaccept",
    "hooks11": "vconn_start = plugin:preaccept_delayed; client_hello = plugin:client_hello",
    "hooks12": "vconn_start = plugin:preaccept, plugin:preaccept_threaded, plugin:preaccept_delayed",
    "hooks13": "outbound_start = plugin:out_start; outbound_close = plugin:out_close",
    "hooks14": "outbound_start = plugin:out_start_delayed, plugin:out_start_delayed",
    "hooks15": "vconn_close = plugin:close, plugin:close; outbound_close = plugin:out_close",
    "hooks16": "client_hello = plugin:client_hello",
    "hooks17": "client_hello = plugin:client_hello_delayed; vconn_close = plugin:close",
    "hooks18": "client_hello = plugin:client_hello_delayed, plugin:client_hello_delayed; vconn_close = plugin:close",
    "parked1": "vconn_start = plugin:keeps; vconn_close = plugin:close",
    "parked2": "client_hello = plugin:keeps; vconn_close = plugin:close",
    "parked3": "cert = plugin:keeps, plugin:cert; vconn_close = plugin:close",
    "parked4": "verify_client = plugin:keeps; vconn_close = plugin:close",
}


class HooksTestCase(SharedEdgeTestCase):
    """
    With the plugin.

    @cvar handshake_seconds: what a handshake may take.
    """

    handshake_seconds = 30

    @classmethod
    def configuration(cls, directory: Path) -> str:
        (directory / "plugin.py").write_text(PLUGIN)
        cls.origin_behind = Origin(context=server_context("www.example.com"))
        listeners = ""
        for name, hooks in LISTENERS.items():
            listeners += f"[listen {name}]\nport = 0\npartial_blind_route = 127.0.0.1:{cls.origin_behind.port}\n"
            listeners += "".join(f"hook.{hook.strip()}\n" for hook in hooks.split(";"))
        return (
            f"[ssl]\nclient.verify.server.policy = DISABLED\nhandshake_timeout_in = {cls.handshake_seconds}\n"
            "[net]\ninactivity_check_frequency = 0.1\n[listen https]\nport = 0\n" + listeners
        )

    @classmethod
    def environment(cls, directory: Path) -> dict[str, str]:
        return {"PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)])}

    @property
    def _file(self) -> Path:
        return self.edge.directory / "asked"

    @property
    def asked(self) -> list[str]:
        """Who was asked since the test began, in order."""
        return self._file.read_text().splitlines() if self._file.exists() else []

    def tearDown(self) -> None:
        super().tearDown()
        self._file.unlink(missing_ok=True)

    def visit(self, listener: str, version: int) -> Secure:
        """A client whose handshake is done, and whose word has been to the origin and back."""
        client = Secure(self.connected_to(listener), picky_context(version), "www.example.com")
        client.shake_hands()
        client.send(b"ping")
        self.assertEqual(b"ping", client.exactly(4))
        return client

    def connected_to(self, listener: str) -> socket.socket:
        """TCP, and nothing more."""
        sock = socket.create_connection(("127.0.0.1", self.edge.port(listener)), PATIENCE)
        self.keep(sock)
        return sock


class HooksTests(HooksTestCase):
    """Each hook is asked once for each connection, in order, and may take its time; the client is served."""

    _rested = False

    def rests(self) -> None:
        """Once, when it has started.  To look each time takes longer than the tests; L{ParkedTests} does."""
        if not self._rested:
            super().rests()
            type(self)._rested = True

    def _served(self, listener: str, *expected: str, ordered: bool = True) -> None:
        for version in VERSIONS:
            self._file.unlink(missing_ok=True)
            began = time.monotonic()
            client = self.visit(listener, version)
            delays = sum(what.endswith("delayed") for what in expected)
            self.assertGreaterEqual(time.monotonic() - began, delays * DELAY_SECONDS)
            client.close()
            until(lambda: len(self.asked) >= len(expected), "all hooks")
            # Which of two connections is closed first is nobody's business.
            self.assertEqual(list(expected), self.asked if ordered else sorted(self.asked))

    def test_tls_hooks(self) -> None:
        """One pre-accept hook with a delayed answer (tls_hooks)."""
        self._served("hooks1", "preaccept delayed", "preaccept goes on")

    def test_tls_hooks2(self) -> None:
        """One SNI hook with a delayed answer, which ATS's cannot have (tls_hooks2)."""
        self._served("hooks2", "sni delayed", "sni goes on")

    def test_tls_hooks3(self) -> None:
        """One certificate hook with a delayed answer (tls_hooks3)."""
        self._served("hooks3", "cert delayed", "cert goes on")

    def test_tls_hooks4(self) -> None:
        """One of each kind: pre-accept before SNI before certificate (tls_hooks4)."""
        self._served("hooks4", "preaccept delayed", "preaccept goes on", "sni", "cert delayed", "cert goes on")

    def test_tls_hooks6(self) -> None:
        """Two pre-accept hooks: both, in order, before the next kind (tls_hooks6)."""
        self._served("hooks6", "preaccept", "preaccept delayed", "preaccept goes on", "cert")

    def test_tls_hooks7(self) -> None:
        """Two SNI hooks: both, in order, before the next kind (tls_hooks7)."""
        self._served("hooks7", "sni delayed", "sni goes on", "sni", "cert")

    def test_tls_hooks8(self) -> None:
        """Two certificate hooks, one of which answers from another thread (tls_hooks8)."""
        self._served("hooks8", "sni", "cert delayed", "cert goes on", "cert threaded")

    def test_tls_hooks9(self) -> None:
        """A certificate hook that answers at once (tls_hooks9)."""
        self._served("hooks9", "cert")

    def test_tls_hooks10(self) -> None:
        """A delayed certificate hook and two that answer at once (tls_hooks10)."""
        self._served("hooks10", "preaccept", "cert delayed", "cert goes on", "cert", "cert")

    def test_tls_hooks11(self) -> None:
        """A pre-accept hook that is answered by a timer, before a byte of the client is read (tls_hooks11)."""
        self._served("hooks11", "preaccept delayed", "preaccept goes on", "client hello")

    def test_tls_hooks12(self) -> None:
        """Two ordinary pre-accept hooks and one that waits for a timer (tls_hooks12)."""
        self._served("hooks12", "preaccept", "preaccept threaded", "preaccept delayed", "preaccept goes on")

    def test_tls_hooks13(self) -> None:
        """A hook of the start and one of the close of the connection to the origin (tls_hooks13)."""
        self._served("hooks13", "out start", "out close")

    def test_tls_hooks14(self) -> None:
        """Two delayed hooks of the outbound start (tls_hooks14)."""
        self._served("hooks14", *("out start delayed", "out start goes on") * 2)

    def test_tls_hooks15(self) -> None:
        """Two hooks of the close, and one of the outbound one (tls_hooks15)."""
        self._served("hooks15", "close", "close", "out close", ordered=False)

    def test_tls_hooks16(self) -> None:
        """A ClientHello hook that answers at once (tls_hooks16)."""
        self._served("hooks16", "client hello")

    def test_tls_hooks17(self) -> None:
        """A ClientHello hook that keeps the connection for a while, and one of the close (tls_hooks17)."""
        self._served("hooks17", "client hello delayed", "client hello goes on", "close")

    def test_tls_hooks18(self) -> None:
        """Two ClientHello hooks that do so (tls_hooks18)."""
        self._served("hooks18", *("client hello delayed", "client hello goes on") * 2, "close")

    def test_with_s_client(self) -> None:
        """The command that ATS's tests use sees nothing of hooks that take their time (tls_hooks4)."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        done = self.run_command(
            OPENSSL, "s_client", "-quiet", "-connect", f"127.0.0.1:{self.edge.port('hooks4')}",
            "-servername", "www.example.com", "-no_ign_eof", data=b"ping\n",
        )  # fmt: skip
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(5, len(self.asked))


class ParkedTests(HooksTestCase):
    """A connection that ends while a hook has it."""

    handshake_seconds = HANDSHAKE_SECONDS

    LISTENERS = ("parked1", "parked2", "parked3", "parked4")

    def _parked(self, listener: str) -> Secure:
        """A client that a hook has, or that will be had once it has said hello."""
        number = self.asked.count("parked")
        client = Secure(self.connected_to(listener), picky_context(), "www.example.com")
        try:
            client.connection.do_handshake()
        except SSL.WantReadError:
            client.flush()
        if listener == "parked4":
            client.shake_hands()  # whose hook is asked when the handshake is done
        until(lambda: self.asked.count("parked") == number + 1, "the hook")
        return client

    def _all_answers_were_late(self) -> None:
        many = len(self.LISTENERS)
        until(lambda: self.asked.count("late") == many, "the answers that nobody waits for")
        # The certificate hook behind the one that kept the connection is not asked any more.
        self.assertEqual({"parked": many, "close": many, "late": many}, dict(Counter(self.asked)))
        self.assertEqual(["late"] * many, self.asked[-many:])

    def test_tls_hooks_close_while_parked(self) -> None:
        """
        The handshake's time is up while a hook of any kind has the connection: the close hook is told, once, and the
        answer that comes afterwards harms nobody (tls_hooks_close_while_parked).
        """
        began = time.monotonic()
        clients = [self._parked(listener) for listener in self.LISTENERS]
        until(lambda: self.asked.count("close") == len(clients), "the close hooks")
        self.assertGreaterEqual(time.monotonic() - began, HANDSHAKE_SECONDS)
        for client, point in zip(clients, ("vconn_start", "client_hello", "cert", "verify_client"), strict=True):
            self.heard(f"failed: not done after {HANDSHAKE_SECONDS} s, .* waiting for a {point} hook")
            self.last_words(client.sock)
        self._all_answers_were_late()

    def test_the_client_leaves_while_parked(self) -> None:
        """The same where the client does not wait for that, but leaves or resets (tls_hooks_close_while_parked)."""
        for number, client in enumerate([self._parked(listener) for listener in self.LISTENERS]):
            if number % 2:
                client.close()
            else:
                client.reset()
        self._all_answers_were_late()


class VerifyTests(EdgeTestCase):
    """Hooks that look at certificates, and may refuse what was accepted."""

    def setUp(self) -> None:
        super().setUp()
        (self.directory / "plugin.py").write_text(PLUGIN)
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())

    def edge(self, configuration: str) -> Twistd:
        """The program, with the plugin."""
        path = os.pathsep.join([str(self.directory), str(ROOT)])
        return self.start(configuration, environment={"PYTHONPATH": path})

    def served(self, port: int, name: str, context: ssl.SSLContext | None = None) -> bool:
        """Does a client get its word back?"""
        try:
            client = self.tls(port, name, context)
            client.sendall(b"ping")
            return client.recv(10) == b"ping"
        except (ssl.SSLError, ConnectionError):
            return False

    def test_tls_hooks_client_verify(self) -> None:
        """A hook refuses by the certificate of the client, and by the name it asks for (tls_hooks_client_verify)."""
        origin = self.origin()
        edge = self.edge(
            f"[listen https]\nport = 0\nforward_route = 127.0.0.1:{origin.port}\n"
            "hook.verify_client = plugin:veto_client\n"
            "[ssl]\nclient.certification_level = 1\nCA.cert.filename = ca.pem\n"
        )
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for ca, common, name, served in (
                (CA, "good", "www.example.com", True),
                (CA, "good", "bad.example.com", False),
                (CA, "bad", "www.example.com", False),
                (OTHER_CA, "good", "www.example.com", False),
                (None, "", "www.example.com", False),
            ):
                context = client_context(trust=None, version=version)
                if ca is not None:
                    ca.issue_cert("c.example.com", common_name=common).configure_cert(context)
                self.assertEqual(served, self.served(edge.port(), name, context), (common, name, ca is CA))
        self.assertEqual(2, edge.log.count("failed: the client shows nothing"))
        self.assertEqual(4, edge.log.count("failed: the client is not wanted"))
        self.assertEqual(2, origin.connections)
        self.assertNotIn("Traceback", edge.log)

    def test_tls_hooks_verify(self) -> None:
        """
        A hook refuses an origin that was accepted, under either policy; a bad signature is the end under ENFORCED,
        before the hook, and a warning under PERMISSIVE (tls_hooks_verify).
        """
        good = self.origin(context=server_context("www.example.com", "bad.example.com"))
        unknown = self.origin(context=server_context("u.example.com", "bad.example.com", ca=OTHER_CA))
        edge = self.edge(
            "[ssl]\nclient.CA.cert.filename = ca.pem\nclient.verify.server.policy = PERMISSIVE\n"
            + "".join(
                f"[listen {name}]\nport = 0\npartial_blind_route = 127.0.0.1:{origin.port}\n"
                "hook.verify_server = plugin:veto_server\n"
                for name, origin in (("good", good), ("unknown", unknown))
            )
            + "[sni enforced.u.example.com]\nverify_server_policy = ENFORCED\n"
        )
        for listener, name, served in (
            ("good", "www.example.com", True),
            ("good", "bad.example.com", False),
            ("unknown", "u.example.com", True),
            ("unknown", "bad.example.com", False),
            ("unknown", "enforced.u.example.com", False),
        ):
            self.assertEqual(served, self.served(edge.port(listener), name), (listener, name))
        self.assertEqual(2, len(re.findall("cannot be used for .*: the origin is not wanted", edge.log)))
        edge.says("the origin 127.0.0.1:.* is not who we meant: .*; going on, as its policy is PERMISSIVE")
        self.assertNotIn("Traceback", edge.log)
