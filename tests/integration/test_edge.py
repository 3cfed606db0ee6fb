"""
The program from outside: C{twistd -n atstls} as an operator starts it, and clients and origins that know nothing of it.
"""

import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.integration.twistd import (
    CA,
    CURL,
    OPENSSL,
    OTHER_CA,
    PATIENCE,
    ROOT,
    EdgeTestCase,
    Origin,
    client_context,
    http,
    read_all,
    server_context,
    until,
)

HTTPS = "[listen https]\nport = 0\n"

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Tap:
    """Passes bytes between a client and the edge, and keeps those of the client."""

    def __init__(self, port: int) -> None:
        self.sent = bytearray()
        self._port = port
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._pass, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def _pass(self) -> None:
        client, _ = self.socket.accept()
        edge = socket.create_connection(("127.0.0.1", self._port), PATIENCE)

        def copy(source: socket.socket, target: socket.socket, keep: Callable[[bytes], Any]) -> None:
            while data := source.recv(65536):
                keep(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=copy, args=(edge, client, len), daemon=True)
        back.start()
        copy(client, edge, self.sent.extend)
        back.join(PATIENCE)
        client.close()
        edge.close()


class StartTests(EdgeTestCase):
    """What somebody sees who starts it for the first time, or with a mistake."""

    def test_the_welcome_page_answers_http1_and_http2(self) -> None:
        """With next to nothing configured, curl gets a page that says what this is, over either version of HTTP."""
        edge = self.start(HTTPS)
        port = edge.port()
        for argument, version in (("--http1.1", "1.1"), ("--http2", "2")):
            figures, body = self.curl(port, argument)
            self.assertEqual(f"{version} 200", figures)
            self.assertIn(b"atstls is running", body)

    def test_a_self_signed_certificate_is_warned_of(self) -> None:
        """Nobody runs with a certificate made up for the occasion without the log saying so, and for which names."""
        edge = self.start(HTTPS + "[sni www.example.com]\n")
        edge.says(r"warn\] tap.cfg: there is no \[certificate\], so one .* localhost, 127.0.0.1, www.example.com")
        pem = ssl.get_server_certificate(("127.0.0.1", edge.port()))
        self.assertIn("BEGIN CERTIFICATE", pem)

    def test_without_a_file_the_default_is_used(self) -> None:
        """In an empty directory it starts on its built-in default, or says that its port is taken."""
        edge = self.start(None)
        until(lambda: "listening on 127.0.0.1:8443" in edge.log or edge.process.poll() is not None, "a start")
        if edge.process.poll() is None:
            self.assertIn("1.1 200", self.curl(8443, "--http1.1")[0])
        else:
            self.assertEqual("built-in default: [listen https] port: 127.0.0.1:8443: the port is in use\n", edge.errors)

    def test_every_reactor(self) -> None:
        """Whichever reactor twistd is told to use, there is an answer."""
        for reactor in ("atstls", "epoll", "poll", "select", "asyncio"):
            edge = self.start(HTTPS, twistd=("-n", "--pidfile=", f"--reactor={reactor}"))
            self.assertEqual("2 200", self.curl(edge.port(), "--http2")[0], reactor)
            edge.send(signal.SIGTERM)
            self.assertEqual(0, edge.ended(), edge.log)

    def test_as_a_daemon(self) -> None:
        """Without -n it goes on in another process, which serves and ends as well."""
        daemon = ("--pidfile=edge.pid", "--logfile=edge.log")
        edge = self.start(HTTPS, twistd=daemon)
        self.assertEqual(0, edge.ended())
        number = int((self.directory / "edge.pid").read_text())

        def end() -> None:
            if (self.directory / "edge.pid").exists():
                os.kill(number, signal.SIGTERM)
                until(lambda: not (self.directory / "edge.pid").exists(), "the end")

        self.addCleanup(end)
        log = (self.directory / "edge.log").read_text()
        found = re.search(r"listening on \S*:(\d+): ", log)
        assert found is not None, log
        self.assertEqual("2 200", self.curl(int(found[1]), "--http2")[0])
        other = self.start(
            f"[listen https]\nport = {found[1]}\n", twistd=("--pidfile=other.pid", "--logfile=other.log")
        )
        self.assertEqual(1, other.ended())
        self.assertIn("the port is in use", (self.directory / "other.log").read_text())
        self.assertNotIn("Traceback", (self.directory / "other.log").read_text())
        end()

    def test_every_mistake_has_its_line(self) -> None:
        """All mistakes are told at once, in plain lines, and nothing is started."""
        self.certificate("one", "one.example.com")
        self.certificate("two", "two.example.com")
        edge = self.start(
            "[listen a]\nport = 70000\ncolour = red\n"
            "[certificate c]\nssl_cert_name = one.pem\nssl_key_name = two.key\n"
            "[certificate d]\nssl_cert_name = one.pem\nssl_key_name = none.key\n"
            "[sni x.example.com]\nsite = .\nforward_route = 127.0.0.1:1\n"
            "[colours]\n",
            "--config",
            "tap.cfg",
        )
        self.assertEqual(1, edge.ended())
        lines = edge.errors.splitlines()
        for start in (
            "tap.cfg: [listen a] port: ",
            "tap.cfg: [listen a] colour: ",
            "tap.cfg: [certificate c] ssl_cert_name: ",
            "tap.cfg: [certificate d] ssl_key_name: ",
            "tap.cfg: [sni x.example.com] forward_route: ",
            "tap.cfg: [colours]: ",
        ):
            self.assertEqual(1, sum(line.startswith(start) for line in lines), f"{start} in {edge.errors}")
        self.assertEqual(6, len(lines), edge.errors)
        self.assertNotIn("Traceback", edge.log + edge.errors)

    def test_a_port_in_use_is_one_line(self) -> None:
        """The port is taken: one line on stderr and status 1, no traceback, no PID file left behind."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            edge = self.start(f"[listen https]\nport = {port}\n[listen second]\nport = 0\n", twistd=("-n",))
            self.assertEqual(1, edge.ended())
        self.assertEqual(f"tap.cfg: [listen https] port: 127.0.0.1:{port}: the port is in use\n", edge.errors)
        self.assertNotIn("Traceback", edge.log)
        self.assertFalse((self.directory / "twistd.pid").exists())

    def test_check_only_checks(self) -> None:
        """--check says that the file is good, or what is wrong with it, and opens nothing."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            # A port that is in use is no mistake of the file's.
            edge = self.start(f"[listen a]\nport = {other.getsockname()[1]}\n", "--check", "-c", "tap.cfg")
            self.assertEqual(0, edge.ended())
        self.assertIn("tap.cfg: ok\n", edge.log)
        self.assertEqual("", edge.errors)
        edge = self.start("[listen a]\nport = 0\nflags = round\n", "--check")
        self.assertEqual(1, edge.ended())
        self.assertIn("tap.cfg: [listen a] flags: ", edge.errors)

    def test_a_route_to_the_listener_itself_is_refused(self) -> None:
        """A route that leads back to where it starts would eat all descriptors: it is told when the file is read."""
        edge = self.start("[listen a]\nport = 18443\nforward_route = localhost:18443\n", "--check")
        self.assertEqual(1, edge.ended())
        self.assertIn("tap.cfg: [listen a] forward_route: leads back to this listener", edge.errors)

    def test_a_key_that_is_none(self) -> None:
        """A file that holds no key, and one that is not there, are told by their paths."""
        section = self.certificate("www", "www.example.com")
        (self.directory / "www.key").write_text("a letter")
        edge = self.start(HTTPS + section)
        self.assertEqual(1, edge.ended())
        self.assertRegex(edge.errors, r"^tap.cfg: \[certificate www\] .*www.key.*\n$")
        (self.directory / "www.key").unlink()
        edge = self.start(HTTPS + section)
        self.assertEqual(1, edge.ended())
        self.assertRegex(edge.errors, r"^tap.cfg: \[certificate www\] .*www.key.*\n$")

    def test_an_unreadable_key(self) -> None:
        """A key that may not be read is told by its path."""
        section = self.certificate("www", "www.example.com")
        (self.directory / "www.key").chmod(0)
        if os.access(self.directory / "www.key", os.R_OK):
            self.skipTest("this user may read everything")
        edge = self.start(HTTPS + section)
        self.assertEqual(1, edge.ended())
        self.assertIn("[certificate www] ssl_key_name: ", edge.errors)
        self.assertIn("www.key", edge.errors)


