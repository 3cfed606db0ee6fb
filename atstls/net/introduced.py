# -*- test-case-name: tests.test_introduced -*-
"""
L{IntroducedNetVConnection}: a connection of ours that begins with bytes in clear, C{first_bytes} of its options.

That is how a header of the PROXY protocol goes out (L{atstls.net.proxyheader}): before the first byte of a tunnel, and
also where TLS follows (L{atstls.ssl.introduced}).  The kernel takes such few bytes at once; if it does not, the rest
goes before anything else.  Other connections know nothing of it.

Source: behaviour 1.28, A093.
"""

import errno
import os
import socket

from atstls.events import VC_EVENT_ERROR, VC_EVENT_READ_COMPLETE
from atstls.eventsystem.vio import READ
from atstls.net.connection import Address
from atstls.net.handler import NetHandler
from atstls.net.unixvc import UnixNetVConnection


class IntroducedNetVConnection(UnixNetVConnection):
    """
    A connection to another host, who is told something first.

    Not C{ready} before that is out; who waits for it reads 0 bytes, as over TLS.
    """

    __slots__ = ("_first",)

    def start(self, sock: socket.socket, remote: Address | None = None) -> None:
        """See L{UnixNetVConnection.start}."""
        super().start(sock, remote)
        assert self.options is not None
        self._first = memoryview(self.options.first_bytes)
        self.ready = False
        self.write.urgent = True

    def _successor(self, nh: NetHandler) -> UnixNetVConnection:
        return UnixNetVConnection(nh)  # What was to be said first was said.

    def _attend(self) -> bool:
        """The kernel could take something: the connection stands, or could not be made."""
        refused = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not refused:
            try:
                self._first = self._first[self.socket.send(self._first) :]
            except BlockingIOError:
                pass
            except OSError as exc:
                refused = exc.errno or errno.EPIPE
        if refused:
            self._fail(refused)
            return False
        if self._first:
            self._rest(self.write)
            return False
        self.write.urgent = False
        self.ready = True
        self.last_activity = self.nh.now
        return self._tell_ready()

    def _prepare(self) -> bool:
        # What the other host says meanwhile is read when it was told.
        return self.ready

    def _tell_ready(self) -> bool:
        """The reader, who may wait for that, is told; or his turn comes.  True: the connection is still there."""
        vio = self.read
        if vio.op == READ and vio.nbytes == 0 and vio.cont is not None and vio.writer is not None:
            return self.signal_done(VC_EVENT_READ_COMPLETE, vio)
        if vio.enabled and vio.triggered:
            self.nh.queue_read(self)
        return True

    def _fail(self, error: int) -> None:
        self.write.urgent = False
        self.lerrno, self.error = error, OSError(error, os.strerror(error))
        for state in (self.read, self.write):
            if state.cont is not None:
                self.signal_done(VC_EVENT_ERROR, state)
                break
        if not self.closed:
            self.do_io_close()
