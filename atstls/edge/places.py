# -*- test-case-name: tests.test_config -*-
"""
Values of the configuration that are somewhere: files, addresses, and the routes that connections take.

Kinds as in L{atstls.edge.values}.  Their C{check} looks at the world as it is now: a file that is there at the check
may be gone at its use, so the check is for the operator, and the user of the file handles its absence all the same.

Source: Apache Traffic Server's sni.yaml and ssl_multicert; behaviour 1.27.
"""

import importlib
import ipaddress
import os
import re
import stat
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
from twisted.internet.interfaces import IProtocolFactory

from atstls.edge.values import FileFault, Kind, items_of, port_of, shown
from atstls.tls.certificates import dns_name

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

SUN_PATH_BYTES: Final = 107
"""The longest path of a UNIX socket on Linux (unix(7): C{sun_path} is 108 bytes, one of them for the end)."""

PORT_VARIABLES: Final = ("{inbound_local_port}", "{proxy_protocol_port}")
"""In the place of a port: that to which the client has come, or that which a load balancer says that he meant."""

_LABEL = "x-the-label-x"
"""Stands for C{$1} while a name is looked at."""

_ORIGINAL = "{original_destination}"
_FACTORY = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")


# Files.


def check_readable(path: Path) -> None:
    """
    Can this process read the file C{path}?

    It is looked at before it is opened: to open a named pipe would wait until somebody writes.

    @raise FileFault: no; the text says why.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileFault(f"{path} is not a file")
        with open(path, "rb"):
            pass
    except OSError as exc:
        raise FileFault(f"{path} cannot be read: {exc.strerror}") from exc


def check_directory(path: Path) -> None:
    """
    Can this process read the directory C{path}?

    @raise ValueError: no; the text says why.
    """
    if not os.path.isdir(path):
        raise ValueError(f"{path} is not a directory")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ValueError(f"{path} cannot be read")


class File(Kind[Path]):
    """A file that can be read."""

    noun = "a file"
    span = "readable, relative to the configuration file"

    def convert(self, text: str) -> Path:
        if not text:
            raise ValueError("there is no file name")
        return Path(text)

    def locate(self, value: Path, base: Path) -> Path:
        return base / value

    def check(self, value: Path) -> None:
        check_readable(value)


class Files(Kind[tuple[Path, ...]]):
    """Files that can be read, separated by commas."""

    noun = "a list of files"
    span = File.span

    def convert(self, text: str) -> tuple[Path, ...]:
        return tuple(map(Path, items_of(text)))

    def locate(self, value: tuple[Path, ...], base: Path) -> tuple[Path, ...]:
        return tuple(base / path for path in value)

    def check(self, value: tuple[Path, ...]) -> None:
        for path in value:
            check_readable(path)

    def write(self, value: tuple[Path, ...]) -> str:
        return ", ".join(map(str, value))


class Folder(File):
    """A directory that can be read."""

    noun = "a directory"

    def check(self, value: Path) -> None:
        check_directory(value)


class SocketPath(File):
    """Where a UNIX socket is to be made."""

    noun = "the path of a UNIX socket"
    span = f"in a directory that is there, at most {SUN_PATH_BYTES} bytes"

    def check(self, value: Path) -> None:
        if len(os.fsencode(value)) > SUN_PATH_BYTES:
            raise ValueError(f"{value} is too long")
        if not os.path.isdir(value.parent):
            raise ValueError(f"{value.parent} is not a directory")


# Addresses.


def server_pattern(text: str) -> str | None:
    """
    The one spelling of what may stand behind C{sni} in a section's header: nothing, a name, or C{*.} and a name.

    @return: C{None} when it is none of them.
    """
    return dns_name(text) if text else ""


def split_port(text: str) -> tuple[str, int | None]:
    """
    C{HOST:PORT}, C{HOST}, C{[V6]:PORT} or C{[V6]} in two; the host comes without its brackets.

    @raise ValueError: the brackets or the port are wrong, or an IPv6 address has none.
    """
    if match := re.fullmatch(r"\[(?P<host>[^][]*)\](:(?P<port>.*))?", text):
        # A host with a colon in it is checked by whoever uses it; without one it needs no brackets.
        if ":" not in match["host"]:
            raise ValueError(f"{shown(text)} has brackets around what is not an IPv6 address")
        host, port = match["host"], match["port"]
    elif text.count(":") > 1:
        raise ValueError(f"{shown(text)} has an IPv6 address without brackets")
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    return host, None if port is None else port_of(port)


def join_port(host: str, port: int) -> str:
    """The text that L{split_port} splits into these."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(text: str) -> IPAddress:
    """
    Read an IP address.

    @raise ValueError: it is none.
    """
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address") from None


