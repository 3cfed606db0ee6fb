"""
Tests for L{atstls.edge.config} and what it is made of: values, sections, the INI file, the reference.
"""

import functools
import ipaddress
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import CertificateBuilder
from docutils.core import publish_doctree
from docutils.nodes import literal, row, section, table
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from atstls.edge import config, places, tlsfiles
from atstls.edge.config import (
    CertificateConfig,
    ConfigurationErrors,
    EdgeConfig,
    ListenConfig,
    NetConfig,
    Route,
    RouteKind,
    SNIConfig,
    SSLConfig,
    default_configuration,
    load,
)
from atstls.edge.inifile import parse
from atstls.edge.places import load_factory
from atstls.edge.reference import SETTINGS, reference_rst
from atstls.edge.settings import LATER
from atstls.edge.values import keys_of, shown
from atstls.errors import ConfigurationError
from atstls.tls.certificates import self_signed
from atstls.tls.contexts import ClientVerification
from atstls.tls.hooks import HookPoint
from atstls.tls.verify import VerifyPolicy, VerifyProperties
from tests.config_mistakes import mistakes

ORIGINAL = Route(RouteKind.TUNNEL, original=True)

VARIABLE = Route(RouteKind.TUNNEL, ("a", 0), port_variable="{inbound_local_port}")
VARIABLE6 = Route(RouteKind.TUNNEL, ("::1", 0), port_variable="{proxy_protocol_port}")

a_factory = Factory.forProtocol(Protocol)
not_a_factory = 7

HOOKS = ("os:getpid", "os.path:join")


class Several:
    """A place for a factory inside something."""

    make = Factory


