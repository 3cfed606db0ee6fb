# -*- test-case-name: tests.test_edge_service -*-
"""
L{TLSEdgeService}: an edge as a service made of services, and L{Edge}: the program, which is one made from a plan.

Starting opens all ports, or none: what keeps one from being opened is an error of the operator's, told with the others
in L{CannotStart}.

Stopping drains.  The ports are closed at once, and the connections that are there may end by themselves for
C{drain_timeout} seconds.  Then each is told that its time is up, so that its user can end it as it should be ended: an
idle one in order, one in the middle of something by a reset, that nobody takes what is missing for the end.

twistd ends in the way in which the signal that stopped it would have ended it, so a supervisor sees a failure where
there was none.  SIGTERM is therefore taken from it: after an orderly end the exit status is 0.

Source: rows P06, P07, A100.
"""

import errno
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.systemd import ListenFDs

from atstls.edge.build import ListenerPlan, Machinery, Plan
from atstls.edge.config import EdgeConfig, ListenConfig, NetConfig
from atstls.edge.listeners import Listener
from atstls.edge.rules import ROUTE_KEYS
from atstls.edge.ways import Policies, Rules, listener_plan
from atstls.endpoints import ServerTLS
from atstls.errors import AtsTlsError, ConfigurationError
from atstls.events import VC_EVENT_ACTIVE_TIMEOUT
from atstls.net.cop import InactivityCop
from atstls.net.poll import PollDescriptor, ReactorPollDescriptor, make_poll_descriptor
from atstls.statistics import registry

DRAIN_LOOK_SECONDS: Final = 0.05
"""How often a draining edge looks whether it is empty: the end of the program comes at most so much late."""


