# -*- test-case-name: tests.test_migration -*-
"""
L{HeldConnection}: an open connection that belongs to no connection object, on its way from one to another.

Why one moves: a pool keeps idle connections to an origin, and the one that fits belongs to another handler, of another
reactor's thread; or somebody has made a connection, or has spoken TLS on it already, and now wants it to be one of
ours.  Traffic Server moves only idle ones, and so much is enough:

  - Who gives a connection away (C{release}) is rid of it as by C{do_io_close}: its requests end without an event, its
    timeouts are off, nobody is told anything.  The peer notices nothing.
  - Who takes one over (C{populate}) is a fresh object of the right kind, which starts anew: no request, no timeout.
    What the peer has sent meanwhile is read by the first request, and nothing of it is lost, wherever it was: in the
    kernel, half a record inside OpenSSL, decrypted and not yet asked for.  What we had encrypted and the kernel had not
    taken goes out first.

In between nobody watches the socket: hold it for a moment only.

What is of the connection moves with it; what was of its user (C{set_arg}) does not.

Source: the seed, C{populate}; behaviour 1.32 and S031; ATS C{UnixNetVConnection::migrateToCurrentThread}.
"""

import socket
import threading
from collections.abc import Callable
from typing import Any

from attrs import define

from atstls.errors import ConnectionClosedError, LocalError
from atstls.events import EVENT_DONE, EVENT_ERROR
from atstls.interfaces import IContinuation
from atstls.net.connection import Address, NetVCOptions
from atstls.net.transparent import LISTENING_PORT


@define(eq=False)
class HeldConnection:
    """
    An open connection that is nobody's (seed: C{Connection}).

    @ivar sock: connected, or on its way; C{None} once somebody has taken it.
    @ivar remote: the peer's address; C{None}: the socket's.
    @ivar is_client: we connected.
    @ivar unread: bytes that were read from C{sock} and that nobody has dealt with: they come first.
    @ivar ssl: the state of TLS, as C{populate} wants it; C{None} without.
    @ivar listening_port: of a connection to a transparent port: that port's number.
    @ivar on_free: called when the descriptor is closed, whosever it is then.
    """

    sock: socket.socket | None
    remote: Address | None = None
    local: Address | None = None
    is_client: bool = False
    options: NetVCOptions | None = None
    unread: bytes = b""
    ssl: Any = None
    id: int = 0
    submit_time: float = 0.0
    attributes: int | None = None
    write_shut: bool = False
    listening_port: int | None = None
    on_free: Callable[[], None] | None = None

    def close(self) -> None:
        """Nobody wants it: close it, without a goodbye.  Harmless when somebody has taken it."""
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()
            on_free, self.on_free = self.on_free, None
            if on_free is not None:
                on_free()


class _NoSocket:
    """What a connection has in the place of the socket that was taken from it, for as long as it is being freed."""

    def close(self) -> None:
        """There is nothing to close."""


def check_can_leave(vc: Any) -> None:
    """
    May C{vc} be given away?

    @raise ConnectionClosedError: it is closed, or has no socket.
    @raise LocalError: its handshake is not done, or this is not the thread of its handler.
    """
    if vc.closed or vc.socket is None:
        raise ConnectionClosedError("a connection that is closed cannot be given away")
    if not vc.ready:
        raise LocalError("a connection whose handshake is not done cannot be given away")
    if vc.nh.thread != threading.get_ident():
        raise LocalError("a connection is given away in the thread of its handler")


def take_away(vc: Any, ssl: Any = None) -> HeldConnection:
    """
    Take from C{vc}, which L{check_can_leave}, what makes it a connection; it is closed and freed without a word.

    @param ssl: the state of TLS that was taken from it already.
    """
    held = HeldConnection(
        vc.socket,
        vc._remote,
        vc.get_local_addr() if vc.is_transparent else vc._local,
        vc.is_client,
        vc.options,
        b"",
        ssl,
        vc.id,
        vc.submit_time,
        vc.attributes,
        vc.write_shut,
        vc.get_arg(LISTENING_PORT),
        vc.on_free,
    )
    vc.nh.poll.stop(vc)
    vc.socket = _NoSocket()
    vc.fd = -1  # Its number may be another's before the last call-back of this one has returned.
    vc.on_free = None
    vc.free()
    return held


def give_to(vc: Any, held: HeldConnection, cont: IContinuation | None) -> int:
    """
    Make C{vc}, which is fresh, the connection that C{held} holds.

    @return: EVENT_DONE; or EVENT_ERROR, and C{held} still has it: it cannot be watched, or not from this thread.
    @raise LocalError: C{vc} is not fresh, or C{held} has been taken.
    """
    sock = held.sock
    if vc.socket is not None or vc.closed:
        raise LocalError("only a fresh connection can take one over")
    if sock is None:
        raise LocalError("somebody has taken it over already")
    nh = vc.nh
    if nh.thread != threading.get_ident():
        return EVENT_ERROR
    sock.setblocking(False)
    # Whatever there is, the first request finds it.
    for state in (vc.read, vc.write):
        state.triggered = state.polled = True
    vc.socket, vc.fd = sock, sock.fileno()
    try:
        nh.poll.start(vc)
    except OSError:
        vc.socket, vc.fd = None, -1
        return EVENT_ERROR
    nh.open_list.add(vc)
    held.sock = None
    nh.now = vc.last_activity = nh.seconds()
    vc._remote, vc._local = held.remote, held.local
    vc.is_client, vc.options, vc.write_shut = held.is_client, held.options, held.write_shut
    vc.id, vc.submit_time = held.id, held.submit_time
    if held.attributes is not None:
        vc.attributes = held.attributes
    if held.listening_port is not None:
        vc.set_arg(LISTENING_PORT, held.listening_port)
    vc.on_free, held.on_free = held.on_free, None
    if cont is not None:
        vc.do_io_read(cont, 0, None)
    return EVENT_DONE
