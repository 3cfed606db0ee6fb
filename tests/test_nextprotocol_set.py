"""
Tests for L{atstls.tls.nextprotocol}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from atstls.tls.nextprotocol import SSLNextProtocolSet


class SSLNextProtocolSetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.http1 = object()
        self.http2 = object()
        self.protocols = SSLNextProtocolSet()

    def register_both(self) -> None:
        self.assertTrue(self.protocols.register_endpoint(b"http/1.1", self.http1))
        self.assertTrue(self.protocols.register_endpoint(b"h2", self.http2))

    def test_empty(self) -> None:
        """A listener on which nothing was registered advertises nothing and chooses nothing."""
        self.assertEqual(self.protocols.names, ())
        self.assertEqual(self.protocols.advertise_protocols(), b"")
        self.assertIsNone(self.protocols.find_endpoint(b"h2"))
        self.assertIsNone(self.protocols.select([b"h2"]))

    def test_last_registered_is_preferred(self) -> None:
        """What I registered last is what clients get first (O24)."""
        self.register_both()
        self.assertEqual(self.protocols.names, (b"h2", b"http/1.1"))
        self.assertEqual(self.protocols.advertise_protocols(), b"\x02h2\x08http/1.1")

    def test_find(self) -> None:
        """The endpoint of a protocol is found by its exact bytes."""
        self.register_both()
        self.assertIs(self.protocols.find_endpoint(b"h2"), self.http2)
        self.assertIs(self.protocols.find_endpoint(b"http/1.1"), self.http1)
        self.assertIsNone(self.protocols.find_endpoint(b"H2"))

    def test_name_lengths(self) -> None:
        """A name of 255 bytes is the longest; an empty one cannot be sent."""
        self.assertTrue(self.protocols.register_endpoint(b"x" * 255, self.http1))
        self.assertFalse(self.protocols.register_endpoint(b"y" * 256, self.http1))
        self.assertFalse(self.protocols.register_endpoint(b"", self.http1))
        self.assertEqual(self.protocols.advertise_protocols(), b"\xff" + b"x" * 255)

    def test_duplicate(self) -> None:
        """A second endpoint for the same protocol is refused, and the first one stays."""
        self.register_both()
        self.assertFalse(self.protocols.register_endpoint(b"h2", self.http1))
        self.assertIs(self.protocols.find_endpoint(b"h2"), self.http2)
        self.assertEqual(self.protocols.names, (b"h2", b"http/1.1"))

    def test_unregister(self) -> None:
        """What I took away is neither advertised nor chosen any more (O22), and can be registered again."""
        self.register_both()
        self.assertTrue(self.protocols.unregister_endpoint(b"h2", self.http2))
        self.assertEqual(self.protocols.advertise_protocols(), b"\x08http/1.1")
        self.assertIsNone(self.protocols.find_endpoint(b"h2"))
        self.assertIsNone(self.protocols.select([b"h2"]))
        self.assertTrue(self.protocols.register_endpoint(b"h2", self.http1))

    def test_unregister_what_is_not_there(self) -> None:
        """Taking away an unknown name, or somebody else's endpoint, says no and changes nothing."""
        self.register_both()
        self.assertFalse(self.protocols.unregister_endpoint(b"spdy/3", self.http2))
        self.assertFalse(self.protocols.unregister_endpoint(b"h2", self.http1))
        self.assertEqual(self.protocols.advertise_protocols(), b"\x02h2\x08http/1.1")

    def test_names_in_use_do_not_change(self) -> None:
        """A handshake that has taken the names keeps them whatever is registered meanwhile."""
        self.register_both()
        names = self.protocols.names
        self.protocols.unregister_endpoint(b"h2", self.http2)
        self.assertEqual(names, (b"h2", b"http/1.1"))

    def test_our_order_counts(self) -> None:
        """The client's order of preference does not matter, ours does."""
        self.register_both()
        self.assertEqual(self.protocols.select([b"http/1.1", b"h2"]), b"h2")
        self.assertEqual(self.protocols.select([b"spdy/3", b"http/1.1"]), b"http/1.1")
        self.assertIsNone(self.protocols.select([b"spdy/3"]))
        self.assertIsNone(self.protocols.select([]))

    @given(
        st.lists(st.binary(max_size=300), max_size=8),
        st.lists(st.binary(max_size=300), max_size=8),
    )
    def test_any_names(self, registered: list[bytes], offered: list[bytes]) -> None:
        """The wire form reads back as the names; the best of those in common is chosen."""
        protocols = SSLNextProtocolSet()
        taken = [name for name in registered if protocols.register_endpoint(name, self)]
        self.assertEqual(protocols.names, tuple(reversed(taken)))
        wire, names = protocols.advertise_protocols(), []
        while wire:
            names.append(wire[1 : 1 + wire[0]])
            wire = wire[1 + wire[0] :]
        self.assertEqual(tuple(names), protocols.names)
        common = [name for name in protocols.names if name in offered]
        self.assertEqual(protocols.select(offered), common[0] if common else None)
        for name in taken:
            self.assertTrue(protocols.unregister_endpoint(name, self))
        self.assertEqual(protocols.advertise_protocols(), b"")
