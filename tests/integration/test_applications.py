"""
Applications that know nothing of us, over our endpoints: the web and its clients, mail, AMP and Perspective Broker.

Servers and clients of Twisted's run in this process, over the loopback; clients of other people's are programs or
threads of their own.
"""

import shutil
import smtplib
import socket
import ssl as stdlib_ssl
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import treq
import treq.client
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer, ssl
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.mail import smtp
from twisted.protocols import amp
from twisted.protocols.policies import WrappingFactory
from twisted.spread import pb
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from atstls.endpoints import (
    ClientTLS,
    ServerTLS,
    SSLClientEndpoint,
    SSLServerEndpoint,
    TCPClientEndpoint,
    TCPServerEndpoint,
    handler_for,
)
from atstls.tls.contexts import ClientSettings, ServerSettings
from tests.test_endpoints import local, options, pem_of, roots, trusting
from tests.tlssupport import CA, VERSIONS, ca_file, issue

CURL = shutil.which("curl")
NGHTTP = shutil.which("nghttp")
OPENSSL = shutil.which("openssl")

MUCH = bytes(range(256)) * 4096
"""1 MiB."""


class ApplicationTestCase(TestCase):
    """Ports and connections over the loopback, of which none is left."""

    timeout = 60

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor

    @inlineCallbacks
    def tearDown(self) -> Any:
        shared = handler_for(self.reactor)
        for _ in range(500):
            if not shared.in_use:
                break
            yield self.wait(0.01)
        self.assertFalse(shared.in_use, shared.handler.open_list)

    def wait(self, seconds: float) -> Any:
        """Let the reactor turn."""
        deferred: Any = defer.Deferred()
        self.reactor.callLater(seconds, deferred.callback, None)
        return deferred

    @inlineCallbacks
    def listen(self, endpoint: Any, factory: Any) -> Any:
        """A port's number, until the end of the test, with the connections to it."""
        wrapped = WrappingFactory(factory) if not isinstance(factory, Site) else factory
        port = yield endpoint.listen(wrapped)

        def stop() -> Any:
            for protocol in list(getattr(wrapped, "protocols", ())):
                protocol.loseConnection()
            return port.stopListening()

        self.addCleanup(stop)
        return port.getHost().port

    @inlineCallbacks
    def run_program(self, *arguments: str, stdin: bytes | None = None) -> Any:
        """What another program says, when it has ended well."""
        out, err, code = yield getProcessOutputAndValue(
            arguments[0], arguments[1:], env={}, reactor=self.reactor, stdinBytes=stdin
        )
        self.assertEqual(0, code, (arguments, err))
        return out


# The web.