class CannotStart(AtsTlsError):
    """
    Ports cannot be opened.

    @ivar lines: one for each, in the form of L{ConfigurationErrors<atstls.edge.config.ConfigurationErrors>}.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class HandlerService(Service):
    """What moves the bytes."""

    def __init__(self, machinery: Machinery) -> None:
        self._machinery = machinery
        self._poll: PollDescriptor | None = None

    def privilegedStartService(self) -> None:  # noqa: N802
        """Begin to watch; not before, since twistd may have forked meanwhile."""
        handler = self._machinery.handler
        poll = self._poll = make_poll_descriptor(self._machinery.reactor, handler)
        handler.set_poll(poll, tell_rest=isinstance(poll, ReactorPollDescriptor))

    def stopService(self) -> None:  # noqa: N802
        """Stop.  There are no connections any more."""
        Service.stopService(self)
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.close()
        self._machinery.handler.stop()


class EngineRoom(MultiService):
    """
    What every program needs once, below its listeners: what moves the bytes, and what sees to timeouts.

    Starts before the listeners, and stops when the last connection is gone.
    """

    def __init__(self, machinery: Machinery, net: NetConfig) -> None:
        MultiService.__init__(self)
        HandlerService(machinery).setServiceParent(self)
        InactivityCop(
            machinery.handler,
            machinery.reactor,
            frequency_seconds=net.inactivity_check_frequency,
            default_inactivity_seconds=net.default_inactivity_timeout,
        ).setServiceParent(self)


class TLSEdgeService(MultiService):
    """
    An edge, made of parts: an L{EngineRoom}, and a L{Listener} for each place to listen on.

    A service like any other of Twisted's, to be put below an application or another service, or to be started and
    stopped by hand: C{privilegedStartService}, C{startService}, C{stopService}.  Once stopped it stays so.

    @ivar machinery: what moves the bytes.
    @ivar drain_seconds: how long connections may go on after L{stopService}.
    @ivar statistics: what the process counts, with those of other edges in it: C{statistics.snapshot()}.
    """

    _log = Logger()
    statistics = registry

    def __init__(
        self,
        reactor: Any,
        *,
        machinery: Machinery | None = None,
        net: NetConfig | None = None,
        drain_seconds: float = EdgeConfig().drain_timeout,
        passed: ListenFDs | None = None,
    ) -> None:
        """
        @param machinery: of this reactor; C{None}: a new one.
        @param net: limits and options of sockets; C{None}: what holds where a configuration says nothing.
        @param passed: the sockets that systemd opened; C{None}: those that the environment tells of.
        """
        MultiService.__init__(self)
        self.machinery = Machinery(reactor) if machinery is None else machinery
        self.drain_seconds = drain_seconds
        self._net = NetConfig() if net is None else net
        self._passed = passed
        self.machinery.limit(self._net)
        self._factories: list[Any] = []
        self._policies = Policies(self.machinery, self._net.connect_timeout)
        self._draining: Deferred[None] | None = None
        self._looking: LoopingCall | None = None
        self._engine_room = EngineRoom(self.machinery, self._net)
        self._engine_room.setServiceParent(self)

    # What it is made of.

    @property
    def listeners(self) -> list[Listener]:
        """In the order in which they were added."""
        return [service for service in self if isinstance(service, Listener)]

    @property
    def net(self) -> NetConfig:
        """The limits and options of sockets that hold."""
        return self._net

    @property
    def passed(self) -> ListenFDs | None:
        """The sockets that systemd opened; C{None}: those that the environment tells of."""
        return self._passed

    @property
    def engine_room(self) -> EngineRoom:
        """What all listeners need."""
        return self._engine_room

    @property
    def stopping(self) -> bool:
        """Was L{stopService} called?"""
        return self._draining is not None

    def add_listener(self, plan: ListenerPlan) -> Listener:
        """
        Listen, from the start on or, while the edge runs, from now on.

        @return: the service; C{disownServiceParent()} closes its port, C{plan} can be exchanged.
        @raise ConfigurationError: the edge runs, and the port cannot be opened.
        """
        listener = Listener(plan, self.machinery, self._net, self._passed)
        try:
            listener.setServiceParent(self)
        except ConfigurationError:
            listener.disownServiceParent()
            raise
        return listener

    def listen(
        self,
        name: str,
        tls: ServerTLS | None,
        ways: Any,
        *,
        port: int | None = None,
        interface: str = "127.0.0.1",
        unix: str | Path | None = None,
        fd: int | None = None,
        systemd: str | None = None,
        backlog: int = 4096,
        flags: Iterable[str] = (),
        **more: Any,
    ) -> Listener:
        """
        Listen in one place: L{add_listener} with what L{plan_for} gives.

        @param name: what the listener is called, in the log and among the edge's services.
        @param tls: what is demanded of clients and shown to them; C{None}: there is no TLS.
        @param ways: where connections go, see L{listener_plan<atstls.edge.ways.listener_plan>}.
        @param port: 0 for any that is free.
        @param interface: for C{port}: the address; C{"0.0.0.0"} for all of IPv4, C{"::"} for all of IPv6.
        @param unix: in its place: the path of a UNIX socket.
        @param fd: or the descriptor of a socket that listens already.
        @param systemd: or the name, or the number, of one that systemd has passed.
        @param flags: C{"tr-pass"}, C{"allow-plain"}: what becomes of clients that do not begin as TLS does; C{"pp"}:
            they may be introduced by a header of the PROXY protocol, and C{"pp-clnt"}: that is believed.
        @param more: what else L{ListenConfig} has to say of a place, such as C{proxy_protocol_allowlist}; neither
            where connections go nor hooks.
        @raise ConfigurationError: something of it cannot be used.
        """
        places = {"port": port, "unix": unix, "fd": fd, "systemd": systemd}
        if sum(value is not None for value in places.values()) != 1:
            raise ConfigurationError(f"{name}: a listener has exactly one of {', '.join(places)}")
        for key in more:
            if key in ROUTE_KEYS or key == "alpn" or key.startswith("hook_"):
                raise ConfigurationError(f"{name}: {key}: it is said by {'the ways' if key in ROUTE_KEYS else 'tls'}")
        config = ListenConfig(
            name=name,
            interface=interface,
            port=port,
            unix=None if unix is None else Path(unix),
            fd=fd,
            systemd=systemd,
            backlog=backlog,
            flags=frozenset(("plain" if tls is None else "ssl", *flags)),
            **more,
        )
        return self.add_listener(self.plan_for(config, tls, ways))

    def plan_for(self, config: ListenConfig, tls: ServerTLS | None, ways: Any) -> ListenerPlan:
        """
        What a listener may do; also for the C{plan} of one that listens already, whose C{plan.config} stays.

        @raise ConfigurationError: something of it cannot be used.
        """
        rules = Rules(self.machinery, self._net, self._policies, self.add_factory, tls)
        return listener_plan(config, rules, tls, ways)

    def add_factory(self, factory: Any) -> None:
        """C{factory} serves connections: it is started and stopped with the edge.  Harmless when it is known."""
        if any(factory is known for known in self._factories):
            return
        self._factories.append(factory)
        if self.running:
            factory.doStart()

    # Starting.

    def _prepare(self) -> list[str]:
        """Open what is needed beside ports.  Returns what cannot be."""
        return []

    def _clean_up(self) -> None:
        """Close that."""

    def _told(self, exc: ConfigurationError) -> str:
        """What keeps the edge from starting, as a line for its operator."""
        return str(exc)

    def privilegedStartService(self) -> None:  # noqa: N802
        """
        Open all ports.

        @raise CannotStart: not all could be opened, and those that could are closed again.
        """
        self._engine_room.privilegedStartService()
        lines = self._prepare()
        for service in self:
            if service is self._engine_room:
                continue
            try:
                service.privilegedStartService()
            except ConfigurationError as exc:
                lines.append(self._told(exc))
        if lines:
            for line in lines:
                self._log.critical("{line}", line=line)
            for listener in self.listeners:
                listener.stopService()
            self._engine_room.stopService()
            self._clean_up()
            raise CannotStart(lines)

    def startService(self) -> None:  # noqa: N802
        """Begin to serve."""
        for factory in self._factories:
            factory.doStart()
        MultiService.startService(self)

    # Stopping.

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """
        Accept nothing more, and wait for the connections that are there.

        @return: fires when there are none, at the latest when C{drain_seconds} are over.
        """
        if self._draining is not None:
            return self._draining
        self._draining = Deferred()
        for listener in self.listeners:
            listener.stopService()
        number = len(self.machinery.handler.open_list)
        if number:
            self._log.info(
                "stopping: {number} connections have {seconds:g} s to end", number=number, seconds=self.drain_seconds
            )
        clock = self.machinery.reactor
        deadline = clock.seconds() + self.drain_seconds

        def look() -> None:
            if self.machinery.handler.open_list and clock.seconds() >= deadline:
                self.end_connections()
            if not self.machinery.handler.open_list:
                self._drained()

        self._looking = LoopingCall(look)
        self._looking.clock = clock
        self._looking.start(DRAIN_LOOK_SECONDS)
        return self._draining

    def stop_at_once(self) -> None:
        """While stopping: wait no longer."""
        self.drain_seconds = 0
        if self._looking is not None and self._looking.running:
            self.end_connections()
            self._drained()

    def end_connections(self) -> None:
        """Every connection's time is up."""
        handler = self.machinery.handler
        self._log.warn("{number} connections had to be closed", number=len(handler.open_list))
        for vc in list(handler.open_list):
            try:
                if not vc.closed:
                    vc.main_event(VC_EVENT_ACTIVE_TIMEOUT)
                vc.do_io_close(errno.ECONNABORTED)
            except Exception:
                self._log.failure("a connection could not be ended: {vc}", vc=vc)
            handler.end(vc)

    def _drained(self) -> None:
        assert self._looking is not None
        if not self._looking.running:
            return
        self._looking.stop()
        for factory in self._factories:
            factory.doStop()
        # What others have put below us may be in use by connections to the last.
        others = [service for service in self if service is not self._engine_room and not isinstance(service, Listener)]
        stopping = [maybeDeferred(service.stopService) for service in reversed(others)]
        self._engine_room.stopService()
        self._clean_up()
        self.running = 0
        draining = self._draining
        assert draining is not None
        DeferredList(stopping, consumeErrors=True).addCallback(self._stopped).chainDeferred(draining)

    def _stopped(self, results: list[tuple[bool, Any]]) -> None:
        for done, result in results:
            if not done:
                self._log.failure("a service below the edge could not be stopped", result)


