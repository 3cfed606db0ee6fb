"""
Tests for L{atstls.tls.recordsize}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import ConfigurationError
from atstls.tls.recordsize import DynamicRecordSizer, RecordSizer, record_sizer


class RecordSizerTests(SynchronousTestCase):
    def test_no_clamp_needs_no_object(self) -> None:
        """With max_record_size 0 a connection carries nothing and the library cuts where TLS makes it (S105)."""
        self.assertIsNone(record_sizer(0))

    def test_fixed(self) -> None:
        """With a fixed size no record is ever larger, whatever was sent and whenever (S101)."""
        sizer = record_sizer(4096)
        assert sizer is not None
        for now in (0.0, 0.1, 50.0):
            self.assertEqual(sizer.limit(now), 4096)
            sizer.wrote(2_000_000, now)
        self.assertEqual((sizer.default_records, sizer.max_records), (0, 0))

    def test_fixed_is_shared(self) -> None:
        """A fixed size costs one object for all connections; each dynamic connection has its own."""
        self.assertIs(record_sizer(4096), record_sizer(4096))
        self.assertIsNot(record_sizer(-1), record_sizer(-1))

    def test_no_dict(self) -> None:
        """There may be one per connection, so it is small."""
        self.assertFalse(hasattr(DynamicRecordSizer(), "__dict__"))
        self.assertFalse(hasattr(RecordSizer(1), "__dict__"))

    def test_edges(self) -> None:
        """1 and 16383 are allowed; -2 and 16384 are refused, and the error says what is allowed."""
        for allowed in (1, 16383):
            sizer = record_sizer(allowed)
            assert sizer is not None
            self.assertEqual(sizer.limit(0.0), allowed)
        for refused in (-2, 16384, 1 << 40):
            error = self.assertRaises(ConfigurationError, record_sizer, refused)
            self.assertIn(str(refused), str(error))
            self.assertIn("16383", str(error))


class DynamicRecordSizerTests(SynchronousTestCase):
    def sizer(self) -> RecordSizer:
        sizer = record_sizer(-1)
        assert sizer is not None
        return sizer

    def test_small_first(self) -> None:
        """Until a million bytes were sent records stay small, then they are large (S102, S103)."""
        sizer = self.sizer()
        self.assertEqual(sizer.limit(10.0), 1300)
        sizer.wrote(999_999, 10.0)
        self.assertEqual(sizer.limit(10.0), 1300)
        sizer.wrote(1, 10.0)
        self.assertEqual(sizer.limit(10.0), 16383)

    def test_counters(self) -> None:
        """Each record is counted once, by the size that was allowed for it (S106)."""
        sizer = self.sizer()
        for _ in range(770):
            sizer.wrote(sizer.limit(1.0), 1.0)
        self.assertEqual((sizer.default_records, sizer.max_records), (770, 0))
        sizer.wrote(sizer.limit(1.0), 1.0)
        self.assertEqual((sizer.default_records, sizer.max_records), (770, 1))
        sizer.wrote(5, 1.0)
        self.assertEqual((sizer.default_records, sizer.max_records), (770, 2))

    def test_refused_write_is_not_counted(self) -> None:
        """Asking again after a write that went nowhere changes nothing (O5)."""
        sizer = self.sizer()
        for _ in range(5000):
            self.assertEqual(sizer.limit(1.0), 1300)
        self.assertEqual((sizer.default_records, sizer.max_records), (0, 0))

    def test_small_again_after_a_pause(self) -> None:
        """A pause of more than a second makes records small again; one of exactly a second does not (S104)."""
        sizer = self.sizer()
        sizer.wrote(1_000_000, 10.0)
        self.assertEqual(sizer.limit(11.0), 16383)
        sizer.wrote(1, 11.0)
        self.assertEqual(sizer.limit(12.001), 1300)
        sizer.wrote(1, 12.001)
        self.assertEqual(sizer.limit(12.001), 1300)

    @given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 16384)), max_size=400))
    def test_never_large_too_soon(self, writes: list[tuple[float, int]]) -> None:
        """Whatever I write and whenever: a large record comes only after a million bytes without a long pause."""
        sizer, now, since_pause = self.sizer(), 0.0, 0
        for pause, want in writes:
            last, now = now, now + pause
            if now - last > 1.0:
                since_pause = 0
            limit = sizer.limit(now)
            self.assertEqual(limit, 16383 if since_pause >= 1_000_000 else 1300)
            sizer.wrote(min(want, limit), now)
            since_pause += min(want, limit)
        self.assertEqual(sizer.default_records + sizer.max_records, len(writes))
