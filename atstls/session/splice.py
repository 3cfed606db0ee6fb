# -*- test-case-name: tests.test_splice -*-
"""
L{PipeBuffer}: a buffer in the kernel, for bytes that nobody looks at.

A blind tunnel only carries.  Its bytes go from one socket into a pipe and from the pipe into the other socket by
splice(2), and are never copied into this process.  To its connections and its tunnel the buffer is like any other: it
has room or has not, and its one reader counts what is in it.

A pipe is taken from a small pool for as long as bytes are in it, and given back when it is drained, so that a silent
tunnel costs neither memory nor descriptors.

Where there is no descriptor left for a pipe the bytes are copied, a block at a time, as those of other connections
are: a tunnel that is there goes on.

The facts that decide the code: a pipe is full by slots before it is full by bytes, so a short splice into a pipe that
holds something says nothing about the socket; only from a socket into an empty pipe does "would block" mean that the
socket has nothing.  So a pipe that holds bytes takes no more until it is drained.

Source: behaviour 1.24 and 1.33; Linux splice(2), pipe(7); HAProxy C{raw_sock_to_pipe}.
"""

import errno
import fcntl
import os
import sys
from typing import Any, Final

from atstls.eventsystem.iobuffer import MIOBuffer

PIPE_BYTES: Final = 1 << 20
"""What a pipe is asked to hold: what the system allows everybody (pipe-max-size).  Over seven rounds the median cost of
a GiB was 0.88 of that with a quarter of it, though the ranges overlapped.  It is less where the user has too many pipes
(pipe-user-pages-soft)."""

KEPT_PIPES: Final = 32

COPIED_BYTES: Final = 64 << 10
"""What is copied at a time where there is no pipe."""

_F_SETPIPE_SZ: Final = 1031

HAVE_SPLICE: Final = sys.platform == "linux" and hasattr(os, "splice")


class Pipe:
    """A pipe of the kernel's, non-blocking on both ends."""

    __slots__ = ("into", "out")

    def __init__(self) -> None:
        """@raise OSError: there are no descriptors left."""
        self.out, self.into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.into, _F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # It stays as large as it is.

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.out)
        os.close(self.into)


_pool: list[Pipe] = []


def take_pipe() -> Pipe:
    """An empty pipe.  Raises L{OSError} when there are no descriptors left."""
    return _pool.pop() if _pool else Pipe()


def _pipe_if_any() -> Pipe | None:
    try:
        return take_pipe()
    except OSError as exc:
        if exc.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        return None


def give_pipe(pipe: Pipe) -> None:
    """C{pipe} is empty again."""
    if len(_pool) < KEPT_PIPES:
        _pool.append(pipe)
    else:
        pipe.close()


def empty_pool() -> None:
    """Close the pipes that are kept for later."""
    while _pool:
        _pool.pop().close()


class PipeBuffer(MIOBuffer):
    """
    A buffer whose bytes are in the kernel.  It has one reader, and both sides are plain connections.

    @ivar pipe: itself: what a connection looks for that could splice.
    @ivar held: the pipe that the bytes are in, or the bytes themselves; C{None} when there are none.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        super().__init__()
        self.held: Pipe | memoryview | None = None

    @property
    def pipe(self) -> "PipeBuffer":
        return self

    def write_block(self) -> None:
        """There is no memory to fill."""
        return

    def has_room(self) -> bool:
        """A pipe that holds bytes takes no more."""
        return self.held is None

    def fill_from(self, fd: int, limit: int) -> int:
        """
        Move up to C{limit} bytes from a socket into the pipe.

        @return: the bytes; 0: the peer has ended; -1: there is no room.
        @raise BlockingIOError: the socket has none.
        @raise OSError: the socket is broken.
        """
        if self.held is not None:
            return -1
        pipe = _pipe_if_any()
        if pipe is None:
            return self._keep(os.read(fd, min(limit, COPIED_BYTES)))
        try:
            n = os.splice(fd, pipe.into, min(limit, PIPE_BYTES), flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        except OSError:
            give_pipe(pipe)
            raise
        if n:
            self.held = pipe
            self._count(n)
        else:
            give_pipe(pipe)
        return n

    def fill_with(self, data: Any) -> int:
        """Put bytes that were read before into the pipe; as many as it takes."""
        if self.held is not None:
            return -1
        pipe = _pipe_if_any()
        if pipe is None:
            return self._keep(bytes(data))
        n = os.write(pipe.into, data)
        self.held = pipe
        self._count(n)
        return n

    def _keep(self, data: bytes) -> int:
        if data:
            self.held = memoryview(data)
            self._count(len(data))
        return len(data)

    def _count(self, n: int) -> None:
        for reader in self.readers:
            reader.avail += n

    def drain_to(self, fd: int, limit: int) -> int:
        """
        Move up to C{limit} bytes from the pipe into a socket; they are consumed.

        @raise BlockingIOError: the socket takes none.
        """
        pipe = self.held
        assert pipe is not None and self.sole is not None
        if isinstance(pipe, memoryview):
            n = os.write(fd, pipe[:limit])
            self.sole.avail -= n
            self.held = pipe[n:] if self.sole.avail else None
            return n
        n = os.splice(pipe.out, fd, limit, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        self.sole.avail -= n
        if not self.sole.avail:
            self.held = None
            give_pipe(pipe)
        return n

    def __del__(self) -> None:
        # The connections of a tunnel may be closed by somebody else, of which it is not told.
        self.close()

    def close(self) -> None:
        """Throw away what is in it."""
        pipe, self.held = self.held, None
        if isinstance(pipe, Pipe):
            pipe.close()
        for reader in self.readers:
            reader.avail = 0
