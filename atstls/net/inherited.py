# -*- test-case-name: tests.test_inherited -*-
"""
Listening sockets that somebody else has opened for us: a supervisor that lets us inherit a descriptor, or systemd.

systemd tells of them by the environment.  C{twisted.internet.endpoints} reads that as soon as it is imported, for its
own C{systemd:} strings, and removes it, so that nobody else would find it.  We leave it where it is, and where it is
gone already, ask Twisted by such a string: so it does not matter who came first.

Source: row P06; C{sd_listen_fds(3)}; C{twisted.python.systemd}.
"""

import os
import socket
import sys
from functools import cache
from typing import Any

from twisted.python.systemd import ListenFDs

from atstls.errors import ConfigurationError

_READER = "twisted.internet.endpoints"


@cache
def passed_sockets() -> ListenFDs:
    """Those of which the environment tells; for all that ask, in this process."""
    return ListenFDs.fromEnvironment(environ=dict(os.environ))


def systemd_descriptor(name: str, passed: ListenFDs | None = None) -> int:
    """
    The descriptor of a socket that systemd opened for us.

    @param name: the FileDescriptorName of its unit, or its number among those that were passed, from 0.
    @param passed: the sockets that were; C{None}: L{passed_sockets}.
    @raise ConfigurationError: it is not among them.
    """
    found = passed_sockets() if passed is None else passed
    by_name = found.inheritedNamedDescriptors()
    descriptors = found.inheritedDescriptors()
    if name in by_name:
        return by_name[name]
    if name.isdecimal() and int(name) < len(descriptors):
        return descriptors[int(name)]
    if passed is None and not descriptors:
        fd = _read_by_twisted(name)
        if fd is not None:
            return fd
    known = ", ".join(sorted(by_name)) or "none, since systemd passed no socket to this process"
    raise ConfigurationError(f"there is no socket {name!r}, allowed: {known}")


def _read_by_twisted(name: str) -> int | None:
    endpoints: Any = sys.modules.get(_READER)
    if endpoints is None:
        return None
    for key in ("name", "index"):
        if key == "index" and not name.isdecimal():
            break
        try:
            # The family is for the port that it would make, and we make our own.
            text = f"systemd:domain=UNIX:{key}={endpoints.quoteStringArgument(name)}"
            fd: int = endpoints.serverFromString(None, text).fileno
            return fd
        except (KeyError, IndexError):
            pass
    return None


def check_listening(fd: int) -> None:
    """
    See that C{fd} is a listening stream socket, and make it non-blocking: whoever opened it may not have thought of us.

    @raise ConfigurationError: it is not.
    """
    try:
        with socket.socket(fileno=os.dup(fd)) as probe:
            listening = probe.type == socket.SOCK_STREAM and probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listening = 0
    if not listening:
        raise ConfigurationError(f"descriptor {fd} is not a listening socket")
    os.set_blocking(fd, False)
