# -*- test-case-name: tests.test_phases -*-
"""
The phases of a TLS connection, and every legal move between them.

One table for both roles; it does not know which it plays.  C{docs/state_machines.rst} is drawn from it, and a move that
is not in it raises.

Source: behaviour 1.14, 1.18.3 and 1.24; the seed's flags (C{sslHandShakeComplete}, C{sslPreAcceptHookState},
C{sslHandshakeHookState}, C{attributes}) are all in here.
"""

from enum import Enum
from typing import Final

from atstls.errors import LocalError


class Phase(Enum):
    """Where a TLS connection stands."""

    # Each member is its own key: the default hash, of the name, is computed in Python at each look-up.
    __hash__ = object.__hash__

    START = "start"
    """Nothing was done yet; the first hooks (VCONN_START, OUTBOUND_START) run, and may wait."""
    HELLO = "hello"
    """The client's first message is being collected; OpenSSL has not seen a byte."""
    ROUTE = "route"
    """It is there.  Hooks, routes and the choice of certificate; they may wait."""
    HANDSHAKE = "handshake"
    """OpenSSL speaks with the peer."""
    VERIFY = "verify"
    """OpenSSL is content; is this the peer that we meant?  May wait; nothing of the application moves."""
    OPEN = "open"
    """Application data, encrypted."""
    TUNNEL = "tunnel"
    """A blind tunnel: TCP, and the hello that was read is the first of its bytes."""
    PLAIN = "plain"
    """It came in clear to a port that takes that as well; its bytes are the application's as they are."""
    FAILED = "failed"
    """What came before the application came to nothing; its user is being told."""
    LINGER = "linger"
    """Its user has closed it; what was encrypted before, and the goodbye, still have to go."""
    CLOSED = "closed"
    """Nothing happens any more."""


class Move(Enum):
    """What moves a connection from one phase to another."""

    __hash__ = object.__hash__

    ACCEPTED = "accepted"
    CONNECTED = "connected"
    HELLO_RECEIVED = "hello received"
    HELLO_UNREADABLE = "hello unreadable"
    CLEAR_TEXT = "clear text"
    CONTEXT_CHOSEN = "context chosen"
    TUNNEL_CHOSEN = "tunnel chosen"
    HANDSHAKE_DONE = "handshake done"
    PEER_ACCEPTED = "peer accepted"
    REFUSED = "refused"
    ESTABLISHED = "established session adopted"
    TLS_STARTED = "TLS started"
    LEFT = "left by its user"
    ENDED = "ended"


_P, _M = Phase, Move

BEFORE_THE_APPLICATION: Final = (_P.START, _P.HELLO, _P.ROUTE, _P.HANDSHAKE, _P.VERIFY)
"""The phases in which something can still come to nothing."""

MOVES: Final[dict[tuple[Phase, Move], Phase]] = {
    (_P.START, _M.ACCEPTED): _P.HELLO,
    (_P.START, _M.CONNECTED): _P.HANDSHAKE,
    (_P.START, _M.TUNNEL_CHOSEN): _P.TUNNEL,
    (_P.START, _M.CLEAR_TEXT): _P.PLAIN,
    (_P.START, _M.ESTABLISHED): _P.OPEN,
    (_P.HELLO, _M.HELLO_RECEIVED): _P.ROUTE,
    (_P.HELLO, _M.HELLO_UNREADABLE): _P.HANDSHAKE,
    (_P.HELLO, _M.TUNNEL_CHOSEN): _P.TUNNEL,
    (_P.HELLO, _M.CLEAR_TEXT): _P.PLAIN,
    (_P.ROUTE, _M.CONTEXT_CHOSEN): _P.HANDSHAKE,
    (_P.ROUTE, _M.TUNNEL_CHOSEN): _P.TUNNEL,
    (_P.HANDSHAKE, _M.HANDSHAKE_DONE): _P.VERIFY,
    (_P.VERIFY, _M.PEER_ACCEPTED): _P.OPEN,
    (_P.PLAIN, _M.TLS_STARTED): _P.START,
}
MOVES.update({(phase, Move.REFUSED): Phase.FAILED for phase in BEFORE_THE_APPLICATION})
MOVES.update({(phase, Move.LEFT): Phase.LINGER for phase in Phase if phase not in (_P.LINGER, _P.CLOSED)})
MOVES.update({(phase, Move.ENDED): Phase.CLOSED for phase in Phase})


def moved(phase: Phase, move: Move) -> Phase:
    """
    The phase after C{move}.

    @raise LocalError: C{move} is not legal in C{phase}: a bug of ours.
    """
    try:
        return MOVES[phase, move]
    except KeyError:
        raise LocalError(f"{move.value!r} is no move of the phase {phase.value!r}") from None
