# -*- test-case-name: tests.test_endpoint_sockets -*-
# ruff: noqa: N803  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
TLS over other sockets than those with a port: L{SSLUNIXServerEndpoint}, L{SSLUNIXClientEndpoint}, and
L{SSLAdoptedServerEndpoint} for sockets that somebody else has opened.

Source: C{twisted.internet.endpoints}, C{twisted.internet.unix}.
"""

import os
from typing import Any

from twisted.internet import error
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IProtocolFactory
from twisted.python import lockfile

from atstls.endpoints.client import SSLClientEndpoint
from atstls.endpoints.server import SSLServerEndpoint
from atstls.net.connection import AcceptOptions, Address
from atstls.net.inherited import check_listening, systemd_descriptor


class SSLUNIXServerEndpoint(SSLServerEndpoint):
    """Listens for TLS on a UNIX socket, as C{twisted.internet.endpoints.UNIXServerEndpoint} does without TLS."""

    def __init__(
        self,
        reactor: Any,
        address: str,
        sslContextFactory: Any,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = True,
    ) -> None:
        """
        @param address: the socket's path, which is removed when the port is closed.
        @param sslContextFactory: as for L{SSLServerEndpoint}.
        @param mode: the rights of the socket's file.
        @param wantPID: keep a lock beside it, so that a socket that a dead process left behind is replaced and one of
            a living process is not.  (Twisted's default is not to.)
        """
        super().__init__(reactor, 0, sslContextFactory)
        path = os.fsdecode(address)
        self._options = AcceptOptions(unix_path=path, unix_mode=mode, unix_lock=bool(wantPID), backlog=backlog)


class SSLAdoptedServerEndpoint(SSLServerEndpoint):
    """
    Listens for TLS on a socket that listens already: of TCP over IPv4 or IPv6, or a UNIX socket.

    C{twisted.internet.endpoints.AdoptedStreamServerEndpoint} with TLS; the socket's family is found out.
    """

    def __init__(self, reactor: Any, fileno: int, sslContextFactory: Any) -> None:
        """
        @param fileno: its descriptor, which stays open and is the caller's, and is made non-blocking.
        @param sslContextFactory: as for L{SSLServerEndpoint}.
        """
        super().__init__(reactor, 0, sslContextFactory)
        self._fileno = fileno

    @classmethod
    def from_systemd(cls, reactor: Any, name: str | int, sslContextFactory: Any) -> "SSLAdoptedServerEndpoint":
        """
        On a socket that systemd passed to this process.

        @param name: the C{FileDescriptorName} in its unit; or its number among those that were passed, from 0, which
            is hard to foresee where there are several.
        @raise ConfigurationError: it is not among them; says which are.
        """
        return cls(reactor, systemd_descriptor(str(name)), sslContextFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        check_listening(self._fileno)
        self._options = AcceptOptions(fd=self._fileno)
        return super()._listen(factory)


class SSLUNIXClientEndpoint(SSLClientEndpoint):
    """
    Connects to a UNIX socket, and speaks TLS there.

    A path is no name that could stand in a certificate: with L{ClientTLS<atstls.endpoints.ClientTLS>} say the name in
    C{server_name}, or that it is not looked for.
    """

    def __init__(
        self, reactor: Any, path: str, sslContextFactory: Any, timeout: float = 30, checkPID: bool = False
    ) -> None:
        """
        @param path: of the socket.
        @param sslContextFactory: as for L{SSLClientEndpoint}.
        @param timeout: as for L{SSLClientEndpoint}.
        @param checkPID: fail with C{BadFileError} where no living process holds the lock beside the socket.
        """
        super().__init__(reactor, "", 0, sslContextFactory, timeout)
        self._path = os.fsdecode(path)
        self._check_lock = checkPID

    def _destination(self) -> tuple[Address, IAddress]:
        return self._path, UNIXAddress(os.fsencode(self._path))

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See L{SSLClientEndpoint.connect}."""
        if self._check_lock and not lockfile.isLocked(f"{self._path}.lock"):
            return fail(error.BadFileError(string=f"{self._path}: nobody holds its lock"))
        return super().connect(protocolFactory)
