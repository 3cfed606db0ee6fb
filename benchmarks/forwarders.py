"""
forwarders.py twisted|asyncio CERT KEY PORT:BACKEND...: TLS in, plain TCP out, as Python does it without atstls.

C{twisted} is a C{ssl:} endpoint in front of L{twisted.protocols.portforward}; C{asyncio} is a pair of protocols, on
uvloop where that is installed.  Both are what their documentation leads to, with flow control, and nothing more.
"""

import asyncio
import contextlib
import ssl
import sys
from typing import Any

from twisted.internet import endpoints
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.protocols import portforward
from zope.interface import implementer

Route = tuple[int, int]


# Twisted.


class QuietClient(portforward.ProxyClientFactory):
    """Does not log each connection."""

    noisy = False


class QuietServer(portforward.ProxyServer):
    """Its connections onward are quiet too."""

    clientProtocolFactory = QuietClient  # noqa: N815 (Twisted's own name)


@implementer(IProtocolNegotiationFactory)
class Forward(portforward.ProxyFactory):
    """Takes the ALPN that clients offer: without any the newest OpenSSL ends the handshake."""

    protocol = QuietServer
    noisy = False

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """See L{IProtocolNegotiationFactory}."""
        return [b"http/1.1"]


def twisted_main(cert: str, key: str, routes: list[Route]) -> None:
    """Run Twisted's reactor."""
    with contextlib.suppress(ImportError):
        from twisted.internet import epollreactor

        epollreactor.install()
    from twisted.internet import reactor

    for port, backend in routes:
        where = f"ssl:{port}:interface=127.0.0.1:backlog=4096:certKey={cert}:privateKey={key}"
        endpoints.serverFromString(reactor, where).listen(Forward("127.0.0.1", backend))
    reactor.run()  # type: ignore[attr-defined]


# asyncio.


class Side(asyncio.Protocol):
    """One of the two connections; what it is told it hands to the C{other}."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: Side | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def join(self, other: "Side") -> None:
        """From now on what comes here goes to C{other}."""
        self.other = other
        if self.early:
            other.transport.writelines(self.early)
            self.early.clear()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


class Front(Side):
    """The TLS side: it makes the other one."""

    def __init__(self, backend: int) -> None:
        super().__init__()
        self.backend = backend

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.dialling = asyncio.get_running_loop().create_task(self.dial())

    async def dial(self) -> None:
        """Connect to the backend, and join the two."""
        try:
            _, back = await asyncio.get_running_loop().create_connection(Side, "127.0.0.1", self.backend)
        except OSError:
            self.transport.abort()
            return
        back.other = self
        self.join(back)


async def asyncio_main(cert: str, key: str, routes: list[Route]) -> None:
    """Serve until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    loop = asyncio.get_running_loop()
    for port, backend in routes:
        await loop.create_server(lambda to=backend: Front(to), "127.0.0.1", port, ssl=context, backlog=4096)
    await asyncio.Event().wait()


def main(kind: str, cert: str, key: str, *words: str) -> None:
    """Start the one that was asked for."""
    routes = [(int(port), int(backend)) for port, _, backend in (word.partition(":") for word in words)]
    if kind == "twisted":
        twisted_main(cert, key, routes)
        return
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(asyncio_main(cert, key, routes))


if __name__ == "__main__":
    main(*sys.argv[1:])