class Edge(TLSEdgeService):
    """
    The whole program, as a configuration has it.

    @ivar plan: what it does.
    """

    _log = Logger()

    def __init__(self, plan: Plan, machinery: Machinery, passed: ListenFDs | None = None) -> None:
        """
        @param passed: as for L{TLSEdgeService}.
        """
        configuration = plan.configuration
        super().__init__(
            machinery.reactor,
            machinery=machinery,
            net=configuration.net,
            drain_seconds=configuration.edge.drain_timeout,
            passed=passed,
        )
        self.plan = plan
        for listener in plan.listeners:
            self.add_listener(listener)
        self._factories.extend(plan.factories)

    def privilegedStartService(self) -> None:  # noqa: N802
        """
        See L{TLSEdgeService.privilegedStartService}.

        @raise CannotStart: its lines are of the form that complaints about the configuration have.
        """
        for line in self.plan.warnings:
            self._log.warn("{line}", line=line)
        super().privilegedStartService()

    def rename(self, names: Mapping[Listener, str]) -> None:
        """Listeners, which are ours, are called otherwise."""
        for listener in names:
            del self.namedServices[listener.name]
        for listener, name in names.items():
            listener.name = name
            self.namedServices[name] = listener

    def replace(self, plan: Plan, opened: Iterable[Listener]) -> Plan:
        """
        C{plan}, whose factories are started, is in force; C{opened} are its listeners that are not ours yet.

        @return: the one before, whose factories are the caller's to stop.
        """
        previous, self.plan = self.plan, plan
        self._net = plan.configuration.net
        self.drain_seconds = plan.configuration.edge.drain_timeout
        known = {id(factory) for factory in previous.factories}
        self._factories = [factory for factory in self._factories if id(factory) not in known]
        self._factories.extend(plan.factories)
        for listener in opened:
            listener.setServiceParent(self)
        return previous

    def _prepare(self) -> list[str]:
        if self.plan.keylog is not None:
            try:
                self.plan.keylog.open()
            except ConfigurationError as exc:
                return [self._told(exc)]
        return []

    def _clean_up(self) -> None:
        if self.plan.keylog is not None:
            self.plan.keylog.close()

    def _told(self, exc: ConfigurationError) -> str:
        return f"{self.plan.file}: {exc}"