class RouteTests(EdgeTestCase):
    """Where connections go."""

    def test_forward(self) -> None:
        """TLS ends at the edge, plain text goes on and the answer comes back; each side ends as the other did."""
        origin = self.origin()
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        for version in (V12, V13):
            client = self.tls(edge.port(), "any.example.com", client_context(trust=None, version=version))
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(10))
            # unwrap() sends close_notify and waits for the origin's end, which comes as close_notify.
            client.unwrap()
        until(lambda: len(origin.received) == 2, "two connections")
        self.assertEqual([b"ping", b"ping"], origin.received)

    def test_forward_speaks_http1_with_clients_that_can(self) -> None:
        """An origin behind forward_route answers a client that would rather speak h2: it is not spoken to unasked."""
        origin = self.origin(http(b"hello"))
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        self.assertEqual(("1.1 200", b"hello"), self.curl(edge.port(), "--http2"))
        client = self.tls(edge.port(), context=client_context("h2", trust=None))
        self.assertEqual("h2", client.selected_alpn_protocol())

    def test_forward_to_a_unix_socket(self) -> None:
        """An origin on a UNIX socket is as good as one on a port."""
        origin = self.origin(path=str(self.directory / "origin.sock"))
        edge = self.start(HTTPS + "forward_route = unix:origin.sock\n")
        client = self.tls(edge.port())
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(10))
        self.assertEqual(1, origin.connections)

    def test_forward_keeps_what_comes_after_the_clients_end(self) -> None:
        """A client that has said close_notify still gets its whole answer."""
        answer = os.urandom(1 << 20)

        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            kept += read_all(connection)
            connection.sendall(answer)

        origin = self.origin(serve)
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        # A socket of Python's ssl cannot end one direction alone; its engine can.
        for version in (V12, V13):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_context(trust=None, version=version).wrap_bio(incoming, outgoing)
            sock = self.tcp(edge.port())
            self._shake_hands(tls, incoming, outgoing, sock)
            tls.write(b"question")
            try:
                tls.unwrap()
            except ssl.SSLWantReadError:
                pass
            sock.sendall(outgoing.read())
            got = bytearray()
            while len(got) < len(answer):
                data = sock.recv(65536)
                self.assertTrue(data, f"an early end after {len(got)} bytes")
                incoming.write(data)
                got += self._read(tls)
            self.assertEqual(answer, bytes(got))
            self.assertEqual(b"question", bytes(origin.received[-1]))

    def _shake_hands(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, sock: Any) -> None:
        while True:
            try:
                tls.do_handshake()
                sock.sendall(outgoing.read())
                return
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))

    def _read(self, tls: ssl.SSLObject) -> bytes:
        pieces = []
        try:
            while data := tls.read(65536):
                pieces.append(data)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(pieces)

    def test_tunnel_is_byte_for_byte(self) -> None:
        """A tunnelled origin gets the client's bytes from the very first, and each side ends as the other did."""
        origin = self.origin(context=None)
        edge = self.start(HTTPS + f"[sni t.example.com]\ntunnel_route = 127.0.0.1:{origin.port}\n")
        tap = Tap(edge.port())
        self.addCleanup(tap.socket.close)
        sock = self.tcp(tap.port)
        tls = client_context(trust=None)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = tls.wrap_bio(incoming, outgoing, server_hostname="t.example.com")
        self.assertRaises(ssl.SSLWantReadError, session.do_handshake)
        hello = outgoing.read()
        for at in range(0, len(hello), 100):
            sock.sendall(hello[at : at + 100])
            time.sleep(0.002)
        self.assertEqual(hello, self._exactly(sock, len(hello)))
        sock.sendall(b"and no more TLS")
        self.assertEqual(b"and no more TLS", self._exactly(sock, 15))
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(b"", sock.recv(1))
        self.assertEqual(bytes(tap.sent), bytes(origin.received[0]))
        self.assertEqual(hello + b"and no more TLS", bytes(origin.received[0]))

    def _exactly(self, sock: Any, number: int) -> bytes:
        got = b""
        while len(got) < number:
            data = sock.recv(number - len(got))
            self.assertTrue(data, f"an early end after {len(got)} bytes")
            got += data
        return got

    def test_tunnel_shows_the_origins_certificate(self) -> None:
        """A client of a tunnel can verify the origin as if nothing were between."""
        origin = self.origin(context=server_context("t.example.com"))
        edge = self.start(HTTPS + f"[sni t.example.com]\ntunnel_route = 127.0.0.1:{origin.port}\n")
        client = self.tls(edge.port(), "t.example.com", client_context())
        for _ in range(20):
            data = os.urandom(50_000)
            client.sendall(data)
            self.assertEqual(data, self._exactly(client, len(data)))

    def test_names_wildcards_and_no_name(self) -> None:
        """Each name has its route: an exact one first, then one label under a wildcard; no name has a rule too."""

        def say(word: bytes) -> Callable[[Origin, Any, bytearray], None]:
            return lambda origin, connection, kept: connection.sendall(word)

        words = ("exact", "star", "none", "else")
        origins = {word: self.origin(say(word.encode())) for word in words}
        edge = self.start(
            HTTPS
            + f"forward_route = 127.0.0.1:{origins['else'].port}\n"
            + f"[sni www.bar.com]\nforward_route = 127.0.0.1:{origins['exact'].port}\n"
            + f"[sni *.bar.com]\nforward_route = 127.0.0.1:{origins['star'].port}\n"
            + f"[sni]\nforward_route = 127.0.0.1:{origins['none'].port}\n"
        )
        for name, word in (
            ("www.bar.com", "exact"),
            ("WWW.bar.COM", "exact"),
            ("a.bar.com", "star"),
            ("a.b.bar.com", "else"),
            ("bar.com", "else"),
            ("notbar.com", "else"),
            ("www.bar.com.evil", "else"),
            ("xwww.bar.com", "star"),
            (None, "none"),
        ):
            self.assertEqual(word.encode(), read_all(self.tls(edge.port(), name)), name)

    def test_a_refused_client_never_reaches_the_origin(self) -> None:
        """Who may not come in gets access_denied, and neither a tunnel's nor a forward's origin hears of him."""
        origin = self.origin()
        edge = self.start(
            HTTPS
            + f"[sni f.example.com]\nforward_route = 127.0.0.1:{origin.port}\nip_allow = 192.0.2.0/24, 2001:db8::/32\n"
            + f"[sni t.example.com]\ntunnel_route = 127.0.0.1:{origin.port}\nip_allow = 127.0.0.2\n"
            + f"[sni y.example.com]\nforward_route = 127.0.0.1:{origin.port}\nip_allow = 127.0.0.0/8\n"
        )
        for name in ("f.example.com", "t.example.com"):
            with self.assertRaisesRegex(ssl.SSLError, "(?i)access.denied"):
                self.tls(edge.port(), name)
            edge.says(rf"for {name} failed: its address is not in ip_allow of \[sni {name}\]")
        self.assertEqual(0, origin.connections)
        self.tls(edge.port(), "y.example.com")
        until(lambda: origin.connections == 1, "the one that may")

    def test_the_origin_is_dialled_after_the_handshake(self) -> None:
        """A client that never gets through its handshake costs the origin nothing."""
        origin = self.origin()
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        sock = self.tcp(edge.port())
        session = client_context(trust=None).wrap_bio(ssl.MemoryBIO(), outgoing := ssl.MemoryBIO())
        self.assertRaises(ssl.SSLWantReadError, session.do_handshake)
        sock.sendall(outgoing.read())
        self.assertTrue(sock.recv(10))  # the server's part is there: nothing but the client's is missing
        self.assertRaises(ssl.SSLError, self.tls, edge.port(), "x", client_context())  # it does not trust us
        edge.says("handshake of .* failed")
        self.assertEqual(0, origin.connections)

    def test_partial_blind(self) -> None:
        """TLS ends and begins anew: the origin is asked for the client's name, and verified."""
        CA.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        good = self.origin(context=server_context("p.example.com", alpn=("h2", "http/1.1")))
        wrong = self.origin(context=server_context("other.example.com"))
        unknown = self.origin(context=server_context("u.example.com", ca=OTHER_CA))
        edge = self.start(
            "[ssl]\nclient.CA.cert.filename = ca.pem\n"
            + HTTPS
            + f"[sni p.example.com]\npartial_blind_route = 127.0.0.1:{good.port}\n"
            + f"[sni w.example.com]\npartial_blind_route = 127.0.0.1:{wrong.port}\n"
            + f"[sni u.example.com]\npartial_blind_route = 127.0.0.1:{unknown.port}\n"
            + f"[sni d.example.com]\npartial_blind_route = 127.0.0.1:{wrong.port}\nverify_server_policy = DISABLED\n"
            + f"[sni s.example.com]\npartial_blind_route = 127.0.0.1:{wrong.port}\n"
            + "verify_server_properties = SIGNATURE\n"
        )
        client = self.tls(edge.port(), "p.example.com", client_context("http/1.1", trust=None))
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(10))
        self.assertEqual(["http/1.1"], good.protocols)
        client = self.tls(edge.port(), "p.example.com", client_context("h2", trust=None))
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(10))
        self.assertEqual("h2", good.protocols[1])
        for name in ("d.example.com", "s.example.com"):
            client = self.tls(edge.port(), name)
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(10))
        for name, reason in (
            ("w.example.com", "expected a certificate for w.example.com, and this one is for other.example.com"),
            ("u.example.com", "certificate"),
        ):
            self.assert_reset(self.tls(edge.port(), name))
            edge.says(rf"\[sni {name}\] partial_blind_route: 127.0.0.1:\d+ cannot be used for .*{reason}")
        self.assertEqual([b""] * len(unknown.received), unknown.received)
        self.assertNotIn("Traceback", edge.log)

    def test_partial_blind_does_not_promise_what_the_origin_cannot(self) -> None:
        """A client that was promised h2 is reset when the origin does not speak it."""
        origin = self.origin(context=server_context("p.example.com"))
        edge = self.start(
            HTTPS
            + f"[sni p.example.com]\npartial_blind_route = 127.0.0.1:{origin.port}\nverify_server_policy = DISABLED\n"
        )
        self.assert_reset(self.tls(edge.port(), "p.example.com", client_context("h2", trust=None)))
        edge.says("does not speak h2")

    def assert_reset(self, client: Any) -> None:
        """The connection ends, and not in order."""
        with self.assertRaises((ConnectionError, ssl.SSLEOFError, ssl.SSLError)):
            self.assertNotEqual(b"", client.recv(10))

    def test_an_origin_that_cannot_be_reached(self) -> None:
        """The client is reset, which is no empty answer, and the operator reads one line with route, target, reason."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{port}\n")
        self.assert_reset(self.tls(edge.port()))
        edge.says(rf"\[listen https\] forward_route: 127.0.0.1:{port} cannot be used for 127.0.0.1:\d+: .*refused")
        self.assertEqual(1, edge.log.count("cannot be used"))

    def test_a_name_that_leads_back_here(self) -> None:
        """A tunnel to a name that is this very edge ends at the second turn, and not when there are no descriptors."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        name = socket.gethostname()
        try:
            interface = socket.gethostbyname(name)
        except OSError:
            self.skipTest("this host's name has no address")
        edge = self.start(
            f"[listen https]\ninterface = {interface}\nport = {port}\n"
            f"[sni t.example.com]\ntunnel_route = {name}:{port}\n"
        )
        edge.port()
        sock = socket.create_connection((interface, port), PATIENCE)
        self.addCleanup(sock.close)
        self.assertRaises(
            (OSError, ssl.SSLError),
            client_context(trust=None).wrap_socket, sock, server_hostname="t.example.com",
        )  # fmt: skip
        edge.says("that is where the connection came in")
        self.assertEqual(1, edge.log.count("that is where"))

    def test_routes_with_variables(self) -> None:
        """The star's label and the client's own port say where it goes, as far as that is allowed."""
        label, origin = "localhost", self.origin()
        edge = self.start(
            "[net]\nconnect_ports = 443, "
            f"{origin.port}\n[listen a]\nport = 0\n[listen pp]\nport = 0\nflags = ssl, pp\n"
            f"[sni *.one.example]\nforward_route = $1:{origin.port}\n"
            "[sni two.example]\nforward_route = localhost:{inbound_local_port}\n"
            "[sni three.example]\nforward_route = localhost:{proxy_protocol_port}\n"
        )
        sock = self.tls(edge.port("a"), f"{label}.one.example")
        sock.sendall(b"hello")
        self.assertEqual(b"hello", sock.recv(5))
        sock = self.tls(edge.port("a"), "two.example")
        self.assertRaises((OSError, ssl.SSLError), read_all, sock)
        edge.says(f"port {edge.port('a')} is not in connect_ports")
        for port in (origin.port, 22):
            raw = self.tcp(edge.port("pp"))
            raw.sendall(f"PROXY TCP4 192.0.2.1 192.0.2.2 5 {port}\r\n".encode())
            context = client_context(trust=None)
            sock = context.wrap_socket(raw, server_hostname="three.example", suppress_ragged_eofs=False)
            self.addCleanup(sock.close)
            if port == 22:
                self.assertRaises((OSError, ssl.SSLError), read_all, sock)
                edge.says("port 22 is not in connect_ports")
            else:
                sock.sendall(b"there")
                self.assertEqual(b"there", sock.recv(5))

    def test_a_name_that_leads_back_to_a_port_without_tls(self) -> None:
        """Each such connection is dialled for once, and what was dialled then is not: else it would never end."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        name = socket.gethostname()
        try:
            interface = socket.gethostbyname(name)
        except OSError:
            self.skipTest("this host's name has no address")
        edge = self.start(
            f"[listen plain]\ninterface = {interface}\nport = {port}\nflags = plain\nforward_route = {name}:{port}\n"
        )
        edge.port("plain")
        for _ in range(3):
            with self.assertRaises(ConnectionResetError):  # while it connects, or after
                sock = socket.create_connection((interface, port), PATIENCE)
                self.addCleanup(sock.close)
                sock.recv(1)
        edge.says("that is where the connection came in")
        time.sleep(0.2)
        self.assertLess(edge.log.count("that is where"), 5)

    def test_site(self) -> None:
        """A directory is served over both versions of HTTP, its index as itself, and without a list of its files."""
        site = self.directory / "site"
        (site / "empty").mkdir(parents=True)
        (site / "index.html").write_text("the index")
        (site / "big").write_bytes(os.urandom(3_000_000))
        edge = self.start(HTTPS + "site = site\n")
        for version in ("1.1", "2"):
            argument = "--http1.1" if version == "1.1" else "--http2"
            self.assertEqual((f"{version} 200", b"the index"), self.curl(edge.port(), argument))
            self.assertEqual(
                (f"{version} 200", (site / "big").read_bytes()), self.curl(edge.port(), argument, path="/big")
            )
            self.assertEqual(f"{version} 404", self.curl(edge.port(), argument, path="/none")[0])
            self.assertEqual(f"{version} 403", self.curl(edge.port(), argument, path="/empty/")[0])
            figures, body = self.curl(edge.port(), argument, "--path-as-is", path="/../tap.cfg")
            self.assertNotIn(b"[listen", body)
            self.assertNotIn("200", figures)

    def test_factory(self) -> None:
        """Any protocol factory serves: an object, or what a callable makes of the reactor."""
        (self.directory / "ours.py").write_text(
            "from twisted.internet.protocol import Factory\n"
            "from twisted.protocols.wire import Echo\n"
            "echo = Factory.forProtocol(Echo)\n"
            "def make(reactor):\n"
            "    return Factory.forProtocol(Echo)\n"
            "def broken(reactor):\n"
            "    return 3\n"
        )
        edge = self.start(
            HTTPS + "factory = ours:echo\n[sni m.example.com]\nfactory = ours:make\n",
            environment={"PYTHONPATH": os.pathsep.join([str(self.directory), str(ROOT)])},
        )
        for name in (None, "m.example.com"):
            client = self.tls(edge.port(), name)
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(10))
        edge = self.start(
            HTTPS + "factory = ours:broken\n",
            environment={"PYTHONPATH": os.pathsep.join([str(self.directory), str(ROOT)])},
        )
        self.assertEqual(1, edge.ended())
        self.assertIn("tap.cfg: [listen https] factory: ours:broken made '3', allowed: a protocol factory", edge.errors)

    def test_plain_listeners(self) -> None:
        """Without TLS a listener does the same: pages, forwarding, tunnels."""
        origin = self.origin()
        edge = self.start(
            "[listen page]\nport = 0\nflags = plain\n"
            f"[listen forward]\nport = 0\nflags = plain\nforward_route = 127.0.0.1:{origin.port}\n"
            f"[listen tunnel]\nport = 0\nflags = plain\ntunnel_route = 127.0.0.1:{origin.port}\n"
        )
        sock = self.tcp(edge.port("page"))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assertIn(b"atstls is running", read_all(sock))
        for name in ("forward", "tunnel"):
            sock = self.tcp(edge.port(name))
            sock.sendall(b"ping")
            self.assertEqual(b"ping", sock.recv(10))
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(b"", sock.recv(10))


class ListenTests(EdgeTestCase):
    """Where it listens."""

    def test_ipv6(self) -> None:
        """An IPv6 address is served, and its origin may be one too."""
        try:
            origin = self.origin(family=socket.AF_INET6)
        except OSError:
            self.skipTest("there is no IPv6")
        edge = self.start(f"[listen https]\ninterface = ::1\nport = 0\nforward_route = [::1]:{origin.port}\n")
        edge.says(r"listening on \[::1\]:\d+")
        sock = self.tcp(edge.port(), "::1")
        client = client_context(trust=None).wrap_socket(sock)
        self.addCleanup(client.close)
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(10))

    def test_a_unix_socket(self) -> None:
        """A UNIX socket is served, and gone when the program is."""
        edge = self.start("[listen https]\nunix = edge.sock\n")
        edge.says(r"listening on unix:\S*edge.sock")
        if CURL is not None:
            done = self.run_command(
                CURL, "-sk", "--unix-socket", str(self.directory / "edge.sock"), "https://localhost/"
            )
            self.assertIn(b"atstls is running", done.stdout)
        other = self.start("[listen https]\nunix = edge.sock\n")
        self.assertEqual(1, other.ended())
        self.assertIn("tap.cfg: [listen https] unix: ", other.errors)
        self.assertEqual(1, len(other.errors.splitlines()))
        edge.stop()
        self.assertFalse((self.directory / "edge.sock").exists())

    def test_inherited_sockets(self) -> None:
        """A socket that was opened by somebody else is served: by its number, or by the name systemd gave it."""
        with socket.create_server(("127.0.0.1", 0)) as inherited:
            port = inherited.getsockname()[1]
            edge = self.start(f"[listen https]\nfd = {inherited.fileno()}\n", descriptors=(inherited.fileno(),))
            self.assertEqual(port, edge.port())
            self.assertEqual("2 200", self.curl(port, "--http2")[0])
            edge.stop()
        edge = self.start("[listen https]\nfd = 0\n")
        self.assertEqual(1, edge.ended())
        self.assertEqual("tap.cfg: [listen https] fd: descriptor 0 is not a listening socket\n", edge.errors)
        with socket.create_server(("127.0.0.1", 0)) as inherited:
            # What systemd does: the sockets are descriptors from 3 on, and the environment names them.
            port, fd = inherited.getsockname()[1], inherited.fileno()
            does = (
                f"import os, sys; os.dup2({fd}, 3)\n"
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web')\n"
                "os.execv(sys.argv[1], sys.argv[1:])"
            )
            edge = self.start(
                "[listen https]\nsystemd = web\n", descriptors=(fd,), prefix=(sys.executable, "-c", does),
            )  # fmt: skip
            self.assertEqual(port, edge.port())
            self.assertEqual("1.1 200", self.curl(port, "--http1.1")[0])
            edge.stop()
        edge = self.start("[listen https]\nsystemd = https\n")
        self.assertEqual(1, edge.ended())
        self.assertIn("tap.cfg: [listen https] systemd: there is no socket 'https'", edge.errors)

    def test_an_inherited_unix_socket(self) -> None:
        """A UNIX socket that somebody else has opened stays when the program ends: it is not ours to remove."""
        path = str(self.directory / "theirs.sock")
        with socket.socket(socket.AF_UNIX) as inherited:
            inherited.bind(path)
            os.chmod(path, 0o600)
            inherited.listen()
            edge = self.start(f"[listen https]\nfd = {inherited.fileno()}\n", descriptors=(inherited.fileno(),))
            edge.says("listening on unix:")
            if CURL is not None:
                done = self.run_command(CURL, "-sk", "--unix-socket", path, "https://localhost/")
                self.assertIn(b"atstls is running", done.stdout)
            edge.stop()
        self.assertTrue(os.path.exists(path))
        self.assertEqual(0o600, os.stat(path).st_mode & 0o777)


class TLSTests(EdgeTestCase):
    """What clients see of TLS."""

    def test_certificates_by_name(self) -> None:
        """Each name gets the certificate that is for it; who sends none, or an unknown one, gets the first."""
        edge = self.start(
            HTTPS + self.certificate("one", "one.example.com") + self.certificate("two", "two.example.com", "*.two.com")
        )
        for name, expected in (
            ("one.example.com", "one.example.com"),
            ("two.example.com", "two.example.com"),
            ("a.two.com", "two.example.com"),
        ):
            client = self.tls(edge.port(), name, client_context())
            names: Any = client.getpeercert()
            self.assertIn(("DNS", expected), names["subjectAltName"])
        context = client_context()
        context.check_hostname = False
        for name in (None, "unknown.example.com"):
            names = self.tls(edge.port(), name, context).getpeercert()
            self.assertIn(("DNS", "one.example.com"), names["subjectAltName"])

    def test_the_default_certificate_can_be_named(self) -> None:
        """dest_ip = * makes a certificate the default, wherever it stands."""
        edge = self.start(
            HTTPS
            + self.certificate("one", "one.example.com")
            + self.certificate("two", "two.example.com")
            + "dest_ip = *\n"
        )
        context = client_context()
        context.check_hostname = False
        names: Any = self.tls(edge.port(), None, context).getpeercert()
        self.assertIn(("DNS", "two.example.com"), names["subjectAltName"])

    def test_alpn(self) -> None:
        """Our order counts; nothing in common gets the alert for that; a client without ALPN goes on."""
        edge = self.start(HTTPS + "[sni old.example.com]\nhttp2 = off\n")
        port = edge.port()
        for offer, chosen in ((("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), ((), None)):
            client = self.tls(port, context=client_context(*offer, trust=None))
            self.assertEqual(chosen, client.selected_alpn_protocol())
        client = self.tls(port, "old.example.com", client_context("h2", "http/1.1", trust=None))
        self.assertEqual("http/1.1", client.selected_alpn_protocol())
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
            self.tls(port, context=client_context("banana", trust=None))
        edge.says("no protocol in common with banana")

    def test_versions_by_name(self) -> None:
        """A rule can ask for a younger version than the rest of the listener."""
        edge = self.start(
            HTTPS
            + "[sni new.example.com]\nvalid_tls_version_min_in = TLSv1.3\n"
            + "[sni old.example.com]\nvalid_tls_version_max_in = TLSv1.2\n"
        )
        port = edge.port()
        old, new = (client_context(trust=None, version=version) for version in (V12, V13))
        self.assertEqual("TLSv1.3", self.tls(port, "new.example.com", new).version())
        self.assertEqual("TLSv1.2", self.tls(port, "old.example.com", old).version())
        self.assertEqual("TLSv1.2", self.tls(port, "any.example.com", old).version())
        with self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
            self.tls(port, "new.example.com", old)
        with self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
            self.tls(port, "old.example.com", new)

    def test_sessions_resume(self) -> None:
        """A client that comes back need not shake hands in full: TLS 1.2 with and without tickets, TLS 1.3."""
        origin = self.origin()
        route = f"forward_route = 127.0.0.1:{origin.port}\n"
        for number, settings in enumerate(("", "[ssl]\nserver.session_ticket.enable = 0\n")):
            edge = self.start(
                settings + HTTPS.replace("https", f"l{number}") + route + self.certificate("www", "www.example.com")
            )
            port = edge.port(f"l{number}")
            for version in (V12, V13):
                context = client_context(version=version)
                first = self.tls(port, "www.example.com", context)
                first.sendall(b"ping")
                self.assertEqual(b"ping", first.recv(10))  # with TLS 1.3 the tickets come along
                session = first.session
                first.unwrap()
                self.assertFalse(first.session_reused)
                again = self.tls(port, "www.example.com", context, session=session)
                self.assertTrue(again.session_reused, f"{version!r} {settings!r}")
                again.sendall(b"ping")
                self.assertEqual(b"ping", again.recv(10))
            edge.stop()

    def test_renegotiation_is_refused(self) -> None:
        """A TLS 1.2 client that asks to begin anew is refused within moments, while others go on."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        origin = self.origin()
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        client = subprocess.Popen(
            [OPENSSL, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{edge.port()}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        assert client.stdin is not None and client.stdout is not None
        until(lambda: origin.connections, "a connection")
        began = time.monotonic()
        client.stdin.write(b"R\n")
        client.stdin.flush()
        client.wait(PATIENCE)
        self.assertLess(time.monotonic() - began, 5)
        self.assertIn(b"no renegotiation", client.stdout.read())
        self.assertNotIn("Traceback", edge.log)
        other = self.tls(edge.port())
        other.sendall(b"ping")
        self.assertEqual(b"ping", other.recv(10))

    def test_a_failed_handshake_is_one_line(self) -> None:
        """The log says who failed, what he asked for and why, in one line, and shows no traceback for it."""
        edge = self.start(HTTPS)
        sock = self.tcp(edge.port())
        host, port = sock.getsockname()
        old = client_context(trust=None)
        self.assertRaises(
            ssl.SSLError,
            client_context("banana", trust=None).wrap_socket, sock, server_hostname="www.example.com",
        )  # fmt: skip
        edge.says(rf"handshake of {host}:{port} for www.example.com failed: no protocol in common")
        sock = self.tcp(edge.port())
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        edge.says(rf"handshake of 127.0.0.1:{sock.getsockname()[1]} for no name failed: .*http")
        sock = self.tcp(edge.port())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        port = sock.getsockname()[1]
        sock.sendall(b"\x16\x03\x01")
        sock.close()
        edge.says(rf"handshake of 127.0.0.1:{port} for no name failed: ")
        self.assertEqual(3, edge.log.count("handshake of"))
        self.assertNotIn("Traceback", edge.log)
        self.tls(edge.port(), context=old)

    def test_the_handshake_deadline_is_not_renewed(self) -> None:
        """A client that sends its hello byte by byte has no more time than any other."""
        edge = self.start("[ssl]\nhandshake_timeout_in = 1\n" + HTTPS)
        sock = self.tcp(edge.port())
        sock.sendall(b"\x16\x03\x01\x01\x00")
        began = time.monotonic()
        try:
            while time.monotonic() - began < PATIENCE:
                sock.sendall(b"\x01")
                sock.settimeout(0.1)
                try:
                    if not sock.recv(1):
                        break
                except TimeoutError:
                    continue
        except ConnectionError:
            pass
        self.assertLess(time.monotonic() - began, 5)
        edge.says("not done after 1 s")


class ReloadTests(EdgeTestCase):
    """SIGHUP."""

    def test_read_again(self) -> None:
        """Another certificate, another route, another port, with a download that goes on; then a mistake."""
        one, two = (self.origin(http(body)) for body in (b"one", b"two"))
        slow = self.origin()
        certificate = self.certificate("a", "a.example")
        rules = f"[sni slow.example]\nforward_route = 127.0.0.1:{slow.port}\n"
        edge = self.start(
            f"[listen https]\nport = 0\nforward_route = 127.0.0.1:{one.port}\n{certificate}{rules}"
            "[listen b]\nport = 0\n"
        )
        port, other = edge.port(), edge.port("b")

        def asked() -> tuple[bytes, Any]:
            sock = self.tls(port, "a.example", client_context())
            sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            found = read_all(sock)[-3:], sock.getpeercert()["serialNumber"]  # type: ignore[index]
            sock.close()
            return found

        before = self.tls(port, "slow.example")
        before.sendall(b"still")
        body, serial = asked()
        self.assertEqual(b"one", body)
        self.certificate("a", "a.example")
        (self.directory / "tap.cfg").write_text(
            f"[listen https]\nport = 0\nforward_route = 127.0.0.1:{two.port}\n{certificate}[listen c]\nport = 0\n"
        )
        edge.send(signal.SIGHUP)
        edge.says("the configuration was read again: tap.cfg")
        body, new_serial = asked()
        self.assertEqual(b"two", body)
        self.assertNotEqual(serial, new_serial)
        self.assertEqual("2 200", self.curl(edge.port("c"))[0])
        self.assertRaises(ConnectionRefusedError, self.tcp, other)
        before.sendall(b" there")
        self.assertEqual(b"still there", b"".join(before.recv(1) for _ in range(11)))
        (self.directory / "tap.cfg").write_text("[listen https]\nport = no\n[net]\nzz = 1\n")
        edge.send(signal.SIGHUP)
        edge.says("the configuration stays as it was")
        edge.says(r"tap.cfg: \[listen https\] port: 'no' is not a whole number")
        edge.says(r"tap.cfg: \[net\] zz: unknown key")
        self.assertEqual((b"two", new_serial), asked())
        edge.send(signal.SIGTERM)
        before.close()
        self.assertEqual(0, edge.ended())
        self.assertNotIn("Traceback", edge.log)

    def test_under_load(self) -> None:
        """Nobody who connects while it is read again, over and over, is refused or gets anything but his answer."""
        edge = self.start("[listen https]\nport = 0\n" + self.certificate("a", "a.example"))
        port = edge.port()
        failed: list[BaseException] = []
        answered: list[bytes] = []
        stop = threading.Event()

        def ask() -> None:
            context = client_context()
            while not stop.is_set():
                try:
                    with (
                        socket.create_connection(("127.0.0.1", port), PATIENCE) as tcp,
                        context.wrap_socket(tcp, server_hostname="a.example") as sock,
                    ):
                        sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                        answered.append(read_all(sock)[:15])
                except OSError as exc:
                    failed.append(exc)
                    return

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, 11):
                # Every other time the socket is taken over by another listener.
                flags = ("ssl", "ssl, allow-plain")[number % 2]
                file = self.directory / "tap.cfg"
                text = re.sub("port = 0\n(flags.*\n)?", f"port = 0\nflags = {flags}\n", file.read_text())
                file.write_text(text)
                edge.send(signal.SIGHUP)
                until(lambda number=number: edge.log.count("was read again") == number, "read again")  # type: ignore[misc]
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE)
        self.assertEqual([], failed)
        self.assertEqual({b"HTTP/1.1 200 OK"}, set(answered))


