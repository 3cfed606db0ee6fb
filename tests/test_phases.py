"""
Tests for L{atstls.tls.phases}.
"""

from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import LocalError
from atstls.tls.phases import BEFORE_THE_APPLICATION, MOVES, Move, Phase, moved

LEGAL = {
    Phase.START: {
        Move.ACCEPTED: Phase.HELLO,
        Move.CONNECTED: Phase.HANDSHAKE,
        Move.TUNNEL_CHOSEN: Phase.TUNNEL,
        Move.CLEAR_TEXT: Phase.PLAIN,
        Move.ESTABLISHED: Phase.OPEN,
    },
    Phase.HELLO: {
        Move.HELLO_RECEIVED: Phase.ROUTE,
        Move.HELLO_UNREADABLE: Phase.HANDSHAKE,
        Move.TUNNEL_CHOSEN: Phase.TUNNEL,
        Move.CLEAR_TEXT: Phase.PLAIN,
    },
    Phase.ROUTE: {Move.CONTEXT_CHOSEN: Phase.HANDSHAKE, Move.TUNNEL_CHOSEN: Phase.TUNNEL},
    Phase.HANDSHAKE: {Move.HANDSHAKE_DONE: Phase.VERIFY},
    Phase.VERIFY: {Move.PEER_ACCEPTED: Phase.OPEN},
    Phase.OPEN: {},
    Phase.TUNNEL: {},
    Phase.PLAIN: {Move.TLS_STARTED: Phase.START},
    Phase.FAILED: {},
    Phase.LINGER: {},
    Phase.CLOSED: {},
}


class PhasesTests(SynchronousTestCase):
    """The table of phases allows what it should, and nothing else."""

    def test_every_phase_with_every_move(self) -> None:
        """A legal move leads where it should; another is a bug of ours, and says between which words."""
        for phase in Phase:
            legal = {**LEGAL[phase], Move.ENDED: Phase.CLOSED}
            if phase in BEFORE_THE_APPLICATION:
                legal[Move.REFUSED] = Phase.FAILED
            if phase not in (Phase.LINGER, Phase.CLOSED):
                legal[Move.LEFT] = Phase.LINGER
            for move in Move:
                if move in legal:
                    self.assertIs(legal[move], moved(phase, move), (phase, move))
                else:
                    error = self.assertRaises(LocalError, moved, phase, move)
                    self.assertIn(repr(move.value), str(error))
                    self.assertIn(repr(phase.value), str(error))
                    self.assertNotIn((phase, move), MOVES)

    def test_no_way_around_the_handshake(self) -> None:
        """Nobody gets from the beginning to application data without the handshake and the judgement after it."""
        for move in Move:
            if move is not Move.ESTABLISHED:  # an established session was judged before
                for phase in (Phase.START, Phase.HELLO, Phase.ROUTE, Phase.HANDSHAKE):
                    self.assertIsNot(Phase.OPEN, MOVES.get((phase, move)))

    def test_no_tunnel_after_the_first_answer(self) -> None:
        """When OpenSSL has spoken it is too late for a blind tunnel."""
        for phase in (Phase.HANDSHAKE, Phase.VERIFY, Phase.OPEN, Phase.FAILED, Phase.LINGER, Phase.CLOSED):
            self.assertNotIn((phase, Move.TUNNEL_CHOSEN), MOVES)
            self.assertNotIn((phase, Move.CLEAR_TEXT), MOVES)

    def test_closed_is_the_end(self) -> None:
        """From closed there is no way to anything but closed."""
        self.assertEqual({Phase.CLOSED}, {to for (phase, _), to in MOVES.items() if phase is Phase.CLOSED})

    def test_no_way_back_from_failure(self) -> None:
        """What has failed can only end, after its last words."""
        after = {to for (phase, _), to in MOVES.items() if phase is Phase.FAILED}
        self.assertEqual({Phase.LINGER, Phase.CLOSED}, after)

    def test_nothing_fails_twice(self) -> None:
        """A connection that was given to its user, or that has failed, cannot come to nothing any more."""
        for phase in set(Phase) - set(BEFORE_THE_APPLICATION):
            self.assertNotIn((phase, Move.REFUSED), MOVES)
