# -*- test-case-name: tests.test_config -*-
"""
What a value in the configuration may be: one L{Kind} for each sort, from the operator's text to ours and back.

A kind works in three steps, so that each can be asked for alone: C{convert} reads text, C{locate} makes paths
absolute, C{check} looks at the range and at the world (is the file there?).  Whatever is wrong is a L{ValueError} that
says what is wrong with this value; what would be allowed is said by the kind itself, in L{Kind.allowed}.  L{key} makes
of a kind a field of an attrs class, with C{convert} as its converter and C{check} as its validator.

Source: Apache Traffic Server's records and sni.yaml for the names and ranges; behaviour 1.35.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs

T = TypeVar("T")

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

KEY: Final = "atstls.key"
"""Where L{key} keeps its L{Key} in the metadata of an attrs field."""

INT_MAX: Final = 2**31 - 1
"""The largest number that the system calls behind these settings take."""

PORT_MAX: Final = 65535

_SHOWN_CHARACTERS = 60

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
_ESCAPED = {character: f"\\{letter}" for letter, character in _ESCAPES.items()}
_ESCAPE = re.compile(r"\\([rnt\\])")
_NO_ESCAPE = re.compile(r"\\.?")
_DECIMAL = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")


class FileFault(ValueError):
    """A file is not what it should be, while what the operator wrote may be right."""


def shown(text: str) -> str:
    """C{text} as it stands in an error message: quoted, on one line, and not without end."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "...")


class Kind(Generic[T]):
    """One sort of value."""

    @property
    def noun(self) -> str:
        """What the value is, with its article."""
        raise NotImplementedError

    @property
    def span(self) -> str:
        """Which of those are allowed; empty for all."""
        return ""

    @property
    def allowed(self) -> str:
        """What an operator may write, as the end of an error message."""
        return f"{self.noun}, {self.span}" if self.span else self.noun

    def convert(self, text: str) -> T:
        """
        Read what the operator wrote.

        @raise ValueError: it is no such thing; the text says why.
        """
        raise NotImplementedError

    def locate(self, value: T, base: Path) -> T:
        """C{value} with its relative paths taken from the directory C{base}."""
        return value

    def check(self, value: T) -> None:
        """
        Look at the range, and at the world outside the file.

        @raise ValueError: the value cannot be used; the text says why.
        """

    def write(self, value: T) -> str:
        """The text that L{convert} reads as C{value}."""
        return str(value)


@attrs.frozen
class Key:
    """
    What there is to know about one key of the configuration.

    @ivar name: as the operator writes it.
    @ivar kind: what its value may be.
    @ivar meaning: what it does, in a sentence or two for the reference.
    """

    name: str
    kind: Kind[Any]
    meaning: str

    def written(self, default: Any) -> str:
        """C{default} as an operator would write it; empty for nothing."""
        return "" if default is None else self.kind.write(default)


def key(name: str, kind: Kind[T], default: T | None, meaning: str) -> Any:
    """
    A field of a settings class that an operator can set.

    Given text, the field converts it; any other value is taken as it is and checked.  C{None}, nothing, is not checked.
    """

    def converted(value: object) -> object:
        return kind.convert(value) if isinstance(value, str) else value

    def validated(_instance: object, _attribute: object, value: T | None) -> None:
        if value is not None:
            kind.check(value)

    metadata = {KEY: Key(name, kind, meaning)}
    return attrs.field(default=default, converter=converted, validator=validated, metadata=metadata)


def keys_of(settings: type[attrs.AttrsInstance]) -> Iterator[tuple[Key, "attrs.Attribute[Any]"]]:
    """The keys of a settings class with their fields: its own in their order, then the inherited ones."""
    for attribute in sorted(attrs.fields(settings), key=lambda attribute: attribute.inherited):
        if KEY in attribute.metadata:
            yield attribute.metadata[KEY], attribute


# Numbers and words.


class Text(Kind[str]):
    """One line of text."""

    noun = "one line of text"

    def convert(self, text: str) -> str:
        if "\n" in text:
            raise ValueError(f"{shown(text)} is more than one line")
        return text