class StopTests(EdgeTestCase):
    """How it ends."""

    def _download(self, port: int) -> Any:
        """A client in the middle of a long answer."""
        client = self.tls(port)
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(client.recv(1))
        return client

    def _slow_origin(self, size: int, go_on: threading.Event) -> Origin:
        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            connection.recv(65536)
            connection.sendall(b"x" * (size // 2))
            go_on.wait(PATIENCE)
            connection.sendall(b"y" * (size // 2))

        return self.origin(serve)

    def test_sigterm_drains(self) -> None:
        """Nobody new comes in, who is there is served to the end, and the exit status says that all was well."""
        go_on = threading.Event()
        origin = self._slow_origin(2_000_000, go_on)
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n", twistd=("-n",))
        port = edge.port()
        client = self._download(port)
        edge.send(signal.SIGTERM)
        edge.says("stopping: 2 connections have 30 s to end")
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port), PATIENCE)
        self.assertIsNone(edge.process.poll())
        go_on.set()
        self.assertEqual(2_000_000 - 1, len(read_all(client)))
        client.unwrap()
        self.assertEqual(0, edge.ended())
        self.assertNotIn("Traceback", edge.log)
        self.assertFalse((self.directory / "twistd.pid").exists())

    def test_nothing_to_drain(self) -> None:
        """Without connections SIGTERM ends it at once, with status 0."""
        edge = self.start(HTTPS)
        edge.port()
        edge.says("listening")
        time.sleep(0.2)  # the reactor runs by then; before that, the signal is Python's
        began = time.monotonic()
        edge.send(signal.SIGTERM)
        self.assertEqual(0, edge.ended())
        self.assertLess(time.monotonic() - began, 5)

    def test_the_drain_has_an_end(self) -> None:
        """Who takes too long is cut off after drain_timeout, and sees that it was no end in order."""
        origin = self._slow_origin(1000, threading.Event())
        edge = self.start("[edge]\ndrain_timeout = 0.5\n" + HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        client = self._download(edge.port())
        edge.send(signal.SIGTERM)
        self.assertEqual(0, edge.ended())
        edge.says("2 connections had to be closed")
        with self.assertRaises((OSError, ssl.SSLError)):
            read_all(client)

    def test_a_second_sigterm_stops_at_once(self) -> None:
        """An operator who cannot wait says it twice."""
        origin = self._slow_origin(1000, threading.Event())
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        client = self._download(edge.port())
        edge.send(signal.SIGTERM)
        edge.says("stopping: 2 connections")
        began = time.monotonic()
        edge.send(signal.SIGTERM)
        self.assertEqual(0, edge.ended())
        self.assertLess(time.monotonic() - began, 5)
        self.assertNotIn("Traceback", edge.log + edge.errors)
        client.close()

    def test_an_interrupt_stops_at_once(self) -> None:
        """Control-C at a terminal waits for nobody."""
        origin = self._slow_origin(1000, threading.Event())
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n")
        client = self._download(edge.port())
        edge.send(signal.SIGINT)
        self.assertEqual(-signal.SIGINT, edge.ended())
        self.assertNotIn("Traceback", edge.log)
        client.close()

    def test_idle_http_connections_end_in_order(self) -> None:
        """A client that keeps its connection for later is told good-bye, and not reset, when the time is up."""
        edge = self.start("[edge]\ndrain_timeout = 0.5\n" + HTTPS)
        client = self.tls(edge.port())
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertTrue(client.recv(65536))
        edge.send(signal.SIGTERM)
        while client.recv(65536):
            pass
        self.assertEqual(0, edge.ended())
