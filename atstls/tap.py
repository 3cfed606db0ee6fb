# -*- test-case-name: tests.test_tap -*-
"""
twistd's front desk: C{twistd -n atstls [--config FILE] [--check]}.

What is wrong with the configuration is told on stderr, a line for each mistake, and the exit status is 1.  That holds
for a port that cannot be opened too, which shows only when twistd has begun to start the service, perhaps in another
process.  twistd lets such an error through to the interpreter, after it has removed its PID file and told the process
that waits for the start; the interpreter would print a traceback.  So it is told what to print instead
(C{sys.excepthook}); the exit status that it ends with is 1 already.  To end the program by C{SystemExit} would leave
the PID file behind.

The edge runs on a reactor of our own, L{NetReactor<atstls.net.reactor.NetReactor>}, where there is epoll and twistd was
not told which to use.
"""

import os
import select
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.python import reflect, usage

from atstls.edge.build import Machinery, build
from atstls.edge.config import Configuration, ConfigurationErrors, default_configuration, load
from atstls.edge.reload import Reload
from atstls.edge.service import CannotStart, Edge, Signals

DEFAULT_FILE = "tap.cfg"
"""Read without C{--config}, if there is one in the working directory."""

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], Any]


class Options(usage.Options):
    """What may stand behind C{twistd atstls}."""

    synopsis = "[--config FILE] [--check]"
    longdesc = (
        "A TLS edge: terminates, forwards, re-encrypts, tunnels and serves, by listener and by server name. "
        f"Without --config it reads ./{DEFAULT_FILE}, if there is one; without that too, it listens on 127.0.0.1:8443 "
        "and shows its welcome page."
    )
    optParameters = [["config", "c", None, "The configuration file."]]
    optFlags = [["check", None, "Tell what is wrong with the configuration, and start nothing."]]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.cfg")})


def makeService(options: Options) -> IService:  # noqa: N802
    """
    What twistd runs.

    @raise SystemExit: with 1, the configuration cannot be used, and stderr says why; with 0, it was only to be checked.
    """
    file, configuration = _configuration(options)
    # By now twistd has installed the reactor of its --reactor option, and not before: no module of ours imports it.
    if "twisted.internet.reactor" not in sys.modules and hasattr(select, "epoll"):
        reflect.namedAny("atstls.net.reactor.install")()
    reactor: Any = reflect.namedAny("twisted.internet.reactor")
    machinery = Machinery(reactor)
    try:
        plan = build(configuration, machinery, file)
    except ConfigurationErrors as exc:
        _give_up(exc.lines)
    if options["check"]:
        for warning in plan.warnings:
            print(warning)
        print(f"{file}: ok")
        raise SystemExit(0)
    edge = Edge(plan, machinery)
    Signals(edge, reactor, reload=Reload(edge)).setServiceParent(edge)
    sys.excepthook = without_traceback(sys.excepthook)
    return edge


def _configuration(options: Options) -> tuple[str, Configuration]:
    path: str | None = options["config"]
    if path is None and os.path.lexists(DEFAULT_FILE):
        path = DEFAULT_FILE
    if path is None:
        return "built-in default", default_configuration()
    try:
        return path, load(path)
    except ConfigurationErrors as exc:
        _give_up(exc.lines)


def _give_up(lines: list[str]) -> NoReturn:
    for line in lines:
        print(line, file=sys.stderr)
    raise SystemExit(1)


def without_traceback(otherwise: ExceptHook) -> ExceptHook:
    """
    An exception hook that prints the lines of L{CannotStart} and nothing more.

    @param otherwise: gets everything else.
    """

    def hook(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(exc, CannotStart):
            # sys.stderr is the log by now.
            for line in exc.lines:
                print(line, file=sys.__stderr__)
        else:
            otherwise(kind, exc, traceback)

    return hook
