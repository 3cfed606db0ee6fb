# -*- test-case-name: tests.test_connection -*-
"""
Sockets: how they are asked for (L{NetVCOptions}), made and set up.

Source: behaviour 1.5 and 1.11; ATS C{P_Connection.h}.
"""

import errno
import ipaddress
import os
import socket
import struct
from functools import lru_cache
from typing import Any, Final

from attrs import define, field, frozen

from atstls.net.transparent import make_transparent

SOCK_OPT_NO_DELAY: Final = 1
SOCK_OPT_KEEP_ALIVE: Final = 2
SOCK_OPT_LINGER_ON: Final = 4

_DEFER_ACCEPT: Final = getattr(socket, "TCP_DEFER_ACCEPT", 0)

Address = tuple[str, int] | str
"""A host's IP address and port, or the path of a UNIX socket."""


@define
class NetVCOptions:
    """
    What a connection's socket should be.

    @ivar local_ip: the address to connect from; empty for any.
    @ivar local_port: the port to connect from; 0 for any.
    @ivar local_ip_is_foreign: C{local_ip} is not this machine's (Linux): what comes back has to be sent here by rules
        of the system's, see L{atstls.net.transparent}.
    @ivar recv_buffer_bytes: SO_RCVBUF; 0 leaves it to the system, which then tunes it.
    @ivar sockopt_flags: SOCK_OPT_… added together.
    @ivar packet_mark: SO_MARK where the system has it; 0 for none.
    @ivar packet_tos: IP_TOS or IPV6_TCLASS; 0 for none.
    @ivar first_bytes: sent in clear before anything else, TLS included; at most 64 KiB and a little.
    @ivar sni_servername: outbound TLS: the name to ask for, and to find in the certificate.
    @ivar origin_trace: outbound TLS: the client for whom it is made, as the log calls it, when what is said with it is
        to be written to the log; C{None}: it is not.
    """

    local_ip: str = ""
    local_port: int = 0
    local_ip_is_foreign: bool = False
    recv_buffer_bytes: int = 0
    send_buffer_bytes: int = 0
    sockopt_flags: int = SOCK_OPT_NO_DELAY
    packet_mark: int = 0
    packet_tos: int = 0
    first_bytes: bytes = b""
    sni_servername: str | None = None
    origin_trace: str | None = None
    tls: Any = field(default=None, repr=False)

    def set_sni_servername(self, name: str | None) -> None:
        """Ask for C{name}, and check for it."""
        self.sni_servername = name


@frozen
class AcceptOptions:
    """
    What a listening socket should be.

    @ivar local_ip: the address to listen on; empty for all of IPv4, C{"::"} for all of IPv6.
    @ivar local_port: the port; 0 for any that is free.
    @ivar unix_path: a UNIX socket instead.
    @ivar unix_mode: the rights of its file.
    @ivar unix_lock: whether a lock beside it tells that we live; without, what a dead process left keeps us out.
    @ivar fd: an inherited listening socket instead.
    @ivar additional_accepts: accept so many more than one a turn; -1: up to L{atstls.net.accept.ACCEPTS_A_TURN}.
    @ivar f_callback_on_open: tell ACCEPT_SUCCEED or ACCEPT_FAILED from within C{accept}, instead of raising.
    @ivar f_inbound_transparent: connections that were made to others come here, see L{atstls.net.transparent}.
    @ivar packet_mark: SO_MARK of the accepted sockets; 0 for none.
    @ivar packet_tos: IP_TOS or IPV6_TCLASS of the accepted sockets; 0 for none.
    @ivar localhost_only: listen on the loopback address, whatever C{local_ip} says.
    @ivar backdoor: a port by which one gets in when there are too many connections already, of all or of one address.
    @ivar defer_accept_seconds: whole seconds for which the kernel keeps a connection to itself until its first bytes
        are there (TCP_DEFER_ACCEPT, where the system has it); 0: it does not.
    """

    local_ip: str = ""
    local_port: int = 0
    unix_path: str | None = None
    unix_mode: int = 0o666
    unix_lock: bool = True
    fd: int | None = None
    backlog: int = 4096
    additional_accepts: int = -1
    f_callback_on_open: bool = False
    localhost_only: bool = False
    backdoor: bool = False
    defer_accept_seconds: int = 0
    f_inbound_transparent: bool = False
    packet_mark: int = 0
    packet_tos: int = 0
    recv_buffer_bytes: int = 0
    send_buffer_bytes: int = 0
    sockopt_flags: int = SOCK_OPT_NO_DELAY


def named(name: Any) -> Address:
    """
    What Python says of a socket's end, as an L{Address}.

    The host of an IPv6 address that holds on one link only says on which: C{fe80::1%eth0}.
    """
    if not isinstance(name, tuple):
        return name if isinstance(name, str) else os.fsdecode(name)
    if len(name) > 2 and name[3]:
        try:
            return (f"{name[0].partition('%')[0]}%{socket.if_indextoname(name[3])}", name[1])
        except OSError:
            pass  # The interface is gone.
    return name[:2]


def family_of(address: Address) -> socket.AddressFamily:
    """The family of a socket for C{address}, whose host is an IP address and not a name."""
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


