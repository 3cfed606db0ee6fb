"""
Certificates are fetched when somebody asks for their name, from a store that answers over HTTP.

    twistd -noy on_demand.py

The store has a PEM file for each name, with certificate, chain and key: C{http://127.0.0.1:8200/www.example.com.pem}.
"""

from tempfile import NamedTemporaryFile
from urllib.parse import quote

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo
from twisted.web.client import Agent, readBody

from atstls.edge.service import TLSEdgeService
from atstls.endpoints import ServerTLS
from atstls.tls import alerts
from atstls.tls.certificates import load_certificate, self_signed
from atstls.tls.hooks import HookPoint, HookSet

STORE = "http://127.0.0.1:8200"

agent = Agent(reactor, connectTimeout=5)
known = {}  # Only names that the store has: whoever asks for others fills nothing.


async def show_certificate(vc):
    """A hook at CERT: the certificate was chosen, and may be exchanged."""
    name = vc.server_name
    if name is None:
        return  # who asks for no name is shown what the listener has
    if name not in known:
        try:
            response = await agent.request(b"GET", f"{STORE}/{quote(name)}.pem".encode())
            pem = await readBody(response)
        except Exception as exc:
            vc.refuse(alerts.INTERNAL_ERROR, f"the store cannot be asked: {exc}")
            return
        if response.code != 200:
            vc.refuse(alerts.UNRECOGNIZED_NAME, "the store does not know it")
            return
        with NamedTemporaryFile() as file:
            file.write(pem)
            file.flush()
            known[name] = tls.table([load_certificate(file.name)]).default
    vc.ssl_context_set(known[name])


tls = ServerTLS([self_signed(["localhost"])], hooks=HookSet([(HookPoint.CERT, show_certificate)]))
edge = TLSEdgeService(reactor)
edge.listen("echo", tls, Factory.forProtocol(Echo), port=8443)

application = Application("on demand")
edge.setServiceParent(application)
