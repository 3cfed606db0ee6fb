"""
How connections end: each direction by itself, in the way in which the other side of the edge has ended it.

Every way through the edge (TLS to plain, TLS to TLS, a blind tunnel) has the same tests, with both versions of TLS.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from tests.integration.peers import (
    ALERT,
    DATA,
    V12,
    VERSIONS,
    Backend,
    CutOff,
    Later,
    Plain,
    Secure,
    SharedEdgeTestCase,
    host_context,
    records,
)

MUCH = os.urandom(1_000_003) * 5
"""5 MB, more than what all buffers on the way hold, in which nothing can change its place unseen."""

FORWARD, PARTIAL, TUNNEL = "f.example.com", "p.example.com", "t.example.com"
ROUTES = (FORWARD, PARTIAL, TUNNEL)


def slowly(stream: Plain, data: bytes) -> None:
    """Send C{data} in pieces."""
    for at in range(0, len(data), 250_000):
        stream.send(data[at : at + 250_000])
        time.sleep(0.004)


class HalfCloseTests(SharedEdgeTestCase):
    """Ends of one direction, and of both."""

    @classmethod
    def configuration(cls, directory: Path) -> str:
        cls.plain = Backend()
        cls.secure = Backend(host_context(PARTIAL, TUNNEL))
        return (
            "[listen https]\nport = 0\n"
            f"[sni {FORWARD}]\nforward_route = 127.0.0.1:{cls.plain.port}\n"
            f"[sni {PARTIAL}]\npartial_blind_route = 127.0.0.1:{cls.secure.port}\nverify_server_policy = DISABLED\n"
            f"[sni {TUNNEL}]\ntunnel_route = 127.0.0.1:{cls.secure.port}\n"
        )

    def joined(self, route: str, version: int | None = None) -> tuple[Secure, Plain]:
        """A client and its origin."""
        accepting = Later((self.plain if route == FORWARD else self.secure).accept)
        client = self.client(route, version)
        return client, self.keep(accepting.result())

    def pairs(self) -> Iterator[tuple[str, Secure, Plain]]:
        """Clients and their origins, by each way and version."""
        for route in ROUTES:
            for version in VERSIONS:
                client, origin = self.joined(route, version)
                yield route, client, origin
                client.close()
                origin.close()

    def test_the_client_ends_first(self) -> None:
        """A client that has said close_notify, and one that has ended TCP as well, still gets its whole answer."""
        for fin in (False, True):
            for route, client, origin in self.pairs():
                client.send(b"question")
                client.end()
                if fin:
                    client.fin()
                self.assertEqual(b"question", origin.exactly(8), route)
                self.assertEqual(b"", origin.recv(), route)
                answering = Later(slowly, origin, MUCH)
                got = client.exactly(len(MUCH))
                self.assertEqual(MUCH, got, route)
                answering.result()
                origin.end()
                origin.fin()
                self.assertEqual(b"", client.recv(), route)
                client.fin() if not fin else None
                client.ended()

    def test_the_origin_ends_first(self) -> None:
        """An origin that has no more to say still gets the whole upload, and the client's end."""
        for route, client, origin in self.pairs():
            origin.send(b"answer")
            origin.end()
            sending = Later(slowly, client, MUCH[:1_000_000])
            self.assertEqual(MUCH[:1_000_000], origin.exactly(1_000_000), route)
            sending.result()
            self.assertEqual(b"answer", client.exactly(6), route)
            self.assertEqual(b"", client.recv(), route)
            sending = Later(slowly, client, MUCH[1_000_000:])
            self.assertEqual(MUCH[1_000_000:], origin.exactly(len(MUCH) - 1_000_000), route)
            sending.result()
            client.end()
            client.fin()
            self.assertEqual(b"", origin.recv(), route)
            origin.fin()
            origin.ended()

    def test_both_end_at_once(self) -> None:
        """Both sides send much, end, and read what the other has sent: everything arrives."""
        for route, client, origin in self.pairs():

            def speak(stream: Plain, data: bytes) -> None:
                slowly(stream, data)
                stream.end()

            # What the one reads, while it writes, is done by nobody here: so much fits into the sockets' buffers.
            asking, answering = Later(speak, client, MUCH[:300_000]), Later(speak, origin, MUCH[300_000:600_000])
            asking.result()
            answering.result()
            self.assertEqual(MUCH[300_000:600_000], client.exactly(300_000), route)
            self.assertEqual(MUCH[:300_000], origin.exactly(300_000), route)
            self.assertEqual(b"", client.recv(), route)
            self.assertEqual(b"", origin.recv(), route)

    def test_a_clean_end_in_records(self) -> None:
        """A clean end is close_notify behind the last byte, and behind that TCP's end, with nothing in between."""
        for route in (FORWARD, PARTIAL):
            client, origin = self.joined(route, V12)
            client.raw = bytearray()
            origin.send(b"the last byte")
            origin.end()
            self.assertEqual(b"the last byte", client.exactly(13))
            self.assertEqual(b"", client.recv())
            client.end()
            origin.fin()
            origin.close()
            client.ended()
            kinds = [kind for kind, _ in records(client.raw) if kind in (ALERT, DATA)]
            self.assertEqual([DATA, ALERT], kinds, route)

    def test_a_pause_is_not_an_end(self) -> None:
        """One direction may be silent for long when the other has ended."""
        for route, client, origin in self.pairs():
            client.end()
            self.assertEqual(b"", origin.recv(), route)
            waiting = Later(client.recv)
            time.sleep(0.3)
            self.assertFalse(waiting.done, route)
            origin.send(b"late")
            self.assertEqual(b"late", waiting.result(), route)

    def test_an_origins_reset(self) -> None:
        """A client whose origin resets in mid-answer sees a reset or an error, and never an end in order."""
        for route, client, origin in self.pairs():
            client.send(b"question")
            self.assertEqual(b"question", origin.exactly(8), route)
            answering = Later(origin.send, bytes(1_000_000))
            client.exactly(900_000)
            answering.result()
            origin.reset()
            with self.assertRaises((ConnectionError, CutOff, SSL.Error)):
                client.rest()

    def test_an_origins_reset_after_the_clients_end(self) -> None:
        """Nor when the client has ended its direction before."""
        for route, client, origin in self.pairs():
            client.send(b"question")
            client.end()
            self.assertEqual(b"question", origin.exactly(8), route)
            self.assertEqual(b"", origin.recv(), route)
            origin.send(b"half an")
            self.assertEqual(b"half an", client.exactly(7), route)
            origin.reset()
            with self.assertRaises((ConnectionError, CutOff, SSL.Error)):
                client.rest()

    def test_a_clients_reset(self) -> None:
        """An origin whose client resets in mid-request is reset, and never sees an end in order."""
        for route, client, origin in self.pairs():
            sending = Later(client.send, bytes(1_000_000))
            origin.exactly(900_000)
            sending.result()
            client.reset()
            with self.assertRaises(ConnectionResetError):
                origin.rest()
            self.assertTrue(route)

    def test_a_clients_reset_after_the_origins_end(self) -> None:
        """Nor when the origin has ended its direction before."""
        for route, client, origin in self.pairs():
            origin.end()
            self.assertEqual(b"", client.recv(), route)
            client.send(b"half a")
            self.assertEqual(b"half a", origin.exactly(6), route)
            client.reset()
            with self.assertRaises((ConnectionError, CutOff)):
                origin.rest()

    def test_cut_off_by_the_client(self) -> None:
        """TCP's end without close_notify reaches an origin that speaks TLS as just that, and it can still answer."""
        for route, client, origin in self.pairs():
            client.send(b"question")
            client.fin()
            self.assertEqual(b"question", origin.exactly(8), route)
            if route == FORWARD:
                self.assertEqual(b"", origin.recv())
            else:
                self.assertRaises(CutOff, origin.recv)
            origin.send(b"answer")
            self.assertEqual(b"answer", client.exactly(6), route)
            origin.end()
            origin.fin()
            self.assertEqual(b"", client.recv(), route)

    def test_cut_off_by_the_origin(self) -> None:
        """And the same the other way: a client never takes for whole what was cut off."""
        for route, client, origin in self.pairs():
            origin.send(b"half an answer")
            origin.fin()
            self.assertEqual(b"half an answer", client.exactly(14), route)
            if route == FORWARD:
                self.assertEqual(b"", client.recv())
            else:
                self.assertRaises(CutOff, client.recv)

    def test_closing_at_once(self) -> None:
        """A client that sends, says close_notify and closes has still said it; so has an origin."""
        for route, client, origin in self.pairs():
            origin.send(b"!")
            self.assertEqual(b"!", client.exactly(1), route)  # or closing over unread tickets would be a reset
            client.send(b"question")
            client.end()
            client.close()
            self.assertEqual(b"question", origin.exactly(8), route)
            self.assertEqual(b"", origin.recv(), route)
        for route, client, origin in self.pairs():
            origin.send(MUCH[:500_000])
            origin.end()
            origin.fin()
            self.assertEqual(MUCH[:500_000], client.exactly(500_000), route)
            self.assertEqual(b"", client.recv(), route)

    def test_many_at_once(self) -> None:
        """Twenty conversations that end in halves at the same time do not take each other's bytes."""
        results: list[Any] = []

        def talk(route: str, client: Secure, origin: Plain, data: bytes) -> None:
            client.send(data)
            client.end()
            received = origin.exactly(len(data)) + origin.recv()
            sending = Later(slowly, origin, received * 8)
            got = client.exactly(len(data) * 8)
            sending.result()
            origin.end()
            results.append((route, got == data * 8, client.recv()))

        threads = []
        for number in range(20):
            route = ROUTES[number % 3]
            client, origin = self.joined(route, VERSIONS[number % 2])
            threads.append(threading.Thread(target=talk, args=(route, client, origin, os.urandom(60_000))))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(20, len(results))
        self.assertEqual({(route, True, b"") for route in ROUTES}, set(results))
