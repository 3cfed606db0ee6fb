"""
Tells Twisted of endpoint strings that begin with C{atstls:}.
"""

from atstls.endpoints import ClientEndpointParser, ServerEndpointParser

atstlsServer = ServerEndpointParser()
atstlsClient = ClientEndpointParser()
