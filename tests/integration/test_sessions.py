"""
Sessions from outside: C{openssl s_client} keeps them in files, and shows them where they belong and where they do not.
"""

import re
import ssl
import subprocess
import time
from typing import Any

from tests.integration.twistd import (
    CA,
    OPENSSL,
    PATIENCE,
    EdgeTestCase,
    Origin,
    client_context,
    echo,
    server_context,
    until,
    write_certificate,
)

HTTPS = "[listen https]\nport = 0\n"
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = ("-tls1_2", "-tls1_3")
LINE = b"there and back again\n"


class SessionTestCase(EdgeTestCase):
    """Has C{openssl s_client}."""

    def setUp(self) -> None:
        super().setUp()
        if OPENSSL is None:
            self.skipTest("there is no openssl")

    def s_client(self, port: int, name: str | None, *arguments: str) -> str:
        """
        One connection, with a line there and back: C{"New"} or C{"Reused"}, or C{"refused"}.

        What the server sends after the handshake, such as tickets, was read when the line is back.
        """
        assert OPENSSL is not None
        wanted = ("-noservername",) if name is None else ("-servername", name)
        client = subprocess.Popen(
            [OPENSSL, "s_client", "-connect", f"127.0.0.1:{port}", *wanted, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory,
        )  # fmt: skip
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        assert client.stdin is not None and client.stdout is not None
        said = b""
        try:
            client.stdin.write(LINE)
            client.stdin.flush()
            # It may stand in the middle of a line: s_client shows what it knows of the session at the same time.
            while LINE not in said:
                line = client.stdout.readline()
                if not line:
                    return "refused"
                said += line
            client.stdin.write(b"Q\n")
            client.stdin.flush()
        except BrokenPipeError:
            return "refused"
        self.assertEqual(0, client.wait(PATIENCE))
        found = re.search(rb"^(New|Reused), TLSv1", said, re.MULTILINE)
        assert found is not None, said
        return found[1].decode()

    def earn(self, port: int, name: str | None, *arguments: str) -> None:
        """Have a session in the file C{session}."""
        (self.directory / "session").unlink(missing_ok=True)
        self.assertEqual("New", self.s_client(port, name, "-sess_out", "session", *arguments))
        self.assertTrue((self.directory / "session").exists())

    def resume(self, port: int, name: str | None, *arguments: str) -> str:
        """Come with it."""
        return self.s_client(port, name, "-sess_in", "session", *arguments)


class ServerTests(SessionTestCase):
    """Clients that come back."""

    def test_reuse(self) -> None:
        """By ticket and by id, over both versions (A060, A061; gold test tls_session_reuse); another name: in full."""
        origin = self.origin()
        route = f"forward_route = 127.0.0.1:{origin.port}\n"
        for number, kind in enumerate(("", "[ssl]\nserver.session_ticket.enable = 0\n")):
            edge = self.start(
                kind + f"[listen l{number}]\nport = 0\n" + route
                + self.certificate("www", "www.example.com") + self.certificate("two", "two.example.com")
            )  # fmt: skip
            port = edge.port(f"l{number}")
            for version in VERSIONS:
                self.earn(port, "www.example.com", version)
                self.assertEqual("Reused", self.resume(port, "www.example.com", version))
                self.assertEqual("New", self.resume(port, "two.example.com", version))
                name_left_out = "New" if version == "-tls1_2" else "Reused"  # it is shown the same certificate
                self.earn(port, "www.example.com", version)
                self.assertEqual(name_left_out, self.resume(port, None, version))
            reconnected = self.run_command(
                str(OPENSSL), "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-reconnect"
            )
            self.assertEqual(5, reconnected.stdout.count(b"\nReused, TLSv1.2"))
            self.assertNotIn("Traceback", edge.log + edge.errors)
            edge.stop()

    def test_off_and_its_time(self) -> None:
        """Off is off; and a session whose time is up is worth nothing, of either kind (S136)."""
        origin = self.origin()
        text = f"port = 0\nforward_route = 127.0.0.1:{origin.port}\n"
        off = "[ssl]\nserver.session_ticket.enable = 0\nsession_cache = 0\n"
        edge = self.start(f"{off}[listen off]\n{text}")
        for version in VERSIONS:
            context = client_context(trust=None, version=V12 if version == "-tls1_2" else V13)
            first = self.tls(edge.port("off"), "a.example.com", context)
            first.sendall(b"ping")
            self.assertEqual(b"ping", first.recv(10))
            session = first.session
            first.unwrap()
            again = self.tls(edge.port("off"), "a.example.com", context, session=session)
            self.assertFalse(again.session_reused)
        edge.stop()
        edge = self.start(
            f"[ssl]\nsession_cache.timeout = 1\n[listen short]\n{text}[sni id.example.com]\nssl_ticket_enabled = 0\n"
        )
        port = edge.port("short")
        sessions = []
        for version in (V12, V13):
            for name in ("ticket.example.com", "id.example.com"):
                context = client_context(trust=None, version=version)
                client = self.tls(port, name, context)
                client.sendall(b"ping")
                self.assertEqual(b"ping", client.recv(10))
                sessions.append((name, context, client.session))
                client.unwrap()
        name, context, session = sessions[0]
        self.assertTrue(self.tls(port, name, context, session=session).session_reused)
        time.sleep(1.1)
        for name, context, session in sessions:
            self.assertFalse(self.tls(port, name, context, session=session).session_reused, name)

    def test_tickets_by_certificate(self) -> None:
        """A certificate says whether its clients get tickets; a rule for the name counts more."""
        own = "ssl_ticket_enabled = {}\n"
        edge = self.start(
            HTTPS + "[ssl]\nserver.session_ticket.enable = 0\nsession_cache = 0\n"
            + self.certificate("one", "one.example.com") + own.format(1)
            + self.certificate("two", "two.example.com") + own.format(0)
            + self.certificate("three", "three.example.com", "four.example.com", "five.example.com")
            + self.certificate("six", "six.example.com") + own.format(1)
            + "[sni four.example.com]\nssl_ticket_enabled = 1\n[sni six.example.com]\nssl_ticket_enabled = 0\n"
        )  # fmt: skip
        given = {}
        for name in ("one", "two", "three", "four", "five", "six"):
            client = self.tls(edge.port(), f"{name}.example.com", client_context(trust=None, version=V12))
            assert client.session is not None
            given[name] = client.session.has_ticket
        self.assertEqual({"one", "four"}, {name for name in given if given[name]})

    def test_no_way_past_the_client_certificate(self) -> None:
        """
        A session of a name, or of a listener, that asks for no certificate does not open one that does (A065).

        Tried with tickets and with ids, with the name that was asked for then and with the other one.
        """
        origin = self.origin()
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        write_certificate(self.directory, "me", "me.example.com")
        me = ("-cert", "me.pem", "-key", "me.key")
        route = f"port = 0\nforward_route = 127.0.0.1:{origin.port}\n"
        rules = "".join(
            f"[sni {level}.{kind}.example.com]\nverify_client = {level.upper()}\nssl_ticket_enabled = {ticket}\n"
            for level in ("none", "moderate", "strict")
            for kind, ticket in (("ticket", 1), ("id", 0))
        )
        edge = self.start(
            f"[listen one]\n{route}[listen two]\n{route}[ssl]\nCA.cert.filename = ca.pem\n{rules}"
            + self.certificate("all", "*.ticket.example.com", "*.id.example.com")
        )
        one, two = edge.port("one"), edge.port("two")
        for version in VERSIONS:
            for kind in ("ticket", "id"):
                for open_level in ("none", "moderate"):
                    open_name, strict = f"{open_level}.{kind}.example.com", f"strict.{kind}.example.com"
                    self.earn(one, open_name, version)
                    self.assertEqual("Reused", self.resume(one, open_name, version))
                    self.assertEqual("refused", self.resume(one, strict, version), (version, kind, open_level))
                    self.earn(one, open_name, version)
                    self.assertEqual("refused", self.resume(two, strict, version), (version, kind, open_level))
                    self.assertEqual("New", self.resume(two, open_name, version))
                # And who earned it with a certificate resumes without showing it again, there and nowhere else.
                self.earn(one, strict, version, *me)
                self.assertEqual("Reused", self.resume(one, strict, version))
                self.assertEqual("refused", self.resume(two, strict, version))
        self.assertNotIn("Traceback", edge.log + edge.errors)

    def test_renegotiating_without_end(self) -> None:
        """Where it is allowed, it is so three times; the fourth ends the connection, and the log says it."""
        origin = self.origin()
        edge = self.start(HTTPS + f"forward_route = 127.0.0.1:{origin.port}\n[ssl]\nallow_client_renegotiation = 1\n")
        client = subprocess.Popen(
            [str(OPENSSL), "s_client", "-tls1_2", "-state", "-connect", f"127.0.0.1:{edge.port()}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        assert client.stdin is not None and client.stdout is not None
        until(lambda: origin.connections, "a connection")
        for number in range(1, 4):
            client.stdin.write(b"R\n")
            client.stdin.flush()
            said = b""
            while not said.partition(b"RENEGOTIATING")[2].count(b"finished\n"):
                line = client.stdout.readline()
                self.assertNotEqual(b"", line, said)
                said += line
            client.stdin.write(b"ping\n")
            client.stdin.flush()
            until(lambda number=number: bytes(origin.received[0]) == b"ping\n" * number, "what comes after it")
        client.stdin.write(b"R\n")
        client.stdin.flush()
        edge.says(r"warn\] 127.0.0.1:\d+ asked to renegotiate more than 3 times in 600 s: the connection ends")
        client.wait(PATIENCE)
        self.assertNotIn("Traceback", edge.log + edge.errors)


class OriginTests(SessionTestCase):
    """Hosts behind the edge."""

    def noting(self, version: ssl.TLSVersion, *names: str) -> tuple[Origin, list[bool]]:
        """A host that speaks one version, and notes which of its connections were resumed."""
        context = server_context(*names)
        context.minimum_version = context.maximum_version = version
        notes: list[bool] = []

        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            notes.append(connection.session_reused)
            echo(origin, connection, kept)

        return self.origin(serve, context=context), notes

    def ask(self, port: int, *names: str) -> None:
        """A connection for each name."""
        for name in names:
            client = self.tls(port, name)
            client.sendall(b"ping")
            self.assertEqual(b"ping", client.recv(10))
            client.close()

    def test_reuse(self) -> None:
        """
        The next connection to a host resumes, for the same name and verification alone (A063; gold test
        tls_origin_session_reuse).
        """
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        names = ("a.example.com", "b.example.com", "lax.example.com")
        hosts = [self.noting(version, *names) for version in (V12, V13)]
        text = "".join(
            f"[listen l{number}]\nport = 0\npartial_blind_route = 127.0.0.1:{origin.port}\n"
            for number, (origin, _) in enumerate(hosts)
        )
        edge = self.start(
            f"{text}[ssl]\nclient.CA.cert.filename = ca.pem\n[sni lax.example.com]\nverify_server_policy = DISABLED\n"
        )
        for number, (_, notes) in enumerate(hosts):
            port = edge.port(f"l{number}")
            self.ask(port, "a.example.com", "a.example.com", "b.example.com", "a.example.com", "b.example.com")
            self.assertEqual([False, True, False, True, True], notes)
            self.ask(port, "lax.example.com", "lax.example.com")
            self.assertEqual([False, True], notes[5:])
        self.assertNotIn("Traceback", edge.log + edge.errors)

    def test_off_and_room(self) -> None:
        """Off is off; with room for one the older one goes."""
        (self.directory / "ca.pem").write_bytes(CA.cert_pem.bytes())
        for settings, expected in (
            ("enabled = 0", [False, False, False, False]),
            ("size = 1", [False, True, False, False]),
        ):
            origin, notes = self.noting(V13, "a.example.com", "b.example.com")
            edge = self.start(
                HTTPS + f"partial_blind_route = 127.0.0.1:{origin.port}\n"
                f"[ssl]\nclient.CA.cert.filename = ca.pem\norigin_session_cache.{settings}\n"
            )
            self.ask(edge.port(), "a.example.com", "a.example.com", "b.example.com", "a.example.com")
            self.assertEqual(expected, notes, settings)
            edge.stop()
