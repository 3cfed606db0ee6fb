"""
The tutorial's client: says something, and prints the answer.

    python tutorial_client.py
"""

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

WHERE = "atstls:localhost:8443:trustRoots=server.crt"


class Ask(Protocol):
    """One question, one answer."""

    def __init__(self):
        self.answer = Deferred()

    def connectionMade(self):
        self.transport.write(b"good day")

    def dataReceived(self, data):
        self.answer.callback(data)
        self.transport.loseConnection()


async def main(reactor):
    try:
        protocol = await clientFromString(reactor, WHERE).connect(Factory.forProtocol(Ask))
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}")
    else:
        print((await protocol.answer).decode())


react(main)
