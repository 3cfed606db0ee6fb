"""
Tests for L{atstls.eventsystem.iobuffer}.
"""

import gc
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.errors import LocalError
from atstls.eventsystem import iobuffer
from atstls.eventsystem.iobuffer import (
    BUFFER_SIZE_INDEX_4K,
    BUFFER_SIZE_INDEX_32K,
    BUFFER_SIZE_INDEX_64K,
    BUFFER_SIZE_INDEX_128K,
    BUFFER_SIZE_INDEX_256K,
    POOLED_BYTES,
    IOBufferReader,
    MIOBuffer,
    buffer_size,
    empty_pool,
    new_empty_MIOBuffer,
    new_MIOBuffer,
    pooled_bytes,
    take_block,
)
from atstls.interfaces import IIOBufferReader, IMIOBuffer


def blocks_of(reader: IOBufferReader) -> list[Any]:
    """The blocks that a reader holds, in order."""
    blocks, block = [], reader.block
    while block is not None:
        blocks.append(block)
        block = block.next
    return blocks


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        empty_pool()
        self.addCleanup(empty_pool)

    def test_sizes(self) -> None:
        """The fifteen sizes are 128 bytes to 2 MiB; any other is refused with what is allowed (N018)."""
        self.assertEqual([128 * 2**i for i in range(15)], [buffer_size(i) for i in range(15)])
        self.assertEqual(2 << 20, buffer_size(14))
        for index in (-1, 15):
            self.assertIn("0 to 14", str(self.assertRaises(LocalError, buffer_size, index)))
            self.assertRaises(LocalError, MIOBuffer, index)

    def test_names_of_sizes(self) -> None:
        """The sizes that have names are what their names say."""
        named = (
            BUFFER_SIZE_INDEX_4K,
            BUFFER_SIZE_INDEX_32K,
            BUFFER_SIZE_INDEX_64K,
            BUFFER_SIZE_INDEX_128K,
            BUFFER_SIZE_INDEX_256K,
        )
        self.assertEqual([4, 32, 64, 128, 256], [buffer_size(index) >> 10 for index in named])

    def test_block_comes_back(self) -> None:
        """A drained block is the next one to be taken, empty, without its neighbour."""
        buffer = new_empty_MIOBuffer(0)
        reader = buffer.alloc_reader()
        buffer.write(b"x" * 200)
        first, second = blocks_of(reader)
        reader.consume(200)
        self.assertEqual(256, pooled_bytes())
        self.assertIs(second, take_block(0))
        self.assertIs(first, take_block(0))
        for block in (first, second):
            self.assertEqual((0, 0, 128, None), (block.start, block.end, block.size, block.next))

    def test_pool_is_bounded(self) -> None:
        """However much was buffered at once, only so much is kept for later."""
        buffer = new_empty_MIOBuffer(14)
        reader = buffer.alloc_reader()
        buffer.write(bytes(4 * buffer_size(14)))
        reader.consume(reader.avail)
        self.assertEqual(POOLED_BYTES, pooled_bytes())
        empty_pool()
        self.assertEqual(0, pooled_bytes())


