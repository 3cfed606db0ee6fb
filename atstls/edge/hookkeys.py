# -*- test-case-name: tests.test_config -*-
"""
The keys by which an operator has code of his own asked about connections: C{hook.client_hello = package.module:NAME}.

They stand in C{[ssl]}, for all listeners, and in C{[listen NAME]}, for one.  What a hook may do is told in
L{atstls.tls.hooks}.

Source: behaviour 1.18; rows A120-A127.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from atstls.edge.places import load_name
from atstls.edge.values import Kind, items_of, key, shown
from atstls.tls.hooks import Hook, HookPoint

_HOOK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

OUTBOUND_POINTS: Final = (HookPoint.OUTBOUND_START, HookPoint.VERIFY_SERVER, HookPoint.OUTBOUND_CLOSE)
"""The points of connections that we make."""


class HookNames(Kind[tuple[str, ...]]):
    """Names of hooks in Python modules, in the order in which they are asked."""

    noun = "a list of package.module:NAME"
    span = "callables that take the connection"

    def convert(self, text: str) -> tuple[str, ...]:
        names = items_of(text)
        for name in names:
            if not _HOOK.fullmatch(name):
                raise ValueError(f"{shown(name)} is not of the form package.module:NAME")
        return names

    def check(self, value: tuple[str, ...]) -> None:
        for name in value:
            load_hook(name)

    def write(self, value: tuple[str, ...]) -> str:
        return ", ".join(value)


def load_hook(name: str) -> Callable[[Any], Any]:
    """
    Import the hook that C{package.module:NAME} names.

    @raise ValueError: it cannot be had, or cannot be called; the text says why.
    """
    found: Hook = load_name(name)
    if not callable(found):
        raise ValueError(f"{name} is not callable")
    return found


# Without slots, so that a class of settings can have another base beside this one.
@attrs.frozen(kw_only=True, slots=False)
class HookKeys:
    """Who is asked about connections."""

    hook_vconn_start: tuple[str, ...] = key(
        "hook.vconn_start", HookNames(), (), "Asked when a client has connected; no byte was read."
    )
    hook_client_hello: tuple[str, ...] = key(
        "hook.client_hello", HookNames(), (), "Asked when its ClientHello was read, behind the choice of the route."
    )
    hook_servername: tuple[str, ...] = key("hook.servername", HookNames(), (), "Asked behind those.")
    hook_cert: tuple[str, ...] = key(
        "hook.cert", HookNames(), (), "Asked when the certificate was chosen; may choose another one."
    )
    hook_verify_client: tuple[str, ...] = key(
        "hook.verify_client", HookNames(), (), "Asked when the handshake is done; nothing is served before the answer."
    )
    hook_vconn_close: tuple[str, ...] = key(
        "hook.vconn_close", HookNames(), (), "Told when a client's connection is closed."
    )
    hook_outbound_start: tuple[str, ...] = key(
        "hook.outbound_start",
        HookNames(),
        (),
        "Asked when we have connected to the next host, to speak TLS with it; no byte was sent.",
    )
    hook_verify_server: tuple[str, ...] = key(
        "hook.verify_server", HookNames(), (), "Asked when the next host was found to be the one that we meant."
    )
    hook_outbound_close: tuple[str, ...] = key(
        "hook.outbound_close", HookNames(), (), "Told when the connection to the next host is closed."
    )

    def hook_names(self) -> Iterator[tuple[HookPoint, str]]:
        """The hooks that were written, with the points at which they are asked."""
        for point in HookPoint:
            for name in getattr(self, f"hook_{point.value}"):
                yield point, name