class Word(Text):
    """One line of text that is not empty."""

    def convert(self, text: str) -> str:
        if not text:
            raise ValueError("there is nothing")
        return super().convert(text)


@attrs.frozen
class Whole(Kind[int]):
    """A whole number between C{low} and C{high}, both included."""

    low: int
    high: int = INT_MAX
    noun = "a whole number"

    @property
    def span(self) -> str:
        return f"{self.low} or more" if self.high == INT_MAX else f"{self.low} to {self.high}"

    def convert(self, text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise ValueError(f"{shown(text)} is not a whole number")
        return int(text)

    def check(self, value: int) -> None:
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is out of range")


@attrs.frozen
class Seconds(Kind[float]):
    """A time; C{positive}: not 0 either."""

    positive: bool = False
    noun = "seconds, fractions too"

    @property
    def span(self) -> str:
        return "more than 0" if self.positive else "0 or more"

    def convert(self, text: str) -> float:
        if not _DECIMAL.fullmatch(text):
            raise ValueError(f"{shown(text)} is not a number of seconds")
        return float(text)

    def check(self, value: float) -> None:
        if not value >= 0 or (self.positive and not value):
            raise ValueError(f"{self.write(value)} is out of range")

    def write(self, value: float) -> str:
        return f"{value:.9f}".rstrip("0").rstrip(".")


@attrs.frozen
class Switch(Kind[bool]):
    """One word for yes, one for no."""

    yes: str = "1"
    no: str = "0"
    noun = "a switch"

    @property
    def span(self) -> str:
        return f"{self.yes} or {self.no}"

    def convert(self, text: str) -> bool:
        if text not in (self.yes, self.no):
            raise ValueError(f"{shown(text)} is neither {self.yes} nor {self.no}")
        return text == self.yes

    def write(self, value: bool) -> str:
        return self.yes if value else self.no


@attrs.frozen
class Choice(Kind[T]):
    """One of some words, each with what it stands for."""

    words: Mapping[str, T]
    noun = "one word"

    @property
    def span(self) -> str:
        return ", ".join(self.words)

    def convert(self, text: str) -> T:
        try:
            return self.words[text]
        except KeyError:
            raise ValueError(f"{shown(text)} is none of the words") from None

    def write(self, value: T) -> str:
        return next(word for word, meant in self.words.items() if meant == value)


@attrs.frozen
class OrNothing(Kind[T | None]):
    """A kind that may be left empty, which is C{None}."""

    kind: Kind[T]

    @property
    def noun(self) -> str:
        return self.kind.noun

    @property
    def span(self) -> str:
        return f"{self.kind.span}, or empty"

    def convert(self, text: str) -> T | None:
        return self.kind.convert(text) if text else None

    def locate(self, value: T | None, base: Path) -> T | None:
        return None if value is None else self.kind.locate(value, base)

    def check(self, value: T | None) -> None:
        if value is not None:
            self.kind.check(value)

    def write(self, value: T | None) -> str:
        return "" if value is None else self.kind.write(value)


class Escaped(Kind[bytes]):
    """Bytes as text, with the escapes that C has for what does not fit on a line."""

    noun = "text"
    span = r"with \r, \n, \t and \\"

    def convert(self, text: str) -> bytes:
        if found := _NO_ESCAPE.search(_ESCAPE.sub("", text)):
            raise ValueError(f"{shown(found[0])} is no escape")
        return _ESCAPE.sub(lambda found: _ESCAPES[found[1]], text.replace("\n", "")).encode()

    def write(self, value: bytes) -> str:
        return "".join(_ESCAPED.get(character, character) for character in value.decode())


# Lists.


def items_of(text: str) -> tuple[str, ...]:
    """
    The items of a list separated by commas, which may go on over several lines; nothing at all is the empty list.

    @raise ValueError: two commas with nothing between them, or one at an end.
    """
    items = tuple(item.strip() for item in text.split(",")) if text else ()
    if not all(items):
        raise ValueError(f"{shown(text)} has an empty item")
    return items


def _without_repeats(items: Iterable[T], write: Callable[[T], str]) -> None:
    seen: set[T] = set()
    for item in items:
        if item in seen:
            raise ValueError(f"{shown(write(item))} stands there twice")
        seen.add(item)


class ProtocolNames(Kind[tuple[bytes, ...]]):
    """Names of protocols for ALPN, the preferred one first."""

    noun = "a list of ALPN protocol names"
    span = "1 to 255 ASCII characters each"

    def convert(self, text: str) -> tuple[bytes, ...]:
        names = items_of(text)
        for name in names:
            if not name.isascii() or " " in name or len(name) > 255:
                raise ValueError(f"{shown(name)} is not a protocol name")
        return tuple(name.encode("ascii") for name in names)

    def check(self, value: tuple[bytes, ...]) -> None:
        _without_repeats(value, bytes.decode)

    def write(self, value: tuple[bytes, ...]) -> str:
        return ", ".join(name.decode("ascii") for name in value)


class Networks(Kind[tuple[IPNetwork, ...]]):
    """IP addresses and networks."""

    noun = "a list of IP addresses and networks"
    span = "as 192.0.2.1, 192.0.2.0/24, 2001:db8::/32"

    def convert(self, text: str) -> tuple[IPNetwork, ...]:
        return tuple(ipaddress.ip_network(item) for item in items_of(text))

    def check(self, value: tuple[IPNetwork, ...]) -> None:
        # To allow nobody is no use, and to read it as "all" would be the opposite of what stands there.
        if not value:
            raise ValueError("there is no address")
        _without_repeats(value, str)

    def write(self, value: tuple[IPNetwork, ...]) -> str:
        return ", ".join(map(str, value))


def port_of(text: str) -> int:
    """
    Read the number of a port to which one can connect.

    @raise ValueError: it is none.
    """
    if not _WHOLE.fullmatch(text) or not 0 < int(text) <= PORT_MAX:
        raise ValueError(f"{shown(text)} is not a port")
    return int(text)


class PortRanges(Kind[tuple[tuple[int, int], ...]]):
    """Ports and ranges of ports, both ends included."""

    noun = "a list of ports and ranges"
    span = "as 443, 8000-8999, from 1 to 65535"

    def convert(self, text: str) -> tuple[tuple[int, int], ...]:
        ranges = []
        for item in items_of(text):
            first, dash, last = item.partition("-")
            ranges.append((port_of(first), port_of(last if dash else first)))
        return tuple(ranges)

    def check(self, value: tuple[tuple[int, int], ...]) -> None:
        if not value:
            raise ValueError("there is no port")
        for first, last in value:
            if first > last:
                raise ValueError(f"{first}-{last} ends before it starts")

    def write(self, value: tuple[tuple[int, int], ...]) -> str:
        return ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in value)


