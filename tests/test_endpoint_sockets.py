# -*- test-case-name: tests.test_endpoint_sockets -*-
"""
Endpoints over other sockets than those with a port: L{atstls.endpoints.sockets}, and the strings for them.
"""

import inspect
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import endpoints, error
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.systemd import ListenFDs
from zope.interface.verify import verifyObject

from atstls.endpoints import (
    ServerTLS,
    SSLAdoptedServerEndpoint,
    SSLUNIXClientEndpoint,
    SSLUNIXServerEndpoint,
    strings,
)
from atstls.errors import ConfigurationError, VerifyFailed
from atstls.net import inherited
from tests.test_endpoints import (
    LOCAL,
    EndpointTestCase,
    TalkerFactory,
    local,
    options,
    pem_of,
    roots,
    trusting,
)
from tests.tlssupport import CA, issue


class SocketTestCase(EndpointTestCase):
    """Tests with a directory whose path is short enough for a UNIX socket."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = str(self.directory / "tls.sock")
        self.echo = TalkerFactory(echoes=True)

    @inlineCallbacks
    def listen(self, endpoint: Any) -> Any:
        """A port that echoes, until the end of the test."""
        self.factories.append(self.echo)
        port = yield endpoint.listen(self.echo)
        self.addCleanup(port.stopListening)
        return port

    def listening_socket(self, *address: Any, family: int = socket.AF_INET) -> socket.socket:
        """One that somebody else has opened."""
        sock = socket.socket(family)
        self.addCleanup(sock.close)
        sock.bind(*address)
        sock.listen()
        return sock


class UNIXTests(SocketTestCase):
    """TLS over UNIX sockets."""

    @inlineCallbacks
    def test_both_sides(self) -> Any:
        """Bytes go there and back; each side knows where it is; the file has its rights, and is gone afterwards."""
        server = SSLUNIXServerEndpoint(self.reactor, self.path, ServerTLS([local()]), mode=0o600)
        self.assertTrue(verifyObject(IStreamServerEndpoint, server))
        port = yield self.listen(server)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))
        client = SSLUNIXClientEndpoint(self.reactor, self.path, trusting(), checkPID=True)
        self.assertTrue(verifyObject(IStreamClientEndpoint, client))
        protocol = yield self.talk(client)
        self.assertEqual(UNIXAddress(self.path.encode()), protocol.transport.getPeer())
        self.assertEqual(UNIXAddress(self.path.encode()), port.getHost())
        self.assertEqual("localhost", protocol.transport.vc.server_name)
        yield port.stopListening()
        self.assertEqual([], os.listdir(self.directory))

    @inlineCallbacks
    def test_contexts_of_twisted(self) -> Any:
        """What people have now does here too."""
        yield self.listen(SSLUNIXServerEndpoint(self.reactor, self.path, options()))
        yield self.talk(
            SSLUNIXClientEndpoint(self.reactor, self.path, optionsForClientTLS("localhost", trustRoot=roots()))
        )

    @inlineCallbacks
    def test_who_is_it(self) -> Any:
        """A path is no name: without one there is no connection, unless none is looked for."""
        yield self.listen(SSLUNIXServerEndpoint(self.reactor, self.path, ServerTLS([local()])))
        factory = TalkerFactory()
        nameless = SSLUNIXClientEndpoint(self.reactor, self.path, trusting(None))
        exc = yield self.assertFailure(nameless.connect(factory), VerifyFailed)
        self.assertIn("no name to look for", str(exc))
        wrong = SSLUNIXClientEndpoint(self.reactor, self.path, trusting("www.example.com"))
        yield self.assertFailure(wrong.connect(factory), VerifyFailed)
        self.assertEqual([], factory.built)

    @inlineCallbacks
    def test_nobody_there(self) -> Any:
        """Each reason is one of Twisted's errors."""
        endpoint = SSLUNIXClientEndpoint(self.reactor, self.path, trusting())
        exc = yield self.assertFailure(endpoint.connect(TalkerFactory()), error.ConnectError)
        self.assertIn("No such file", str(exc))
        locked = SSLUNIXClientEndpoint(self.reactor, self.path, trusting(), checkPID=True)
        yield self.assertFailure(locked.connect(TalkerFactory()), error.BadFileError)
        with self.listening_socket(self.path, family=socket.AF_UNIX):
            pass
        yield self.assertFailure(endpoint.connect(TalkerFactory()), error.ConnectionRefusedError)

    @inlineCallbacks
    def test_cancelled(self) -> Any:
        """An attempt can be called off while the other side says nothing."""
        self.listening_socket(self.path, family=socket.AF_UNIX)
        attempt = SSLUNIXClientEndpoint(self.reactor, self.path, trusting()).connect(TalkerFactory())
        yield self.wait(0.01)
        attempt.cancel()
        yield self.assertFailure(attempt, error.ConnectingCancelledError)

    @inlineCallbacks
    def test_what_a_dead_process_left(self) -> Any:
        """A socket without a living owner is replaced, but for where no lock is wanted; one with an owner never."""
        self.listening_socket(self.path, family=socket.AF_UNIX).close()
        unlocked = SSLUNIXServerEndpoint(self.reactor, self.path, ServerTLS([local()]), wantPID=False)
        yield self.assertFailure(unlocked.listen(self.echo), error.CannotListenError)
        os.symlink("4194304", f"{self.path}.lock")  # Linux has no process of that number.
        endpoint = SSLUNIXServerEndpoint(self.reactor, self.path, ServerTLS([local()]))
        yield self.listen(endpoint)
        yield self.talk(SSLUNIXClientEndpoint(self.reactor, self.path, trusting()))
        yield self.assertFailure(endpoint.listen(self.echo), error.CannotListenError)


