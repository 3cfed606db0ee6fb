"""
Tests for L{atstls.tls.engine}: both ways of calling OpenSSL do the same.

Two engines, or an engine and pyOpenSSL, pass ciphertext to each other through blocks.
"""

import random
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import HandshakeFailed
from atstls.eventsystem.iobuffer import NOWHERE, IOBufferBlock
from atstls.tls import engine
from atstls.tls.contexts import ServerSettings
from atstls.tls.engine import (
    BULKY_BYTES,
    CLOSED,
    DONE,
    FAILED,
    HAVE_CFFI,
    OPEN,
    WANT_READ,
    CffiEngine,
    DefaultEngine,
    Engine,
    PublicEngine,
    client_engine,
    server_engine,
)
from tests.tlssupport import (
    APPLICATION_DATA,
    HANDSHAKE,
    VERSIONS,
    _server_contexts,
    client_policy,
    cuts,
    peer_client_context,
    records,
)


def block(data: bytes = b"", size: int = 1 << 16) -> IOBufferBlock:
    """A block with C{data} in it."""
    memory = bytearray(max(size, len(data)))
    memory[: len(data)] = data
    return IOBufferBlock(memory, NOWHERE, 0, len(data), len(memory))


def drained(side: Engine, size: int = 1 << 16) -> bytes:
    """All that C{side} has to say."""
    found = b""
    wire = block(size=size)
    while n := side.drain(wire):
        found += bytes(wire.view[:n])
    return found


