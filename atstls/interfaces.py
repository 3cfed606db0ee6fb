"""
One interface for each role in the system.

They hold what callers use, and most of them is meaning: when something may be called, what may follow, what is raised.
The names are the seed's (C{do_io_read}, C{net_read_io}), spelled as Python spells names; C{docs/naming.rst} has the
map.
"""

from typing import Any

from zope.interface import Attribute, Interface


class IContinuation(Interface):
    """Who is told of events.  Source: seed, "Continuation"; ATS C{I_Continuation.h}."""

    def handle_event(event: int, data: Any) -> int:
        """
        Something happened.

        @param event: one of L{atstls.events}.
        @param data: what the event says that it is: a VIO, a connection, an error.
        @return: C{EVENT_CONT} or C{EVENT_DONE}; callers of this package look at the connection, not at the answer.
        """


class IAction(Interface):
    """A call-back that will come, and that can be called off."""

    cancelled = Attribute("True once L{cancel} was called; the continuation is then never called.")

    def cancel() -> None:
        """Call it off.  Harmless when called twice, and when the call-back has come already."""


class IMIOBuffer(Interface):
    """A buffer with one writer and up to five readers.  Source: behaviour 1.3."""

    water_mark = Attribute("Unread bytes at or below which a full buffer grows; 0: only when drained.")

    def alloc_reader() -> Any:
        """A new L{IIOBufferReader}, at the block that is being filled.  Raises L{LocalError} for a sixth."""

    def write(source: Any, nbytes: int | None = None, offset: int = 0) -> int:
        """Write bytes (copied) or what a reader has (shared).  Ignores the water mark.  Returns the bytes written."""

    def write_block() -> Any:
        """The block to fill next, or C{None} for no room."""

    def fill(count: int) -> None:
        """C{count} bytes were put into that block."""

    def has_room() -> bool:
        """Would L{write_block} give a block?"""

    def write_avail() -> int:
        """Bytes of room; may add a block."""

    def max_read_avail() -> int:
        """The unread bytes of the slowest reader."""


class IIOBufferReader(Interface):
    """A position in a buffer."""

    avail = Attribute("Unread bytes.")
    buffer = Attribute("The L{IMIOBuffer}.")

    def consume(count: int) -> None:
        """Move on.  Raises L{LocalError} past the end."""

    def read(count: int | None = None) -> bytes:
        """A copy of up to C{count} bytes, C{None}: all; they are consumed."""

    def memcpy(count: int | None = None, offset: int = 0) -> bytes:
        """The same, and nothing is consumed."""

    def first() -> memoryview | None:
        """A memoryview of the first unread bytes, or C{None}; valid until the next L{consume}."""

    def clone() -> Any:
        """Another reader at the same position."""

    def dealloc() -> None:
        """Leave the buffer."""


class IVIO(Interface):
    """A request to move bytes, made by C{do_io_read} or C{do_io_write}.  Source: behaviour 1.4."""

    op = Attribute("READ, WRITE or NONE of L{atstls.eventsystem.vio}.")
    cont = Attribute("Who is told; C{None}: nobody, and the connection closes itself when it ends.")
    nbytes = Attribute("Bytes wanted; C{INT64_MAX}: until the peer ends.")
    ndone = Attribute("Bytes moved; never more than C{nbytes}.")
    vc_server = Attribute("The connection.")

    def ntodo() -> int:
        """C{nbytes - ndone}."""

    def reenable() -> None:
        """
        There is room (read) or there are bytes (write) again.  Never calls back from within.

        After EOS or ERROR it has no effect: a request has one end.
        """

    def reenable_re() -> None:
        """As L{reenable}, at once: it may call back before it returns."""

    def done() -> None:
        """Ask for no more than what is buffered now."""