class AdoptedTests(SocketTestCase):
    """Sockets that somebody else has opened."""

    @inlineCallbacks
    def test_families(self) -> Any:
        """IPv4, IPv6 and UNIX; the descriptor stays its owner's, and can be used again."""
        for sock in (
            self.listening_socket(("127.0.0.1", 0)),
            self.listening_socket(("::1", 0), family=socket.AF_INET6),
            self.listening_socket(self.path, family=socket.AF_UNIX),
        ):
            endpoint = SSLAdoptedServerEndpoint(self.reactor, sock.fileno(), ServerTLS([local()]))
            for _ in range(2):
                port = yield self.listen(endpoint)
                if sock.family == socket.AF_UNIX:
                    client: Any = SSLUNIXClientEndpoint(self.reactor, self.path, trusting())
                else:
                    client = self.client(port, trusting(), sock.getsockname()[0])
                    self.assertEqual(sock.getsockname()[:2], (port.getHost().host, port.getHost().port))
                yield self.talk(client)
                yield port.stopListening()
        self.assertTrue(os.path.exists(self.path))

    @inlineCallbacks
    def test_what_is_no_listening_socket(self) -> Any:
        """It is said in words, when the port is to be opened."""
        with socket.socket() as sock:
            endpoint = SSLAdoptedServerEndpoint(self.reactor, sock.fileno(), ServerTLS([local()]))
            exc = yield self.assertFailure(endpoint.listen(self.echo), ConfigurationError)
        self.assertIn("is not a listening socket", str(exc))

    @inlineCallbacks
    def test_systemd(self) -> Any:
        """By the name of its unit, or by its number."""
        sock = self.listening_socket(("127.0.0.1", 0))
        self.patch(inherited, "passed_sockets", lambda: ListenFDs([sock.fileno()], ["web"]))
        for name in ("web", 0):
            endpoint = SSLAdoptedServerEndpoint.from_systemd(self.reactor, name, ServerTLS([local()]))
            port = yield self.listen(endpoint)
            yield self.talk(self.client(port, trusting()))
            yield port.stopListening()
        exc = self.assertRaises(
            ConfigurationError, SSLAdoptedServerEndpoint.from_systemd, self.reactor, "api", ServerTLS([local()])
        )
        self.assertEqual("there is no socket 'api', allowed: web", str(exc))