def host_of(text: str) -> str:
    """
    Read the name of a host, or its IP address.

    @raise ValueError: it is neither.
    """
    name = dns_name(text)
    if name is not None and not name.startswith("*"):
        return name
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is neither a host name nor an IP address") from None


def _host_with_label(text: str) -> str:
    """The same, where C{$1} may be a part of the name, or all of it."""
    if "$1" not in text:
        return host_of(text)
    if _LABEL in text:
        raise ValueError(f"{shown(text)} is not a host name")
    return host_of(text.replace("$1", _LABEL)).replace(_LABEL, "$1")


class Interface(Kind[str]):
    """The address on which to listen."""

    noun = "an IP address"
    span = "0.0.0.0 for all of IPv4, :: for all of IPv6"

    def convert(self, text: str) -> str:
        return str(address_of(text))


class HostAddress(Kind[IPAddress]):
    """The address of one host."""

    noun = "an IP address"
    span = "of one host"

    def convert(self, text: str) -> IPAddress:
        return address_of(text)


class ServerName(Kind[str]):
    """One name that a client may ask for."""

    noun = "a host name"
    span = "without a wildcard"

    def convert(self, text: str) -> str:
        name = dns_name(text)
        if name is None or name.startswith("*"):
            raise ValueError(f"{shown(text)} is not one name")
        return name


class Destination(Kind[str]):
    """The local address that a connection came to, with or without a port, or C{*} for every address."""

    noun = "an address"
    span = "as *, 192.0.2.1, 192.0.2.1:443, 2001:db8::1, [2001:db8::1]:443"

    def convert(self, text: str) -> str:
        if text == "*":
            return text
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            host, port = split_port(text)
        return str(address_of(host)) if port is None else join_port(str(address_of(host)), port)


# Routes.


class RouteKind(Enum):
    """What becomes of a connection."""

    SITE = "site"
    FORWARD = "forward_route"
    PARTIAL_BLIND = "partial_blind_route"
    TUNNEL = "tunnel_route"
    FACTORY = "factory"
    WELCOME = "welcome"
    REFUSE = "refusal"
    """Said by a program only, as is the next one."""
    LOOK_UP = "look-up"


ROUTES_ONWARD: Final = (RouteKind.FORWARD, RouteKind.PARTIAL_BLIND, RouteKind.TUNNEL)
"""Those that lead to another host."""


@attrs.frozen
class Route:
    """
    Where a connection goes.

    @ivar kind: says which of the others is set; none of them is for the welcome page.
    @ivar target: host and port, for the three routes that go on.
    @ivar path: the site's directory, or the UNIX socket of a route that goes on.
    @ivar factory: C{package.module:NAME}.
    @ivar port_variable: one of L{PORT_VARIABLES} in the place of a port.
    @ivar original: where the client of a transparent port wanted to go, for the three routes that go on.
    """

    kind: RouteKind
    target: tuple[str, int] | None = None
    path: Path | None = None
    factory: str | None = None
    original: bool = False
    port_variable: str | None = None

    @property
    def label(self) -> bool:
        """Has the host a place for what the star of a rule's name stands for?"""
        return self.target is not None and "$1" in self.target[0]

    @classmethod
    def welcome(cls) -> "Route":
        """The built-in welcome page."""
        return cls(RouteKind.WELCOME)


