# -*- test-case-name: tests.test_renewal -*-
"""
L{fronts}: the front context from which a listener's connections are made, and its renewal.

Source: behaviour 1.29; row A062.
"""

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.logger import Logger

from atstls.ssl.sslvc import check_server_name, select_alpn
from atstls.tls.contexts import ServerSettings, front_context
from atstls.tls.renewal import RenewedFront

_log = Logger()


def fronts(
    settings: ServerSettings, watch: Callable[[SSL.Context], Any] | None = None
) -> tuple[SSL.Context, RenewedFront | None]:
    """
    What C{front} and C{renewal} of a L{ServerPolicy<atstls.tls.policy.ServerPolicy>} are to be.

    @param watch: told of each context, before it is used.
    @raise ConfigurationError: a setting cannot be used.
    """

    def make() -> SSL.Context:
        context = front_context(settings, select_alpn=select_alpn, check_server_name=check_server_name)
        if watch is not None:
            watch(context)
        return context

    front = make()
    if not settings.session_key_seconds:
        return front, None
    return front, RenewedFront(front, make, settings.session_key_seconds, _tell)


def _tell(reason: str) -> None:
    _log.error("tickets go on to be sealed with the key from before: {reason}", reason=reason)
