"""
Clients show a certificate, and a protocol of Twisted's greets them by the name in it.

    twistd -noy mutual.py

C{server.pem} has our certificate, its chain and its key; C{clients.pem} the authorities that sign those of clients.
Who has none does not get in: no protocol is built for him.
"""

from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from atstls.endpoints import ServerTLS, SSLServerEndpoint
from atstls.tls.certificates import load_certificate
from atstls.tls.contexts import ClientVerification, ServerSettings


def name_of(certificate):
    """The first DNS name in a certificate of pyOpenSSL's."""
    try:
        names = certificate.to_cryptography().extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return "somebody"
    return next(iter(names.get_values_for_type(DNSName)), "somebody")


class Greeter(LineReceiver):
    """Knows from the beginning whom it speaks with: the handshake is done when it gets its transport."""

    delimiter = b"\n"

    def connectionMade(self):
        self.name = name_of(self.transport.getPeerCertificate())
        self.sendLine(f"Hello, {self.name}".encode())

    def lineReceived(self, line):
        self.sendLine(f"{self.name} says ".encode() + line)


tls = ServerTLS(
    [load_certificate("server.pem")],
    settings=ServerSettings(client_verification=ClientVerification.REQUIRED, client_ca_file="clients.pem"),
)
endpoint = SSLServerEndpoint(reactor, 8443, tls, interface="127.0.0.1")

application = Application("mutual")
StreamServerEndpointService(endpoint, Factory.forProtocol(Greeter)).setServiceParent(application)
