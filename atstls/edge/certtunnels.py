# -*- test-case-name: tests.test_certtunnels -*-
"""
L{CertificateTunnels}: certificates whose connections are not ours to decrypt (C{action = tunnel}).

On a listener with the flag C{tr-pass} a certificate's entry can say that its connections are passed on untouched, to
where the route leads: those that come to its C{dest_ip}, before a byte of theirs is read, so that the other host may
speak first; and those that ask for a name in it, when their hello was read, which goes on with the rest.

The entries of all certificates are looked at together, since the closest one counts: an address with its port before
the address alone, a name before a wildcard that covers it.

Behind a load balancer the address is known when its header was read, which comes with the hello: then the hello goes on
with the rest as well.

Source: behaviour 1.16 (3), 1.24, 1.27, S055, O42; ATS C{ssl_multicert}, C{action=tunnel}.
"""

from collections.abc import Iterable
from typing import Any

from OpenSSL import SSL

from atstls.edge.rules import CertificateConfig
from atstls.tls.contexts import CertificateTable
from atstls.tls.hooks import Hook, HookPoint


class CertificateTunnels:
    """
    Which connections are passed on, by the entries of certificates.

    @ivar hooks: what a listener has to ask, besides its routes.
    """

    def __init__(self, entries: Iterable[tuple[CertificateConfig, Iterable[str]]], *, proxied: bool = False) -> None:
        """
        @param entries: of all certificates, each with the names in it.
        @param proxied: headers of the PROXY protocol may come first.
        """
        # A table of contexts, of which two are enough to tell the ones from the others.
        self._tunnel, self._end_here = (SSL.Context(SSL.TLS_SERVER_METHOD) for _ in range(2))
        self._table = CertificateTable()
        addresses = names = False
        for config, named in entries:
            places = [] if config.dest_ip is None else [config.dest_ip]
            context = self._end_here
            if config.action == "tunnel":
                context = self._tunnel
                addresses = addresses or bool(places)
                named = list(named)
                names = names or bool(named)
            self._table.add(context, named, addresses=places)
        hooks: list[tuple[HookPoint, Hook]] = []
        if addresses:
            hooks.append((HookPoint.VCONN_START, self.by_address))
        if names or (addresses and proxied):
            hooks.append((HookPoint.CLIENT_HELLO, self.by_name))
        self.hooks = tuple(hooks)

    def by_address(self, vc: Any) -> None:
        """A hook at VCONN_START: is C{vc} passed on for the address that it came to?"""
        address = vc.get_local_addr()
        if self._table.find_by_address(address if isinstance(address, tuple) else None) is self._tunnel:
            vc.tunnel()

    def by_name(self, vc: Any) -> None:
        """
        A hook at CLIENT_HELLO: is C{vc} passed on for the name that it asks for, or else for the address that its load
        balancer tells of?  A refusal stands.
        """
        found = self._table.find_by_name(vc.server_name)
        if found is None and vc.proxy_header is not None:
            address = vc.certificate_addr()
            found = self._table.find_by_address(address if isinstance(address, tuple) else None)
        if found is self._tunnel:
            vc.tunnel()
