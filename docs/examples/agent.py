"""
A client of C{twisted.web} whose connections are ours.

    python agent.py https://www.example.com/

Without an endpoint factory C{Agent} makes Twisted's own endpoints.
"""

import sys

from twisted.internet.task import react
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from atstls.endpoints import ClientTLS, SSLClientEndpoint
from atstls.tls.contexts import ClientSettings

ROOTS = ""  # a file with the authorities to trust; empty: the system's


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Makes an endpoint for each host that is asked."""

    def __init__(self, reactor):
        self.reactor = reactor
        self.tls = ClientTLS(ClientSettings(alpn=(b"http/1.1",)), roots=ROOTS or None)

    def endpointForURI(self, uri):
        return SSLClientEndpoint(self.reactor, uri.host.decode(), uri.port, self.tls)


async def main(reactor, url):
    agent = Agent.usingEndpointFactory(reactor, Endpoints(reactor))
    response = await agent.request(b"GET", url.encode())
    print(response.code, (await readBody(response)).decode())


react(main, sys.argv[1:])
