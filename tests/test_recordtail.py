"""
Tests for L{atstls.tls.recordtail}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from atstls.tls.recordtail import HEADER_BYTES, MOST_BYTES, TYPES, RecordTail


def record(length: int, kind: int = 23) -> bytes:
    """One with so many bytes behind its header, none of which looks like a header."""
    return bytes((kind, 3, 3)) + length.to_bytes(2, "big") + b"\xff" * length


class RecordTailTests(SynchronousTestCase):
    @given(
        lengths=st.lists(st.one_of(st.integers(0, 40), st.integers(0, MOST_BYTES)), min_size=1, max_size=8),
        cuts=st.lists(st.one_of(st.integers(1, 9), st.integers(1, 40000)), min_size=1, max_size=40),
        spare=st.integers(0, 3),
    )
    def test_every_cut(self, lengths: list[int], cuts: list[int], spare: int) -> None:
        """However the stream is cut, what is told is what the record lacks; with a part of a header, nothing."""
        stream = b"".join(map(record, lengths))
        ends = []
        at = 0
        for length in lengths:
            at += HEADER_BYTES + length
            ends.append((at - length, at))
        tail = RecordTail()
        at = 0
        for cut in cuts * (len(stream) // sum(cuts) + 1):
            piece = stream[at : at + cut]
            # What stands behind it is somebody else's.
            missing = tail.follow(bytearray(piece + record(9999)[:spare]), len(piece))
            at += len(piece)
            expected = [end - at for begun, end in ends if begun <= at < end]
            self.assertEqual(expected[0] if expected else 0, missing)
            if at == len(stream):
                break

    def test_not_a_header(self) -> None:
        """Where it finds something else it has lost its way: it says so little that nobody waits, from there on."""
        bad = [bytes((kind, 3, 3, 1, 0)) for kind in (0, TYPES[0] - 1, TYPES[-1] + 1, 255)]
        bad += [bytes((23, 2, 0, 1, 0)), bytes((23, 3, 3)) + (MOST_BYTES + 2).to_bytes(2, "big") + b"x"]
        for header in bad:
            for cut in range(1, HEADER_BYTES + 1):
                tail = RecordTail()
                self.assertEqual(0, tail.follow(header, cut), header)
                self.assertEqual(0, tail.follow(header[cut:], len(header) - cut), header)
                for _ in range(3):
                    self.assertEqual(0, tail.follow(record(1000), 500))

    def test_every_kind(self) -> None:
        """Handshakes, alerts and all else have the same header."""
        for kind in TYPES:
            self.assertEqual(90, RecordTail().follow(record(100, kind), 15))

    def test_after(self) -> None:
        """Where a stream stands that has begun already: mostly behind one record."""
        for whole in (b"", record(0) + record(1), record(1), record(MOST_BYTES)):
            tail = RecordTail.after(whole)
            self.assertEqual(90, (tail or RecordTail()).follow(record(100), 15))
        self.assertEqual((None, None), (RecordTail.after(b""), RecordTail.after(record(300))))
        for cut in range(1, 305):
            tail = RecordTail.after(record(300)[:cut])
            assert tail is not None
            self.assertEqual(1, tail.follow(record(300)[cut:], 304 - cut))

    def test_not_known(self) -> None:
        """Where nobody knows where the stream is, nothing is said of it."""
        tail = RecordTail(known=False)
        for count in (1, 5, 500):
            self.assertEqual(0, tail.follow(record(1000), count))

    def test_no_dict(self) -> None:
        """There may be one per connection, so it is small."""
        self.assertFalse(hasattr(RecordTail(), "__dict__"))
