"""
What clients do to an edge, each kind of work as a function that gives figures.

Downloads, uploads and silent connections are done here, byte counts checked; requests by wrk, which costs little and so
leaves the processor to the edge, or by threads of Python where it is missing.
"""

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.candidates import PATIENCE, Door, Running, client_context, descriptors, found

WARM_UP = 50
"""Connections that are there before memory is looked at, so that what is made once is not counted for each."""

SETTLE_SECONDS = 1.5
"""From the last connection to the reading of memory: what is freed a moment later is free."""


class Unfit(Exception):
    """This work cannot be done here, or not with this edge; why is in words."""


@dataclass(frozen=True)
class Options:
    """How much of it."""

    seconds: float = 4.0
    mib: int = 1024
    idle: int = 1500
    crowd: int = 10000
    silent_seconds: float = 10.0
    pure: bool = False


Figures = dict[str, float]
Work = Callable[[Running, Options], Figures]


def door_of(edge: Running, name: str) -> Door:
    """
    The door of that name.

    @raise Unfit: it has none.
    """
    door = edge.doors.get(name)
    if door is None:
        raise Unfit(f"{edge.name} has no such door")
    return door


def knock(door: Door, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection with its handshake done."""
    sock = socket.create_connection(("127.0.0.1", door.port), PATIENCE)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(sock, server_hostname=door.name)
    except BaseException:
        sock.close()
        raise


def request(path: str, *, last: bool = False) -> bytes:
    """A request for C{path}."""
    return f"GET /{path} HTTP/1.1\r\nHost: {path}\r\n{'Connection: close' if last else 'Accept: */*'}\r\n\r\n".encode()


class Sealed:
    """A connection whose ciphertext is made first and sent afterwards, as fast as can be or at any pace."""

    def __init__(self, door: Door, context: ssl.SSLContext) -> None:
        self.sock = socket.create_connection(("127.0.0.1", door.port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=door.name)
        self._until_done(self._tls.do_handshake)

    def _until_done(self, operation: Callable[[], int | None]) -> int | None:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                self.send(self._out.read())
                data = self.sock.recv(1 << 16)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()
            finally:
                self.send(self._out.read())

    def seal(self, data: bytes) -> bytes:
        """As records, of 16 KiB where there is so much."""
        for at in range(0, len(data), 16384):
            self._tls.write(data[at : at + 16384])
        return self._out.read()

    def send(self, ciphertext: bytes) -> None:
        """All of it."""
        self.sock.sendall(ciphertext)

    def recv_into(self, buffer: memoryview) -> int:
        """Plaintext: see L{socket.socket.recv_into}."""
        return self._until_done(lambda: self._tls.read(len(buffer), buffer)) or 0  # type: ignore[arg-type]

    def close(self) -> None:
        """Let it go."""
        self.sock.close()


def answer(sock: ssl.SSLSocket | Sealed, buffer: memoryview) -> int:
    """Read one answer, and say how long its body was."""
    got = 0
    while True:
        more = sock.recv_into(buffer[got:])
        if not more:
            raise Unfit("the connection ended in the middle of an answer's head")
        got += more
        head, end, body = bytes(buffer[:got]).partition(b"\r\n\r\n")
        if end:
            break
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise Unfit(f"the answer is {head[:40]!r}")
    length = re.search(rb"(?i)\ncontent-length: *([0-9]+)", head)
    if length is None:
        raise Unfit("the answer has no length")
    size, got = int(length[1]), len(body)
    while got < size:
        more = sock.recv_into(buffer)
        if not more:
            raise Unfit(f"the answer ended after {got} of {size} bytes")
        got += more
    return got


def room() -> memoryview:
    """Where answers are read into."""
    return memoryview(bytearray(256 << 10))


def used(edge: Running, before: float) -> float:
    """CPU seconds since C{before}, with what is still to be done when the client has gone."""
    time.sleep(0.1)
    return edge.cpu_seconds() - before


# Bytes.


def _download(edge: Running, options: Options, name: str) -> float:
    door, context, buffer = door_of(edge, name), client_context(), room()
    before = edge.cpu_seconds()
    with knock(door, context) as sock:
        sock.sendall(request("big"))
        got = answer(sock, buffer)
    if got != options.mib << 20:
        raise Unfit(f"{got} bytes came, not {options.mib} MiB")
    return used(edge, before) * 1024 / options.mib


def bulk(edge: Running, options: Options) -> Figures:
    """One long download."""
    return {"bulk": _download(edge, options, "web")}


def tunnel(edge: Running, options: Options) -> Figures:
    """The same, TLS and all passed on untouched."""
    return {"tunnel": _download(edge, options, "tunnel")}


BLOCK = bytes(range(256)) * 1024
BURST_BLOCKS = 128
"""What a client has sealed before it begins to send: 32 MiB."""

PACKET = 1448
"""What an Ethernet packet carries of a stream."""

PACKETS_PACE = 100 << 20
"""Bytes a second: a line of about 1 Gb/s."""


def _put(size: int) -> bytes:
    return b"PUT /put HTTP/1.1\r\nHost: any\r\nContent-Length: %d\r\n\r\n" % size


def _check(buffer: memoryview, size: int) -> None:
    counted = bytes(buffer[:4096]).split(b"\0")[0].rpartition(b"\n")[2]
    if int(counted) != size:
        raise Unfit(f"{int(counted)} of {size} bytes arrived")


def upload(edge: Running, options: Options) -> Figures:
    """One long upload, to a server that only counts, by a client that encrypts as it goes."""
    door, context, buffer = door_of(edge, "sink"), client_context(), room()
    size = options.mib << 20
    before = edge.cpu_seconds()
    with knock(door, context) as sock:
        sock.sendall(_put(size))
        for _ in range(size // len(BLOCK)):
            sock.sendall(BLOCK)
        answer(sock, buffer)
    cpu = used(edge, before)
    _check(buffer, size)
    return {"upload": cpu * 1024 / options.mib}


def _upload_sealed(edge: Running, mib: int, send: Callable[[Sealed, bytes], None]) -> float:
    door, buffer = door_of(edge, "web"), room()
    size = mib << 20
    with contextlib.closing(Sealed(door, client_context())) as client:
        client.send(client.seal(_put(size)))
        before = edge.cpu_seconds()
        left = size // len(BLOCK)
        while left:
            blocks = min(left, BURST_BLOCKS)
            left -= blocks
            burst = [client.seal(BLOCK) for _ in range(blocks)]
            send(client, b"".join(burst))
        answer(client, buffer)
    cpu = used(edge, before)
    _check(buffer, size)
    return cpu * 1024 / mib


def put(edge: Running, options: Options) -> Figures:
    """One long upload to the server of the downloads, by HTTP, that is there before the server has dealt with it."""
    return {"put": _upload_sealed(edge, options.mib, Sealed.send)}


def _in_packets(client: Sealed, ciphertext: bytes) -> None:
    began = time.monotonic()
    for at in range(0, len(ciphertext), PACKET):
        due = began + at / PACKETS_PACE
        while time.monotonic() < due:
            pass
        client.send(ciphertext[at : at + PACKET])


def packets(edge: Running, options: Options) -> Figures:
    """A quarter of it, as a network brings it."""
    return {"packets": _upload_sealed(edge, max(1, options.mib // 4), _in_packets)}


# Requests.


def _with_wrk(wrk: str, door: Door, options: Options, connections: int, path: str, last: bool) -> int:
    seconds = max(1, round(options.seconds))
    header = ["-H", "Connection: close"] if last else []
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", *header, f"https://{door.name}:{door.port}/{path}"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    count = re.search(r"([0-9]+) requests in", text)
    errors = re.search(r"Socket errors: connect ([0-9]+), read [0-9]+, write ([0-9]+), timeout ([0-9]+)", text)
    if count is None or "Non-2xx" in text or (errors and any(int(number) for number in errors.groups())):
        raise Unfit(f"wrk: {' '.join(text.split())[-200:]}")
    return int(count[1])


def _with_threads(door: Door, options: Options, connections: int, path: str, last: bool) -> int:
    """The same in Python: a thread for each connection, which asks again as soon as it has been answered."""
    context = client_context()
    counts = [0] * connections
    errors: list[BaseException] = []
    deadline = time.monotonic() + options.seconds
    ask = request(path, last=last)

    def one(index: int) -> None:
        buffer = room()
        try:
            while time.monotonic() < deadline:
                with knock(door, context) as sock:
                    while True:
                        sock.sendall(ask)
                        answer(sock, buffer)
                        counts[index] += 1
                        if last or time.monotonic() >= deadline:
                            break
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise Unfit(f"{len(errors)} of {connections} clients failed: {errors[0]!r}")
    return sum(counts)


def _requests(edge: Running, options: Options, connections: int, path: str, last: bool = False) -> float:
    door = door_of(edge, "web")
    wrk = None if options.pure else found("wrk")
    before = edge.cpu_seconds()
    if wrk is None:
        count = _with_threads(door, options, connections, path, last)
    else:
        count = _with_wrk(wrk, door, options, connections, path, last)
    if not count:
        raise Unfit("not one request was answered")
    return used(edge, before) / count * 1e6


def page(edge: Running, options: Options) -> Figures:
    """100 KiB again and again, over 8 connections."""
    return {"page": _requests(edge, options, 8, "100k")}


def conn(edge: Running, options: Options) -> Figures:
    """A connection for each 1 KiB, none resumed, 8 at a time."""
    return {"conn": _requests(edge, options, 8, "1k", last=True)}


def many(edge: Running, options: Options) -> Figures:
    """1 KiB again and again, over 32 connections."""
    return {"request": _requests(edge, options, 32, "1k")}


def lone(edge: Running, options: Options) -> Figures:
    """The same, over one connection."""
    return {"lone": _requests(edge, options, 1, "1k")}


# Messages.

MESSAGE = b"m" * 64
SEVERAL = 32


def _exact(sock: ssl.SSLSocket, buffer: memoryview, size: int) -> None:
    got = 0
    while got < size:
        more = sock.recv_into(buffer, min(size - got, len(buffer)))
        if not more:
            raise Unfit(f"the echo ended after {got} of {size} bytes")
        got += more


def echo(edge: Running, options: Options) -> Figures:
    """A long way there and back, 256 KiB at a time."""
    door, context, buffer = door_of(edge, "echo"), client_context(), room()
    block = bytes(range(256)) * 1024
    before = edge.cpu_seconds()
    with knock(door, context) as sock:
        for _ in range((options.mib << 20) // len(block)):
            sock.sendall(block)
            _exact(sock, buffer, len(block))
    return {"echo": used(edge, before) * 1024 / options.mib}


def _messages(edge: Running, options: Options, connections: int) -> float:
    """All send, and then all are answered; CPU for each message."""
    door, context, buffer = door_of(edge, "echo"), client_context(), room()
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(knock(door, context)) for _ in range(connections)]
        before = edge.cpu_seconds()
        deadline = time.monotonic() + options.seconds
        rounds = 0
        while time.monotonic() < deadline:
            for sock in socks:
                sock.sendall(MESSAGE)
            for sock in socks:
                _exact(sock, buffer, len(MESSAGE))
            rounds += 1
        return used(edge, before) / (rounds * connections) * 1e6


def message(edge: Running, options: Options) -> Figures:
    """64 bytes there and back, again and again, over one connection."""
    return {"message": _messages(edge, options, 1)}


def messages(edge: Running, options: Options) -> Figures:
    """The same over 32."""
    return {"messages": _messages(edge, options, SEVERAL)}


def greet(edge: Running, options: Options) -> Figures:
    """A connection for each message, none resumed."""
    door, context, buffer = door_of(edge, "echo"), client_context(), room()
    before = edge.cpu_seconds()
    deadline = time.monotonic() + options.seconds
    count = 0
    while time.monotonic() < deadline:
        with knock(door, context) as sock:
            sock.sendall(MESSAGE)
            _exact(sock, buffer, len(MESSAGE))
        count += 1
    return {"greet": used(edge, before) / count * 1e6}


# Silence.


class Silent:
    """Connections that have asked for 1 KiB once, and wait."""

    def __init__(self, edge: Running) -> None:
        self.door = door_of(edge, "web")
        self.context = client_context()
        self.buffer = room()
        self.kept: list[ssl.SSLSocket] = []

    def grow(self, size: int) -> None:
        """Have C{size} of them."""
        while len(self.kept) < size:
            sock = knock(self.door, self.context)
            self.kept.append(sock)
            sock.sendall(request("1k"))
            answer(sock, self.buffer)
        time.sleep(SETTLE_SECONDS)

    def close(self) -> None:
        """Let all go."""
        for sock in self.kept:
            sock.close()


def idle(edge: Running, options: Options) -> Figures:
    """Memory for each silent connection."""
    silent = Silent(edge)
    with contextlib.closing(silent):
        silent.grow(WARM_UP)
        before = edge.pss_kib()
        silent.grow(WARM_UP + options.idle)
        return {"idle": (edge.pss_kib() - before) / options.idle}


def crowd_size(wanted: int) -> int:
    """
    As many connections as are wanted, or as the descriptors allow.

    The edge needs two for each, and atstls leaves a tenth of what it may have to the connections that it makes itself.
    """
    return min(wanted, int((descriptors() - 500) * 0.9) // 2)


def crowd(edge: Running, options: Options) -> Figures:
    """
    Memory for each of a thousand silent connections and of ten thousand, and what ten thousand cost in ten seconds.

    @raise Unfit: there are too few descriptors for a crowd.
    """
    few, size = options.crowd // 10, crowd_size(options.crowd)
    if size < 2 * few:
        raise Unfit(f"{descriptors()} descriptors are too few; ulimit -n {options.crowd * 5 // 2} would do")
    silent = Silent(edge)
    with contextlib.closing(silent):
        silent.grow(WARM_UP)
        before = edge.pss_kib()
        silent.grow(few)
        found = {f"crowd {few}": (edge.pss_kib() - before) / (few - WARM_UP)}
        silent.grow(size)
        found[f"crowd {size}"] = (edge.pss_kib() - before) / (size - WARM_UP)
        cpu = edge.cpu_seconds()
        time.sleep(options.silent_seconds)
        found[f"silence {size}"] = (edge.cpu_seconds() - cpu) * 1e3 * 10 / options.silent_seconds
        return found


WORK: dict[str, Work] = {
    "idle": idle,
    "bulk": bulk,
    "upload": upload,
    "page": page,
    "conn": conn,
    "request": many,
    "lone": lone,
    "tunnel": tunnel,
    "crowd": crowd,
}

APPLICATION: dict[str, Work] = {
    "put": put,
    "packets": packets,
    "echo": echo,
    "message": message,
    "messages": messages,
    "greet": greet,
}
"""What is done to a server that is a program of ours: one that takes uploads, one that sends back what comes."""

FRESH = ("idle", "crowd")
"""Work that begins with a process in which nothing has happened yet: one that has freed memory would show less."""

UNITS = {
    "idle": "KiB a connection",
    "bulk": "CPU s/GiB",
    "upload": "CPU s/GiB",
    "put": "CPU s/GiB",
    "packets": "CPU s/GiB",
    "page": "CPU µs/100 KiB",
    "conn": "CPU µs/connection",
    "request": "CPU µs/request",
    "lone": "CPU µs/request",
    "tunnel": "CPU s/GiB",
    "crowd": "KiB a connection",
    "silence": "CPU ms in 10 s",
    "echo": "CPU s/GiB",
    "message": "CPU µs/message",
    "messages": "CPU µs/message",
    "greet": "CPU µs/connection",
}

WORDS = {
    "idle": "silent connections, memory",
    "bulk": "one download",
    "upload": "one upload",
    "put": "one upload to a Site",
    "packets": "the same packet by packet",
    "page": "100 KiB, 8 connections",
    "conn": "full handshake and 1 KiB",
    "request": "1 KiB, 32 connections",
    "lone": "1 KiB, one connection",
    "tunnel": "a download passed on as TLS",
    "crowd": "so many silent connections, memory",
    "silence": "so many silent connections, time",
    "echo": "there and back, both counted once",
    "message": "64 bytes there and back, one connection",
    "messages": "64 bytes there and back, 32 connections",
    "greet": "full handshake and one message",
}
