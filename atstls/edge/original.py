# -*- test-case-name: tests.test_transparent -*-
"""
The route C{{original_destination}}: to where the client of a transparent port wanted to go.

Somebody who connects to the port itself wants to go there, and to dial it for him would make another such connection,
and so on: he is refused before anybody is dialled.

And the other half of it (C{tr-out}): the next host sees the client's address in the place of ours.

Source: behaviour 1.24, A090, A110.
"""

from typing import Any, Final

from attrs import evolve

from atstls.edge.loops import is_here
from atstls.net.connection import Address, NetVCOptions
from atstls.net.transparent import LISTENING_PORT

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


def client_options(vc: Any, options: NetVCOptions) -> NetVCOptions:
    """C{options} with the address of C{vc}'s client as the one to connect from, if it has one."""
    address = vc.get_remote_addr()
    if not isinstance(address, tuple):
        return options
    return evolve(options, local_ip=address[0].removeprefix("::ffff:"), local_ip_is_foreign=True)