class IVConnection(Interface):
    """Something that bytes can be read from and written to by VIOs."""

    def do_io_read(cont: IContinuation | None, nbytes: int, buffer: Any) -> Any:
        """
        Ask for C{nbytes} bytes to be put into C{buffer}.

        READ_READY follows for each piece, READ_COMPLETE for the last; EOS when the peer ends before, ERROR when the
        connection fails: one of the last three, once.  Who asks behind the end is told of it again,
        each time.

        @param cont: who is told; C{None} with C{nbytes=0} takes the request back.
        @param nbytes: 0 on a TLS connection whose handshake is not done asks for the handshake: READ_COMPLETE.
        @param buffer: an L{IMIOBuffer}, the caller's own; C{None}: no bytes are wanted, but timeouts are told.
        @return: the read L{IVIO}, the same object each time; C{None} on a closed connection.
        """

    def do_io_write(cont: IContinuation | None, nbytes: int, reader: Any) -> Any:
        """
        Ask for C{nbytes} bytes to be taken from C{reader} and sent.

        WRITE_READY asks for more bytes while the buffer has room; WRITE_COMPLETE follows when all were sent, ERROR
        when they cannot be.

        @param reader: an L{IIOBufferReader}; C{None} takes the request back.
        @return: the write L{IVIO}; C{None} on a closed connection.
        """

    def do_io_close(lerrno: int = -1) -> None:
        """
        The connection is not used any more: no event follows, not even the rest of the current one.

        Bytes of the write VIO that were not sent are dropped: wait for WRITE_COMPLETE first.

        @param lerrno: -1 for an ordinary end (over TLS: close_notify); else why, and the peer sees a reset.
        """

    def do_io_shutdown(howto: int) -> None:
        """
        No more of one direction, or of both: SHUTDOWN_READ, SHUTDOWN_WRITE, SHUTDOWN_READWRITE.

        No event of that direction follows, no timeout either.  The connection still needs L{do_io_close}.
        """


class INetVConnection(IVConnection):
    """A connection over the network.  Source: behaviour 1.5; ATS C{I_NetVConnection.h}."""

    lerrno = Attribute("Why the last ERROR or EOS came: an errno or an ENET number; 0 for none.")
    error = Attribute("The same as an exception, or C{None}.")
    clean_shutdown = Attribute("After EOS: did the peer end in order?  False after a reset or, over TLS, a bare FIN.")
    attributes = Attribute("What the connection is: C{TRANSPORT_DEFAULT} or C{TRANSPORT_BLIND_TUNNEL}.")
    is_client = Attribute("True: we connected.  False: the peer did.")

    def set_inactivity_timeout(seconds: float) -> None:
        """INACTIVITY_TIMEOUT after so long without a byte; 0: off.  One shot: set it again after it came."""

    def set_active_timeout(seconds: float) -> None:
        """ACTIVE_TIMEOUT so long after this call, bytes or not; 0: off."""

    def cancel_inactivity_timeout() -> None:
        """Off."""

    def cancel_active_timeout() -> None:
        """Off."""

    def add_to_active_queue() -> bool:
        """A request begins.  False: there are too many, refuse it.  Source: behaviour 1.10."""

    def add_to_keep_alive_queue() -> None:
        """It was answered, and only the line is open: when there are too many, the oldest get a timeout at once."""

    def remove_from_active_queue() -> None:
        """Not counted any more.  Harmless when it was not."""

    def remove_from_keep_alive_queue() -> None:
        """The same."""

    def trap_write_buffer_empty(event: int) -> None:
        """Tell C{event}, once, after the next write that empties the buffer and of which nothing else is told."""

    def apply_options() -> None:
        """Make the socket as C{options} say now."""

    def release() -> Any:
        """Give the connection away, as a L{HeldConnection<atstls.net.migration.HeldConnection>}; this one is closed."""

    def populate(con: Any, cont: IContinuation | None = None, ssl: Any = None) -> int:
        """For a fresh object: become the connection that C{con} holds.  EVENT_DONE or EVENT_ERROR."""

    def migrate(nh: Any, cont: IContinuation | None = None) -> Any:
        """Move to another L{INetHandler}: the new connection; C{None}: it could not be watched, and is closed."""

    def populate_protocol() -> tuple[str, ...]:
        """What is spoken, the uppermost first: C{("h2", "tls/1.3", "tcp", "ipv4")}."""

    def protocol_contains(prefix: str) -> str | None:
        """The first of these that begins with C{prefix}, or C{None}."""

    def get_service(interface: Any) -> Any:
        """This connection as something that provides C{interface}, or C{None}."""

    def get_remote_addr() -> Any:
        """The peer's address as the socket module writes it, or C{None}."""

    def get_local_addr() -> Any:
        """Our own."""


class ISSLNetVConnection(INetVConnection):
    """A connection over TLS; its user need not know.  Source: seed; behaviour 1.14."""

    server_name = Attribute("The name that was asked for (SNI), lower case, or C{None}.")
    negotiated_protocol = Attribute("What ALPN agreed on, bytes, or C{None}.")

    def get_ssl_handshake_complete() -> bool:
        """Is the handshake done?  A blind tunnel says yes."""

    def get_ssl_protocol() -> str | None:
        """C{"TLSv1.3"} and the like; C{None} without TLS."""

    def get_ssl_cipher_suite() -> str | None:
        """The cipher's name; C{None} without TLS."""

    def get_ssl_group() -> str | None:
        """The group, or curve, of the key exchange; C{None} without TLS."""

    def get_ssl_session_cache_hit() -> bool:
        """Was the session resumed?"""

    def get_peer_certificate() -> Any:
        """The peer's certificate as C{cryptography} has it, or C{None}."""

    def get_peer_certificate_chain() -> tuple[Any, ...]:
        """What the peer showed, its own certificate first."""

    def get_verified_chain() -> tuple[Any, ...]:
        """From the peer's certificate to a root that we trust."""

    def get_verified_name() -> str | None:
        """The name that we meant to reach and have found in the peer's certificate, or C{None}."""

    def is_eos_received() -> bool:
        """Has the peer's TLS stream ended, in order or not?"""

    def endpoint() -> Any:
        """The continuation that was registered for C{negotiated_protocol}, or C{None}."""