class MIOBufferTests(SynchronousTestCase):
    def setUp(self) -> None:
        empty_pool()
        self.addCleanup(empty_pool)

    def test_interfaces(self) -> None:
        """Buffer and reader are what the connections take."""
        buffer = new_empty_MIOBuffer(0)
        self.assertTrue(verifyObject(IMIOBuffer, buffer))
        self.assertTrue(verifyObject(IIOBufferReader, buffer.alloc_reader()))

    def test_empty_or_ready(self) -> None:
        """An empty buffer holds no memory until something is written; a new one has a block (N019)."""
        self.assertEqual((0, 0), (new_empty_MIOBuffer(2).current_write_avail(), pooled_bytes()))
        self.assertEqual(512, new_MIOBuffer(2).current_write_avail())
        self.assertEqual(32 << 10, new_MIOBuffer().current_write_avail())

    def test_write_copies(self) -> None:
        """What I write is copied, over as many blocks as it takes; changing mine later changes nothing (N011)."""
        buffer = new_empty_MIOBuffer(0)
        reader = buffer.alloc_reader()
        mine = bytearray(range(256)) * 2
        self.assertEqual(512, buffer.write(mine))
        mine[:] = bytes(512)
        self.assertEqual(bytes(range(256)) * 2, reader.memcpy())
        self.assertEqual(4, len(blocks_of(reader)))
        self.assertEqual(0, buffer.write(b""))

    def test_write_ignores_the_water_mark(self) -> None:
        """A full buffer still takes what its owner writes by hand."""
        buffer = new_empty_MIOBuffer(0)
        reader = buffer.alloc_reader()
        buffer.write(bytes(128))
        self.assertEqual(0, buffer.write_avail())
        self.assertEqual(5, buffer.write(b"12345"))
        self.assertEqual(133, reader.avail)

    def test_back_pressure(self) -> None:
        """A full buffer that nobody drained has no room, and has it again when it is drained (N014)."""
        buffer = new_empty_MIOBuffer(BUFFER_SIZE_INDEX_4K)
        reader = buffer.alloc_reader()
        self.assertEqual(4096, buffer.write_avail())
        buffer.write(bytes(4096))
        self.assertEqual((0, 0, None, False), self.room(buffer))
        reader.consume(4095)
        self.assertEqual((0, 0, None, False), self.room(buffer))
        reader.consume(1)
        self.assertTrue(buffer.has_room())
        self.assertEqual(0, buffer.current_write_avail())
        self.assertEqual(4096, buffer.write_avail())

    def room(self, buffer: MIOBuffer) -> tuple[Any, ...]:
        return buffer.write_avail(), buffer.current_write_avail(), buffer.write_block(), buffer.has_room()

    def test_water_mark(self) -> None:
        """With a water mark a buffer grows while at most so many bytes wait and are free (N014)."""
        buffer = MIOBuffer(0, water_mark=100)
        reader = buffer.alloc_reader()
        buffer.write(bytes(100))
        self.assertEqual((False, True), (buffer.high_water(), buffer.has_room()))
        # 28 bytes free and 100 unread: neither is more than the mark, so a block is added.
        self.assertEqual(28, buffer.current_write_avail())
        self.assertEqual(128, buffer.write_avail())
        self.assertFalse(buffer.low_water())
        buffer.write(bytes(120))
        self.assertEqual(220, reader.avail)
        self.assertTrue(buffer.high_water())
        # 8 bytes free, and more than the mark unread: what there is is all there is.
        self.assertEqual(8, buffer.write_avail())
        self.assertTrue(buffer.low_water())
        buffer.write(bytes(8))
        self.assertEqual((0, 0, None, False), self.room(buffer))
        reader.consume(127)
        self.assertEqual((0, 0, None, False), self.room(buffer))
        reader.consume(1)
        self.assertTrue(buffer.has_room())
        self.assertEqual(128, buffer.write_avail())

    def test_fill(self) -> None:
        """What the kernel put into a block is seen after fill, by every reader (N013)."""
        buffer = new_empty_MIOBuffer(0)
        readers = [buffer.alloc_reader() for _ in range(2)]
        block = buffer.write_block()
        assert block is not None
        block.memory[:5] = b"hello"
        self.assertEqual([0, 0], [reader.avail for reader in readers])
        buffer.fill(5)
        self.assertEqual([b"hello", b"hello"], [reader.memcpy() for reader in readers])
        self.assertEqual(123, buffer.current_write_avail())

    def test_fill_too_much(self) -> None:
        """More than there is room for cannot have been put there: refused, and nothing changes."""
        buffer = new_empty_MIOBuffer(0)
        reader = buffer.alloc_reader()
        self.assertRaises(LocalError, buffer.fill, 1)
        buffer.write_block()
        for count in (129, -1):
            self.assertRaises(LocalError, buffer.fill, count)
        self.assertEqual((0, 128), (reader.avail, buffer.current_write_avail()))

    def test_at_most_five_readers(self) -> None:
        """The sixth reader is refused; a place that is given up can be taken (N015)."""
        buffer = new_empty_MIOBuffer(0)
        readers = [buffer.alloc_reader() for _ in range(5)]
        self.assertRaises(LocalError, buffer.alloc_reader)
        self.assertRaises(LocalError, readers[0].clone)
        readers[2].dealloc()
        readers[2].dealloc()
        self.assertIsNotNone(buffer.alloc_reader())

    def test_late_reader(self) -> None:
        """A reader that comes late begins at the block being filled, and misses what was before."""
        buffer = new_empty_MIOBuffer(0)
        early = buffer.alloc_reader()
        buffer.write(b"a" * 128 + b"b" * 10)
        late = buffer.alloc_reader()
        self.assertEqual(b"b" * 10, late.memcpy())
        self.assertEqual(138, early.avail)
        self.assertEqual(138, buffer.max_read_avail())

    def test_slowest_reader_decides(self) -> None:
        """Data lives, and the buffer is full, until the slowest has read it (N015)."""
        buffer = new_empty_MIOBuffer(0)
        fast, slow = buffer.alloc_reader(), buffer.alloc_reader()
        buffer.write(bytes(range(128)))
        fast.consume(128)
        self.assertEqual((128, False), (buffer.max_read_avail(), buffer.has_room()))
        self.assertEqual(bytes(range(128)), slow.memcpy())
        slow.dealloc()
        self.assertTrue(buffer.has_room())
        buffer.write(b"more")
        self.assertEqual(b"more", fast.read())

    def test_sole_reader_again(self) -> None:
        """When others have left, the last reader gives drained blocks back again, and loses none of its bytes."""
        buffer = new_empty_MIOBuffer(0)
        one, two = buffer.alloc_reader(), buffer.alloc_reader()
        buffer.write(b"a" * 128 + b"b" * 128 + b"c" * 10)
        one.consume(128)
        two.dealloc()
        self.assertEqual(b"b" * 128 + b"c" * 10, one.read())
        self.assertIsNone(buffer.tail)
        self.assertGreater(pooled_bytes(), 0)

    def test_without_readers(self) -> None:
        """A buffer that nobody reads always has room, and keeps at most its last block."""
        buffer = new_empty_MIOBuffer(0)
        self.assertEqual(0, buffer.max_read_avail())
        buffer.write(bytes(1024))
        self.assertTrue(buffer.has_room())
        self.assertEqual(128, buffer.write_avail())

    def test_grow(self) -> None:
        """A buffer whose blocks are filled at one go takes larger ones, up to its limit; one without never grows."""
        buffer = MIOBuffer(0, largest_index=2)
        sizes = []
        for _ in range(4):
            buffer.grow()
            sizes.append(buffer.size_index)
        self.assertEqual([1, 2, 2, 2], sizes)
        fixed = MIOBuffer(0)
        fixed.grow()
        self.assertEqual(0, fixed.size_index)

    def test_append(self) -> None:
        """A large piece becomes a block itself, between what was written before and after."""
        buffer = new_empty_MIOBuffer(0)
        reader, piece = buffer.alloc_reader(), bytes(range(200))
        buffer.write(b"before")
        buffer.append(piece)
        buffer.append(b"")
        buffer.write(b"after")
        self.assertEqual(3, len(blocks_of(reader)))
        self.assertIs(piece, blocks_of(reader)[1].memory)
        self.assertEqual(b"before" + piece + b"after", reader.read())

    def test_drained_buffer_holds_nothing(self) -> None:
        """A connection that is silent costs no buffer: the memory is given back with the last byte (N017)."""
        buffer = new_empty_MIOBuffer(11)
        reader = buffer.alloc_reader()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        buffer.write(bytes(1 << 20))
        self.assertGreater(tracemalloc.get_traced_memory()[0] - before, 1 << 20)
        reader.consume(reader.avail)
        self.assertEqual((None, None), (buffer.tail, reader.block))
        empty_pool()
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 10000)

    def test_left_buffer_holds_nothing(self) -> None:
        """A reader that leaves unread bytes behind gives their memory back (N017)."""
        buffer = new_empty_MIOBuffer(0)
        reader = buffer.alloc_reader()
        buffer.write(bytes(300))
        reader.dealloc()
        self.assertEqual((0, None, None), (reader.avail, reader.block, buffer.tail))
        self.assertEqual(3 * 128, pooled_bytes())

    def test_several_readers_free_memory(self) -> None:
        """With several readers a block is freed when the slowest has passed it, without the collector's help (N017)."""
        buffer = new_empty_MIOBuffer(11)
        readers = [buffer.alloc_reader() for _ in range(3)]
        gc.disable()
        self.addCleanup(gc.enable)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        buffer.write(bytes(1 << 20))
        for reader in readers:
            self.assertGreater(tracemalloc.get_traced_memory()[0] - before, 1 << 20)
            reader.consume(reader.avail)
        # Each still stands in the last block.
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, (256 << 10) + 10000)