@functools.cache
def pem_files() -> dict[str, bytes]:
    """The certificates and keys of these tests by file name; made once, since it takes a while."""
    files = {"text": b"hello\n"}
    for name in "a", "b":
        made = self_signed([f"{name}.example"])
        files[f"{name}.pem"] = made.leaf.public_bytes(Encoding.PEM)
        files[f"{name}.key"] = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files["both.pem"] = files["a.pem"] + files["a.key"]
    files["other.pem"] = files["b.pem"] + files["b.key"]
    key = rsa.generate_private_key(65537, 2048)
    leaf = (
        CertificateBuilder()
        .subject_name(made.leaf.subject)
        .issuer_name(made.leaf.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(made.leaf.not_valid_before_utc)
        .not_valid_after(made.leaf.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    files["rsa.pem"] = leaf.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return files


class ConfigurationTestCase(SynchronousTestCase):
    """
    Has a directory with certificates and a site in it.

    @ivar here: the directory.
    @ivar file: where the configuration is to be.
    """

    def setUp(self) -> None:
        # Not mktemp(): a UNIX socket's path has 107 bytes at most.
        self.here = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.here)
        self.file = self.here / "tap.cfg"
        (self.here / "site").mkdir()
        for name, data in pem_files().items():
            (self.here / name).write_bytes(data)

    def load(self, text: str) -> config.Configuration:
        """The configuration that C{text} is."""
        self.file.write_text(text, encoding="utf-8")
        return load(self.file)

    def complaints(self, text: str) -> list[str]:
        """What is said about C{text}, without the names of file and directory."""
        errors = self.assertRaises(ConfigurationErrors, self.load, text)
        return self.shortened(errors.lines)

    def shortened(self, lines: list[str] | tuple[str, ...]) -> list[str]:
        for line in lines:
            self.assertTrue(line.startswith(f"{self.file}: "), line)
        return [line.removeprefix(f"{self.file}: ").replace(str(self.here), "HERE") for line in lines]


class MistakeTests(ConfigurationTestCase):
    def test_each(self) -> None:
        """Whatever I get wrong, I am told where, what is wrong and what I may write."""
        for text, lines in mistakes():
            self.assertEqual(self.complaints(text), lines, text)

    def test_all_at_once(self) -> None:
        """I am told all my mistakes in one go, in the order of the file, whichever sort they are of."""
        text = "[sni a b]\nhttp2 = x\njunk\n[listen c]\nnew = 1\n"
        text += "[ssl]\nsession_cache = 9\n[what]\n[edge]\ndrain_timeout = x\n"
        self.assertEqual(
            [line.split(", allowed")[0] for line in self.complaints(text)],
            [
                "[sni a b]: is no name",
                "[sni a b] http2: 'x' is neither on nor off",
                "line 3: 'junk' is no entry",
                "[listen c]: there is nothing to listen on",
                "[listen c] new: unknown key",
                "[ssl] session_cache: 9 is out of range",
                "[what]: unknown section",
                "[edge] drain_timeout: 'x' is not a number of seconds",
            ],
        )

    def test_whole_table_at_once(self) -> None:
        """A file with every mistake in it has no fewer lines of answer than it has sections with a mistake."""
        text = "".join(text for text, _ in mistakes())
        self.assertGreater(len(self.complaints(text)), len(mistakes()))

    def test_no_file(self) -> None:
        """A file that is not there, or is a directory, is a mistake like any other."""
        for path, reason in (self.here / "no.cfg", "No such file or directory"), (self.here, "Is a directory"):
            errors = self.assertRaises(ConfigurationErrors, load, path)
            self.assertEqual(errors.lines, [f"{path}: cannot be read: {reason}, allowed: a readable file"])

    def test_not_utf8(self) -> None:
        """Text in another encoding is refused with the line where that shows."""
        self.file.write_bytes(b"[net]\n; caf\xe9\n")
        errors = self.assertRaises(ConfigurationErrors, load, self.file)
        self.assertEqual(self.shortened(errors.lines), ["line 2: invalid continuation byte, allowed: text in UTF-8"])

    def test_control_character(self) -> None:
        """A control character is refused: it is nothing that anybody means to write."""
        self.assertEqual(self.complaints("[net]\n\nx\0y\n"), ["line 3: '\\x00' is a control character, allowed: text"])

    def test_one_error(self) -> None:
        """The error is a ConfigurationError whose text is all its lines."""
        errors = self.assertRaises(ConfigurationError, self.load, "[a]\n[b]\n")
        self.assertEqual(str(errors), "\n".join(errors.lines))
        self.assertEqual(len(errors.lines), 2)

    def test_file_as_given(self) -> None:
        """Messages have the name of the file as I gave it."""
        path = os.path.relpath(self.file)
        self.file.write_text("[a]\n")
        errors = self.assertRaises(ConfigurationErrors, load, path)
        self.assertTrue(errors.lines[0].startswith(f"{path}: [a]: "))

    def test_long_values(self) -> None:
        """A value without end does not make a message without end."""
        (line,) = self.complaints(f"[net]\nadditional_accepts = {'9' * 5000}\n")
        self.assertIn("99..." + "' is not a whole number", line)
        self.assertEqual(len(shown("x" * 1000)), 62)

    def test_long_key(self) -> None:
        """A key without end is unknown, and is so in no time."""
        (line,) = self.complaints(f"[net]\n{'additional_accepts' * 5000} = 1\n")
        self.assertTrue(line.endswith(", allowed: " + ", ".join(sorted(key.name for key, _ in keys_of(NetConfig)))))

    def test_socket_path(self) -> None:
        """A path too long for a UNIX socket is refused before the system does."""
        (line,) = self.complaints(f"[listen a]\nunix = {'x' * 108}\n")
        self.assertIn("x is too long, allowed: the path of a UNIX socket", line)

    def test_unreadable_site(self) -> None:
        """A site that we may not enter is refused."""
        self.patch(places.os, "access", lambda path, mode: False)
        (line,) = self.complaints("[listen a]\nport = 1\nsite = site\n")
        self.assertTrue(line.startswith("[listen a] site: HERE/site cannot be read, allowed: "), line)

    def test_named_pipe(self) -> None:
        """A named pipe in place of a certificate is refused, and nobody waits for its other end."""
        os.mkfifo(self.here / "pipe")
        (line,) = self.complaints("[certificate a]\nssl_cert_name = pipe\n")
        self.assertTrue(line.startswith("[certificate a] ssl_cert_name: HERE/pipe is not a file"), line)


# A busy machine is no failure, and what is found goes into a test by hand.
fuzzed = hypothesis_settings(deadline=None, database=None)


class ArbitraryTextTests(ConfigurationTestCase):
    def only_its_own_errors(self, data: bytes) -> None:
        self.file.write_bytes(data)
        try:
            load(self.file)
        except ConfigurationErrors as errors:
            self.assertTrue(errors.lines)

    @fuzzed
    @given(st.binary())
    def test_bytes(self, data: bytes) -> None:
        """Whatever bytes the file has, I get a configuration or a list of mistakes."""
        self.only_its_own_errors(data)

    @fuzzed
    @given(st.text())
    @example("[a\n []\n")
    @example("  []\nx=1\n[net]\n")
    @example("[[]]\n")
    def test_text(self, text: str) -> None:
        """So it is for text."""
        self.only_its_own_errors(text.encode("utf-8", "surrogatepass"))

    words = st.sampled_from(
        [key.name for settings in SETTINGS for key, _ in keys_of(settings) if key.name != "factory"]
        + [
            "1",
            "0",
            "x",
            "*",
            "ssl",
            "a.pem",
            "a:1",
            "[::1]:1",
            "TLSv1.2",
            "on",
            "=",
            ",",
            ":",
            ";",
            "\n",
            "\n ",
            "\n[",
            "]\n",
        ]
        + ["\n[ssl]\n", "\n[net]\n", "\n[listen a]\n", "\n[sni]\n", "\n[sni *.a]\n", "\n[certificate a]\n", " = ", " "]
    )

    @fuzzed
    @given(st.lists(words | st.text(max_size=3)).map("".join))
    def test_almost_right(self, text: str) -> None:
        """So it is for what looks like a configuration."""
        self.only_its_own_errors(text.encode("utf-8", "surrogatepass"))

    @fuzzed
    @given(st.sampled_from([(settings, key) for settings in SETTINGS for key, _ in keys_of(settings)]), st.text())
    def test_any_value(self, which: tuple[Any, Any], text: str) -> None:
        """So it is for each key, whatever its value."""
        kind, key = which
        self.only_its_own_errors(f"[{kind.section} a]\n{key.name} = {text}\n".encode("utf-8", "surrogatepass"))
        self.only_its_own_errors(f"[{kind.section}]\n{key.name} = {text}\n".encode("utf-8", "surrogatepass"))


class FormTests(SynchronousTestCase):
    def entries(self, text: str) -> dict[str, str]:
        (found,), complaints = parse(text)
        self.assertEqual(complaints, [])
        return {entry.key: entry.text for entry in found.entries.values()}

    def test_comments(self) -> None:
        """Lines that start with ; or # are comments, and so is what follows a blank and a ; in a line."""
        text = "; one\n# two\n[net] ; three\n  ; four\na = 1 ; five\nb = 2;3 # 4\n"
        self.assertEqual(self.entries(text), {"a": "1", "b": "2;3 # 4"})

    def test_no_interpolation(self) -> None:
        """A percent sign is a percent sign."""
        self.assertEqual(self.entries("[net]\na = %(b)s %\n"), {"a": "%(b)s %"})

    def test_lists_over_lines(self) -> None:
        """A value goes on over indented lines, even where they look like the header of a section."""
        self.assertEqual(self.entries("[net]\na = 1,\n  [::1]:2,\n  3\n"), {"a": "1,\n[::1]:2,\n3"})

    def test_empty_line_ends_value(self) -> None:
        """An empty line ends a value: what is indented behind it is a new key."""
        self.assertEqual(self.entries("[net]\na = 1\n\n  b = 2\n"), {"a": "1", "b": "2"})

    def test_line_ends(self) -> None:
        """Files from other systems are read alike."""
        self.assertEqual(self.entries("[net]\r\na = 1\r\nb = 2\r"), {"a": "1", "b": "2"})

    def test_indented_header(self) -> None:
        """The header of a section may be indented."""
        self.assertEqual(self.entries("  [ net ]\n  a = 1\n"), {"a": "1"})

    def test_lines_are_counted(self) -> None:
        """Sections and keys know on which line they stand."""
        (first, second), _ = parse("\n[a]\nx = 1\n\n[b  c]\n; z\ny = 2\n")
        self.assertEqual((first.kind, first.name, first.line), ("a", None, 2))
        self.assertEqual(first.entries["x"].line, 3)
        self.assertEqual((second.kind, second.name, second.line), ("b", "c", 5))
        self.assertEqual(second.entries["y"].line, 7)

    def test_broken_lines_leave_the_rest(self) -> None:
        """One broken line does not hide what is behind it."""
        sections, complaints = parse("[a]\nbroken\nx = 1\n[b]\n")
        self.assertEqual([found.kind for found in sections], ["a", "b"])
        self.assertEqual(sections[0].entries["x"].text, "1")
        self.assertEqual([complaint.line for complaint in complaints], [2])


class DefaultTests(ConfigurationTestCase):
    def test_built_in(self) -> None:
        """Without any file there is the welcome page, for this host only, over HTTP/1.1 and HTTP/2."""
        built_in = default_configuration()
        (listen,) = built_in.listens
        self.assertEqual((listen.name, listen.interface, listen.port), ("https", "127.0.0.1", 8443))
        self.assertEqual(listen.route, Route.welcome())
        self.assertEqual(listen.alpn, (b"h2", b"http/1.1"))
        self.assertEqual((built_in.certificates, built_in.snis, built_in.path), ((), (), None))

    def test_empty_file(self) -> None:
        """An empty file is as good as none; and what I say of other things does not take the listener away."""
        self.assertEqual(self.load(""), attrs.evolve(default_configuration(), path=self.file))
        self.assertEqual(self.load("[edge]\ndrain_timeout = 1\n").listens, default_configuration().listens)

    def test_byte_order_mark(self) -> None:
        """A file from an editor that writes a byte order mark is read."""
        self.assertEqual(self.load("\ufeff[edge]\ndrain_timeout = 1\n").edge, EdgeConfig(drain_timeout=1))

    def test_sample(self) -> None:
        """The sample that comes with the program says what is the default anyway."""
        sample = Path(__file__).parent.parent / "tap.cfg"
        if not sample.exists():
            self.skipTest("the sample is not installed")
        self.assertEqual(load(sample), attrs.evolve(default_configuration(), path=sample))

    def test_every_default_written_out(self) -> None:
        """To write down the defaults changes nothing."""
        text = ""
        for settings, name in (EdgeConfig, ""), (NetConfig, ""), (SSLConfig, ""), (ListenConfig, " https"):
            text += f"[{settings.section}{name}]\n"
            for key, attribute in keys_of(settings):
                if attribute.default is not None or settings is SSLConfig:
                    text += f"{key.name} = {key.written(attribute.default)}\n"
        self.assertEqual(self.load(text + "port = 8443\n"), attrs.evolve(default_configuration(), path=self.file))

    def test_specified(self) -> None:
        """The defaults are those that the documentation promises."""
        self.assertEqual(attrs.astuple(EdgeConfig()), (30, 300))
        self.assertEqual(
            attrs.astuple(NetConfig()),
            (30000, 86400, 1, 30, ((443, 443),), b"", 30000, 0, 0, None, 60, -1, 1, 1, *[0] * 9),
        )
        self.assertEqual(
            attrs.asdict(SSLConfig()),
            {
                "handshake_timeout_in": 30,
                "max_record_size": 0,
                "server_version_min": "TLSv1.2",
                "server_version_max": "TLSv1.3",
                "server_cipher_suite": "",
                "server_tls13_cipher_suites": "",
                "server_honor_cipher_order": True,
                "server_prioritize_chacha": False,
                "server_groups_list": None,
                "server_session_ticket_enable": True,
                "server_session_ticket_key_lifetime": 86400,
                "session_cache": 2,
                "session_cache_auto_clear": True,
                "session_cache_timeout": 0,
                "allow_client_renegotiation": False,
                "server_strict_sni": False,
                "keylog_file": None,
                "wire_trace_enabled": False,
                "wire_trace_percentage": 0,
                "wire_trace_addr": None,
                "wire_trace_server_name": None,
                "client_certification_level": 0,
                "ca_cert_filename": None,
                "server_cert_path": None,
                "server_private_key_path": None,
                "multicert_exit_on_load_fail": True,
                "client_version_min": "TLSv1.2",
                "client_version_max": "TLSv1.3",
                "client_cipher_suite": "",
                "client_tls13_cipher_suites": "",
                "client_ca_cert_path": None,
                "client_verify_server_policy": VerifyPolicy.ENFORCED,
                "client_verify_server_properties": VerifyProperties.ALL,
                "client_ca_cert_filename": None,
                "client_cert_filename": None,
                "client_private_key_filename": None,
                "origin_session_cache_enabled": True,
                "origin_session_cache_size": 10240,
                "origin_session_cache_timeout": 7200,
                "client_alpn_protocols": (),
                **{f"hook_{point.value}": () for point in HookPoint},
            },
        )


class ValueTests(ConfigurationTestCase):
    def setUp(self) -> None:
        super().setUp()
        # The section, a key, what is written, and what comes of it.
        here = self.here
        network = ipaddress.ip_network
        self.values: list[tuple[Any, str, str, object]] = [
            (EdgeConfig, "drain_timeout", "0", 0.0),
            (EdgeConfig, "half_close_timeout", "2.5", 2.5),
            (NetConfig, "connections_throttle", "-1", -1),
            (NetConfig, "default_inactivity_timeout", "0.25", 0.25),
            (NetConfig, "inactivity_check_frequency", "0.001", 0.001),
            (NetConfig, "connect_timeout", "5", 5.0),
            (NetConfig, "throttle_message", r"HTTP/1.1 503 a\r\n\r\n\tü\\n", "HTTP/1.1 503 a\r\n\r\n\tü\\n".encode()),
            (NetConfig, "throttle_message", "", b""),
            (NetConfig, "connect_ports", "443, 8000-8999", ((443, 443), (8000, 8999))),
            (NetConfig, "max_connections_in", "0", 0),
            (NetConfig, "max_requests_in", "5", 5),
            (NetConfig, "per_client.max_connections_in", "9", 9),
            (NetConfig, "per_client.connection.exempt_list", "::1, ::2", (network("::1"), network("::2"))),
            (NetConfig, "per_client.connection.alert_delay", "0.5", 0.5),
            (NetConfig, "additional_accepts", "4", 4),
            (NetConfig, "defer_accept", "45", 45),
            (NetConfig, "sock_packet_mark_in", "1", 1),
            (NetConfig, "sock_packet_mark_out", "2", 2),
            (NetConfig, "sock_packet_tos_in", "40", 40),
            (NetConfig, "sock_packet_tos_out", "255", 255),
            (NetConfig, "sock_option_flag_in", "7", 7),
            (NetConfig, "sock_option_flag_out", "0", 0),
            (NetConfig, "sock_recv_buffer_size_in", "65536", 65536),
            (NetConfig, "sock_send_buffer_size_in", "65536", 65536),
            (NetConfig, "sock_recv_buffer_size_out", "65536", 65536),
            (NetConfig, "sock_send_buffer_size_out", "65536", 65536),
            (SSLConfig, "handshake_timeout_in", "0", 0.0),
            (SSLConfig, "max_record_size", "-1", -1),
            (SSLConfig, "server.version.min", "TLSv1.3", "TLSv1.3"),
            (SSLConfig, "server.version.max", "TLSv1.2", "TLSv1.2"),
            (SSLConfig, "server.cipher_suite", "ECDHE+AESGCM", "ECDHE+AESGCM"),
            (SSLConfig, "server.TLSv1_3.cipher_suites", "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
            (SSLConfig, "server.honor_cipher_order", "0", False),
            (SSLConfig, "server.prioritize_chacha", "1", True),
            (SSLConfig, "server.groups_list", "P-256", "P-256"),
            (SSLConfig, "server.session_ticket.enable", "0", False),
            (SSLConfig, "server.session_ticket.key_lifetime", "0", 0.0),
            (SSLConfig, "session_cache", "0", 0),
            (SSLConfig, "session_cache.auto_clear", "0", False),
            (SSLConfig, "session_cache.timeout", "60", 60),
            (SSLConfig, "allow_client_renegotiation", "1", True),
            (SSLConfig, "server.strict_sni", "1", True),
            (SSLConfig, "keylog_file", "new", here / "new"),
            (SSLConfig, "wire_trace_enabled", "1", True),
            (SSLConfig, "wire_trace_percentage", "100", 100),
            (SSLConfig, "wire_trace_addr", "2001:DB8::1", ipaddress.ip_address("2001:db8::1")),
            (SSLConfig, "wire_trace_server_name", "Bob.Example.", "bob.example"),
            (SSLConfig, "client.certification_level", "0", 0),
            (SSLConfig, "CA.cert.filename", "a.pem", here / "a.pem"),
            (SSLConfig, "server.cert.path", "site", here / "site"),
            (SSLConfig, "server.private_key.path", "site", here / "site"),
            (SSLConfig, "server.multicert.exit_on_load_fail", "0", False),
            (SSLConfig, "client.version.min", "TLSv1", "TLSv1"),
            (SSLConfig, "client.version.max", "TLSv1.2", "TLSv1.2"),
            (SSLConfig, "client.verify.server.policy", "DISABLED", VerifyPolicy.DISABLED),
            (SSLConfig, "client.verify.server.properties", "NAME", VerifyProperties.NAME),
            (SSLConfig, "client.CA.cert.filename", "a.pem", here / "a.pem"),
            (SSLConfig, "client.cipher_suite", "ECDHE+AESGCM", "ECDHE+AESGCM"),
            (SSLConfig, "client.TLSv1_3.cipher_suites", "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
            (SSLConfig, "client.CA.cert.path", "site", here / "site"),
            (SSLConfig, "client.cert.filename", "both.pem", here / "both.pem"),
            (SSLConfig, "client.private_key.filename", "", None),
            (SSLConfig, "origin_session_cache.enabled", "0", False),
            (SSLConfig, "origin_session_cache.size", "1", 1),
            (SSLConfig, "origin_session_cache.timeout", "0.5", 0.5),
            (SSLConfig, "client.alpn_protocols", "http/1.1, \n h2", (b"http/1.1", b"h2")),
            (ListenConfig, "interface", "0:0::1", "::1"),
            (ListenConfig, "port", "0", 0),
            (ListenConfig, "unix", "s", here / "s"),
            (ListenConfig, "fd", "3", 3),
            (ListenConfig, "systemd", "web", "web"),
            (ListenConfig, "backlog", "1", 1),
            (ListenConfig, "flags", "plain", frozenset({"plain"})),
            (ListenConfig, "flags", "allow-plain, ssl", frozenset({"ssl", "allow-plain"})),
            (ListenConfig, "flags", "pp, plain, pp-clnt", frozenset({"plain", "pp", "pp-clnt"})),
            (ListenConfig, "proxy_protocol_allowlist", "::1\nflags = ssl, pp", (network("::1"),)),
            (ListenConfig, "proxy_protocol_out", "0", 0),
            (ListenConfig, "alpn", "", ()),
            (ListenConfig, "site", "site", Route(RouteKind.SITE, path=here / "site")),
            (ListenConfig, "forward_route", "A.example:80", Route(RouteKind.FORWARD, target=("a.example", 80))),
            (ListenConfig, "forward_route", "unix:s", Route(RouteKind.FORWARD, path=here / "s")),
            (ListenConfig, "partial_blind_route", "[::1]:80", Route(RouteKind.PARTIAL_BLIND, target=("::1", 80))),
            (ListenConfig, "tunnel_route", "192.0.2.1:80", Route(RouteKind.TUNNEL, target=("192.0.2.1", 80))),
            (ListenConfig, "tunnel_route", "{original_destination}\nflags = ssl, tr-in", ORIGINAL),
            (ListenConfig, "tunnel_route", "A:{inbound_local_port}", VARIABLE),
            (ListenConfig, "tunnel_route", "[::1]:{proxy_protocol_port}", VARIABLE6),
            (ListenConfig, "factory", "os:_exit", Route(RouteKind.FACTORY, factory="os:_exit")),
            (CertificateConfig, "ssl_cert_name", "both.pem, rsa.pem", (here / "both.pem", here / "rsa.pem")),
            (CertificateConfig, "ssl_key_name", "", ()),
            (CertificateConfig, "action", "", None),
            (CertificateConfig, "ssl_ca_name", "a.pem", (here / "a.pem",)),
            (CertificateConfig, "ssl_key_dialog", "exec:/bin/echo x", "exec:/bin/echo x"),
            (CertificateConfig, "dest_ip", "*", "*"),
            (CertificateConfig, "dest_ip", "192.0.2.1", "192.0.2.1"),
            (CertificateConfig, "dest_ip", "192.0.2.1:443", "192.0.2.1:443"),
            (CertificateConfig, "dest_ip", "2001:DB8::1", "2001:db8::1"),
            (CertificateConfig, "dest_ip", "[2001:DB8::1]", "2001:db8::1"),
            (CertificateConfig, "dest_ip", "[2001:DB8::1]:443", "[2001:db8::1]:443"),
            (CertificateConfig, "ssl_ticket_enabled", "0", False),
            (SNIConfig, "valid_tls_version_min_in", "TLSv1.3", "TLSv1.3"),
            (SNIConfig, "valid_tls_version_max_in", "TLSv1.2", "TLSv1.2"),
            (SNIConfig, "http2", "off", False),
            (SNIConfig, "http2", "on", True),
            (SNIConfig, "verify_server_policy", "PERMISSIVE", VerifyPolicy.PERMISSIVE),
            (SNIConfig, "verify_server_properties", "ALL", VerifyProperties.ALL),
            (SNIConfig, "ip_allow", "192.0.2.1, 2001:db8::/32", (network("192.0.2.1"), network("2001:db8::/32"))),
            (SNIConfig, "verify_client", "NONE", ClientVerification.NONE),
            (SNIConfig, "server_cipher_suite", "", ""),
            (SNIConfig, "ssl_ticket_enabled", "1", True),
            (SNIConfig, "client_cert", "both.pem", here / "both.pem"),
            (SNIConfig, "proxy_protocol_out", "2", 2),
            (SNIConfig, "inbound_port_ranges", "443, 8000-8999", ((443, 443), (8000, 8999))),
        ]
        for point in HookPoint:
            for settings in SSLConfig, ListenConfig:
                self.values.append((settings, f"hook.{point.value}", "os:getpid, os.path:join", HOOKS))

    def loaded(self, settings: Any, text: str) -> Any:
        """The one object that comes of a section with C{text} in it, and with what must be in it too."""
        if settings is ListenConfig and not any(f"{place} =" in text for place in ("port", "unix", "fd", "systemd")):
            text += "port = 1\n"
        if settings is CertificateConfig and "ssl_cert_name" not in text:
            text += "ssl_cert_name = both.pem\n"
        name = " a" if settings in (ListenConfig, CertificateConfig, SNIConfig) else ""
        configuration = self.load(f"[{settings.section}{name}]\n{text}")
        parts = (configuration.edge, configuration.net, configuration.ssl)
        rules = (*configuration.listens, *configuration.certificates, *configuration.snis)
        (found,) = [part for part in (*parts, *rules) if type(part) is settings]
        return found

    def test_each(self) -> None:
        """Each key does what it says."""
        for settings, name, text, value in self.values:
            (attribute,) = [attribute.name for key, attribute in keys_of(settings) if key.name == name]
            found = self.loaded(settings, f"{name} = {text}\n")
            self.assertEqual(getattr(found, attribute), value, name)

    def test_every_key_is_tried(self) -> None:
        """No key is missing in the table of this test, but those that need another beside them."""
        tried = {(settings, name) for settings, name, _, _ in self.values}
        every = {(settings, key.name) for settings in SETTINGS for key, _ in keys_of(settings)}
        routes = {(SNIConfig, route.value) for route in RouteKind}
        self.assertEqual(every - tried - routes, {(SNIConfig, "client_key"), (SNIConfig, "verify_client_ca_certs")})

    def test_written_again(self) -> None:
        """What was read can be written, and is then read as the same."""
        for settings, name, _, value in self.values:
            (kind,) = [key.kind for key, _ in keys_of(settings) if key.name == name]
            self.assertEqual(kind.locate(kind.convert(kind.write(value)), self.here), value, name)

    def test_route_chosen(self) -> None:
        """The route of a listener is the one that was written, or the welcome page."""
        self.assertEqual(self.loaded(ListenConfig, "").route, Route.welcome())
        self.assertEqual(self.loaded(ListenConfig, "site = site\n").route.kind, RouteKind.SITE)

    def test_route_of_a_name(self) -> None:
        """The route of a rule is the one that was written, or whatever the listener does."""
        self.assertIsNone(self.loaded(SNIConfig, "").route)
        self.assertEqual(self.loaded(SNIConfig, "tunnel_route = a:1\n").route, Route(RouteKind.TUNNEL, ("a", 1)))

    def test_patterns(self) -> None:
        """Rules are for a name in any spelling, for a wildcard, or for no name."""
        rules = self.load("[sni BOB.example.]\n[sni *.Example]\n[sni bücher.example]\n[sni]\n").snis
        self.assertEqual([rule.pattern for rule in rules], ["bob.example", "*.example", "xn--bcher-kva.example", ""])

    def test_labels(self) -> None:
        """The place for a label may be anywhere in a host, in any spelling of the rest."""
        for text, host in (
            ("$1.Internal:1", "$1.internal"),
            ("A-$1-b.$1.c:1", "a-$1-b.$1.c"),
            ("$1.bücher.example:1", "$1.xn--bcher-kva.example"),
            ("$1:1", "$1"),
        ):
            (rule,) = self.load(f"[sni *.a]\ntunnel_route = {text}\n").snis
            self.assertEqual(Route(RouteKind.TUNNEL, (host, 1)), rule.route)
        for text in ("$1..b:1", "$11 b:1", "x-the-label-x.$1:1", "$1/a:1"):
            self.assertEqual(1, len(self.complaints(f"[sni *.a]\ntunnel_route = {text}\n")), text)

    def test_keys_of_certificates(self) -> None:
        """Each certificate goes with its key, from a file of its own or from the same one."""
        certificate = self.loaded(CertificateConfig, "ssl_cert_name = a.pem, rsa.pem\nssl_key_name = a.key, rsa.pem\n")
        here = self.here
        self.assertEqual(certificate.files, ((here / "a.pem", here / "a.key"), (here / "rsa.pem", here / "rsa.pem")))
        self.assertEqual(self.loaded(CertificateConfig, "").files, ((here / "both.pem", None),))

    def test_directories_of_certificates(self) -> None:
        """Certificates and keys may stand in directories of their own, wherever [ssl] stands; absolute paths are."""
        for name, stem in (("certs", "a.pem"), ("keys", "a.key")):
            (self.here / name).mkdir()
            (self.here / stem).rename(self.here / name / stem)
        text = (
            "[certificate a]\nssl_cert_name = a.pem\nssl_key_name = a.key\n"
            f"[certificate b]\nssl_cert_name = {self.here}/b.pem\nssl_key_name = {self.here}/b.key\n"
            "[ssl]\nserver.cert.path = certs\nserver.private_key.path = keys\n"
        )
        a, b = self.load(text).certificates
        self.assertEqual(a.files, ((self.here / "certs" / "a.pem", self.here / "keys" / "a.key"),))
        self.assertEqual(b.files, ((self.here / "b.pem", self.here / "b.key"),))

    def test_chains(self) -> None:
        """More of a chain stands in a file for all certificates, or in one for each."""
        text = "[certificate a]\nssl_cert_name = both.pem, rsa.pem\nssl_ca_name = "
        for files, count in (("a.pem", (1, 1)), ("a.pem, b.pem", (1, 1))):
            (certificate,) = self.load(text + files + "\n").certificates
            loaded = certificate.sources.load()
            self.assertEqual(count, tuple(len(each.chain) for each in loaded))
        self.assertNotEqual(loaded[0].chain, loaded[1].chain)
        self.assertIn("3 for 2 in ssl_cert_name, allowed: as many", self.complaints(text + "a.pem, b.pem, a.pem\n")[0])
        self.assertIn("HERE/text: it is not PEM", self.complaints(text + "text\n")[0])
        self.assertEqual(1, len(self.complaints(text + "missing.pem\n")))

    def test_pass_phrases(self) -> None:
        """A program says the pass phrase of a key; what goes wrong with it is told, and never what it has said."""
        made = self_signed(["a.example"])
        locked = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
        (self.here / "locked.key").write_bytes(locked)
        (self.here / "locked.pem").write_bytes(made.leaf.public_bytes(Encoding.PEM))
        text = "[certificate a]\nssl_cert_name = locked.pem\nssl_key_name = locked.key\n"
        self.assertIn("encrypted and there is no pass phrase", self.complaints(text)[0])
        (certificate,) = self.load(text + "ssl_key_dialog = exec:/bin/echo 'open sesame'\n").certificates
        (loaded,) = certificate.sources.load()
        self.assertEqual(made.leaf, loaded.leaf)
        for command, words in (
            ("exec:/bin/echo secret", "the pass phrase is wrong"),
            ("exec:/bin/sh -c 'echo secret; exit 3'", "ssl_key_dialog: /bin/sh has failed, with status 3"),
            ("exec:/bin/true", "ssl_key_dialog: /bin/true has said nothing"),
            ("exec:/nowhere/x", "ssl_key_dialog: /nowhere/x cannot be run: No such file"),
            ("builtin", "builtin would ask at a terminal"),
            ("exec:", "'exec:' is no command"),
            ("exec:'", "is no command"),
            ("/bin/echo", "is no command"),
        ):
            (line,) = self.complaints(text + f"ssl_key_dialog = {command}\n")
            self.assertIn(words, line)
            if "said" not in words and "no command" not in words:
                self.assertNotIn("secret", line)

    def test_slow_pass_phrase(self) -> None:
        """A program that does not answer is not waited for without end."""
        self.patch(tlsfiles, "DIALOG_SECONDS", 0.05)
        error = self.assertRaises(ConfigurationError, tlsfiles.pass_phrase, "exec:/bin/sleep 60")
        self.assertIn("/bin/sleep has not answered in 0.05 s", str(error))

    def test_client_certificate(self) -> None:
        """What we show to the next host may have its key beside it, for all names or for one."""
        found = self.loaded(SSLConfig, "client.cert.filename = a.pem\nclient.private_key.filename = a.key\n")
        self.assertEqual(found.client_private_key_filename, self.here / "a.key")
        found = self.loaded(SNIConfig, "client_cert = a.pem\nclient_key = a.key\n")
        self.assertEqual(found.client_key, self.here / "a.key")

    def test_certificates_of_clients(self) -> None:
        """A rule asks for certificates of its own authorities, or of those of all."""
        found = self.loaded(SNIConfig, "verify_client = STRICT\nverify_client_ca_certs = a.pem\n")
        self.assertEqual(
            (found.verify_client, found.verify_client_ca_certs), (ClientVerification.REQUIRED, self.here / "a.pem")
        )
        every = "[ssl]\nclient.certification_level = 2\nCA.cert.filename = a.pem\n"
        for rule in ("verify_client = MODERATE\n", "verify_client_ca_certs = b.pem\n", "verify_client = NONE\n"):
            self.assertEqual(self.load(f"{every}[sni a]\n{rule}").ssl.client_certification_level, 2)

    def test_ports_of_rules(self) -> None:
        """There may be several rules for a name, each for other ports, and one for all the other ports."""
        rules = self.load("[sni a]\n[sni a]\ninbound_port_ranges = 443\n[sni a]\ninbound_port_ranges = 444-500\n").snis
        self.assertEqual([None, ((443, 443),), ((444, 500),)], [rule.inbound_port_ranges for rule in rules])
        listen = ListenConfig(name="x", port=450)
        self.assertEqual([True, False, True], [rule.holds_at(listen) for rule in rules])
        for port in (0, None):
            self.assertTrue(all(rule.holds_at(ListenConfig(name="x", port=port)) for rule in rules))

    def test_mistakes_in_rules(self) -> None:
        """Of a key beside another, and of ports."""
        for text, line in [
            ("client_key = a.key\n", "client_key: is the key of no certificate, allowed: with client_cert"),
            ("inbound_port_ranges = 9-8\n", "inbound_port_ranges: 9-8 ends before it starts"),
            ("inbound_port_ranges =\n", "inbound_port_ranges: there is no port"),
            ("inbound_port_ranges = 0-8\n", "inbound_port_ranges: '0' is not a port"),
            ("inbound_port_ranges = 8-\n", "inbound_port_ranges: '' is not a port"),
        ]:
            self.assertIn(f"[sni a] {line}", self.complaints(f"[sni a]\n{text}")[0])

    def test_free_ports(self) -> None:
        """Two listeners may both ask for any free port, and for one port of two addresses."""
        text = (
            "[listen a]\nport = 0\n[listen b]\nport = 0\n[listen c]\nport = 1\n[listen d]\nport = 1\ninterface = ::1\n"
        )
        self.assertEqual(len(self.load(text).listens), 4)

    def test_path(self) -> None:
        """The configuration knows its file by a path that is still right when the program has moved."""
        self.load("")
        self.assertEqual(load(os.path.relpath(self.file)).path, self.file.resolve())

    def test_absolute_paths(self) -> None:
        """An absolute path is taken as it is."""
        found = self.loaded(SSLConfig, f"client.CA.cert.filename = {self.here}/a.pem\n")
        self.assertEqual(found.client_ca_cert_filename, self.here / "a.pem")


class LoadFailureTests(ConfigurationTestCase):
    """C{server.multicert.exit_on_load_fail = 0}"""

    def test_left_out(self) -> None:
        """A certificate that cannot be loaded is left out with a warning, and the others serve."""
        configuration = self.load(
            "[certificate a]\nssl_cert_name = a.pem\nssl_key_name = b.key\n"
            "[certificate b]\nssl_cert_name = no.pem\n"
            "[certificate c]\nssl_cert_name = both.pem\n"
            "[ssl]\nserver.multicert.exit_on_load_fail = 0\n"
        )
        self.assertEqual([certificate.name for certificate in configuration.certificates], ["c"])
        first, second = self.shortened(configuration.warnings)
        self.assertTrue(first.startswith("[certificate a] ssl_cert_name: HERE/b.key: the key does not fit"), first)
        self.assertTrue(second.startswith("[certificate b] ssl_cert_name: HERE/no.pem cannot be read"), second)

    def test_mistakes_are_mistakes(self) -> None:
        """What is wrong in the file itself is not forgiven, nor are files of other sections."""
        lines = self.complaints(
            "[certificate a]\nssl_cert_name = both.pem\ndest_ip = x\n"
            "[ssl]\nserver.multicert.exit_on_load_fail = 0\nclient.CA.cert.filename = no.pem\n"
        )
        self.assertEqual(len(lines), 2)


class FactoryTests(ConfigurationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(sys, "path", [str(self.here), *sys.path])
        before = set(sys.modules)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in set(sys.modules) - before])

    def reason(self, name: str) -> str:
        return str(self.assertRaises(ValueError, load_factory, name))

    def test_found(self) -> None:
        """A factory, a class that makes one, and what stands inside something else can be named."""
        self.assertIs(load_factory(f"{__name__}:a_factory"), a_factory)
        self.assertIs(load_factory("twisted.internet.protocol:Factory"), Factory)
        self.assertIs(load_factory(f"{__name__}:Several.make"), Factory)

    def test_missing(self) -> None:
        """Of a missing package I am told which part is missing."""
        self.assertEqual(self.reason("no_such_package.module:x"), "there is no module no_such_package")
        self.assertEqual(self.reason(f"{__name__}:Several.x"), f"module {__name__} has no Several.x")

    def test_broken(self) -> None:
        """A module that is there and cannot be imported is not called missing."""
        (self.here / "atstls_broken_1.py").write_text("import no_such_module\n")
        (self.here / "atstls_broken_2.py").write_text("1 / 0\n")
        (self.here / "atstls_broken_3.py").write_text("raise SystemExit(3)\n")
        (self.here / "atstls_broken_4.py").write_text("raise ModuleNotFoundError('x')\n")
        why = [self.reason(f"atstls_broken_{number}:x").removeprefix("module atstls_broken_") for number in range(1, 5)]
        self.assertEqual(
            why,
            [
                "1 cannot be imported: No module named 'no_such_module'",
                "2 cannot be imported: ZeroDivisionError: division by zero",
                "3 cannot be imported: SystemExit: 3",
                "4 cannot be imported: x",
            ],
        )


class MadeInPythonTests(SynchronousTestCase):
    def test_checked(self) -> None:
        """Settings made in Python are checked like those of a file."""
        self.assertRaises(ValueError, NetConfig, additional_accepts=-2)
        self.assertRaises(ValueError, NetConfig, additional_accepts="many")
        self.assertRaises(ValueError, EdgeConfig, drain_timeout=float("nan"))
        self.assertEqual(NetConfig(additional_accepts="4").additional_accepts, 4)
        self.assertIsNone(SNIConfig(pattern="", http2=None).http2)

    def test_frozen(self) -> None:
        """Settings do not change."""
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            NetConfig().additional_accepts = 4  # type: ignore[misc]

    def test_checked_after_a_load(self) -> None:
        """To load a file does not leave the checks off."""
        self.assertRaises(ConfigurationErrors, load, self.mktemp())
        self.assertRaises(ValueError, NetConfig, additional_accepts=-2)


class ReferenceTests(SynchronousTestCase):
    def test_every_key(self) -> None:
        """The reference has a section for each of the file's, and in its table a row for each key."""
        tree = publish_doctree(reference_rst(), settings_overrides={"halt_level": 2, "report_level": 2})
        found = {}
        for part in tree.findall(section):
            if part[0].astext() not in config.HEADERS.values():
                continue
            (rows,) = [list(each.findall(row)) for each in part.findall(table)]
            found[part[0].astext()] = [next(each.findall(literal)).astext() for each in rows[1:]]
        self.assertEqual(
            found,
            {config.HEADERS[settings.section]: [key.name for key, _ in keys_of(settings)] for settings in SETTINGS},
        )

    def test_row(self) -> None:
        """A row has name, type, range, default and meaning."""
        self.assertIn(
            """\
   * - ``connect_timeout``
     - seconds, fractions too
     - more than 0
     - ``30``
     - How long a connection to the next host may take to be made. Ours, after http.connect\\_attempts\\_timeout.
""",
            reference_rst(),
        )

    def test_not_available(self) -> None:
        """What Traffic Server has and this version has not is not among the keys, and stands in the reference."""
        text = reference_rst()
        for settings in SETTINGS:
            refused = LATER.get(settings.section, {})  # type: ignore[attr-defined]
            self.assertEqual(set(), {key.name for key, _ in keys_of(settings)}.intersection(refused))
        for keys in LATER.values():
            for name in keys:
                self.assertIn(f"``{name}``", text)

    def test_all_keys_have_words(self) -> None:
        """No key is without an explanation, and no kind of value without a name."""
        for settings in SETTINGS:
            for key, _ in keys_of(settings):
                self.assertTrue(key.meaning.endswith("."), key.name)
                self.assertTrue(key.kind.noun, key.name)