class Directory(Kind[Route]):
    """The directory of a site."""

    noun = "a directory"
    span = "readable, relative to the configuration file"

    def convert(self, text: str) -> Route:
        if not text:
            raise ValueError("there is no directory name")
        return Route(RouteKind.SITE, path=Path(text))

    def locate(self, value: Route, base: Path) -> Route:
        assert value.path is not None  # as convert() made it
        return attrs.evolve(value, path=base / value.path)

    def check(self, value: Route) -> None:
        assert value.path is not None  # as convert() made it
        check_directory(value.path)

    def write(self, value: Route) -> str:
        return str(value.path)


@attrs.frozen
class Onward(Kind[Route]):
    """The next host of a connection, or the UNIX socket where it goes on."""

    route: RouteKind
    noun = "HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}"
    span = f"port 1 to 65535 or {' or '.join(PORT_VARIABLES)}"

    def convert(self, text: str) -> Route:
        if text.startswith("unix:"):
            return Route(self.route, path=File().convert(text.removeprefix("unix:")))
        if text == _ORIGINAL:
            return Route(self.route, original=True)
        for variable in PORT_VARIABLES:
            if text.endswith(f":{variable}"):
                host, port = split_port(text.removesuffix(f":{variable}"))
                if port is not None:
                    raise ValueError(f"{shown(text)} has two ports")
                return Route(self.route, target=(_host_with_label(host), 0), port_variable=variable)
        host, port = split_port(text)
        if port is None:
            raise ValueError(f"{shown(text)} has no port")
        return Route(self.route, target=(_host_with_label(host), port))

    def locate(self, value: Route, base: Path) -> Route:
        return attrs.evolve(value, path=base / value.path) if value.path is not None else value

    def write(self, value: Route) -> str:
        if value.original:
            return _ORIGINAL
        if value.target is None:
            return f"unix:{value.path}"
        if value.port_variable is not None:
            host = value.target[0]
            return f"[{host}]:{value.port_variable}" if ":" in host else f"{host}:{value.port_variable}"
        return join_port(*value.target)


class Factory(Kind[Route]):
    """A name in a Python module: a protocol factory, or what makes one of the reactor."""

    noun = "package.module:NAME"
    span = "an IProtocolFactory, or a callable that takes the reactor and returns one"

    def convert(self, text: str) -> Route:
        if not _FACTORY.fullmatch(text):
            raise ValueError(f"{shown(text)} is not of this form")
        return Route(RouteKind.FACTORY, factory=text)

    def check(self, value: Route) -> None:
        assert value.factory is not None  # as convert() made it
        load_factory(value.factory)

    def write(self, value: Route) -> str:
        return str(value.factory)


def load_factory(name: str) -> Any:
    """
    Import what C{package.module:NAME} names.

    @return: an L{IProtocolFactory}, or a callable that takes the reactor and returns one.
    @raise ValueError: it cannot be had, or is neither; the text says why.
    """
    found = load_name(name)
    if not IProtocolFactory.providedBy(found) and not callable(found):
        raise ValueError(f"{name} is neither a protocol factory nor callable")
    return found


def load_name(name: str) -> Any:
    """
    Import what C{package.module:NAME} names, whatever it is.

    @raise ValueError: it cannot be had; the text says why.
    """
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        # The name of the missing module tells an error of the operator's from one inside a module that is there.
        if exc.name and f"{module_name}.".startswith(f"{exc.name}."):
            raise ValueError(f"there is no module {exc.name}") from exc
        raise ValueError(f"module {module_name} cannot be imported: {exc}") from exc
    except (Exception, SystemExit) as exc:  # the operator's code may raise whatever it likes
        raise ValueError(f"module {module_name} cannot be imported: {type(exc).__name__}: {exc}") from exc
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            raise ValueError(f"module {module_name} has no {path}") from exc
    return found
