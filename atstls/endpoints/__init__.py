# -*- test-case-name: tests.test_endpoints -*-
"""
The way to move a Twisted application here by changing one line: L{SSLServerEndpoint}, L{SSLClientEndpoint}.

They take the arguments of C{SSL4ServerEndpoint} and C{SSL4ClientEndpoint}.  What stands in the place of the context
factory may be Twisted's, and then says all about TLS that Twisted lets it say, or may be ours: L{ServerTLS} and
L{ClientTLS}, which know of certificates by name, a factory for each protocol of ALPN, hooks, and bounds.

This is the door of the package: what applications use is imported here, and nothing else is.
"""

from atstls.endpoints.client import SSLClientEndpoint, TCPClientEndpoint
from atstls.endpoints.created import CreatedNetVConnection
from atstls.endpoints.server import SSLServerEndpoint, TCPListeningPort, TCPServerEndpoint, TLSListeningPort
from atstls.endpoints.settings import HANDSHAKE_SECONDS, CertificateFolder, ClientTLS, ServerTLS, load_folder
from atstls.endpoints.shared import SharedHandler, handler_for
from atstls.endpoints.sockets import SSLAdoptedServerEndpoint, SSLUNIXClientEndpoint, SSLUNIXServerEndpoint
from atstls.endpoints.starttls import PlainTransport, UpgradableNetVConnection
from atstls.endpoints.strings import ClientEndpointParser, ServerEndpointParser

__all__ = (
    "HANDSHAKE_SECONDS",
    "CertificateFolder",
    "ClientEndpointParser",
    "ClientTLS",
    "CreatedNetVConnection",
    "PlainTransport",
    "SSLAdoptedServerEndpoint",
    "SSLClientEndpoint",
    "SSLServerEndpoint",
    "SSLUNIXClientEndpoint",
    "SSLUNIXServerEndpoint",
    "ServerEndpointParser",
    "ServerTLS",
    "SharedHandler",
    "TCPClientEndpoint",
    "TCPListeningPort",
    "TCPServerEndpoint",
    "TLSListeningPort",
    "UpgradableNetVConnection",
    "handler_for",
    "load_folder",
)
