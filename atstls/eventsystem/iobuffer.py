# -*- test-case-name: tests.test_iobuffer -*-
"""
Buffers with one writer and up to five readers, made of blocks of real memory.

The kernel and OpenSSL write into a block and read out of it in place; nothing on the way from one connection to
another is copied in Python.  Three facts keep that cheap and safe:

  - What was written does not change, and a block lives until the slowest reader has passed it.
  - With one reader, which is the rule, a drained block goes back to the pool at once, so a connection that is silent
    holds no memory at all.  With several readers nobody keeps count: Python's own references free the block.
  - A block whose bytes were lent to another buffer (L{MIOBuffer.write} of a reader) or to a caller never goes back
    to the pool, so nobody can see it being used again.

A full buffer that its reader has not drained gives no room (L{MIOBuffer.write_block} is C{None}).  That is all of
back-pressure: who has no room stops reading, and the kernel's window closes.

Source: behaviour 1.3; ATS C{I_IOBuffer.h}.
"""

from collections import deque
from typing import Any, Final

from zope.interface import implementer

from atstls.errors import LocalError
from atstls.interfaces import IIOBufferReader, IMIOBuffer

SIZE_INDEXES: Final = 15
BUFFER_SIZE_INDEX_4K: Final = 5
BUFFER_SIZE_INDEX_32K: Final = 8
BUFFER_SIZE_INDEX_64K: Final = 9
BUFFER_SIZE_INDEX_128K: Final = 10
BUFFER_SIZE_INDEX_256K: Final = 11
MAX_MIOBUFFER_READERS: Final = 5

POOLED_BYTES: Final = 4 << 20
"""The most that the pool keeps of one size.  Enough for every connection that is busy in one turn; past that the
memory is better given back."""


def buffer_size(index: int) -> int:
    """The bytes of a block of size C{index}, 0 to 14: 128 bytes to 2 MiB."""
    if not 0 <= index < SIZE_INDEXES:
        raise LocalError(f"a buffer size index is 0 to {SIZE_INDEXES - 1}, not {index}")
    return 128 << index


class IOBufferBlock:
    """
    A window over a piece of memory.

    @ivar memory: what the kernel is given to fill.
    @ivar view: the same, to slice.
    @ivar c: the same as a C pointer; set by who first needs one, and kept.
    @ivar size: where room ends; C{end} == C{size} means full.
    @ivar start: where the readable bytes begin.
    @ivar end: where they end.
    @ivar pool: where the block goes when it is drained; L{NOWHERE} for memory that is not ours or that was lent.
    """

    __slots__ = ("c", "end", "memory", "next", "pool", "size", "start", "view")

    def __init__(self, memory: Any, pool: "deque[IOBufferBlock]", start: int, end: int, size: int) -> None:
        self.memory = memory
        self.view = memoryview(memory)
        self.c: Any = None
        self.pool = pool
        self.start = start
        self.end = end
        self.size = size
        self.next: IOBufferBlock | None = None