class SharedWriteTests(SynchronousTestCase):
    """Writing what a reader has."""

    def setUp(self) -> None:
        empty_pool()
        self.addCleanup(empty_pool)
        self.source = new_empty_MIOBuffer(0).alloc_reader()
        self.data = bytes(range(256)) + b"tail"
        self.source.buffer.write(self.data)
        self.target = new_empty_MIOBuffer(0).alloc_reader()

    def test_shares(self) -> None:
        """No byte is copied, and the source does not move (N010, N012)."""
        self.assertEqual(260, self.target.buffer.write(self.source))
        self.assertEqual(self.data, self.target.memcpy())
        self.assertEqual(self.data, self.source.memcpy())
        ours, theirs = blocks_of(self.source), blocks_of(self.target)
        self.assertEqual([id(block.memory) for block in ours], [id(block.memory) for block in theirs])
        self.assertEqual(0, self.target.buffer.current_write_avail())

    def test_part(self) -> None:
        """A length and an offset are kept to, also over the edges of blocks; past the end there is nothing."""
        write = self.target.buffer.write
        self.assertEqual(100, write(self.source, 100, 100))
        self.assertEqual(4, write(self.source, None, 256))
        self.assertEqual(1, write(self.source, 50, 259))
        self.assertEqual([0, 0, 0, 0], [write(self.source, *some) for some in ((0, 0), (-1, 0), (5, 260), (5, 1000))])
        self.assertEqual(self.data[100:200] + b"taill", self.target.memcpy())

    def test_of_a_moved_reader(self) -> None:
        """What the source has consumed is not shared."""
        self.source.consume(130)
        self.target.buffer.write(self.source, 10)
        self.assertEqual(self.data[130:140], self.target.memcpy())

    def test_lent_memory_is_not_used_again(self) -> None:
        """The source drains, and others write: what was shared stays as it was."""
        self.target.buffer.write(self.source)
        self.source.consume(260)
        self.assertEqual(0, pooled_bytes())
        other = new_empty_MIOBuffer(0)
        other.alloc_reader()
        other.write(b"\xff" * 1000)
        self.source.buffer.write(b"\xee" * 1000)
        self.assertEqual(self.data, self.target.read())
        self.assertEqual(0, pooled_bytes())

    def test_source_goes_on_in_the_same_block(self) -> None:
        """The source fills the rest of its last block afterwards; the target does not see that."""
        self.target.buffer.write(self.source)
        self.source.buffer.write(b"more")
        self.assertEqual(self.data, self.target.memcpy())
        self.assertEqual(self.data + b"more", self.source.memcpy())

    def test_into_itself(self) -> None:
        """A buffer may be written what its own reader has, once."""
        self.source.consume(250)
        self.assertEqual(10, self.source.buffer.write(self.source))
        self.assertEqual(self.data[250:] * 2, self.source.read())

    def test_to_several(self) -> None:
        """What is shared reaches every reader of the target, and can be shared on."""
        second = self.target.clone()
        self.target.buffer.write(self.source, 3)
        third = new_empty_MIOBuffer(0).alloc_reader()
        third.buffer.write(self.target)
        self.assertEqual([self.data[:3]] * 3, [self.target.read(), second.read(), third.read()])


class IOBufferReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.buffer = new_empty_MIOBuffer(0)
        self.reader = self.buffer.alloc_reader()
        self.data = bytes(range(256)) * 2
        self.buffer.write(self.data)

    def test_counts(self) -> None:
        """How many bytes are unread, in all and in the first block (N016)."""
        reader = self.reader
        reader.consume(100)
        self.assertEqual((412, 28), (reader.read_avail(), reader.block_read_avail()))
        self.assertEqual((True, False), (reader.is_read_avail_more_than(411), reader.is_read_avail_more_than(412)))
        reader.consume(412)
        self.assertEqual((0, 0, None), (reader.read_avail(), reader.block_read_avail(), reader.first()))

    def test_consume_too_much(self) -> None:
        """More than there is cannot be consumed, nor less than nothing; the bytes stay (N016)."""
        for count in (513, -1):
            self.assertRaises(LocalError, self.reader.consume, count)
        self.assertEqual(self.data, self.reader.memcpy())

    def test_read_and_memcpy(self) -> None:
        """A copy of some bytes: read takes them away, memcpy does not (N016)."""
        reader = self.reader
        self.assertEqual(self.data[:5], reader.memcpy(5))
        self.assertEqual(self.data[200:300], reader.memcpy(100, 200))
        self.assertEqual(self.data[500:], reader.memcpy(100, 500))
        self.assertEqual([b"", b"", b""], [reader.memcpy(0), reader.memcpy(5, 512), reader.memcpy(None, 600)])
        self.assertEqual(self.data[:150], reader.read(150))
        self.assertEqual(self.data[150:], reader.read())
        self.assertEqual(b"", reader.read())
        self.assertEqual(b"", reader.read(10))

    def test_index(self) -> None:
        """A byte can be looked at by its place; past the end there is none, nor before the beginning (N016)."""
        reader = self.reader
        reader.consume(1)
        self.assertEqual([1, 128, 0, 255], [reader[i] for i in (0, 127, 255, 510)])
        for index in (511, -1):
            self.assertRaises(IndexError, lambda index=index: reader[index])

    def test_memchr(self) -> None:
        """Where a byte first stands, in as much as I care to look at (N016)."""
        reader = self.reader
        self.assertEqual(10, reader.memchr(10))
        self.assertEqual(266, reader.memchr(10, None, 11))
        self.assertEqual([-1, 10], [reader.memchr(10, 10), reader.memchr(10, 11)])
        self.assertEqual(-1, reader.memchr(10, 50, 20))
        self.assertEqual(-1, reader.memchr(10, 50, 600))

    def test_first(self) -> None:
        """The first unread bytes, where they are: not a copy."""
        reader = self.reader
        view = reader.first()
        assert view is not None
        self.assertEqual(self.data[:128], view)
        self.assertIs(blocks_of(reader)[0].memory, view.obj)
        reader.consume(128)
        view = reader.first()
        assert view is not None
        self.assertEqual(self.data[128:256], view)

    def test_first_skips_blocks_that_were_read(self) -> None:
        """A reader that stood at the end of a block when more came sees what came."""
        other = self.reader.clone()
        self.reader.consume(512)
        other.consume(512)
        self.buffer.write(b"new")
        for reader in (self.reader, other):
            view = reader.first()
            assert view is not None
            self.assertEqual(b"new", view)
            self.assertEqual(b"new", reader.memcpy())
            self.assertEqual(3, reader.block_read_avail())

    def test_clone(self) -> None:
        """A clone stands where its original stood, and goes its own way (N015)."""
        self.reader.consume(200)
        clone = self.reader.clone()
        self.reader.consume(100)
        self.assertEqual((self.data[200:], self.data[300:]), (clone.memcpy(), self.reader.memcpy()))

    def test_reset(self) -> None:
        """Back to the beginning of the block, as far as it is still held (N016)."""
        self.reader.consume(130)
        self.reader.reset()
        self.assertEqual(self.data[128:], self.reader.memcpy())
        self.reader.consume(self.reader.avail)
        self.reader.reset()
        self.assertEqual(b"", self.reader.memcpy())

    def test_after_dealloc(self) -> None:
        """A reader that has left has nothing, and sees nothing of what comes."""
        self.reader.dealloc()
        self.buffer.write(b"later")
        self.assertEqual((0, b""), (self.reader.avail, self.reader.read()))
        self.assertIsNone(self.reader.first())


