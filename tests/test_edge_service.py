"""
The program as a service: L{atstls.edge.service}, L{atstls.edge.listeners}, and the pages of L{atstls.edge.welcome}.
"""

import errno
import os
import resource
import shutil
import signal
import socket
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from attrs import validators
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher
from twisted.protocols.wire import Echo
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from atstls.edge.build import Machinery, build
from atstls.edge.config import Configuration, EdgeConfig, ListenConfig, NetConfig, SSLConfig
from atstls.edge.listeners import accept_options, check_listening, host_words, systemd_descriptor
from atstls.edge.places import Route, RouteKind
from atstls.edge.service import CannotStart, Edge, Signals
from atstls.edge.welcome import Files, Welcome, files_site, welcome_site
from atstls.errors import ConfigurationError
from atstls.net.poll import EdgePollDescriptor
from atstls.ssl.accept import SSLNetAccept
from atstls.tls.hooks import HookPoint
from tests.support import HandReactor, received, unix_pair

NOBODY = ListenFDs([])
FACTORY = Factory.forProtocol(Echo)
FACTORY.noisy = False


class StoppableReactor(HandReactor):
    """A reactor that can be stopped, and that says when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0
        self.running: list[Any] = []

    def callWhenRunning(self, function: Any) -> None:
        self.running.append(function)

    def stop(self) -> None:
        self.stopped += 1


class EdgeTests(SynchronousTestCase):
    """Starting and stopping."""

    def setUp(self) -> None:
        self.reactor = StoppableReactor()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def edge(self, *listens: ListenConfig, **more: Any) -> Edge:
        machinery = Machinery(self.reactor)
        plan = build(Configuration(listens=listens or (self.echo(),), **more), machinery, "tap.cfg")
        return Edge(plan, machinery, NOBODY)

    def echo(self, name: str = "echo", port: int = 0) -> ListenConfig:
        route = Route(RouteKind.FACTORY, factory=f"{__name__}:FACTORY")
        return ListenConfig(name=name, port=port, flags=frozenset(["plain"]), factory=route)

    def start(self, edge: Edge) -> None:
        edge.privilegedStartService()
        edge.startService()
        self.addCleanup(self.finish, edge)

    def finish(self, edge: Edge) -> None:
        """Everything is given back."""
        stopped = edge.stopService()
        edge.stop_at_once()
        self.successResultOf(stopped)
        self.reactor.settle()
        self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def said(self, part: str) -> list[str]:
        texts = [str(event["log_format"]).format(**event) for event in self.events if event.get("log_format")]
        return [text for text in texts if part in text]

    def client(self, edge: Edge, name: str = "echo") -> socket.socket:
        listener = edge.getServiceNamed(name)
        client = socket.create_connection(("127.0.0.1", listener.accept.get_host().port))
        client.setblocking(False)
        self.addCleanup(client.close)
        self.reactor.turn_until(lambda: edge.machinery.handler.open_list)
        return client

    def test_start_and_stop(self) -> None:
        """Its ports are open from the start to the stop, and the log tells where they really are."""
        edge = self.edge(self.echo("a"), self.echo("b"))
        self.start(edge)
        self.assertIsInstance(edge.machinery.handler.poll, EdgePollDescriptor)
        ports = [listener.accept.get_host().port for listener in edge.listeners if listener.accept]
        for name, port in zip("ab", ports, strict=True):
            self.assertEqual(1, len(self.said(f"listening on 127.0.0.1:{port}: [listen {name}], plain, factory")))
        self.assertEqual(2, FACTORY.numPorts)
        self.successResultOf(edge.stopService())
        self.assertEqual(0, FACTORY.numPorts)
        self.assertFalse(edge.running)
        for port in ports:
            self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port))

    def test_what_is_warned_of(self) -> None:
        """Warnings of the plan are in the log, where an operator sees them."""
        self.start(self.edge(ListenConfig(name="https", port=0)))
        self.assertEqual(1, len(self.said("there is no [certificate]")))

    def test_limits(self) -> None:
        """What [net] says of connections holds."""
        edge = self.edge(net=NetConfig(connections_throttle=7, default_inactivity_timeout=5))
        machinery = edge.machinery
        throttle, queues = machinery.throttle, machinery.handler.queues
        self.assertEqual((7, b"", None), (throttle.limit, throttle.message, throttle.clients))
        self.assertEqual((30000, 0), (queues.max_connections_in, queues.max_requests_in))
        network = ip_network("10.0.0.0/8")
        net = NetConfig(
            throttle_message=b"full",
            max_connections_in=5,
            max_requests_in=4,
            per_client_max_connections_in=3,
            per_client_exempt_list=(network,),
            per_client_alert_delay=2,
        )
        machinery.limit(net)
        clients = throttle.clients
        assert clients is not None
        self.assertEqual((b"full", 5, 4), (throttle.message, queues.max_connections_in, queues.max_requests_in))
        self.assertEqual((3, (network,), 2), (clients.limit, clients.exempt, clients.alert_seconds))
        machinery.limit(NetConfig())
        # Who is counted stays so: the next limit may be one again.
        self.assertEqual((clients, 0, ()), (throttle.clients, clients.limit, clients.exempt))

    def test_few_descriptors(self) -> None:
        """A limit that the descriptors do not allow is told in one line, with the one that holds."""
        self.patch(resource, "getrlimit", lambda which: (100, 100))
        edge = self.edge()
        self.assertEqual(50, edge.machinery.throttle.limit)
        self.assertEqual(1, len(self.said("connections_throttle is 50, not 30000: the limit of descriptors")))
        edge.machinery.limit(NetConfig(connections_throttle=50))
        edge.machinery.limit(NetConfig(connections_throttle=-1))
        edge.machinery.limit(NetConfig(connections_throttle=0))
        self.assertEqual(1, len(self.said("connections_throttle is")))

    def test_ports_in_use(self) -> None:
        """All ports that cannot be had are told at once, and those that could are closed again."""
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            first, second = one.getsockname()[1], two.getsockname()[1]
            edge = self.edge(self.echo("a", first), self.echo("b"), ListenConfig(name="c", port=second))
            with self.assertRaises(CannotStart) as caught:
                edge.privilegedStartService()
        self.assertEqual(
            [
                f"tap.cfg: [listen a] port: 127.0.0.1:{first}: the port is in use",
                f"tap.cfg: [listen c] port: 127.0.0.1:{second}: the port is in use",
            ],
            caught.exception.lines,
        )
        self.assertEqual("\n".join(caught.exception.lines), str(caught.exception))
        self.assertEqual(2, len(self.said("the port is in use")))
        self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))
        self.assertTrue(all(listener.accept is None for listener in edge.listeners))

    def test_a_unix_socket_in_use(self) -> None:
        """A UNIX socket at which another process listens is left to it."""
        directory = tempfile.mkdtemp()  # trial's own have paths that are too long for a UNIX socket
        self.addCleanup(shutil.rmtree, directory)
        listen = ListenConfig(name="a", unix=Path(directory, "edge.sock"))
        first, second = self.edge(listen), self.edge(listen)
        self.start(first)
        self.assertEqual(1, len(self.said("listening on unix:")))
        with self.assertRaises(CannotStart) as caught:
            second.privilegedStartService()
        self.assertIn("[listen a] unix: ", caught.exception.lines[0])
        self.assertIn("another process listens there", caught.exception.lines[0])
        self.assertTrue(os.path.exists(os.path.join(directory, "edge.sock")))
        self.successResultOf(first.stopService())
        self.assertFalse(os.path.exists(os.path.join(directory, "edge.sock")))

    def test_an_address_that_is_not_here(self) -> None:
        """Other reasons are told in the system's words."""
        with self.assertRaises(CannotStart) as caught:
            self.edge(ListenConfig(name="a", port=0, interface="192.0.2.1")).privilegedStartService()
        self.assertEqual(
            [f"tap.cfg: [listen a] port: 192.0.2.1:0: {os.strerror(errno.EADDRNOTAVAIL)}"], caught.exception.lines
        )

    def test_drain(self) -> None:
        """Who is there is served to his end, and then it is over."""
        edge = self.edge()
        self.start(edge)
        client = self.client(edge)
        stopped = edge.stopService()
        self.assertIs(stopped, edge.stopService())
        self.assertNoResult(stopped)
        self.assertEqual(1, len(self.said("stopping: 1 connections have 30 s to end")))
        client.send(b"ping")
        self.reactor.turn_until(lambda: received_once(client) == b"ping")
        self.reactor.turn(29)
        self.assertNoResult(stopped)
        client.close()
        self.reactor.turn_until(lambda: not edge.machinery.handler.open_list)
        self.reactor.turn(0.1)
        self.successResultOf(stopped)

    def test_the_drain_has_an_end(self) -> None:
        """Who is not done in time is told so, as if he had asked for that timeout."""
        edge = self.edge(edge=EdgeConfig(drain_timeout=3))
        self.start(edge)
        client = self.client(edge)
        stopped = edge.stopService()
        self.reactor.turn(2)
        self.assertNoResult(stopped)
        self.reactor.turn(1.1)
        self.successResultOf(stopped)
        self.assertEqual(b"", received(client))
        self.assertEqual(1, len(self.said("1 connections had to be closed")))

    def test_at_once(self) -> None:
        """A drain can be cut short; without one nothing happens."""
        edge = self.edge()
        self.start(edge)
        client = self.client(edge)
        stopped = edge.stopService()
        edge.stop_at_once()
        self.successResultOf(stopped)
        self.assertEqual(b"", received(client))
        edge.stop_at_once()

    def test_one_that_cannot_be_ended(self) -> None:
        """A user that breaks when its time is up keeps nobody else from the end."""
        edge = self.edge()
        self.start(edge)
        self.client(edge)
        self.client(edge)
        self.reactor.turn_until(lambda: len(edge.machinery.handler.open_list) == 2)
        for vc in edge.machinery.handler.open_list:
            vc.read.vio.cont.handle_event = None
        stopped = edge.stopService()
        edge.stop_at_once()
        self.successResultOf(stopped)
        self.assertEqual(2, len(self.flushLoggedErrors(TypeError)))

    def test_a_new_plan(self) -> None:
        """The next connection meets the new plan, on the same port."""
        edge = self.edge(ListenConfig(name="echo", port=0, flags=frozenset(["plain"])))
        self.start(edge)
        other = build(Configuration(listens=(self.echo(),)), edge.machinery)
        edge.listeners[0].plan = other.listeners[0]
        client = self.client(edge)
        client.send(b"ping")
        self.reactor.turn_until(lambda: received_once(client) == b"ping")

    def test_a_key_log_that_cannot_be_written(self) -> None:
        """It keeps the program from starting, like a port that cannot be opened."""
        with validators.disabled():
            edge = self.edge(self.echo(), ssl=SSLConfig(keylog_file=Path("none/keys")))
        error = self.assertRaises(CannotStart, edge.privilegedStartService)
        self.assertEqual(1, len(error.lines))
        self.assertIn("[ssl] keylog_file: none/keys cannot be written: No such file or directory", error.lines[0])

    def test_a_new_plan_has_its_own_hooks(self) -> None:
        """The next connection meets the new plan's hooks, and the route is decided before they are asked."""
        edge = self.edge(ListenConfig(name="https", port=0, hook_client_hello=("os:getpid",)))
        self.start(edge)
        listener = edge.listeners[0]
        accept = listener.accept
        assert isinstance(accept, SSLNetAccept)
        self.assertEqual((listener._decide, os.getpid), accept.hooks.at(HookPoint.CLIENT_HELLO))
        listens = (ListenConfig(name="https", port=0, hook_client_hello=("os:getppid",)),)
        listener.plan = build(Configuration(listens=listens), edge.machinery).listeners[0]
        self.assertEqual((listener._decide, os.getppid), accept.hooks.at(HookPoint.CLIENT_HELLO))