class Echo(Resource):
    """Says back what was posted; what it is asked for by GET it says much of, in pieces, as the client takes them."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def render_GET(self, request: Any) -> Any:
        @inlineCallbacks
        def go() -> Any:
            yield FileBodyProducer(BytesIO(MUCH)).startProducing(request)
            request.finish()

        go()
        return NOT_DONE_YET

    def render_POST(self, request: Any) -> bytes:
        body: bytes = request.content.read()
        return body


@implementer(IAgentEndpointFactory)
class OurEndpoints:
    """Gives an Agent our endpoints."""

    def __init__(self, reactor: Any, tls: Any) -> None:
        self.reactor = reactor
        self.tls = tls

    def endpointForURI(self, uri: Any) -> SSLClientEndpoint:
        return SSLClientEndpoint(self.reactor, "127.0.0.1", uri.port, self.tls)


class WebTests(ApplicationTestCase):
    """C{twisted.web}, server and client, HTTP/1.1 and HTTP/2."""

    def serve(self, tls: Any) -> Any:
        """A Site."""
        return self.listen(SSLServerEndpoint(self.reactor, 0, tls, interface="127.0.0.1"), Site(Echo()))

    @inlineCallbacks
    def _agents(self) -> Any:
        """An agent with connections that are kept, over either version of TLS and either kind of settings."""
        for version in VERSIONS:
            limits = {"version_min": version, "version_max": version}
            port = yield self.serve(ServerTLS([local()], settings=ServerSettings(**limits)))
            creator = ssl.optionsForClientTLS("localhost", trustRoot=roots())
            for tls in (trusting(), creator):
                pool = HTTPConnectionPool(self.reactor, persistent=True)
                agent = Agent.usingEndpointFactory(self.reactor, OurEndpoints(self.reactor, tls), pool)
                yield self._use(agent, b"https://localhost:%d/" % port)
                yield pool.closeCachedConnections()

    @inlineCallbacks
    def _use(self, agent: Any, url: bytes) -> Any:
        response = yield agent.request(b"GET", url)
        body = yield readBody(response)
        self.assertEqual((200, MUCH), (response.code, body))
        for _ in range(3):
            response = yield agent.request(b"POST", url, bodyProducer=FileBodyProducer(BytesIO(MUCH)))
            body = yield readBody(response)
            self.assertEqual((200, MUCH), (response.code, body))

    def test_agent(self) -> Any:
        """Twisted's client and Twisted's server, both ways much, over connections that are kept."""
        return self._agents()

    @inlineCallbacks
    def test_many_at_once(self) -> Any:
        """Twenty requests at the same time: each gets its own answer."""
        port = yield self.serve(options())
        pool = HTTPConnectionPool(self.reactor, persistent=True)
        agent = Agent.usingEndpointFactory(self.reactor, OurEndpoints(self.reactor, trusting()), pool)

        @inlineCallbacks
        def ask(number: int) -> Any:
            sent = b"%d " % number * 20000
            response = yield agent.request(
                b"POST", b"https://localhost:%d/" % port, bodyProducer=FileBodyProducer(BytesIO(sent))
            )
            body = yield readBody(response)
            self.assertEqual(sent, body)

        yield defer.gatherResults([ask(number) for number in range(20)])
        yield pool.closeCachedConnections()

    @inlineCallbacks
    def test_treq(self) -> Any:
        """treq, with an agent of ours."""
        port = yield self.serve(ServerTLS([local()]))
        pool = HTTPConnectionPool(self.reactor, persistent=False)
        agent = Agent.usingEndpointFactory(self.reactor, OurEndpoints(self.reactor, trusting()), pool)
        client = treq.client.HTTPClient(agent)
        response = yield client.post(f"https://localhost:{port}/", data=MUCH)
        body = yield treq.content(response)
        self.assertEqual((200, MUCH), (response.code, body))

    @inlineCallbacks
    def test_an_agent_is_told_why(self) -> Any:
        """Of a server that it does not trust."""
        port = yield self.serve(ServerTLS([local()]))
        agent = Agent.usingEndpointFactory(self.reactor, OurEndpoints(self.reactor, ClientTLS()))
        failure = yield self.assertFailure(agent.request(b"GET", b"https://localhost:%d/" % port), Exception)
        self.assertIn("certificate", str(failure))

    @inlineCallbacks
    def test_curl(self) -> Any:
        """HTTP/1.1 and HTTP/2, by what ALPN agrees on, with bodies both ways."""
        if CURL is None:
            self.skipTest("there is no curl")
        body = Path(self.mktemp())
        body.write_bytes(MUCH)
        for tls in (ServerTLS([local()]), options()):
            port = yield self.serve(tls)
            for argument, version in (("--http1.1", b"1.1"), ("--http2", b"2")):
                common = (
                    *(CURL, "-sS", argument, "--cacert", ca_file(), "-w", "\n%{http_version}"),
                    *("--resolve", f"localhost:{port}:127.0.0.1", "-H", "Expect:"),
                )
                out = yield self.run_program(*common, f"https://localhost:{port}/")
                self.assertEqual(MUCH + b"\n" + version, out)
                out = yield self.run_program(*common, "--data-binary", f"@{body}", f"https://localhost:{port}/")
                self.assertEqual(MUCH + b"\n" + version, out)

    @inlineCallbacks
    def test_nghttp(self) -> Any:
        """Several streams in one connection of HTTP/2."""
        if NGHTTP is None:
            self.skipTest("there is no nghttp")
        port = yield self.serve(ServerTLS([local()]))
        urls = [f"https://127.0.0.1:{port}/{number}" for number in range(5)]
        out = yield self.run_program(NGHTTP, "--no-verify-peer", *urls)
        self.assertEqual(len(MUCH) * 5, len(out))


# Mail.


@implementer(smtp.IMessage)
class _Message:
    """One letter, which is put into a list."""

    def __init__(self, letters: list[bytes]) -> None:
        self._letters = letters
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Any:
        self._letters.append(b"\n".join(self._lines))
        return defer.succeed(b"thanks")

    def connectionLost(self) -> None:
        self._lines.clear()


@implementer(smtp.IMessageDelivery)
class _Delivery:
    """Takes letters for anybody."""

    def __init__(self, letters: list[bytes]) -> None:
        self._letters = letters

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: by the test"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return lambda: _Message(self._letters)


class MailTests(ApplicationTestCase):
    """C{twisted.mail}: SMTP with STARTTLS, as server and as client."""

    @inlineCallbacks
    def serve(self, tls: Any) -> Any:
        """A server of mail in clear, that offers STARTTLS with C{tls}."""
        self.letters: list[bytes] = []
        self.servers: list[Any] = []

        class Mail(smtp.SMTPFactory):
            noisy = False

            def buildProtocol(factory, addr: Any) -> Any:  # noqa: N805 (the test is self)
                protocol = smtp.ESMTP(contextFactory=tls)
                protocol.factory = factory
                protocol.delivery = _Delivery(self.letters)
                self.servers.append(protocol)
                return protocol

        port = yield self.listen(TCPServerEndpoint(self.reactor, 0, interface="127.0.0.1"), Mail())
        return port

    @inlineCallbacks
    def test_smtplib(self) -> Any:
        """Python's own client sends a letter over TLS that begins in clear; twice in one connection."""
        for tls in (ServerTLS([local()]), options()):
            port = yield self.serve(tls)

            def send(port: int = port) -> str:
                context = stdlib_ssl.create_default_context(cafile=ca_file())
                with smtplib.SMTP("localhost", port, timeout=20) as client:
                    client.ehlo()
                    assert client.has_extn("starttls")
                    client.starttls(context=context)
                    client.ehlo()
                    assert not client.has_extn("starttls")
                    for number in range(2):
                        letter = EmailMessage()
                        letter["From"], letter["To"], letter["Subject"] = "a@example.com", "b@example.com", "hello"
                        letter.set_content(f"number {number}\n" + "much\n" * 20000)
                        client.send_message(letter)
                    assert isinstance(client.sock, stdlib_ssl.SSLSocket)
                    return client.sock.version() or ""

            version = yield deferToThread(send)
            self.assertEqual("TLSv1.3", version)
            self.assertEqual([20000, 20000], [letter.count(b"much") for letter in self.letters])

    @inlineCallbacks
    def test_openssl(self) -> Any:
        """C{openssl s_client -starttls smtp}, which trusts and verifies."""
        if OPENSSL is None:
            self.skipTest("there is no openssl")
        for flag in ("-tls1_2", "-tls1_3"):
            port = yield self.serve(ServerTLS([local()]))
            out = yield self.run_program(
                *(OPENSSL, "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{port}", flag, "-crlf"),
                *("-CAfile", ca_file(), "-verify_return_error", "-verify_hostname", "localhost", "-ign_eof"),
                stdin=b"EHLO me\nQUIT\n",
            )
            self.assertIn(b"Verify return code: 0 (ok)", out)
            self.assertIn(b"221 See you later", out)

    @inlineCallbacks
    def test_twisteds_sender(self) -> Any:
        """Twisted's own client of mail, which insists on TLS, over our endpoint."""
        for tls in (trusting(), ssl.optionsForClientTLS("localhost", trustRoot=roots())):
            port = yield self.serve(ServerTLS([local()]))
            done: Any = defer.Deferred()
            factory = smtp.ESMTPSenderFactory(
                *(None, None, "a@example.com", "b@example.com", BytesIO(b"Subject: hello\r\n\r\nmuch\r\n")),
                *(done, 0, 20, tls),
                requireTransportSecurity=True,
                requireAuthentication=False,
            )
            factory.noisy = False
            yield TCPClientEndpoint(self.reactor, "127.0.0.1", port).connect(factory)
            yield done
            self.assertEqual(1, len(self.letters))
            self.assertTrue(self.servers[0].startedTLS)

    @inlineCallbacks
    def test_a_command_that_somebody_has_put_in(self) -> Any:
        """CVE-2011-0411, over a real socket: what follows STARTTLS in clear is not done over TLS."""
        port = yield self.serve(ServerTLS([local()]))

        def attack() -> bytes:
            with socket.create_connection(("127.0.0.1", port), 20) as sock:
                file = sock.makefile("rb")
                file.readline()
                sock.sendall(b"EHLO attacker\r\n")
                while file.readline()[3:4] == b"-":
                    pass
                sock.sendall(b"STARTTLS\r\n")
                assert file.readline().startswith(b"220")
                sock.sendall(b"MAIL FROM:<attacker@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
                return file.read()

        said = yield deferToThread(attack)
        self.assertNotIn(b"250", said)
        self.assertEqual([], self.letters)


# Calls to far away.


class Sum(amp.Command):
    """Adds."""

    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer())]