class BufferModel(RuleBasedStateMachine):
    """
    A buffer against plain bytes: whatever is done with it, each reader sees the same as its list of bytes.

    Two buffers share memory and one pool, and every reader looks at all of its bytes after each step: a block that went
    back to the pool too early is written over by the other buffer, and shows.
    """

    def __init__(self) -> None:
        super().__init__()
        empty_pool()
        self.next_byte = 0
        self.buffers: list[MIOBuffer] = []
        self.readers: list[tuple[IOBufferReader, bytearray]] = []

    def fresh(self, count: int) -> bytes:
        """C{count} bytes of which no two near each other are the same."""
        data = bytes((self.next_byte + i) % 251 for i in range(count))
        self.next_byte = (self.next_byte + count) % 251
        return data

    def of(self, buffer: MIOBuffer) -> list[tuple[IOBufferReader, bytearray]]:
        return [entry for entry in self.readers if entry[0].buffer is buffer]

    def written(self, buffer: MIOBuffer, data: bytes) -> None:
        for _, model in self.of(buffer):
            model += data

    @initialize(marks=st.tuples(st.sampled_from((0, 0, 50, 300)), st.sampled_from((0, 130))))
    def begin(self, marks: tuple[int, int]) -> None:
        for mark in marks:
            buffer = MIOBuffer(0, largest_index=2, water_mark=mark)
            self.buffers.append(buffer)
            self.readers.append((buffer.alloc_reader(), bytearray()))

    @rule(which=st.integers(0, 1), count=st.integers(0, 400))
    def write(self, which: int, count: int) -> None:
        data = self.fresh(count)
        assert self.buffers[which].write(data) == count
        self.written(self.buffers[which], data)

    @rule(which=st.integers(0, 1), count=st.integers(0, 400))
    def append(self, which: int, count: int) -> None:
        data = self.fresh(count)
        self.buffers[which].append(data)
        self.written(self.buffers[which], data)

    @rule(which=st.integers(0, 1), share=st.floats(0, 1))
    def fill(self, which: int, share: float) -> None:
        buffer = self.buffers[which]
        room = buffer.has_room()
        free = buffer.current_write_avail()
        unread = max((len(model) for _, model in self.of(buffer)), default=0)
        block = buffer.write_block()
        assert (block is not None) == room
        if free > buffer.water_mark or unread > buffer.water_mark:
            assert (0 if block is None else block.size - block.end) == free, "grown against the rule"
        if block is None:
            assert unread > buffer.water_mark
            return
        count = int((block.size - block.end) * share)
        data = self.fresh(count)
        block.view[block.end : block.end + count] = data
        buffer.fill(count)
        if count == block.size:
            buffer.grow()
        self.written(buffer, data)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        source, model = data.draw(st.sampled_from(self.readers))
        buffer = data.draw(st.sampled_from(self.buffers))
        count, offset = data.draw(st.integers(0, 500)), data.draw(st.integers(0, 300))
        shared = bytes(model[offset : offset + count])
        assert buffer.write(source, count, offset) == len(shared)
        self.written(buffer, shared)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), how=st.sampled_from(("consume", "consume", "read", "reset")))
    def move(self, data: st.DataObject, how: str) -> None:
        reader, model = data.draw(st.sampled_from(self.readers))
        count = data.draw(st.one_of(st.just(len(model)), st.integers(0, len(model))))
        if how == "read":
            assert reader.read(count) == bytes(model[:count])
            del model[:count]
        elif how == "consume":
            reader.consume(count)
            del model[:count]
        else:
            reader.reset()
            assert reader.memcpy().endswith(bytes(model))
            model[:] = reader.memcpy()

    @rule(data=st.data(), which=st.integers(0, 1), cloned=st.booleans())
    def join(self, data: st.DataObject, which: int, cloned: bool) -> None:
        buffer = self.buffers[which]
        entries = self.of(buffer)
        if len(entries) == 5:
            return
        if entries and cloned:
            reader, model = data.draw(st.sampled_from(entries))
            self.readers.append((reader.clone(), bytearray(model)))
        else:
            reader = buffer.alloc_reader()
            self.readers.append((reader, bytearray(reader.memcpy())))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.readers))
        entry[0].dealloc()
        self.readers = [other for other in self.readers if other is not entry]

    @invariant()
    def all_see_their_bytes(self) -> None:
        for reader, model in self.readers:
            assert reader.avail == len(model)
            assert reader.memcpy() == bytes(model)
            first = reader.first()
            assert (first is None) == (not model)
            if first is not None:
                assert len(first) > 0
                assert bytes(model).startswith(bytes(first))

    @invariant()
    def pool_is_apart(self) -> None:
        pooled = [id(block) for pool in iobuffer._pools for block in pool]
        assert len(pooled) == len(set(pooled)), "given back twice"
        memory = {id(block.memory) for pool in iobuffer._pools for block in pool}
        for reader, model in self.readers:
            held = blocks_of(reader) if model else []
            assert memory.isdisjoint(id(block.memory) for block in held), "given back while it is read"
        for buffer in self.buffers:
            assert buffer.tail is None or id(buffer.tail) not in pooled, "given back while it is filled"

    def teardown(self) -> None:
        empty_pool()


BufferModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class ModelTests(SynchronousTestCase):
    def test_model(self) -> None:
        """Whatever I do with buffers, no reader ever sees a wrong byte."""
        BufferModel.TestCase("runTest").runTest()

    @given(st.lists(st.binary(max_size=600), max_size=12), st.integers(1, 300), st.integers(0, 4))
    @settings(max_examples=60, deadline=None)
    def test_stream(self, pieces: list[bytes], step: int, index: int) -> None:
        """What goes in comes out, in order, whatever the pieces, the reads and the size of the blocks."""
        buffer = MIOBuffer(index)
        reader = buffer.alloc_reader()
        out = b""
        for piece in pieces:
            buffer.write(piece)
            out += reader.read(step)
        while reader.avail:
            out += reader.read(step)
        self.assertEqual(b"".join(pieces), out)
        self.assertIsNone(buffer.tail)