@attrs.frozen
class Flags(Kind[frozenset[str]]):
    """
    Words about a listener.

    @ivar one_of: exactly one of these must be there.
    @ivar beside: at most one of these may be there beside the first of C{one_of}.
    @ivar more: any of these may be there with anything.
    """

    one_of: tuple[str, ...]
    beside: tuple[str, ...]
    more: tuple[str, ...]
    noun = "a list of flags"

    @property
    def span(self) -> str:
        beside = f"with {self.one_of[0]} at most one of {', '.join(self.beside)}"
        return f"exactly one of {', '.join(self.one_of)}; {beside}; any of {', '.join(self.more)}"

    def convert(self, text: str) -> frozenset[str]:
        return frozenset(items_of(text))

    def check(self, value: frozenset[str]) -> None:
        for flag in sorted(value):
            if flag not in (*self.one_of, *self.beside, *self.more):
                raise ValueError(f"{shown(flag)} is not a flag")
        written = shown(self.write(value))
        number = len(value.intersection(self.one_of))
        if number != 1:
            raise ValueError(f"{written} has {'more than one' if number else 'none'} of them")
        beside = value.intersection(self.beside)
        if len(beside) > 1:
            raise ValueError(f"{written} has two flags that contradict each other")
        if beside and self.one_of[0] not in value:
            raise ValueError(f"{shown(*beside)} has no use without {self.one_of[0]}")

    def write(self, value: frozenset[str]) -> str:
        return ", ".join(sorted(value))
