"""
Transparent ports, in three network namespaces: a client, an origin, and the edge as the router between them.

Nothing of the machine's own network is touched.  Where namespaces cannot be made the tests are skipped, and say why.
"""

import ctypes
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.trial.unittest import SkipTest

from tests.integration.twistd import (
    PATIENCE,
    EdgeTestCase,
    Origin,
    Twistd,
    client_context,
    read_all,
    server_context,
    until,
)

T = TypeVar("T")

IP = shutil.which("ip")
NFT = shutil.which("nft")

CLONE_NEWNET = 0x40000000

CLIENT, EDGE, ORIGIN = "10.77.1.2", "10.77.1.1", "10.77.2.2"
OTHER = "10.77.2.3"
CLIENT6, EDGE6, ORIGIN6 = "fd77:1::2", "fd77:1::1", "fd77:2::2"

TOPOLOGY = f"""
link add ce netns CLIENT type veth peer name ec netns EDGE
link add oe netns ORIGIN type veth peer name eo netns EDGE
-n CLIENT addr add {CLIENT}/24 dev ce
-n CLIENT addr add {CLIENT6}/64 dev ce nodad
-n CLIENT link set ce up
-n EDGE addr add {EDGE}/24 dev ec
-n EDGE addr add {EDGE6}/64 dev ec nodad
-n EDGE link set ec up
-n EDGE addr add 10.77.2.1/24 dev eo
-n EDGE addr add fd77:2::1/64 dev eo nodad
-n EDGE link set eo up
-n ORIGIN addr add {ORIGIN}/24 dev oe
-n ORIGIN addr add {OTHER}/24 dev oe
-n ORIGIN addr add {ORIGIN6}/64 dev oe nodad
-n ORIGIN link set oe up
-n CLIENT route add default via {EDGE}
-n CLIENT -6 route add default via {EDGE6}
-n ORIGIN route add default via 10.77.2.1
-n ORIGIN -6 route add default via fd77:2::1
"""

DELIVER = """
-n EDGE rule add iif ec lookup 100
-n EDGE route add local 0.0.0.0/0 dev lo table 100
-n EDGE -6 rule add iif ec lookup 100
-n EDGE -6 route add local ::/0 dev lo table 100
"""
"""What comes from the client is ours, whatever address it is for: what tproxy.rst says, without a mark."""