class Signals(Service):
    """
    SIGTERM drains, and a second one stops at once; SIGINT, somebody at a terminal, stops at once; SIGHUP reloads.

    @ivar edge: what is told.
    """

    def __init__(
        self,
        edge: TLSEdgeService,
        reactor: Any,
        take: Callable[..., Any] = signal.signal,
        reload: Callable[[], Any] | None = None,
    ) -> None:
        """
        @param take: as C{signal.signal}.
        @param reload: called for SIGHUP; C{None}: that signal is left as it is.
        """
        self._reload = reload
        self.edge = edge
        self._reactor = reactor
        self._take = take
        self._stopping = False
        self._interrupted: Any = None

    def startService(self) -> None:  # noqa: N802
        """Take the signals over, as soon as the reactor has taken them."""
        Service.startService(self)
        self._reactor.callWhenRunning(self._take_over)

    def _take_over(self) -> None:
        try:
            self._take(signal.SIGTERM, self._terminate)
            self._interrupted = self._take(signal.SIGINT, self._interrupt)
            if self._reload is not None:
                self._take(signal.SIGHUP, self._hang_up)
        except ValueError:
            pass  # Not in the main thread, as under somebody's test: then it is his affair.

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self.stop)

    def stop(self) -> None:
        """Drain; asked for a second time: stop at once."""
        if self._stopping:
            self.edge.stop_at_once()
            return
        self._stopping = True
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            pass  # It is on its way already.

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self.edge.stop_at_once)
        # The reactor remembers the signal, and is stopped by it, once.
        interrupted, self._interrupted = self._interrupted, None
        if callable(interrupted) and not self._stopping:
            self._stopping = True
            interrupted(number, frame)
