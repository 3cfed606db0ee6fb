"""
The tutorial's server: sends back what comes, over TLS.

    python tutorial_echo.py
"""

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react


class Echo(Protocol):
    """What it would be without TLS."""

    def connectionMade(self):
        print("hello,", self.transport.getPeer().host, flush=True)

    def dataReceived(self, data):
        self.transport.write(data)

    def connectionLost(self, reason):
        print("bye:", reason.getErrorMessage(), flush=True)


async def main(reactor):
    where = "atstls:8443:interface=127.0.0.1:privateKey=server.key:certKey=server.crt"
    port = await serverFromString(reactor, where).listen(Factory.forProtocol(Echo))
    print("listening on", port.getHost().port, flush=True)
    await Deferred()  # until Ctrl-C


react(main)
