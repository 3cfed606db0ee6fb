"""
Tests for L{atstls.events} and L{atstls.errors}.
"""

import errno

from twisted.trial.unittest import SynchronousTestCase

from atstls import errors, events


class EventTests(SynchronousTestCase):
    def test_numbers_are_traffic_servers(self) -> None:
        """Whoever reads a trace with Traffic Server's documents at hand finds the same numbers (N004)."""
        vc = ["READ_READY", "WRITE_READY", "READ_COMPLETE", "WRITE_COMPLETE", "EOS", "INACTIVITY_TIMEOUT"]
        vc += ["ACTIVE_TIMEOUT", "OOB_COMPLETE"]
        self.assertEqual(list(range(100, 108)), [getattr(events, f"VC_EVENT_{name}") for name in vc])
        net = ("OPEN", "OPEN_FAILED", "ACCEPT", "ACCEPT_SUCCEED", "ACCEPT_FAILED")
        self.assertEqual(list(range(200, 205)), [getattr(events, f"NET_EVENT_{name}") for name in net])
        plain = ("NONE", "IMMEDIATE", "INTERVAL", "ERROR", "CALL", "POLL")
        self.assertEqual(list(range(6)), [getattr(events, f"EVENT_{name}") for name in plain])
        self.assertEqual(events.EVENT_ERROR, events.VC_EVENT_ERROR)
        self.assertEqual(3301, events.ONE_WAY_TUNNEL_EVENT_PEER_CLOSE)
        answers = ("DONE", "CONT", "RETURN", "RESTART", "RESTART_DELAYED")
        self.assertEqual([0, 1, 5, 6, 7], [getattr(events, f"EVENT_{name}") for name in answers])
        enet = ("THROTTLING", "CONNECT_TIMEOUT", "CONNECT_FAILED", "SSL_CONNECT_FAILED", "SSL_FAILED")
        self.assertEqual(list(range(20101, 20106)), [getattr(events, f"ENET_{name}") for name in enet])

    def test_a_log_shows_names(self) -> None:
        """An event has its own name in a log, and one that nobody knows has its number."""
        self.assertEqual("VC_EVENT_EOS", events.event_name(104))
        self.assertEqual("VC_EVENT_ERROR", events.event_name(3))
        self.assertEqual("NET_EVENT_OPEN_FAILED", events.event_name(201))
        self.assertEqual("ONE_WAY_TUNNEL_EVENT_PEER_CLOSE", events.event_name(3301))
        self.assertEqual("4711", events.event_name(4711))

    def test_names_are_those_of_the_constants(self) -> None:
        """No two events share a name or a number, so a log can be believed."""
        names = [name for name in vars(events) if name.startswith(("VC_EVENT_", "NET_EVENT_"))]
        names.remove("VC_EVENT_NONE")
        self.assertEqual(len(names), len({getattr(events, name) for name in names}))
        for name in names:
            self.assertEqual(name, events.event_name(getattr(events, name)))


class ErrorTests(SynchronousTestCase):
    def test_whose_fault(self) -> None:
        """I can catch what a peer did apart from what I did wrong, and everything at once."""
        for ours in (errors.LocalError, errors.ConnectionClosedError):
            self.assertTrue(issubclass(ours, errors.LocalError))
            self.assertFalse(issubclass(ours, errors.PeerError))
        for theirs in (
            errors.HandshakeFailed, errors.BadClientHello, errors.VerifyFailed, errors.PeerVanished,
            errors.HandshakeTimeout, errors.TimedOut,
        ):  # fmt: skip
            self.assertTrue(issubclass(theirs, errors.PeerError))
            self.assertFalse(issubclass(theirs, errors.LocalError))
        for each in vars(errors).values():
            if isinstance(each, type) and issubclass(each, Exception):
                self.assertTrue(issubclass(each, errors.AtsTlsError), each)

    def test_numbers(self) -> None:
        """Each error of a peer knows the number that lerrno gets, and the alert that goes with it."""
        self.assertEqual(events.ENET_SSL_FAILED, errors.HandshakeFailed("no").lerrno)
        self.assertEqual(errno.ECONNRESET, errors.PeerVanished("gone").lerrno)
        self.assertEqual(errno.ETIMEDOUT, errors.HandshakeTimeout("late").lerrno)
        self.assertEqual((None, 40), (errors.PeerError("x").alert, errors.PeerError("x", 40).alert))

    def test_open_failed_says_why(self) -> None:
        """A connection that could not be made says why, in words, whoever knows the reason."""
        self.assertEqual("too many connections", str(errors.OpenFailed(events.ENET_THROTTLING)))
        self.assertEqual("Connection refused", str(errors.OpenFailed(errno.ECONNREFUSED)))
        self.assertEqual("the name has no address", str(errors.OpenFailed(1, "the name has no address")))
        self.assertEqual(events.ENET_CONNECT_TIMEOUT, errors.OpenFailed(events.ENET_CONNECT_TIMEOUT).lerrno)

    def test_every_number_has_words(self) -> None:
        """No ENET number comes out as "Unknown error"."""
        for name, value in vars(events).items():
            if name.startswith("ENET_"):
                self.assertNotIn("nknown", errors.lerrno_words(value), name)
