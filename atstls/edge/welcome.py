# -*- test-case-name: tests.test_edge_service -*-
"""
What the edge serves by itself, over HTTP/1.1 and HTTP/2: its welcome page, and directories of files.

C{twisted.web} does the work.  The page is for somebody who has just started the program: it says what answers there,
and what to write to have something else answer.
"""

from pathlib import Path
from typing import Any, Final

from twisted.web import server
from twisted.web.resource import ForbiddenResource, Resource
from twisted.web.static import File

from atstls import __version__

PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>atstls is running</title>
<style>
body {{ max-width: 42em; margin: 3em auto; padding: 0 1em; font: 1rem/1.6 system-ui, sans-serif;
  color: #222; background: #fff }}
pre {{ padding: 1em; overflow-x: auto; background: #f3f3f3; border-radius: .4em }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #1b1b1b }} pre {{ background: #2a2a2a }} }}
</style>
</head>
<body>
<h1>atstls is running</h1>
<p>This is atstls {__version__}, a TLS edge. It ended the TLS of your connection and shows this page, since nothing
tells it what else to do here.</p>
<p>Write a file <code>tap.cfg</code> to change that:</p>
<pre>[listen https]
interface = 0.0.0.0
port = 443

[certificate www]
ssl_cert_name = www.pem
ssl_key_name = www.key

[sni www.example.com]
forward_route = 127.0.0.1:8080

[sni *.example.net]
tunnel_route = 192.0.2.7:443</pre>
<p>and start it with <code>twistd -n atstls --config tap.cfg</code>. TLS for <code>www.example.com</code> then ends here
and its plain text goes to port 8080; what asks for a name under <code>example.net</code> goes on untouched.
<code>twistd atstls --check --config tap.cfg</code> tells every mistake in the file and starts nothing.</p>
</body>
</html>
""".encode()


class Welcome(Resource):
    """The one page, whatever the path."""

    isLeaf = True  # noqa: N815

    def render_GET(self, request: server.Request) -> bytes:  # noqa: N802
        """The page; C{twisted.web} answers HEAD with its head."""
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        # The next start may have another to show here.
        request.setHeader(b"cache-control", b"no-store")
        return PAGE


class Files(File):
    """A directory's files.  What is in it is not listed: that is for its owner to tell."""

    def directoryListing(self) -> Resource:  # noqa: N802
        """What is shown of a directory without an index page."""
        return ForbiddenResource("There is no index page here.")


_REQUESTS: Final = "atstls.edge.requests"
"""The argument of a connection under which the number of its requests is kept."""


class Request(server.Request):
    """
    A request whose producer ends with it, and for which its connection is busy from its head to its end.

    One that is too many (C{max_requests_in}) is answered with 503.
    """

    _vc: Any = None
    """The connection, while the request counts."""

    _refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Its head is there."""
        super().gotLength(length)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        channel = self.channel
        # Of HTTP/2 the channel is a stream of the connection.
        vc = getattr(getattr(channel, "_conn", channel).transport, "vc", None)
        if vc is None:
            return  # Somebody else's transport.
        if vc.add_to_active_queue():
            self._vc = vc
            vc.set_arg(_REQUESTS, (vc.get_arg(_REQUESTS) or 0) + 1)
        else:
            self._refused = True

    def process(self) -> None:
        """It is there as a whole."""
        if not self._refused:
            super().process()  # type: ignore[no-untyped-call]  # as above
            return
        self.setResponseCode(503)
        self.setHeader(b"content-length", b"0")
        self.setHeader(b"retry-after", b"1")
        self.finish()

    def finish(self) -> None:
        """The answer was given; over HTTP/2 it may wait for the client to want it."""
        channel: Any = self.channel
        conn = getattr(channel, "_conn", None)
        sent = None if conn is None else conn._streamCleanupCallbacks.get(channel.streamID)
        super().finish()  # type: ignore[no-untyped-call]  # as above
        if sent is None:
            self._over()
        else:
            sent.addCallback(self._sent)

    def _sent(self, stream: Any) -> Any:
        self._over()
        return stream

    def _over(self) -> None:
        vc, self._vc = self._vc, None
        if vc is None or vc.closed:
            return
        number = vc.get_arg(_REQUESTS) - 1
        vc.set_arg(_REQUESTS, number)
        if not number:
            vc.add_to_keep_alive_queue()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """
        The client does not want it any more: its connection is gone, or it has reset this stream of HTTP/2.

        In the second case Twisted leaves the producer alone, which keeps a file open that nobody reads, and fails in
        the end for want of the channel.
        """
        producer = self.producer
        if producer is not None:
            self.unregisterProducer()
            producer.stopProducing()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # as above
        self._over()


class QuietSite(server.Site):
    """A site that writes no line for each request, and does not tell the log that it starts."""

    noisy = False
    requestFactory = Request  # noqa: N815

    def log(self, request: Any) -> None:
        """Nothing: a line a request in the program's own log would drown the others."""


def welcome_site(reactor: Any) -> server.Site:
    """The factory for the welcome page."""
    return QuietSite(Welcome(), reactor=reactor)


def files_site(directory: Path, reactor: Any) -> server.Site:
    """The factory for the files in C{directory}."""
    return QuietSite(Files(str(directory)), reactor=reactor)