@lru_cache(1024)
def is_ip(host: str) -> bool:
    """Is C{host} an IP address, rather than a name?"""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def apply_options(
    sock: socket.socket, flags: int, recv_buffer_bytes: int, send_buffer_bytes: int, *, tcp: bool
) -> None:
    """Set the options that a listening and a connecting socket have in common.  C{tcp}: it is not a UNIX socket."""
    if tcp:
        if flags & SOCK_OPT_NO_DELAY:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if flags & SOCK_OPT_KEEP_ALIVE:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if flags & SOCK_OPT_LINGER_ON:
        reset_on_close(sock)
    if recv_buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, recv_buffer_bytes)
    if send_buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)


def reapply_options(sock: socket.socket, options: NetVCOptions) -> None:
    """
    Make C{sock}, which is open, as C{options} want it: what they do not want is switched off, sizes of 0 are left.

    @raise OSError: the system does not allow it, or not to us (C{packet_mark}).
    """
    tcp = sock.family != socket.AF_UNIX
    flags = options.sockopt_flags
    if tcp:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, bool(flags & SOCK_OPT_NO_DELAY))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, bool(flags & SOCK_OPT_KEEP_ALIVE))
    if not flags & SOCK_OPT_LINGER_ON:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    apply_options(sock, flags, options.recv_buffer_bytes, options.send_buffer_bytes, tcp=tcp)
    _mark_packets(sock, options)


def apply_accept_options(sock: socket.socket, options: AcceptOptions) -> None:
    """
    Set C{options} on a listening socket; what is accepted inherits them (Linux, BSD).

    @raise OSError: the system does not allow one of them, or not to us.
    """
    tcp = sock.family != socket.AF_UNIX
    apply_options(sock, options.sockopt_flags, options.recv_buffer_bytes, options.send_buffer_bytes, tcp=tcp)
    if tcp:
        _mark_packets(sock, options)
        if options.defer_accept_seconds and _DEFER_ACCEPT:
            sock.setsockopt(socket.IPPROTO_TCP, _DEFER_ACCEPT, options.defer_accept_seconds)
    if options.f_inbound_transparent:
        make_transparent(sock)


def reapply_accept_options(sock: socket.socket, options: AcceptOptions) -> None:
    """
    Make C{sock}, which listens, as C{options} want it: what they do not want is switched off, sizes of 0 are left.

    @raise OSError: the system does not allow it, or not to us.
    """
    wanted = NetVCOptions(
        sockopt_flags=options.sockopt_flags,
        recv_buffer_bytes=options.recv_buffer_bytes,
        send_buffer_bytes=options.send_buffer_bytes,
        packet_mark=options.packet_mark,
        packet_tos=options.packet_tos,
    )
    reapply_options(sock, wanted)
    if sock.family != socket.AF_UNIX:
        if _DEFER_ACCEPT:
            sock.setsockopt(socket.IPPROTO_TCP, _DEFER_ACCEPT, options.defer_accept_seconds)
        if not options.packet_tos:
            level, option = (socket.IPPROTO_IP, socket.IP_TOS)
            if sock.family == socket.AF_INET6:
                level, option = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
            sock.setsockopt(level, option, 0)
    sock.listen(options.backlog)


def _mark_packets(sock: socket.socket, options: NetVCOptions | AcceptOptions) -> None:
    if options.packet_mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, options.packet_mark)
    if options.packet_tos:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options.packet_tos)
        elif sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, options.packet_tos)


def reset_on_close(sock: socket.socket) -> None:
    """Closing C{sock} shall be a reset, so that the peer cannot take it for an end in order."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # It is gone already, which the peer knows.


_NON_BLOCKING: Final = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
"""Not to block from the start saves a call of the system, where there is such a thing (not on macOS)."""


def open_socket(address: Address, options: NetVCOptions) -> socket.socket:
    """
    A socket, ready to be connected to C{address}.

    @raise OSError: none could be made, or it cannot be bound to the local address.
    """
    sock = socket.socket(family_of(address), _NON_BLOCKING)
    try:
        if _NON_BLOCKING == socket.SOCK_STREAM:
            sock.setblocking(False)
        tcp = not isinstance(address, str)
        apply_options(sock, options.sockopt_flags, options.recv_buffer_bytes, options.send_buffer_bytes, tcp=tcp)
        if options.packet_mark or options.packet_tos:
            _mark_packets(sock, options)
        if tcp and (options.local_ip or options.local_port):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if options.local_ip_is_foreign:
                make_transparent(sock)
            sock.bind((options.local_ip, options.local_port))
    except BaseException:
        sock.close()
        raise
    return sock


def begin_connect(sock: socket.socket, address: Address) -> int:
    """
    Begin to connect.

    @return: 0: it stands, or is on its way.  Else the errno of why not.
    """
    try:
        result = sock.connect_ex(address)
    except OSError as exc:
        return exc.errno or errno.EINVAL
    return 0 if result in (0, errno.EINPROGRESS) else result


def words(error: int) -> str:
    """C{error}, an errno, in words."""
    return os.strerror(error)