class Calculator(amp.AMP):
    """Adds, over whatever it is asked by."""

    certificate: Any = None

    @Sum.responder
    def sum(self, a: int, b: int) -> dict[str, int]:
        return {"total": a + b}

    @amp.StartTLS.responder
    def start_tls(self) -> dict[str, Any]:
        return {"tls_localCertificate": self.certificate}


class AMPTests(ApplicationTestCase):
    """AMP, over TLS from the beginning, and over C{StartTLS}."""

    def factory(self) -> Any:
        """Of servers."""
        factory = Factory.forProtocol(Calculator)
        factory.noisy = False
        return factory

    @inlineCallbacks
    def test_over_tls(self) -> Any:
        """A hundred calls at once, both ways."""
        port = yield self.listen(
            SSLServerEndpoint(self.reactor, 0, ServerTLS([local()]), interface="127.0.0.1"), self.factory()
        )
        endpoint = SSLClientEndpoint(self.reactor, "127.0.0.1", port, trusting())
        client = yield endpoint.connect(self.factory())
        answers = yield defer.gatherResults([client.callRemote(Sum, a=n, b=1) for n in range(100)])
        self.assertEqual([n + 1 for n in range(100)], [answer["total"] for answer in answers])
        client.transport.loseConnection()

    @inlineCallbacks
    def test_start_tls(self) -> Any:
        """It begins in clear, and goes on over TLS, with certificates that are looked at."""
        certificate = ssl.PrivateCertificate.loadPEM(pem_of(issue("localhost")))
        self.patch(Calculator, "certificate", certificate)
        port = yield self.listen(TCPServerEndpoint(self.reactor, 0, interface="127.0.0.1"), self.factory())
        client = yield TCPClientEndpoint(self.reactor, "127.0.0.1", port).connect(self.factory())
        answer = yield client.callRemote(Sum, a=1, b=2)
        self.assertEqual(3, answer["total"])
        authority = ssl.Certificate.loadPEM(CA.cert_pem.bytes())
        yield client.callRemote(amp.StartTLS, tls_verifyAuthorities=[authority])
        answers = yield defer.gatherResults([client.callRemote(Sum, a=n, b=1) for n in range(100)])
        self.assertEqual([n + 1 for n in range(100)], [answer["total"] for answer in answers])
        self.assertEqual(certificate.digest(), client.peerCertificate.digest())
        client.transport.loseConnection()