class SocketStringTests(SocketTestCase):
    """The same by strings."""

    def setUp(self) -> None:
        super().setUp()
        (self.directory / "pems").mkdir()
        self.pem = self.directory / "pems" / "both.pem"
        self.pem.write_bytes(pem_of(issue(*LOCAL)))
        self.ca = self.directory / "ca.crt"
        self.ca.write_bytes(CA.cert_pem.bytes())

    def server(self, arguments: str) -> Any:
        return serverFromString(self.reactor, f"atstls:{arguments}:privateKey={self.pem}")

    def by_string(self, arguments: str) -> Any:
        return clientFromString(self.reactor, f"atstls:{arguments}:trustRoots={self.ca}")

    @inlineCallbacks
    def test_unix(self) -> Any:
        """unix= on both sides, with the arguments of Twisted's own strings for them."""
        yield self.listen(self.server(f"unix={self.path}:mode=640:backlog=5"))
        self.assertEqual(0o640, stat.S_IMODE(os.stat(self.path).st_mode))
        self.assertTrue(os.path.lexists(f"{self.path}.lock"))
        yield self.talk(self.by_string(f"unix={self.path}:hostname=localhost:timeout=5:lockfile=1"))

    @inlineCallbacks
    def test_without_a_lock(self) -> Any:
        """lockfile=0 leaves it out."""
        yield self.listen(self.server(f"unix={self.path}:lockfile=0"))
        self.assertEqual(["ca.crt", "pems", "tls.sock"], sorted(os.listdir(self.directory)))

    @inlineCallbacks
    def test_inherited(self) -> Any:
        """fd= and systemd=, by name and by number."""
        sock = self.listening_socket(("127.0.0.1", 0))
        self.patch(inherited, "passed_sockets", lambda: ListenFDs([sock.fileno()], ["web"]))
        for place in (f"fd={sock.fileno()}", "systemd=web", "systemd=0"):
            port = yield self.listen(self.server(place))
            yield self.talk(self.by_string(f"127.0.0.1:{port.getHost().port}:hostname=localhost"))
            yield port.stopListening()

    @inlineCallbacks
    def test_the_way_there(self) -> None:
        """endpoint= says how to get there, and the host who is meant."""
        port = yield self.listen(self.server("0:interface=127.0.0.1"))
        number = port.getHost().port
        yield self.talk(self.by_string(rf"localhost:1:endpoint=tcp\:127.0.0.1\:{number}"))
        wrong = self.by_string(rf"www.example.com:1:endpoint=tcp\:127.0.0.1\:{number}")
        yield self.assertFailure(wrong.connect(TalkerFactory()), VerifyFailed)
        yield port.stopListening()
        yield self.listen(self.server(f"unix={self.path}"))
        yield self.talk(self.by_string(rf"localhost:1:endpoint=unix\:{self.path}"))

    @inlineCallbacks
    def test_the_order_of_tls(self) -> Any:
        """As tls: has it, the folder comes first; its port is 443 then, and its addresses are both families'."""
        folder = self.pem.parent
        for text in (f"atstls:{folder}:0", f"atstls:path={folder}:port=0", f"atstls:{folder}:0:50:\\:\\:"):
            port = yield self.listen(serverFromString(self.reactor, text))
            number = port.getHost().port
            self.assertEqual("::", port.getHost().host)
            for host in ("127.0.0.1", r"\:\:1"):
                yield self.talk(self.by_string(f"{host}:{number}:hostname=localhost"))
            yield port.stopListening()
        endpoint: Any = serverFromString(self.reactor, f"atstls:{folder}")
        self.assertEqual((443, "::"), (endpoint._options.local_port, endpoint._options.local_ip))
        port = yield self.listen(serverFromString(self.reactor, f"atstls:path={folder}:unix={self.path}"))
        yield self.talk(self.by_string(f"unix={self.path}:hostname=localhost"))

    @inlineCallbacks
    def test_the_order_of_ssl(self) -> Any:
        """As ssl: has it, key and certificate stand behind the port."""
        for text in (f"0:{self.pem}", f"0:{self.pem}:{self.pem}:TLSv1_2_METHOD:127.0.0.1:5:{self.ca}:{self.ca}"):
            port = yield self.listen(serverFromString(self.reactor, f"atstls:{text}"))
            protocol = yield self.talk(self.by_string(f"127.0.0.1:{port.getHost().port}:hostname=localhost"))
            version = "TLSv1.2" if "TLSv1_2" in text else "TLSv1.3"
            self.assertEqual(version, protocol.transport.vc.get_ssl_protocol())
            yield port.stopListening()
        for text in (f"0:{self.pem}:privateKey={self.pem}", f"0:{self.pem}" + ":x" * 7):
            self.assertRaises(TypeError, serverFromString, self.reactor, f"atstls:{text}")
        exc = self.assertRaises(ConfigurationError, serverFromString, self.reactor, "atstls:0:none.pem")
        self.assertIn("none.pem", str(exc))

    def test_methods(self) -> None:
        """Those that mean what we speak are taken, and the others refused in words."""
        for method, youngest in (
            ("SSLv23_METHOD", "TLSv1.3"),
            ("TLS_METHOD", "TLSv1.3"),
            ("TLSv1_2_METHOD", "TLSv1.2"),
        ):
            self.assertEqual(youngest, self.server(f"0:sslmethod={method}")._tls.settings.version_max)
        for method in ("SSLv3_METHOD", "TLSv1_METHOD", "TLSv1_1_METHOD", "nonsense"):
            exc = self.assertRaises(ConfigurationError, self.server, f"0:sslmethod={method}")
            self.assertIn("allowed are SSLv23_METHOD, TLS_METHOD, TLS_SERVER_METHOD, TLSv1_2_METHOD", str(exc))

    def test_every_argument_of_twisteds(self) -> None:
        """Whatever Twisted's own strings for TLS take, ours do, by the same name."""
        ours = set(inspect.signature(strings._parse_server).parameters)
        for theirs in (endpoints._parseSSL, endpoints._TLSServerEndpointParser._actualParseStreamServer):
            self.assertEqual(set(), set(inspect.signature(theirs).parameters) - ours - {"factory", "self"})
        ours = set(inspect.signature(strings._parse_client).parameters)
        self.assertEqual(set(), set(inspect.signature(endpoints._parseClientTLS).parameters) - ours - {"kwargs"})
        # That of ssl: has no signature that tells; these are in its documentation.
        told = {"host", "port", "timeout", "bindAddress", "privateKey", "certKey", "caCertsDir", "hostname"}
        self.assertEqual(set(), told - ours)
        self.assertEqual(strings._SSL_ORDER, tuple(inspect.signature(endpoints._parseSSL).parameters)[2:])

    def test_mistakes(self) -> None:
        """What cannot be is told in words."""
        for text, words in (
            ("0:fd=3", "exactly one of a port, unix, fd, systemd"),
            ("backlog=3", "exactly one of a port, unix, fd, systemd"),
            ("systemd=nobody", "there is no socket 'nobody'"),
        ):
            exc = self.assertRaises(ConfigurationError, self.server, text)
            self.assertIn(words, str(exc))
        folder = self.pem.parent
        twice = f"atstls:0:{folder}:path={folder}"
        self.assertRaises(ConfigurationError, serverFromString, self.reactor, twice)
        for text, words in (
            (f"localhost:1:unix={self.path}", "exactly one of a host with its port, unix"),
            ("timeout=3", "exactly one of a host with its port, unix"),
            (r"localhost:1:endpoint=ssl\:localhost\:2", "allowed are tcp:HOST:PORT and unix:PATH"),
            (r"localhost:1:endpoint=tcp\:localhost", "allowed are tcp:HOST:PORT and unix:PATH"),
            ("localhost:1:endpoint=unix", "allowed are tcp:HOST:PORT and unix:PATH"),
        ):
            exc = self.assertRaises(ConfigurationError, self.by_string, text)
            self.assertIn(words, str(exc))
