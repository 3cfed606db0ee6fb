# -*- test-case-name: tests.test_reload -*-
"""
Another configuration for an edge that runs: L{change}.

Everything that can fail is done first, beside what runs: the file is read, certificates are loaded, contexts and rules
are made, ports that are new are opened.  If anything of it fails nothing has changed.  What is left cannot fail: plans
are exchanged, limits set, ports that are wanted no more closed.

A listener is the same as before where it listens in the same place; who connects to it meets the new plan, on the same
socket, and nobody is refused meanwhile.  What is said of the socket itself can change too, and then another listener
takes a copy of the socket over with those who wait in its queue.  A port 0, any that is free, is the same by its name.

Connections that are open go on under what they met.  The factories of their protocols are stopped when the last of them
has gone.

Source: rows P08, N141, A006, A046.
"""

import os
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakSet

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from atstls.edge.build import ListenerPlan, Plan, build
from atstls.edge.config import ConfigurationErrors, ListenConfig, load
from atstls.edge.listeners import Listener, accept_options
from atstls.edge.service import CannotStart, Edge
from atstls.errors import ConfigurationError
from atstls.net.cop import InactivityCop

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether those have gone who connected before a change."""


def place_of(config: ListenConfig) -> tuple[object, ...]:
    """What makes a listener the one that it is."""
    if config.port is not None:
        return ("port", config.interface, config.port or config.name)
    return (config.unix, config.fd, config.systemd)


class Reload:
    """What is done when the operator says that the file has changed."""

    log = Logger()

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def __call__(self) -> None:
        """Read the file again, and do what it says; or say what is wrong with it, and go on as before."""
        edge = self._edge
        path = edge.plan.configuration.path
        if edge.stopping:
            return
        if path is None:
            self.log.warn("there is no configuration file that could be read again")
            return
        try:
            plan = build(load(path), edge.machinery, edge.plan.file, edge.plan)
            change(edge, plan)
        except (ConfigurationErrors, CannotStart) as exc:
            for line in exc.lines:
                self.log.error("{line}", line=line)
            self.log.error("the configuration stays as it was")
        except Exception:
            self.log.failure("a bug kept the configuration from being read again, and it stays as it was")
        else:
            self.log.info("the configuration was read again: {file}", file=plan.file)


def change(edge: Edge, plan: Plan) -> None:
    """
    Let C{edge}, which runs, do what C{plan} says, which was built with the plan that it follows.

    @raise CannotStart: it cannot; says why, and nothing has changed.
    """
    before = {place_of(listener.plan.config): listener for listener in edge.listeners}
    net = plan.configuration.net
    same: list[tuple[Listener, ListenerPlan]] = []
    opened: list[Listener] = []
    lines: list[str] = []
    try:
        if plan.keylog is not None:
            plan.keylog.open()
    except ConfigurationError as exc:
        lines.append(f"{plan.file}: {exc}")
    for wanted in plan.listeners:
        old = before.get(place_of(wanted.config))
        try:
            if old is not None and _is_as_before(edge, old, wanted, plan):
                same.append((old, wanted))
            else:
                opened.append(_open(edge, old, wanted, plan))
        except ConfigurationError as exc:
            lines.append(f"{plan.file}: {exc}")
    started = _start_factories(plan, lines)
    if lines:
        _stop_factories(started)
        for listener in opened:
            listener.stopService()
        if plan.keylog is not None:
            plan.keylog.close()
        raise CannotStart(lines)
    _commit(edge, plan, same, opened)
    edge.machinery.limit(net)


def _start_factories(plan: Plan, lines: list[str]) -> list[Any]:
    """Those that could be started; unless one cannot, all.  They may be the operator's, and raise what they like."""
    started: list[Any] = []
    if not lines:
        for factory in plan.factories:
            try:
                factory.doStart()
            except Exception as exc:
                Reload.log.failure("a factory could not be started: {factory}", factory=factory)
                lines.append(f"{plan.file}: {factory} could not be started: {type(exc).__name__}: {exc}")
                break
            started.append(factory)
    return started


def _stop_factories(factories: Iterable[Any]) -> None:
    for factory in factories:
        try:
            factory.doStop()
        except Exception:
            Reload.log.failure("a factory could not be stopped: {factory}", factory=factory)


def _is_as_before(edge: Edge, old: Listener, wanted: ListenerPlan, plan: Plan) -> bool:
    """Would C{wanted} have the same socket, and make the same connections?"""
    was, becomes = old.plan.config, wanted.config
    if (was.flags, was.backlog, was.proxy_protocol_allowlist) != (
        becomes.flags,
        becomes.backlog,
        becomes.proxy_protocol_allowlist,
    ):
        return False
    place = evolve(becomes, unix=None, fd=None, systemd=None)
    return accept_options(place, edge.net, None) == accept_options(place, plan.configuration.net, None)


def _open(edge: Edge, old: Listener | None, wanted: ListenerPlan, plan: Plan) -> Listener:
    """A listener for C{wanted}, with its port open."""
    listener = Listener(wanted, edge.machinery, plan.configuration.net, edge.passed)
    if old is None or old.accept is None:
        listener.privilegedStartService()
        return listener
    if wanted.config.unix is not None:
        key = "flags" if old.plan.config.flags != wanted.config.flags else "unix"
        raise ConfigurationError(
            f"[listen {wanted.config.name}] {key}: what is said of a UNIX socket cannot change while the program runs, "
            "allowed: as before, or another path"
        )
    copy = old.accept.hand_over()
    try:
        listener.take_over(copy)
    finally:
        os.close(copy)  # It has its own.
    return listener


def _commit(
    edge: Edge, plan: Plan, same: list[tuple[Listener, ListenerPlan]], opened: list[Listener]
) -> None:
    """Nothing of this can fail."""
    for line in plan.warnings:
        Reload.log.warn("{line}", line=line)
    stays = {listener for listener, _ in same}
    for listener in edge.listeners:
        if listener not in stays:
            listener.disownServiceParent()
    edge.rename({listener: wanted.config.name for listener, wanted in same})
    for listener, wanted in same:
        listener.plan = wanted
    previous = edge.replace(plan, opened)
    LeavingFactories(edge, previous)
    for cop in edge.engine_room:
        if isinstance(cop, InactivityCop):
            net = plan.configuration.net
            cop.change(net.inactivity_check_frequency, net.default_inactivity_timeout)


class LeavingFactories(Service):
    """Stops the factories of a plan that is not in force any more, when those have gone who connected under it."""

    def __init__(self, edge: Edge, plan: Plan) -> None:
        self._handler = edge.machinery.handler
        self._there: WeakSet[Any] = WeakSet(self._handler.open_list)
        self._plan = plan
        self._loop = LoopingCall(self._look)
        self._loop.clock = edge.machinery.reactor
        self.setServiceParent(edge)

    def startService(self) -> None:  # noqa: N802
        """Begin to look."""
        Service.startService(self)
        self._loop.start(LOOK_SECONDS)

    def stopService(self) -> None:  # noqa: N802
        """The edge stops, and everybody has gone."""
        Service.stopService(self)
        if self._loop.running:
            self._loop.stop()
        _stop_factories(self._plan.factories)
        if self._plan.keylog is not None:
            self._plan.keylog.close()

    def _look(self) -> None:
        if not any(vc in self._handler.open_list for vc in self._there):
            self.disownServiceParent()