if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class Base(_Base):
    """What is done with either engine and either version."""

    kind: type[Engine]
    version: str

    def context(self) -> SSL.Context:
        front, table = _server_contexts(ServerSettings(version_min=self.version, version_max=self.version))
        self.front = front
        assert table.default is not None
        return table.default

    def pair(self, client: SSL.Context | None = None) -> tuple[Engine, Engine]:
        """A client and a server that have not begun."""
        certificate = self.context()
        # The call-backs find no connection of ours and so have nothing to say.
        server = server_engine(self.front, certificate, None, self.kind)
        return client_engine(client or peer_client_context(self.version), "a.example", None, self.kind), server

    def talk(self, client: Engine, server: Engine) -> None:
        """Shake hands."""
        states = [WANT_READ, WANT_READ]
        for _ in range(10):
            for i, (side, other) in enumerate(((client, server), (server, client))):
                if states[i] != DONE:
                    states[i] = side.handshake()
                data = drained(side)
                if data:
                    other.feed(data, len(data))
            if states == [DONE, DONE] and not data:
                break
        self.assertEqual([DONE, DONE], states)
        client.settled()
        server.settled()
        # TLS 1.3's tickets.
        self.assertEqual(b"", self.take(client))

    def joined(self) -> tuple[Engine, Engine]:
        """A client and a server that have shaken hands."""
        client, server = self.pair()
        self.talk(client, server)
        return client, server

    def take(self, side: Engine, limit: int = 1 << 30, size: int = 1 << 16) -> bytes:
        """All the plaintext that can be had."""
        found = b""
        while len(found) < limit:
            into = block(size=size)
            n = side.read(into, limit - len(found))
            if not n:
                break
            found += bytes(into.view[:n])
        return found

    def send(self, side: Engine, data: bytes) -> bytes:
        """C{data} as ciphertext."""
        source = block(data)
        self.assertEqual(len(data), side.write(source, 0, len(data)))
        return drained(side)

    def test_handshake_and_data_at_every_cut(self) -> None:
        """Whole, byte by byte or in any pieces: the same handshake, the same bytes."""
        for name, cut in cuts().items():
            client, server = self.pair()
            done = [False, False]
            queues = [bytearray(), bytearray()]
            for _ in range(20000):
                for i, side in enumerate((client, server)):
                    if not done[i]:
                        done[i] = side.handshake() == DONE
                    queues[i] += drained(side)
                    if queues[i]:
                        n = min(cut(len(queues[i])), len(queues[i]))
                        (server, client)[i].feed(bytes(queues[i][:n]), n)
                        del queues[i][:n]
                if all(done) and not any(queues):
                    break
            self.assertEqual([True, True], done, name)
            data = random.Random(1).randbytes(20000)
            sealed = self.send(client, data)
            found = b""
            while sealed:
                n = min(cut(len(sealed)), len(sealed))
                server.feed(sealed[:n], n)
                self.assertFalse(server.starved)
                sealed = sealed[n:]
                found += self.take(server)
                self.assertTrue(server.starved, name)
            self.assertEqual(data, found, name)

    def test_limit(self) -> None:
        """Never more than was asked for; the rest is there without another byte from the peer (O18)."""
        client, server = self.joined()
        sealed = self.send(client, b"0123456789" * 10)
        server.feed(sealed, len(sealed))
        self.assertEqual(b"0123456789", self.take(server, 10))
        self.assertFalse(server.starved)
        self.assertEqual(b"0123456789" * 9, self.take(server))
        self.assertTrue(server.starved)
        self.assertEqual(OPEN, server.condition)

    def test_read_at_the_end_of_a_block(self) -> None:
        """Plaintext goes behind what the block has, and no further than it has room."""
        client, server = self.joined()
        sealed = self.send(client, b"x" * 100)
        server.feed(sealed, len(sealed))
        into = block(b"abc", 10)
        into.view[3:] = bytes(len(into.view) - 3)
        into.size = 10
        self.assertEqual(7, server.read(into, 1000))
        self.assertEqual(b"abc" + b"x" * 7, bytes(into.view[:10]))
        self.assertEqual(3, into.end)
        self.assertEqual(93, len(self.take(server)))

    def test_several_records_at_once(self) -> None:
        """One read takes all the records that are there, as far as there is room."""
        client, server = self.joined()
        sealed = self.send(client, b"a" * 10) + self.send(client, b"b" * 10) + self.send(client, b"c" * 10)
        server.feed(sealed, len(sealed))
        into = block()
        self.assertEqual(30, server.read(into, 1 << 20))

    def test_offset(self) -> None:
        """What is written is a part of a block."""
        client, server = self.joined()
        self.assertEqual(4, client.write(block(b"0123456789"), 3, 4))
        sealed = drained(client)
        server.feed(sealed, len(sealed))
        self.assertEqual(b"3456", self.take(server))

    def test_whole_block_in_one_call(self) -> None:
        """A large block becomes as few records as TLS allows: one of 16384 bytes after the other."""
        client, server = self.joined()
        size = 200000
        sealed = self.send(client, bytes(size))
        found = records(sealed)
        self.assertEqual({APPLICATION_DATA}, {kind for kind, _ in found})
        self.assertEqual(-(-size // 16384), len(found))
        self.assertTrue(client.bulky or self.kind is PublicEngine)
        server.feed(sealed, len(sealed))
        self.assertEqual(size, len(self.take(server)))

    def test_drain_into_a_small_block(self) -> None:
        """What does not fit comes next time."""
        client, server = self.joined()
        source = block(b"z" * 1000)
        client.write(source, 0, 1000)
        sealed = drained(client, 64)
        server.feed(sealed, len(sealed))
        self.assertEqual(b"z" * 1000, self.take(server))
        self.assertEqual(b"", drained(client))

    def test_feed_block(self) -> None:
        """Ciphertext may come in a block; a lot of it makes the connection worth compacting."""
        client, server = self.joined()
        sealed = self.send(client, b"y" * 100)
        server.feed_block(block(sealed), len(sealed))
        self.assertEqual(b"y" * 100, self.take(server))
        self.assertFalse(server.bulky)
        sealed = self.send(client, bytes(BULKY_BYTES * 2))
        server.feed_block(block(sealed), len(sealed))
        self.assertEqual(self.kind is CffiEngine, server.bulky)
        self.assertEqual(BULKY_BYTES * 2, len(self.take(server)))

    def test_close_notify(self) -> None:
        """Data first; then the peer's goodbye, as often as asked; and writing goes on after it."""
        client, server = self.joined()
        sealed = self.send(client, b"bye")
        client.shutdown()
        sealed += drained(client)
        server.feed(sealed, len(sealed))
        self.assertEqual(b"bye", self.take(server))
        for _ in range(2):
            self.assertEqual(0, server.read(block(), 100))
            self.assertEqual((CLOSED, ""), (server.condition, server.reason))
        answer = self.send(server, b"and yet")
        client.feed(answer, len(answer))
        self.assertEqual(b"and yet", self.take(client))

    def test_write_after_shutdown(self) -> None:
        """Who has said goodbye cannot write: a failure that sticks, with words, and nothing on the error queue."""
        client, _server = self.joined()
        client.shutdown()
        client.shutdown()
        drained(client)
        self.assertEqual(-FAILED, client.write(block(b"late"), 0, 4))
        self.assertEqual(FAILED, client.condition)
        self.assertIn("shutdown", client.reason)
        self.assertEqual(0, client.read(block(), 10))

    def test_shutdown_before_the_handshake(self) -> None:
        """A goodbye that is too early is no error, and leaves none behind for others to find."""
        client, server = self.pair()
        client.shutdown()
        self.assertEqual(0, engine._lib.ERR_peek_error())
        client, server = self.pair()
        self.talk(client, server)

    def test_bad_mac(self) -> None:
        """A flipped byte: failed, for good, with words; the alert that says so is there to be drained."""
        client, server = self.joined()
        sealed = bytearray(self.send(client, b"x" * 50))
        sealed[-1] ^= 1
        server.feed(bytes(sealed), len(sealed))
        self.assertEqual(0, server.read(block(), 100))
        self.assertEqual(FAILED, server.condition)
        # The words are OpenSSL's, and differ with the version of TLS.
        self.assertIn(server.reason, ("decryption failed or bad record mac", "cipher operation failed"))
        self.assertTrue(drained(server))
        self.assertEqual(0, engine._lib.ERR_peek_error())

    def test_good_record_before_a_bad_one(self) -> None:
        """What came before the damage is delivered first."""
        client, server = self.joined()
        good = self.send(client, b"good")
        bad = bytearray(self.send(client, b"bad"))
        bad[-1] ^= 1
        sealed = good + bytes(bad)
        server.feed(sealed, len(sealed))
        self.assertEqual(b"good", self.take(server))
        self.assertEqual(0, server.read(block(), 10))
        self.assertEqual(FAILED, server.condition)

    def test_failure_is_nobody_elses(self) -> None:
        """OpenSSL's errors are kept for a thread: one connection's are not the next one's."""
        bad_client, bad_server = self.joined()
        _client, server = self.joined()
        sealed = bytearray(self.send(bad_client, b"x"))
        sealed[-1] ^= 1
        bad_server.feed(bytes(sealed), len(sealed))
        bad_server.read(block(), 10)
        self.assertEqual(0, server.read(block(), 10))
        self.assertEqual((OPEN, True), (server.condition, server.starved))

    def test_handshake_failure(self) -> None:
        """No version in common: both fail, in words, and the alert goes out."""
        other = "TLSv1.2" if self.version == "TLSv1.3" else "TLSv1.3"
        client, server = self.pair(peer_client_context(other))
        self.assertEqual(WANT_READ, client.handshake())
        hello = drained(client)
        server.feed(hello, len(hello))
        self.assertEqual(-FAILED, server.handshake())
        self.assertEqual(FAILED, server.condition)
        self.assertTrue(server.reason)
        alert = drained(server)
        self.assertEqual([(21, b"\x02\x46")], records(alert))  # protocol_version
        client.feed(alert, len(alert))
        self.assertEqual(-FAILED, client.handshake())
        self.assertIn("alert protocol version", client.reason)
        self.assertEqual(0, engine._lib.ERR_peek_error())

    def test_session_and_verify_result(self) -> None:
        """A first connection is not a resumed one; what OpenSSL found about the peer is told, where it can be."""
        client, server = self.joined()
        self.assertFalse(client.session_reused or server.session_reused)
        self.assertEqual(self.kind is CffiEngine, client.verify_result != 0)

    def test_resumption(self) -> None:
        """A session goes on being good after keep_session, without any goodbye."""
        client, server = self.joined()
        session = client.connection.get_session()
        client.keep_session()
        server.keep_session()
        del client, server
        client, server = self.pair()
        client.connection.set_session(session)
        self.talk(client, server)
        self.assertTrue(engine._lib.SSL_session_reused(server.connection._ssl))
        self.assertEqual(self.kind is CffiEngine, server.session_reused)
        self.assertEqual(self.kind is CffiEngine, client.session_reused)

    def test_answers(self) -> None:
        """Only over TLS 1.2 may every read leave an answer."""
        _client, server = self.joined()
        self.assertEqual(self.version == "TLSv1.2", server.answers)

    def test_compact(self) -> None:
        """New BIOs for old: the connection works on, in both directions, and by pyOpenSSL's own methods."""
        client, server = self.joined()
        for _ in range(3):
            sealed = self.send(client, bytes(100000))
            server.feed_block(block(sealed), len(sealed))
            self.assertEqual(100000, len(self.take(server)))
            client.compact()
            server.compact()
            self.assertFalse(client.bulky or server.bulky)
            sealed = self.send(server, b"back")
            client.feed(sealed, len(sealed))
            self.assertEqual(b"back", client.connection.recv(10))
            server.connection.send(b"by hand")
            sealed = server.connection.bio_read(1000)
            client.feed(sealed, len(sealed))
            self.assertEqual(b"by hand", self.take(client))

    def test_compact_in_the_middle_of_a_record(self) -> None:
        """Half a record that OpenSSL has taken already is not lost."""
        client, server = self.joined()
        sealed = self.send(client, b"q" * 1000)
        server.feed(sealed[:500], 500)
        self.assertEqual(b"", self.take(server))
        self.assertTrue(server.starved)
        server.compact()
        server.feed(sealed[500:], len(sealed) - 500)
        self.assertEqual(b"q" * 1000, self.take(server))


def _make() -> None:
    for kind in (CffiEngine, PublicEngine):
        for version in VERSIONS:
            name = f"{kind.__name__}{version[-1]}Tests"
            globals()[name] = type(
                name,
                (Base, SynchronousTestCase),
                {"kind": kind, "version": version, "__module__": __name__, "__doc__": "An engine does what it says."},
            )


_make()


class RenegotiationTests(SynchronousTestCase):
    """TLS 1.2 alone: a new handshake within the connection."""

    def joined(self, kind: type[Engine]) -> tuple[Engine, Engine]:
        base = type("B", (Base, SynchronousTestCase), {"kind": kind, "version": "TLSv1.2"})("joined")
        return base.joined()  # type: ignore[no-any-return]

    def test_refused(self) -> None:
        """A client that asks gets the warning no_renegotiation, at the next read; the rest is its owner's affair."""
        for kind in (CffiEngine, PublicEngine):
            client, server = self.joined(kind)
            client.connection.renegotiate()
            client.handshake()
            sealed = drained(client)
            self.assertEqual([HANDSHAKE], [kind for kind, _ in records(sealed)])
            server.feed(sealed, len(sealed))
            self.assertEqual(0, server.read(block(), 100))
            self.assertEqual((OPEN, True), (server.condition, server.starved))
            answer = records(drained(server))
            self.assertEqual([21], [kind for kind, _ in answer])

    def test_write_has_to_wait(self) -> None:
        """Who asked to renegotiate cannot write before the other side has answered: 0, and no failure."""
        for kind in (CffiEngine, PublicEngine):
            client, _server = self.joined(kind)
            client.connection.renegotiate()
            self.assertEqual(0, client.write(block(b"later"), 0, 5))
            self.assertEqual(OPEN, client.condition)


class FactoryTests(SynchronousTestCase):
    """Engines for the two roles."""

    def test_default(self) -> None:
        """The fast way where it is to be had."""
        self.assertTrue(HAVE_CFFI)
        self.assertIs(CffiEngine, DefaultEngine)
        self.assertIsInstance(client_engine(client_policy().context, None, None), CffiEngine)

    def test_name_that_cannot_be_asked_for(self) -> None:
        """An origin's name with letters that no host name has fails in words."""
        for name in ("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "a\0b", "x" * 256):
            try:
                client_engine(client_policy().context, name, None)
            except HandshakeFailed as exc:
                self.assertIn("cannot be asked for", str(exc))
            else:
                self.fail(f"{name!r} was taken")

    def test_owner(self) -> None:
        """Call-backs find the connection's owner."""
        owner = object()
        made = server_engine(client_policy().context, None, owner)
        self.assertIs(owner, made.connection.get_app_data())

    def test_public_engine_can_say_no_reason(self) -> None:
        """An error without details still has words."""
        made = client_engine(client_policy().context, None, None, PublicEngine)
        assert isinstance(made, PublicEngine)
        for exc, words in ((SSL.Error(), "Error"), (SSL.SysCallError(-1, "gone"), "gone"), (SSL.Error([]), "[]")):
            made._fail(exc)
            self.assertIn(words, made.reason)
        fast = client_engine(client_policy().context, None, None, CffiEngine)
        assert isinstance(fast, CffiEngine)
        fast._fail(5)
        self.assertEqual((FAILED, "TLS error 5"), (fast.condition, fast.reason))
