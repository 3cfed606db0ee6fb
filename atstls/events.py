"""
The words of the event system: what a continuation is told, and what it answers.

Plain module integers, since they are compared on the data path; L{event_name} turns them into words for logs.  The
values are Apache Traffic Server's (behaviour of C{I_VConnection.h}, C{I_NetProcessor.h}), so that its documents apply.
"""

from typing import Final

EVENT_NONE: Final = 0
EVENT_IMMEDIATE: Final = 1
EVENT_INTERVAL: Final = 2
EVENT_ERROR: Final = 3
EVENT_CALL: Final = 4
EVENT_POLL: Final = 5

VC_EVENT_NONE: Final = 0
VC_EVENT_ERROR: Final = 3
"""A fatal error of one direction; C{vc.lerrno} and C{vc.error} were set first.  Data: the VIO."""
VC_EVENT_READ_READY: Final = 100
"""Bytes were put into the read VIO's buffer and more are wanted.  Data: the VIO."""
VC_EVENT_WRITE_READY: Final = 101
"""The write VIO's buffer has room and more bytes are wanted of it.  Data: the VIO."""
VC_EVENT_READ_COMPLETE: Final = 102
"""The read VIO has got all of its C{nbytes}.  Data: the VIO."""
VC_EVENT_WRITE_COMPLETE: Final = 103
"""The write VIO has sent all of its C{nbytes}.  Data: the VIO."""
VC_EVENT_EOS: Final = 104
"""The peer will send nothing more.  Data: the read VIO."""
VC_EVENT_INACTIVITY_TIMEOUT: Final = 105
VC_EVENT_ACTIVE_TIMEOUT: Final = 106
VC_EVENT_OOB_COMPLETE: Final = 107

NET_EVENT_OPEN: Final = 200
"""A connection that was asked for is there.  Data: the connection."""
NET_EVENT_OPEN_FAILED: Final = 201
"""It could not be made.  Data: an L{atstls.errors.OpenFailed}, whose C{lerrno} is the number."""
NET_EVENT_ACCEPT: Final = 202
"""A peer connected; the receiver owns the connection.  Data: the connection."""
NET_EVENT_ACCEPT_SUCCEED: Final = 203
NET_EVENT_ACCEPT_FAILED: Final = 204

ONE_WAY_TUNNEL_EVENT_PEER_CLOSE: Final = 3301

# What a handler may answer.
EVENT_DONE: Final = 0
EVENT_CONT: Final = 1
EVENT_RETURN: Final = 5
EVENT_RESTART: Final = 6
EVENT_RESTART_DELAYED: Final = 7

# Errors that no errno stands for (ATS: I_Net.h).
ENET_THROTTLING: Final = 20101
ENET_CONNECT_TIMEOUT: Final = 20102
ENET_CONNECT_FAILED: Final = 20103
ENET_SSL_CONNECT_FAILED: Final = 20104
ENET_SSL_FAILED: Final = 20105

_NAMES = {
    value: name
    for name, value in list(globals().items())
    if name.startswith(("VC_EVENT_", "NET_EVENT_", "ONE_WAY_")) and name != "VC_EVENT_NONE"
}


def event_name(event: int) -> str:
    """The name of C{event} for a log or a test's message; its number where it has none."""
    return _NAMES.get(event, str(event))
