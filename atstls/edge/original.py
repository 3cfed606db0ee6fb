# -*- test-case-name: tests.test_transparent -*-
"""
The route C{{original_destination}}: to where the client of a transparent port wanted to go.

Somebody who connects to the port itself wants to go there, and to dial it for him would make another such connection,
and so on: he is refused before anybody is dialled.

Source: behaviour 1.24, A090, A110.
"""

from typing import Any, Final

from atstls.edge.loops import is_here
from atstls.net.connection import Address
from atstls.net.unixvc import LISTENING_PORT

ORIGINAL_DESTINATION: Final = ("{original_destination}", 0)
"""In the place of an address."""


def original_address(vc: Any) -> Address | None:
    """Where C{vc}'s client wanted to go; C{None}: nowhere else than here, or the port is not transparent."""
    address: Address | None = vc.get_local_addr()
    if not vc.is_transparent or not isinstance(address, tuple):
        return None
    host, port = address
    if port == vc.get_arg(LISTENING_PORT) and is_here(host):
        return None
    return address