class NamespaceTestCase(EdgeTestCase):
    """Has the namespaces, each with its name."""

    def setUp(self) -> None:
        super().setUp()
        if not sys.platform.startswith("linux") or IP is None:
            raise SkipTest("there is no command ip, or no Linux")
        self.names = {name: f"atstls-{name.lower()}-{os.getpid()}" for name in ("CLIENT", "EDGE", "ORIGIN")}
        for name in self.names.values():
            done = self.ip(f"netns add {name}", check=False)
            if done.returncode:
                raise SkipTest(f"no network namespace can be made: {done.stderr.decode().strip()}")
            self.addCleanup(self.ip, f"netns del {name}")
            self.ip(f"-n {name} link set lo up")
        self.configure(TOPOLOGY)

    def ip(self, arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        assert IP is not None
        return subprocess.run([IP, *arguments.split()], capture_output=True, timeout=PATIENCE, check=check)

    def configure(self, lines: str) -> None:
        for line in lines.strip().splitlines():
            for name, real in self.names.items():
                line = line.replace(name, real)
            self.ip(line)

    def within(self, name: str, make: Callable[[], T]) -> T:
        """What C{make} makes in a namespace: a socket stays there."""
        found: list[Any] = []

        def enter() -> None:
            descriptor = os.open(f"/run/netns/{self.names[name]}", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                found.append(make())
            except BaseException as exc:
                found.append(exc)
            finally:
                os.close(descriptor)

        # The namespace is the thread's, and ends with it.
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(PATIENCE)
        (result,) = found
        if isinstance(result, BaseException):
            raise result
        made: T = result
        return made

    def host(self, context: ssl.SSLContext | None = None, family: int = socket.AF_INET, port: int = 443) -> Origin:
        """Who listens on all addresses of the origin's side, and echoes."""

        def listening() -> socket.socket:
            address = "::" if family == socket.AF_INET6 else "0.0.0.0"
            return socket.create_server((address, port), family=family)

        made = self.origin(context=context)
        made.close()
        made.socket = self.within("ORIGIN", listening)
        threading.Thread(target=made._accept, daemon=True).start()
        return made

    def edge(self, configuration: str) -> Twistd:
        assert IP is not None
        return self.start(configuration, prefix=(IP, "netns", "exec", self.names["EDGE"]))

    def dial(self, host: str, port: int = 443) -> socket.socket:
        sock = self.within("CLIENT", lambda: socket.create_connection((host, port), PATIENCE))
        self.addCleanup(sock.close)
        return sock

    def assert_reset(self, host: str, port: int) -> None:
        """Who connects is reset, while he does it or after."""
        with self.assertRaises(ConnectionResetError):
            self.dial(host, port).recv(1)

    def echoed(self, sock: Any, data: bytes) -> None:
        sock.sendall(data)
        self.assertEqual(data, b"".join(sock.recv(1) for _ in data))


class DeliveredTests(NamespaceTestCase):
    """By a routing table: our side of the connection has the address that the client has connected to."""

    def setUp(self) -> None:
        super().setUp()
        self.configure(DELIVER)

    def test_without_the_flag(self) -> None:
        """An ordinary port has no answer for addresses of others: it is the flag that does it."""
        edge = self.edge("[listen plain]\ninterface = 0.0.0.0\nport = 443\nflags = plain\n")
        edge.says("listening on")
        sock = self.within("CLIENT", socket.socket)
        self.addCleanup(sock.close)
        sock.settimeout(1)
        self.assertRaises(OSError, sock.connect, (ORIGIN, 443))

    def test_plain(self) -> None:
        """Bytes go on to where they were meant to go, each connection to its own."""
        origin = self.host()
        self.edge(
            "[listen plain]\ninterface = 0.0.0.0\nport = 443\nflags = plain, tr-in\n"
            "forward_route = {original_destination}\n"
        ).says("listening on")
        for host in (ORIGIN, OTHER):
            sock = self.dial(host)
            self.assertEqual((host, 443), sock.getpeername())
            self.echoed(sock, b"hello, " + host.encode())
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(b"", read_all(sock))
        self.assertEqual([b"hello, " + host.encode() for host in (ORIGIN, OTHER)], list(map(bytes, origin.received)))

    def test_ipv6(self) -> None:
        """The same over IPv6."""
        origin = self.host(family=socket.AF_INET6)
        self.edge(
            "[listen plain]\ninterface = ::\nport = 443\nflags = plain, tr-in\nforward_route = {original_destination}\n"
        ).says("listening on")
        sock = self.dial(ORIGIN6)
        self.echoed(sock, b"hello")
        self.assertEqual([b"hello"], list(map(bytes, origin.received)))

    def test_tunnel(self) -> None:
        """A TLS client shakes hands with the origin, untouched; a rule for another name ends TLS here."""
        self.host(server_context("t.example"))
        edge = self.edge(
            "[listen https]\ninterface = 0.0.0.0\nport = 443\nflags = ssl, tr-in\n"
            "tunnel_route = {original_destination}\n[sni here.example]\nsite = .\n"
        )
        edge.says("listening on")
        sock = client_context().wrap_socket(self.dial(ORIGIN), server_hostname="t.example")
        self.addCleanup(sock.close)
        self.echoed(sock, b"hello")
        here = client_context(trust=None).wrap_socket(self.dial(ORIGIN), server_hostname="here.example")
        self.addCleanup(here.close)
        here.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        self.assertIn(b"HTTP/1.1 403", read_all(here))

    def test_certificate_and_rule_for_where_they_went(self) -> None:
        """It is where the client wanted to go that counts for dest_ip, and for what the origin is told."""
        heard = bytearray()

        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            while data := connection.recv(65536):
                heard.extend(data)

        host = self.host()
        host._serve = serve
        configuration = self.certificate("a", "a.example") + self.certificate("b", "b.example")
        configuration = configuration.replace("ssl_cert_name = b.pem", f"dest_ip = {OTHER}:443\nssl_cert_name = b.pem")
        self.edge(
            "[listen https]\ninterface = 0.0.0.0\nport = 443\nflags = ssl, tr-in\n"
            f"forward_route = {{original_destination}}\nproxy_protocol_out = 1\n{configuration}"
        ).says("listening on")
        for address, name in ((ORIGIN, "a.example"), (OTHER, "b.example")):
            context = client_context()
            context.check_hostname = False
            sock = context.wrap_socket(self.dial(address))
            self.addCleanup(sock.close)
            names = [value for _, value in sock.getpeercert()["subjectAltName"]]  # type: ignore[index,misc]
            self.assertEqual([name], names)
            sock.sendall(b"x")
            sock.unwrap()
            local = sock.getsockname()
            self.assertIn(f"PROXY TCP4 {CLIENT} {address} {local[1]} 443\r\nx".encode(), self.settled(heard, b"x"))

    def settled(self, heard: bytearray, end: bytes) -> bytes:
        until(lambda: heard.endswith(end), "what the origin heard")
        found = bytes(heard)
        heard.clear()
        return found

    def test_the_port_itself(self) -> None:
        """Who connects to the router himself is refused, once, and does not go round in circles."""
        edge = self.edge(
            "[listen plain]\ninterface = 0.0.0.0\nport = 443\nflags = plain, tr-in\n"
            "forward_route = {original_destination}\n"
        )
        edge.says("listening on")
        for host in (EDGE, "10.77.2.1"):
            self.assert_reset(host, 443)
        edge.says("{original_destination} cannot be used for 10.77.1.2:[0-9]+: it meant no other place than this port")
        self.assertEqual(2, edge.log.count("it meant no other place than this port"))


    def test_the_clients_address(self) -> None:
        """With tr-full the origin sees the client himself; without, it sees us."""
        seen: list[Any] = []

        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            seen.append(connection.getpeername()[0])
            connection.sendall(connection.recv(100))

        self.host()._serve = serve
        # What comes back to the client's address is ours as well.
        for flags, rules, address in (("tr-in", "", "10.77.2.1"), ("tr-full", DELIVER.replace(" ec ", " eo "), CLIENT)):
            for line in rules.strip().splitlines():
                if "rule" in line:
                    self.configure(line)
            for route in ("flags = plain, ", "flags = ssl, "):
                edge = self.edge(
                    f"[listen a]\ninterface = 0.0.0.0\nport = 443\n{route}{flags}\n"
                    "forward_route = {original_destination}\n"
                )
                edge.says("listening on")
                sock: Any = self.dial(ORIGIN)
                if "ssl" in route:
                    sock = client_context(trust=None).wrap_socket(sock)
                    self.addCleanup(sock.close)
                self.echoed(sock, b"hello")
                self.assertEqual(address, seen.pop())
                edge.stop()

    def test_passed_on_before_a_byte(self) -> None:
        """A certificate's entry with action = tunnel is for the address that the client meant (S055)."""

        def greet(origin: Origin, connection: Any, kept: bytearray) -> None:
            connection.sendall(b"220 hello\r\n")
            connection.sendall(connection.recv(100))

        self.host()._serve = greet
        edge = self.edge(
            "[listen a]\ninterface = 0.0.0.0\nport = 443\nflags = ssl, tr-in, tr-pass\n"
            "tunnel_route = {original_destination}\n"
            f"[certificate others]\ndest_ip = {OTHER}\naction = tunnel\n" + self.certificate("a", "a.example")
        )
        edge.says("listening on")
        sock = self.dial(OTHER)
        self.assertEqual(b"220 hello\r\n", sock.recv(100))
        self.echoed(sock, b"quit")


class RedirectedTests(NamespaceTestCase):
    """By a rule that changes the address, and remembers it: no right is needed but to listen."""

    def test_redirected(self) -> None:
        """Bytes go on to where they were meant to go, and by another port than they came."""
        if NFT is None:
            raise SkipTest("there is no command nft")
        for line in (
            "add table inet atstls",
            "add chain inet atstls incoming { type nat hook prerouting priority -100 ; }",
            "add rule inet atstls incoming iifname ec tcp dport 443 redirect to :8443",
        ):
            done = subprocess.run(
                [str(IP), "netns", "exec", self.names["EDGE"], NFT, line], capture_output=True, timeout=PATIENCE
            )
            if done.returncode:
                raise SkipTest(f"the kernel has no such rules: {done.stderr.decode().strip()}")
        for interface, family, host in (("0.0.0.0", socket.AF_INET, ORIGIN), ("::", socket.AF_INET6, ORIGIN6)):
            origin = self.host(family=family)
            edge = self.edge(
                f"[listen plain]\ninterface = {interface}\nport = 8443\nflags = plain, tr-in\n"
                "forward_route = {original_destination}\n"
            )
            edge.says("listening on")
            sock = self.dial(host)
            self.echoed(sock, b"hello")
            self.assertEqual([b"hello"], list(map(bytes, origin.received)))
            self.assert_reset(EDGE if family == socket.AF_INET else EDGE6, 8443)
            edge.stop()


class RightsTests(EdgeTestCase):
    def test_without_the_right(self) -> None:
        """Who may not have such a port is told so in one line, and the program does not start."""
        setpriv = shutil.which("setpriv")
        if os.geteuid() or setpriv is None:
            raise SkipTest("it takes a right, and the command setpriv, to give the right up")
        edge = self.start(
            "[listen plain]\nport = 0\nflags = plain, tr-in\n",
            prefix=(setpriv, "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all"),
        )
        self.assertEqual(1, edge.ended())
        line = "[listen plain] port: 127.0.0.1:0: a transparent port needs CAP_NET_ADMIN or CAP_NET_RAW"
        self.assertIn(line, edge.errors + edge.log)
