"""
origin.py MIB CERT KEY: what stands behind the edges, for where there is no nginx, and for uploads always.

Prints one line with the ports of: an HTTP/1.1 server, the same over TLS, a server that only counts what is uploaded.
Its CPU is nobody's: only that of the edges is measured.  It serves C{/1k}, C{/100k} and C{/big}, the last C{MIB} long.
"""

import asyncio
import contextlib
import re
import socket
import ssl
import sys
import threading

BLOCK = bytes(range(256)) * 1024


def sizes(mib: int) -> dict[str, int]:
    """What there is to be fetched, and how many bytes it has."""
    return {"1k": 1024, "100k": 100 * 1024, "big": mib << 20}


class Web:
    """An HTTP server that knows three answers."""

    def __init__(self, mib: int) -> None:
        self.sizes = sizes(mib)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = self.sizes[head.split(b" ", 2)[1].decode().lstrip("/")]
                last = b"connection: close" in head.lower()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % size)
                writer.write(b"Connection: close\r\n\r\n" if last else b"\r\n")
                for at in range(0, size, len(BLOCK)):
                    writer.write(BLOCK[: size - at])
                    await writer.drain()
                if last:
                    break
        writer.close()


def count_uploads(listener: socket.socket) -> None:
    """Read the bodies of uploads, one connection at a time, and answer how long each was."""
    buffer = memoryview(bytearray(1 << 20))
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    break
                head += data
            wanted = re.search(rb"(?i)\ncontent-length: *([0-9]+)", head)
            if wanted is None:
                continue
            count = len(head) - head.index(b"\r\n\r\n") - 4
            while count < int(wanted[1]):
                more = connection.recv_into(buffer)
                if not more:
                    break
                count += more
            text = str(count).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


async def main(mib: int, cert: str, key: str) -> None:
    """Serve until the process is ended."""
    web = Web(mib)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    plain = await asyncio.start_server(web.serve, "127.0.0.1", 0, backlog=4096)
    secure = await asyncio.start_server(web.serve, "127.0.0.1", 0, backlog=4096, ssl=context)
    uploads = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=count_uploads, args=(uploads,), daemon=True).start()
    listening = (plain.sockets[0], secure.sockets[0], uploads)
    print(*(sock.getsockname()[1] for sock in listening), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