_pools: list[deque[IOBufferBlock]] = [deque(maxlen=POOLED_BYTES // (128 << index)) for index in range(SIZE_INDEXES)]
"""Of each size, those that were given back; a full pool forgets the one that was not needed for longest."""

NOWHERE: Final[deque[IOBufferBlock]] = deque(maxlen=0)
"""A pool that keeps nothing."""


def take_block(index: int) -> IOBufferBlock:
    """An empty block of size C{index}: the one that was given back last, still warm, or a new one."""
    pool = _pools[index]
    if pool:
        return pool.pop()
    size = 128 << index
    return IOBufferBlock(bytearray(size), pool, 0, 0, size)


def give_block(block: IOBufferBlock) -> None:
    """Nobody reads C{block} any more."""
    block.start = block.end = 0
    block.next = None
    block.pool.append(block)


def pooled_bytes() -> int:
    """The bytes that the pool holds for later."""
    return sum(len(pool) * (128 << index) for index, pool in enumerate(_pools))


def empty_pool() -> None:
    """Give all that the pool holds back to the system."""
    for pool in _pools:
        pool.clear()


@implementer(IMIOBuffer)
class MIOBuffer:
    """
    One writer, up to five readers.  No block is held before something is written.

    @ivar size_index: the size of the next block.
    @ivar largest_index: how far L{grow} may go.
    @ivar water_mark: unread bytes at or below which a full buffer gets another block; 0, the rule: only when drained.
    @ivar tail: the block that is being filled, or C{None}.
    @ivar sole: the reader, when there is exactly one.
    """

    __slots__ = ("largest_index", "readers", "size_index", "sole", "tail", "water_mark")

    pipe: Any = None
    """A buffer in memory; L{atstls.session.splice} has one in the kernel."""

    block: IOBufferBlock | None = None
    """Bytes are kept until they are read; L{ScratchBuffer} has a block for those that nobody keeps."""

    def __init__(
        self, size_index: int = BUFFER_SIZE_INDEX_64K, *, largest_index: int | None = None, water_mark: int = 0
    ) -> None:
        """
        @param size_index: blocks of C{128 << size_index} bytes.
        @param largest_index: where L{grow} stops; C{None}: it never grows.
        """
        if not 0 <= size_index < SIZE_INDEXES:
            buffer_size(size_index)  # which says what is wrong
        self.size_index = size_index
        self.largest_index = size_index if largest_index is None else largest_index
        self.water_mark = water_mark
        self.tail: IOBufferBlock | None = None
        self.readers: list[IOBufferReader] = []
        self.sole: IOBufferReader | None = None

    # Readers.

    def alloc_reader(self) -> "IOBufferReader":
        """
        A new reader.  It begins at the block that is being filled, so it may miss what was written before: allocate
        the first reader right after making the buffer.

        @raise LocalError: there are five already.
        """
        reader = IOBufferReader(self)
        tail = self.tail
        if tail is not None:
            reader.block = tail
            reader.offset = tail.start
            reader.avail = tail.end - tail.start
        if self.readers:
            self._add(reader)
        else:
            self.readers.append(reader)
            self.sole = reader
        return reader

    def _add(self, reader: "IOBufferReader") -> None:
        if len(self.readers) >= MAX_MIOBUFFER_READERS:
            raise LocalError(f"a buffer has at most {MAX_MIOBUFFER_READERS} readers")
        self.readers.append(reader)
        self.sole = reader if len(self.readers) == 1 else None

    def max_read_avail(self) -> int:
        """The unread bytes of the slowest reader."""
        sole = self.sole
        if sole is not None:
            return sole.avail
        return max((reader.avail for reader in self.readers), default=0)

    # Room.

    def write_block(self) -> IOBufferBlock | None:
        """
        The block to fill next: put bytes at C{block.end}, at most up to C{block.size}, then L{fill}.

        @return: C{None} when there is no room, until a reader consumes.
        """
        tail = self.tail
        if tail is None:
            sole = self.sole
            pool = _pools[self.size_index]
            if sole is not None and pool:
                # The rule, for a drained buffer: take_block() and _append(), in place.
                self.tail = sole.block = tail = pool.pop()
                sole.offset = 0
                return tail
        else:
            free = tail.size - tail.end
            if free > self.water_mark:
                return tail
            if self.max_read_avail() > self.water_mark:
                return tail if free else None
        return self._append(take_block(self.size_index))

    def _append(self, block: IOBufferBlock) -> IOBufferBlock:
        tail = self.tail
        if tail is not None:
            tail.next = block
        self.tail = block
        sole = self.sole
        if sole is not None:
            if sole.block is None:
                sole.block = block
                sole.offset = block.start
        else:
            for reader in self.readers:
                if reader.block is None:
                    reader.block = block
                    reader.offset = block.start
        return block

    def write_avail(self) -> int:
        """Bytes of room, after a new block was added where the rule of L{write_block} allows one."""
        block = self.write_block()
        return 0 if block is None else block.size - block.end

    def current_write_avail(self) -> int:
        """Bytes of room in the block that is there now; nothing is added."""
        return 0 if self.tail is None else self.tail.size - self.tail.end

    def has_room(self) -> bool:
        """Would L{write_block} give a block?  Nothing is added."""
        tail = self.tail
        return tail is None or tail.end < tail.size or self.max_read_avail() <= self.water_mark

    def high_water(self) -> bool:
        """Has the slowest reader more than C{water_mark} bytes before it?"""
        return self.max_read_avail() > self.water_mark

    def low_water(self) -> bool:
        """Is there no more room than C{water_mark}?"""
        return self.write_avail() <= self.water_mark

    def grow(self) -> None:
        """The last block was filled at one go: take a larger one next time."""
        if self.size_index < self.largest_index:
            self.size_index += 1

    # Writing.

    def fill(self, count: int) -> None:
        """C{count} bytes were put into the block of L{write_block}; let the readers see them."""
        tail = self.tail
        if tail is None or count > tail.size - tail.end or count < 0:
            raise LocalError(f"there is no room for {count} bytes")
        tail.end += count
        self.filled(count)

    def filled(self, count: int) -> None:
        """Let the readers see C{count} bytes, by which C{block.end} was moved already."""
        for reader in self.readers:
            reader.avail += count

    def trim(self) -> None:
        """Nothing came of it: a block of L{write_block} that nobody has put anything into is given back."""
        tail, sole = self.tail, self.sole
        if tail is not None and not tail.end and sole is not None and sole.block is tail:
            self.tail = sole.block = None
            give_block(tail)

    def write(
        self, source: "bytes | bytearray | memoryview | IOBufferReader", nbytes: int | None = None, offset: int = 0
    ) -> int:
        """
        Write bytes, by copying them; or what a reader has, by sharing its blocks (the reader does not move).

        Neither minds the water mark.

        @param nbytes: at most so many of a reader's bytes; C{None}: all.
        @param offset: so many of a reader's bytes are skipped first.
        @return: the bytes written.
        """
        if isinstance(source, IOBufferReader):
            return self._share(source, source.avail if nbytes is None else nbytes, offset)
        view = memoryview(source)
        done, total = 0, len(view)
        while done < total:
            tail = self.tail
            if tail is None or tail.end == tail.size:
                tail = self._append(take_block(self.size_index))
            n = min(tail.size - tail.end, total - done)
            tail.view[tail.end : tail.end + n] = view[done : done + n]
            self.fill(n)
            done += n
        return total

    def append(self, data: bytes) -> None:
        """Make C{data} itself the next block, without copying it.  For pieces so large that a copy is worth saving."""
        size = len(data)
        if size:
            self._append(IOBufferBlock(data, NOWHERE, 0, size, size))
            sole = self.sole
            if sole is not None:
                sole.avail += size
            else:
                self.filled(size)

    def _append_filled(self, block: IOBufferBlock) -> None:
        self._append(block)
        self.filled(block.end - block.start)

    def _share(self, source: "IOBufferReader", nbytes: int, offset: int) -> int:
        todo = min(nbytes, source.avail - offset)
        if todo <= 0:
            return 0
        done = 0
        block, at = source.block, source.offset + offset
        while done < todo:
            assert block is not None
            n = min(block.end - at, todo - done)
            if n <= 0:
                at -= block.end
                block = block.next
                assert block is not None
                at += block.start
                continue
            block.pool = NOWHERE
            clone = IOBufferBlock(block.memory, NOWHERE, at, at + n, at + n)
            clone.c = block.c
            self._append_filled(clone)
            at += n
            done += n
        return done


class ScratchBuffer(MIOBuffer):
    """
    One block for many connections: the bytes in it are for whoever is told of them, and takes them at once.

    Each read fills it from the beginning, so what nobody has taken is gone then, and never another's.  It is the buffer
    of a request to read, C{vc.do_io_read(cont, nbytes, vc.nh.scratch)}, and what came is C{block.view[:block.end]}.
    """

    __slots__ = ("block",)

    block: IOBufferBlock

    def __init__(self, size_index: int) -> None:
        """@param size_index: a block of C{128 << size_index} bytes."""
        super().__init__(size_index)
        size = 128 << size_index
        self.block = IOBufferBlock(bytearray(size), NOWHERE, 0, 0, size)


@implementer(IIOBufferReader)
class IOBufferReader:
    """
    A position in a buffer.  Made by L{MIOBuffer.alloc_reader} or L{clone}.

    @ivar block: the block of the next byte; C{None} when everything written was consumed and given back.
    @ivar offset: where in the block.
    @ivar avail: unread bytes, kept as a count since it is asked for at every step.
    """

    __slots__ = ("avail", "block", "buffer", "offset")

    def __init__(self, buffer: MIOBuffer) -> None:
        self.buffer = buffer
        self.block: IOBufferBlock | None = None
        self.offset = 0
        self.avail = 0

    def read_avail(self) -> int:
        """The unread bytes."""
        return self.avail

    def is_read_avail_more_than(self, count: int) -> bool:
        """Are there more than C{count} unread bytes?"""
        return self.avail > count

    def block_read_avail(self) -> int:
        """The unread bytes of the first block."""
        view = self.first()
        return 0 if view is None else len(view)

    def first(self) -> memoryview | None:
        """
        The unread bytes of the first block that has any, in place; C{None} when there are none.

        Valid until the next L{consume}: the memory is used again.
        """
        if not self.avail:
            return None
        block, offset = self.block, self.offset
        assert block is not None
        while offset >= block.end:
            offset -= block.end
            block = block.next
            assert block is not None
            offset += block.start
        return block.view[offset : block.end]

    def consume(self, count: int) -> None:
        """
        Move on by C{count} bytes.

        @raise LocalError: there are not so many.
        """
        block = self.block
        buffer = self.buffer
        sole = buffer.sole is self
        if sole and count == self.avail:
            self.avail = 0
            self.block = buffer.tail = None
            while block is not None:
                # give_block(), in place
                following = block.next
                block.start = block.end = 0
                block.next = None
                block.pool.append(block)
                block = following
            return
        avail = self.avail - count
        if avail < 0 or count < 0:
            raise LocalError(f"cannot consume {count} of {self.avail} bytes")
        self.avail = avail
        if block is None:
            return
        offset = self.offset + count
        while offset >= block.end:
            following = block.next
            if following is None:
                break
            offset += following.start - block.end
            if sole:
                give_block(block)
            block = following
        self.block = block
        self.offset = offset

    def memcpy(self, count: int | None = None, offset: int = 0) -> bytes:
        """A copy of up to C{count} unread bytes, C{None}: all, from C{offset} on.  Nothing is consumed."""
        todo = self.avail - offset if count is None else min(count, self.avail - offset)
        if todo <= 0:
            return b""
        block, at = self.block, self.offset + offset
        assert block is not None
        if at + todo <= block.end:
            return block.view[at : at + todo].tobytes()
        pieces = []
        while todo:
            if at >= block.end:
                at -= block.end
                block = block.next
                assert block is not None
                at += block.start
                continue
            n = min(block.end - at, todo)
            pieces.append(block.view[at : at + n])
            at += n
            todo -= n
        return b"".join(pieces)

    def read(self, count: int | None = None) -> bytes:
        """Up to C{count} unread bytes, C{None}: all; they are consumed."""
        block, buffer = self.block, self.buffer
        if count is None and block is not None and block.next is None and buffer.sole is self:
            # The rule, for all of one block: what follows, in place.
            data = block.view[self.offset : block.end].tobytes()
            self.avail = 0
            self.block = buffer.tail = None
            block.start = block.end = 0
            block.pool.append(block)
            return data
        data = self.memcpy(count)
        self.consume(len(data))
        return data

    def __getitem__(self, index: int) -> int:
        """The unread byte at C{index}, 0 being the next one."""
        if not 0 <= index < self.avail:
            raise IndexError(index)
        return self.memcpy(1, index)[0]

    def memchr(self, byte: int, count: int | None = None, offset: int = 0) -> int:
        """Where C{byte} first stands in the next C{count} bytes from C{offset} on; -1 where it does not."""
        found = self.memcpy(count, offset).find(byte)
        return found if found < 0 else found + offset

    def clone(self) -> "IOBufferReader":
        """Another reader at the same position."""
        other = IOBufferReader(self.buffer)
        self.buffer._add(other)
        other.block, other.offset, other.avail = self.block, self.offset, self.avail
        return other

    def reset(self) -> None:
        """Back to the beginning of the first block that is still held."""
        if self.block is not None:
            self.avail += self.offset - self.block.start
            self.offset = self.block.start

    def dealloc(self) -> None:
        """Leave the buffer.  What no other reader has before it is freed.  Harmless when called twice."""
        buffer = self.buffer
        if buffer.sole is self:
            if self.block is not None:
                self.consume(self.avail)
            buffer.sole = None
            buffer.readers.clear()
            return
        if self not in buffer.readers:
            return
        buffer.readers.remove(self)
        buffer.sole = buffer.readers[0] if len(buffer.readers) == 1 else None
        self.block = None
        self.avail = 0


class MIOBufferAccessor:
    """
    A writer, or a reader and the buffer that it reads: what a VIO knows of its buffer.

    @ivar writer: the buffer, or C{None}.
    @ivar reader: the reader, or C{None} on the reading side of a connection.
    """

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.writer: MIOBuffer | None = None
        self.reader: IOBufferReader | None = None

    def writer_for(self, buffer: MIOBuffer) -> None:
        """Only write, into C{buffer}."""
        self.writer = buffer
        self.reader = None

    def reader_for(self, reader: IOBufferReader) -> None:
        """Read from C{reader}, whose buffer is the writer."""
        self.reader = reader
        self.writer = reader.buffer

    def clear(self) -> None:
        """Know no buffer."""
        self.writer = self.reader = None


def new_MIOBuffer(size_index: int = BUFFER_SIZE_INDEX_32K) -> MIOBuffer:  # noqa: N802 (the seed's name)
    """A buffer that holds a block of size C{size_index} from the start."""
    buffer = new_empty_MIOBuffer(size_index)
    buffer.write_block()
    return buffer


def new_empty_MIOBuffer(size_index: int = BUFFER_SIZE_INDEX_32K) -> MIOBuffer:  # noqa: N802 (the seed's name)
    """A buffer that holds no block until something is written."""
    return MIOBuffer(size_index)