@implementer(IRealm)
class _Realm:
    """One avatar for all."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:  # noqa: N803 (Twisted's name)
        return pb.IPerspective, _Avatar(), lambda: None


class _Avatar(pb.Avatar):
    """Who is called."""

    def perspective_echo(self, what: Any) -> Any:
        return what

    @inlineCallbacks
    def perspective_call_me(self, me: Any) -> Any:
        said = yield me.callRemote("hello")
        return said


class _Me(pb.Referenceable):
    """Who is called back."""

    def remote_hello(self) -> str:
        return "hello yourself"


class PBTests(ApplicationTestCase):
    """C{twisted.spread}: Perspective Broker, both ends, calls both ways."""

    @inlineCallbacks
    def test_calls(self) -> Any:
        """Log in, be answered much, be called back."""
        checker = InMemoryUsernamePasswordDatabaseDontUse(me=b"secret")
        checker.addUser(b"me", b"secret")
        server = pb.PBServerFactory(Portal(_Realm(), [checker]))
        server.noisy = False
        port = yield self.listen(
            SSLServerEndpoint(self.reactor, 0, ServerTLS([local()]), interface="127.0.0.1"), server
        )
        client = pb.PBClientFactory()
        client.noisy = False
        tls = ClientTLS(ClientSettings(ca_file=ca_file()), server_name="localhost")
        broker = yield SSLClientEndpoint(self.reactor, "127.0.0.1", port, tls).connect(client)
        avatar = yield client.login(UsernamePassword(b"me", b"secret"))
        much = MUCH[:600000]
        echoed = yield avatar.callRemote("echo", [much, "words", {"and": 1}])
        self.assertEqual([much, "words", {"and": 1}], echoed)
        said = yield avatar.callRemote("call_me", _Me())
        self.assertEqual("hello yourself", said)
        del avatar
        broker.transport.loseConnection()
