"""
Tests for L{atstls.edge.reload}: another configuration for an edge that runs (P08, N141).
"""

import gc
import shutil
import signal
import socket
import tempfile
import weakref
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.protocol import Factory
from twisted.logger import formatEvent, globalLogPublisher
from twisted.protocols.wire import Echo
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.build import Machinery, build
from atstls.edge.config import load
from atstls.edge.keylog import KeyLog
from atstls.edge.reload import LOOK_SECONDS, LeavingFactories, Reload
from atstls.edge.service import Edge, Signals
from atstls.errors import ConfigurationError
from atstls.net.cop import InactivityCop
from tests.integration.twistd import write_certificate
from tests.support import HandReactor
from tests.tlssupport import TLSPeer, issue, peer_client_context


class CountingFactory(Factory):
    """Echoes, and knows how often it was started and stopped."""

    protocol = Echo  # type: ignore[assignment]  # as Twisted's own do
    noisy = False

    def __init__(self) -> None:
        self.began = self.ended = 0

    def startFactory(self) -> None:
        self.began += 1

    def stopFactory(self) -> None:
        self.ended += 1


ECHO = CountingFactory()
OTHER = CountingFactory()


class LoudEcho(Echo):
    """Says which it is."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data.upper())


OTHER.protocol = LoudEcho  # type: ignore[assignment]


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.here = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.here)
        self.file = self.here / "tap.cfg"
        self.reactor = HandReactor()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        for factory in (ECHO, OTHER):
            factory.began = factory.ended = 0

    def start(self, text: str) -> Edge:
        self.file.write_text(text)
        machinery = Machinery(self.reactor)
        machinery.handler.seconds, machinery.handler.now = self.reactor.seconds, self.reactor.seconds()
        self.edge = Edge(build(load(self.file), machinery, "tap.cfg"), machinery, ListenFDs([]))
        self.reload = Reload(self.edge)
        self.edge.privilegedStartService()
        self.edge.startService()
        self.addCleanup(self.finish)
        return self.edge

    def finish(self) -> None:
        """Everything is given back: what was started is stopped, once."""
        stopped = self.edge.stopService()
        self.edge.stop_at_once()
        self.successResultOf(stopped)
        self.reactor.settle()
        self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))
        self.assertEqual([], self.reactor.getDelayedCalls())
        for factory in (ECHO, OTHER):
            self.assertEqual((factory.began, 0), (factory.ended, factory.numPorts))

    def reloaded(self, text: str) -> list[str]:
        """What was said when the file was read again."""
        self.file.write_text(text)
        self.events.clear()
        self.reload()
        return [formatEvent(event) for event in self.events]

    def done(self, text: str) -> None:
        lines = self.reloaded(text)
        self.assertIn("the configuration was read again: tap.cfg", lines)

    def refused(self, text: str, *words: str) -> None:
        """It cannot be done, for these reasons, and all is as before."""
        plan, listeners = self.edge.plan, self.edge.listeners
        plans = [listener.plan for listener in listeners]
        watched = len(self.reactor.readers)
        lines = self.reloaded(text)
        self.assertEqual("the configuration stays as it was", lines[-1])
        for word in words:
            self.assertTrue(any(word in line for line in lines), (word, lines))
        self.assertIs(plan, self.edge.plan)
        self.assertEqual(listeners, self.edge.listeners)
        self.assertEqual(plans, [listener.plan for listener in listeners])
        self.assertEqual(watched, len(self.reactor.readers))

    def port(self, name: str) -> int:
        listener: Any = self.edge.getServiceNamed(name)
        port: int = listener.accept.get_host().port
        return port

    def plain(self, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        self.addCleanup(sock.close)
        return sock

    def says(self, sock: socket.socket, data: bytes, expected: bytes) -> None:
        sock.send(data)
        got = b""

        def came() -> bool:
            nonlocal got
            try:
                got += sock.recv(100)
            except BlockingIOError:
                pass
            return len(got) >= len(expected)

        self.reactor.turn_until(came)
        self.assertEqual(expected, got)

    def section(self, name: str = "a", factory: str = "ECHO", **more: Any) -> str:
        keys = {"port": 0, "flags": "plain", "factory": f"{__name__}:{factory}", **more}
        return f"[listen {name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())

    def test_another_route(self) -> None:
        """Who connects meets the new plan, on the same socket; who is there goes on, and his factory with him."""
        self.start(self.section())
        port = self.port("a")
        before = self.plain(port)
        self.says(before, b"a", b"a")
        self.done(self.section(factory="OTHER"))
        self.assertEqual(port, self.port("a"))
        self.says(self.plain(port), b"b", b"B")
        self.says(before, b"c", b"c")
        self.assertEqual(((1, 0), (1, 0)), ((ECHO.began, ECHO.ended), (OTHER.began, OTHER.ended)))
        self.reactor.advance(LOOK_SECONDS)
        self.assertEqual(0, ECHO.ended)
        before.close()
        self.reactor.turn_until(lambda: len(self.edge.machinery.handler.open_list) == 1)
        self.reactor.advance(LOOK_SECONDS)
        self.assertEqual(1, ECHO.ended)
        self.assertEqual([], [service for service in self.edge if isinstance(service, LeavingFactories)])

    def test_nothing_has_changed(self) -> None:
        """To read the same again changes nothing that can be seen, however often; and nothing heaps up."""
        self.start(self.section())
        for _ in range(5):
            self.done(self.section())
            self.reactor.advance(LOOK_SECONDS)
        self.assertEqual((1, 0, 1), (ECHO.began, ECHO.ended, ECHO.numPorts))
        self.assertEqual(2, len(list(self.edge)))
        self.says(self.plain(self.port("a")), b"x", b"x")

    def test_what_was_is_given_back(self) -> None:
        """A plan, with its contexts and certificates, is no more when those have gone who met it (issue 4562)."""
        write_certificate(self.here, "a", "a.example")
        text = self.section(flags="ssl") + "[certificate a]\nssl_cert_name = a.pem\nssl_key_name = a.key\n"
        self.start(text)
        for flags in ("ssl", "ssl, allow-plain"):  # the second time by another listener
            peer = self.client("a.example")
            plan = weakref.ref(self.edge.plan)
            context = weakref.ref(self.edge.listeners[0].plan.table.default.policy.certificates.default)  # type: ignore[union-attr,arg-type]
            self.done(text.replace("flags = ssl\n", f"flags = {flags}\n"))
            gc.collect()
            self.assertIsNotNone(plan())
            peer.sock.close()
            self.reactor.turn_until(lambda: not self.edge.machinery.handler.open_list)
            self.reactor.advance(LOOK_SECONDS)
            del peer
            gc.collect()
            self.assertEqual((None, None), (plan(), context()))

    def test_more_and_fewer_listeners(self) -> None:
        """Ports are opened and closed, under any names; those who are there stay."""
        self.start(self.section("a") + self.section("b"))
        port = self.port("b")
        before = self.plain(port)
        self.says(before, b"x", b"x")
        self.done(self.section("a") + self.section("c", "OTHER"))
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port))
        self.says(before, b"y", b"y")
        self.says(self.plain(self.port("c")), b"x", b"X")
        self.assertEqual(["a", "c"], [listener.name for listener in self.edge.listeners])

    def test_names_change_places(self) -> None:
        """A listener is known by where it listens, and not by what it is called."""
        one, two = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        ports = [sock.getsockname()[1] for sock in (one, two)]
        one.close()
        two.close()
        self.start(self.section("a", port=ports[0]) + self.section("b", "OTHER", port=ports[1]))
        accepts = [listener.accept for listener in self.edge.listeners]
        self.done(self.section("b", port=ports[0]) + self.section("a", "OTHER", port=ports[1]))
        self.assertEqual(accepts, [listener.accept for listener in self.edge.listeners])
        self.assertEqual((ports[1], ports[0]), (self.port("a"), self.port("b")))
        self.says(self.plain(ports[0]), b"x", b"x")

    def test_the_socket_is_wanted_otherwise(self) -> None:
        """Flags and options change on the same socket, and who waits in its queue is not lost."""
        self.start(self.section(flags="plain") + "[net]\nsock_packet_tos_in = 40\nsock_option_flag_in = 3\n")
        port = self.port("a")
        waiting = self.plain(port)  # Nobody has accepted it.
        self.done(self.section(flags="plain, pp", backlog=7) + "[net]\ndefer_accept = 9\n")
        self.assertEqual(port, self.port("a"))
        self.says(waiting, b"PROXY UNKNOWN\r\nx", b"x")
        sock = self.edge.listeners[0].accept.port.socket  # type: ignore[union-attr]
        self.assertEqual(0, sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS))
        self.assertEqual(0, sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertGreater(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT), 0)
        self.done(self.section(flags="plain"))
        sock = self.edge.listeners[0].accept.port.socket  # type: ignore[union-attr]
        self.assertEqual(0, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT))
        self.says(self.plain(port), b"PROXY UNKNOWN\r\nx", b"PROXY UNKNOWN\r\nx")

    def test_unix(self) -> None:
        """A UNIX socket stays what it is; its routes may change."""
        path = self.here / "s"
        self.start(f"[listen a]\nunix = {path}\nflags = plain\nfactory = {__name__}:ECHO\n")
        self.done(f"[listen a]\nunix = {path}\nflags = plain\nfactory = {__name__}:OTHER\n")
        self.refused(
            f"[listen a]\nunix = {path}\nflags = plain, pp\nfactory = {__name__}:OTHER\n",
            "tap.cfg: [listen a] flags: what is said of a UNIX socket cannot change",
        )
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.connect(str(path))
        sock.setblocking(False)
        self.says(sock, b"x", b"X")

    def test_mistakes(self) -> None:
        """With any mistake nothing of it holds, and every one is told."""
        self.start(self.section())
        wrong = self.section(factory="OTHER") + "[net]\nzz = 1\n[listen b]\n"
        self.refused(wrong, "[net] zz: unknown key", "[listen b]")
        self.refused(self.section(factory="OTHER") + "[listen]\n", "this section needs a name")
        self.refused("\0", "is a control character")
        self.file.unlink()
        self.events.clear()
        self.reload()
        self.assertIn("cannot be read", formatEvent(self.events[0]))
        self.says(self.plain(self.port("a")), b"x", b"x")
        self.assertEqual((1, 0), (ECHO.began, OTHER.began))

    def test_a_port_in_use(self) -> None:
        """What cannot be opened keeps all the rest from changing, and what could is closed again."""
        self.start(self.section())
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refused(
                self.section(factory="OTHER", flags="plain, pp") + self.section("b") + self.section("c", port=port),
                f"[listen c] port: 127.0.0.1:{port}: the port is in use",
            )
        self.says(self.plain(self.port("a")), b"x", b"x")
        self.done(self.section(factory="OTHER", flags="plain, pp"))
        self.says(self.plain(self.port("a")), b"x", b"X")

    def test_a_key_log_that_cannot_be_written(self) -> None:
        """Nor does that change anything, and the one that is written is written still."""
        text = self.section(flags="ssl")
        log = self.here / "keys"
        self.start(text + f"[ssl]\nkeylog_file = {log}\n")
        self.patch(KeyLog, "open", self.no_key_log)
        self.refused(text + f"[ssl]\nkeylog_file = {self.here}/other\n", "[ssl] keylog_file: scripted")
        self.client("localhost")
        self.assertIn(b"CLIENT_TRAFFIC_SECRET_0", log.read_bytes())

    def no_key_log(self) -> None:
        raise ConfigurationError("[ssl] keylog_file: scripted")

    def test_a_factory_that_cannot_be_started(self) -> None:
        """Nor does a factory of the operator's; and one that cannot be stopped is his affair."""
        self.start(self.section())

        def fail() -> None:
            raise RuntimeError("scripted")

        self.patch(OTHER, "startFactory", fail)
        self.refused(self.section() + self.section("b", "OTHER"), "could not be started: RuntimeError: scripted")
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        OTHER.numPorts = 0  # Twisted counts before it asks.
        self.assertEqual((1, 0, 1), (ECHO.began, ECHO.ended, ECHO.numPorts))
        self.patch(OTHER, "startFactory", lambda: None)
        self.patch(OTHER, "stopFactory", fail)
        self.done(self.section(factory="OTHER"))
        self.done(self.section())
        self.reactor.advance(LOOK_SECONDS)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        OTHER.began = OTHER.ended = 0

    def test_limits(self) -> None:
        """What [net] and [edge] say holds at once (N103)."""
        self.start(self.section())
        self.done(
            self.section()
            + "[net]\nconnections_throttle = 7\nmax_connections_in = 6\nper_client.max_connections_in = 5\n"
            "inactivity_check_frequency = 0.5\ndefault_inactivity_timeout = 3\n[edge]\ndrain_timeout = 2\n"
        )
        machinery = self.edge.machinery
        assert machinery.throttle.clients is not None
        self.assertEqual(
            (7, 6, 5, 2),
            (
                machinery.throttle.limit,
                machinery.handler.queues.max_connections_in,
                machinery.throttle.clients.limit,
                self.edge.drain_seconds,
            ),
        )
        (cop,) = [service for service in self.edge.engine_room if isinstance(service, InactivityCop)]
        self.assertEqual(3, cop.default_inactivity_seconds)
        silent = self.plain(self.port("a"))
        self.reactor.turn_until(lambda: machinery.handler.open_list)
        for _ in range(8):
            self.reactor.advance(0.5)
        self.assertEqual(set(), machinery.handler.open_list)
        self.assertEqual(b"", silent.recv(1))

    def client(self, name: str, session: Any = None, version: str = "TLSv1.3") -> TLSPeer:
        sock = self.plain(self.port("a"))
        peer = TLSPeer(sock, peer_client_context(version), name=name, session=session)

        def step() -> bool:
            peer.pump()
            return peer.done or bool(peer.reason or peer.end)

        self.reactor.turn_until(step)
        self.assertTrue(peer.done, peer.reason or peer.end)
        peer.write(b"x")
        self.reactor.turn_until(lambda: bool(peer.pump() >= 0 and peer.plain))
        return peer

    def shown(self, peer: TLSPeer) -> Any:
        certificate = peer.connection.get_peer_certificate()
        assert certificate is not None
        return certificate.to_cryptography().serial_number

    def test_certificates(self) -> None:
        """The file of a certificate is read again; a broken one changes nothing (A046)."""
        write_certificate(self.here, "a", "a.example")
        text = self.section(flags="ssl") + "[certificate a]\nssl_cert_name = a.pem\nssl_key_name = a.key\n"
        self.start(text)
        first = self.shown(self.client("a.example"))
        write_certificate(self.here, "a", "a.example")
        self.done(text)
        second = self.shown(self.client("a.example"))
        self.assertNotEqual(first, second)
        (self.here / "a.pem").write_text("broken")
        self.refused(text, "[certificate a] ssl_cert_name")
        self.assertEqual(second, self.shown(self.client("a.example")))

    def test_sessions(self) -> None:
        """Sessions are resumed under the new plan where it demands the same, and not where it demands more."""
        write_certificate(self.here, "a", "a.example")
        text = self.section(flags="ssl") + "[certificate a]\nssl_cert_name = a.pem\nssl_key_name = a.key\n"
        self.start(text)
        for version in ("TLSv1.2", "TLSv1.3"):
            peer = self.client("a.example", version=version)
            session = peer.connection.get_session()
            self.done(text)
            resumed = self.client("a.example", session, version)
            self.assertTrue(SSL._lib.SSL_session_reused(resumed.connection._ssl), version)
            ca = self.here / "ca.pem"
            issued = issue("a.example")
            ca.write_bytes(_pem(issued.chain[0] if issued.chain else issued.leaf))
            self.done(text + f"[ssl]\nclient.certification_level = 1\nCA.cert.filename = {ca}\n")
            again = self.client("a.example", session, version)
            self.assertFalse(SSL._lib.SSL_session_reused(again.connection._ssl), version)
            self.done(text)

    def test_keylog(self) -> None:
        """A key log begins and ends with the configuration."""
        text = self.section(flags="ssl")
        self.start(text)
        log = self.here / "keys"
        self.client("localhost")
        self.done(text + f"[ssl]\nkeylog_file = {log}\n")
        self.client("localhost")
        first = log.read_bytes()
        self.assertIn(b"CLIENT_TRAFFIC_SECRET_0", first)
        self.done(text + f"[ssl]\nkeylog_file = {log}\n")
        self.client("localhost")
        second = log.read_bytes()
        self.assertGreater(len(second), len(first))
        self.done(text)
        self.client("localhost")
        self.assertEqual(second, log.read_bytes())

    def test_while_stopping(self) -> None:
        """Who stops does not begin anew."""
        self.start(self.section())
        self.edge.stopService()
        self.assertEqual([], self.reloaded(self.section(factory="OTHER")))

    def test_without_a_file(self) -> None:
        """There is nothing to read again where nothing was read."""
        self.start(self.section())
        self.edge.plan = evolve(self.edge.plan, configuration=evolve(self.edge.plan.configuration, path=None))
        self.assertEqual(["there is no configuration file that could be read again"], self.reloaded(""))

    def test_a_bug(self) -> None:
        """A bug of ours ends no edge."""
        self.start(self.section())
        self.patch(self.edge, "rename", lambda names: 1 / 0)
        self.assertIn("a bug kept", self.reloaded(self.section())[-1])
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        ECHO.doStop()  # which it had begun

    def test_signal(self) -> None:
        """SIGHUP is what asks for it; and is left alone where nothing can be read again."""
        taken: dict[int, Any] = {}
        told: list[str] = []

        class Running(HandReactor):
            def callWhenRunning(self, function: Any) -> None:
                function()

        edge: Any = None
        for reload, signals in ((lambda: told.append("again"), 3), (None, 2)):
            taken.clear()
            reactor = Running()
            Signals(edge, reactor, take=taken.__setitem__, reload=reload).startService()
            self.assertEqual(signals, len(taken))
        reactor = Running()
        Signals(edge, reactor, take=taken.__setitem__, reload=lambda: told.append("again")).startService()
        taken[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual([], told)
        reactor.turn()
        self.assertEqual(["again"], told)


def _pem(certificate: Any) -> bytes:
    found: bytes = certificate.public_bytes(Encoding.PEM)
    return found