class IWireTraced(Interface):
    """The owner of a TLS connection whose wire is traced.  Source: behaviour 1.31."""

    def wire_said(what: str) -> None:
        """Something other than bytes: the handshake is done, or has failed; an end, and whose."""

    def wire_moved(way: str, data: Any) -> None:
        """
        Plaintext moved.

        @param way: C{"IN"}, it came from the peer, or C{"OUT"}.
        @param data: the plaintext: to be looked at before this returns, and not to be kept.
        """


class INetHandler(Interface):
    """What moves the bytes of all connections of one reactor.  Source: behaviour 1.6."""

    now = Attribute("The time of this turn, in seconds of a clock that only goes forward.")
    open_list = Attribute("The connections that are open: a set.")

    def turn() -> None:
        """One pass over those that are ready to read, then one over those that are ready to write."""

    def wake() -> None:
        """See to it that a turn comes soon."""


class IPollDescriptor(Interface):
    """Who asks the kernel which connections could move bytes."""

    def start(vc: Any) -> None:
        """Watch C{vc}."""

    def stop(vc: Any) -> None:
        """Do not watch it any more; its descriptor is still open."""

    def forget(vc: Any) -> None:
        """The same, just before it is closed."""

    def rest(vc: Any, state: Any) -> None:
        """C{state} of C{vc} has just lost its trigger: say when it could go on."""


class INetReactor(Interface):
    """A reactor that waits for connections and for all else in one call."""

    epoll = Attribute("The epoll set that it waits for; who registers something there puts it into C{watched} as well.")
    watched = Attribute("A C{dict}: connections by descriptor.")
    net_handlers = Attribute("A list of the handlers of such connections, which are run when it has heard of some.")


class IInactivityCop(Interface):
    """Who finds, once a second, the connections that are late."""

    def patrol() -> None:
        """Look at every open connection."""


class INetProcessor(Interface):
    """Who makes connections.  Source: behaviour 1.13."""

    def allocate_vc() -> Any:
        """A fresh connection of this processor's kind."""

    def connect_re(cont: IContinuation, address: Any, options: Any = None) -> Any:
        """
        Connect; NET_EVENT_OPEN as soon as that was begun, NET_EVENT_OPEN_FAILED when it could not be.

        @return: an L{IAction}.
        """

    def connect_s(cont: IContinuation, address: Any, timeout: float = 30, options: Any = None) -> Any:
        """Connect; NET_EVENT_OPEN when the connection stands, over TLS when its handshake is done."""

    def accept(cont: IContinuation, options: Any) -> Any:
        """Listen; NET_EVENT_ACCEPT for each connection.  Returns an L{INetAccept}."""


class INetAccept(IAction):
    """A listening socket."""

    def get_host() -> Any:
        """The address that it listens on, as Twisted's L{IAddress<twisted.internet.interfaces.IAddress>}."""


class ISessionAccept(IContinuation):
    """Who makes a session out of an accepted connection."""

    def accept(vc: Any, buffer: Any, reader: Any) -> bool:
        """
        Take C{vc}, and the bytes in C{buffer} that came first.

        @return: False to refuse; the caller then closes the connection.
        """


class INextProtocolSet(Interface):
    """The protocols that a port offers, and who speaks each.  Source: behaviour 1.25."""

    def register_endpoint(name: bytes, endpoint: Any) -> bool:
        """Offer C{name}, before those that were registered earlier.  False: it is there, or too long."""

    def find_endpoint(name: bytes) -> Any:
        """Who speaks C{name}, or C{None}."""


class IConnectionHook(Interface):
    """A callable that is asked about a connection at one point of its life.  Source: behaviour 1.18."""

    def __call__(vc: Any) -> Any:
        """
        @return: C{None}: go on.  A Deferred or coroutine: go on when it fires, fail when it fails.  C{PARKED}: go on
            when C{vc.reenable_hook()} is called.
        """