def received_once(sock: socket.socket) -> bytes:
    """What has come, still there for the next look."""
    try:
        return sock.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


class PlaceTests(SynchronousTestCase):
    """Sockets that others have opened."""

    def test_systemd(self) -> None:
        """By name, by number, or not at all."""
        passed = ListenFDs([3, 4], ["web", "api"])
        self.assertEqual([3, 4, 3, 4], [systemd_descriptor(name, passed) for name in ("web", "api", "0", "1")])
        for name in ("other", "2", "-1"):
            with self.assertRaises(ConfigurationError) as caught:
                systemd_descriptor(name, passed)
            self.assertEqual(f"there is no socket {name!r}, allowed: api, web", str(caught.exception))
        with self.assertRaises(ConfigurationError) as caught:
            systemd_descriptor("web", NOBODY)
        self.assertIn("systemd passed no socket", str(caught.exception))

    def test_only_listening_sockets(self) -> None:
        """A file, a closed descriptor, a connected socket and one for datagrams are refused."""
        one, two = unix_pair()
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams, open(os.devnull, "rb") as file:
            for fd in (one.fileno(), datagrams.fileno(), file.fileno(), 1 << 20):
                with self.assertRaises(ConfigurationError) as caught:
                    check_listening(fd)
                self.assertEqual(f"descriptor {fd} is not a listening socket", str(caught.exception))
        one.close()
        two.close()

    def test_an_inherited_socket_does_not_block(self) -> None:
        """Whoever opened it may have left it blocking, which would stop everything."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listen = ListenConfig(name="a", fd=listener.fileno())
            options = accept_options(listen, NetConfig(additional_accepts=3), NOBODY)
            self.assertEqual((listener.fileno(), 3), (options.fd, options.additional_accepts))
            self.assertFalse(os.get_blocking(listener.fileno()))

    def test_a_socket_without_a_name(self) -> None:
        """It is called that."""
        with socket.socket(socket.AF_UNIX) as unnamed:
            self.assertEqual("", unnamed.getsockname())

        class Host:
            name = None

        self.assertEqual("unix:without a name", host_words(Host()))


class SignalsTests(SynchronousTestCase):
    """What operators say by signals."""

    def setUp(self) -> None:
        self.reactor = StoppableReactor()
        self.handlers: dict[int, Any] = {}
        self.at_once = 0
        self.interrupts: list[Any] = []
        edge: Any = self
        self.signals = Signals(edge, self.reactor, self.take)
        self.signals.startService()

    def stop_at_once(self) -> None:
        self.at_once += 1

    def take(self, number: int, handler: Any) -> Any:
        self.handlers[number] = handler
        return lambda *arguments: self.interrupts.append(arguments)

    def send(self, number: int) -> None:
        self.handlers[number](number, None)
        self.reactor.turn()

    def test_terminate(self) -> None:
        """The first stops the reactor, which drains; the next ones cut the drain short."""
        self.assertEqual({}, self.handlers)
        self.reactor.running.pop()()
        self.send(signal.SIGTERM)
        self.assertEqual((1, 0), (self.reactor.stopped, self.at_once))
        self.send(signal.SIGTERM)
        self.send(signal.SIGTERM)
        self.assertEqual((1, 2), (self.reactor.stopped, self.at_once))

    def test_interrupt(self) -> None:
        """Twisted's own handler gets it, once, and nothing is waited for."""
        self.reactor.running.pop()()
        self.send(signal.SIGINT)
        self.send(signal.SIGINT)
        self.assertEqual((2, [(signal.SIGINT, None)]), (self.at_once, self.interrupts))

    def test_interrupt_of_a_drain(self) -> None:
        """Control-C while it drains cuts the drain short, and does not stop the reactor a second time."""
        self.reactor.running.pop()()
        self.send(signal.SIGTERM)
        self.send(signal.SIGINT)
        self.assertEqual((1, []), (self.at_once, self.interrupts))

    def test_stopped_by_somebody_else(self) -> None:
        """A reactor that is stopping already is not a reason to complain."""

        def stop() -> None:
            raise ReactorNotRunning()

        self.reactor.stop = stop  # type: ignore[method-assign]
        self.signals.stop()

    def test_not_in_the_main_thread(self) -> None:
        """Where signals cannot be taken, they are left to whoever can."""

        def refuse(number: int, handler: Any) -> Any:
            raise ValueError("signal only works in main thread of the main interpreter")

        edge: Any = self
        Signals(edge, self.reactor, refuse).startService()
        self.reactor.running.pop()()


class PageTests(SynchronousTestCase):
    """What the edge serves by itself."""

    def test_welcome(self) -> None:
        """One page for every path, in HTML, that is not kept for later."""
        site = welcome_site(HandReactor())
        request: Any = DummyRequest([b"any", b"path"])
        page = Welcome()
        self.assertTrue(page.isLeaf)
        body = page.render_GET(request)
        self.assertIn(b"atstls is running", body)
        self.assertEqual(
            (["text/html; charset=utf-8"], ["no-store"]),
            tuple(request.responseHeaders.getRawHeaders(name) for name in ("content-type", "cache-control")),
        )
        self.assertEqual([b"h2", b"http/1.1"], list(site.acceptableProtocols()))
        site.log(request)  # and nothing is said

    def test_files(self) -> None:
        """Files are served, and what is in a directory is not told."""
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        (directory / "a").write_text("a")
        files: Any = files_site(directory, HandReactor()).resource
        self.assertIsInstance(files, Files)
        self.assertEqual(403, files.directoryListing().code)
