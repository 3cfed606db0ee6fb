"""
servers.py atstls|twisted REACTOR CERT KEY MIB SITE SINK ECHO: three servers of Twisted's over TLS, on the ports of
those names.

They are the same, and so is the reactor, one that C{twistd --reactor} knows; what differs is the first word of the
endpoint strings, C{atstls:} or C{ssl:}.  The site is C{twisted.web}'s, with C{/1k} and C{/100k} from memory, C{/big}
from a file, and C{/put} for uploads, which go nowhere.  The sink counts what is uploaded.  The echo sends back what
comes.
"""

import re
import sys
from io import SEEK_END, SEEK_SET, BytesIO
from pathlib import Path
from typing import Any

from twisted.application.reactors import installReactor
from twisted.internet import endpoints
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.wire import Echo
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from twisted.web.static import File
from zope.interface import implementer

BLOCK = bytes(range(256)) * 4096


class Body(Resource):
    """A page that is made at once."""

    isLeaf = True  # noqa: N815 (Twisted's own name)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.body = b"k" * size

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """The page."""
        return self.body


class Counted(BytesIO):
    """An upload that is counted and not kept: what a disk costs is the same for all, and another each time."""

    size = 0

    def write(self, data: Any) -> int:
        """Count."""
        self.size += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Where the end is, whatever is asked for."""
        return self.size


class CountingRequest(Request):
    """Its upload goes nowhere."""

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Called before the first byte of the upload."""
        self.content = Counted()


class Taken(Resource):
    """Answers how long an upload was, when all of it is there."""

    isLeaf = True  # noqa: N815 (Twisted's own name)

    def render_PUT(self, request: Request) -> bytes:  # noqa: N802
        """Its length."""
        assert request.content is not None
        return str(request.content.seek(0, SEEK_END)).encode()


class QuietSite(Site):
    """Does not log each request, and speaks HTTP/1.1 whatever is installed."""

    noisy = False
    requestFactory = CountingRequest  # noqa: N815 (Twisted's own name)

    def log(self, request: Any) -> None:
        """Nothing."""

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """See L{IProtocolNegotiationFactory}."""
        return [b"http/1.1"]


@implementer(IProtocolNegotiationFactory)
class Willing(Factory):
    """Takes the ALPN that clients offer: without any the newest OpenSSL ends the handshake."""

    noisy = False

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """See L{IProtocolNegotiationFactory}."""
        return [b"http/1.1"]


class Sink(Protocol):
    """Reads the body of an upload, and answers how long it was."""

    def __init__(self) -> None:
        self.head: bytes | None = b""
        self.count = self.wanted = 0

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Count."""
        if self.head is not None:
            self.head += data
            length = re.search(rb"(?i)\ncontent-length: *([0-9]+)", self.head)
            if b"\r\n\r\n" not in self.head or length is None:
                return
            self.wanted = int(length[1])
            data, self.head = self.head.partition(b"\r\n\r\n")[2], None
        self.count += len(data)
        if self.count >= self.wanted:
            text = str(self.count).encode()
            assert self.transport is not None
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


def site(mib: int) -> Site:
    """What is fetched."""
    root = Resource()
    root.putChild(b"1k", Body(1024))
    root.putChild(b"100k", Body(100 * 1024))
    big = Path(f"big-{mib}")
    if not big.exists():
        with open(big, "wb") as file:
            for _ in range(mib):
                file.write(BLOCK)
    root.putChild(b"big", File(str(big)))
    root.putChild(b"put", Taken())
    return QuietSite(root)


def main(kind: str, reactor_name: str, cert: str, key: str, mib: str, *ports: str) -> None:
    """Serve until the process is ended."""
    installReactor(reactor_name)
    from twisted.internet import reactor

    word = {"atstls": "atstls", "twisted": "ssl"}[kind]
    factories = (site(int(mib)), Willing.forProtocol(Sink), Willing.forProtocol(Echo))
    for factory, port in zip(factories, ports, strict=True):
        where = f"{word}:{port}:interface=127.0.0.1:backlog=4096:certKey={cert}:privateKey={key}"
        endpoints.serverFromString(reactor, where).listen(factory)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
