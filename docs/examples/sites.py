"""
Two web sites on one port, told apart by the name that a client asks for.

    twistd -noy sites.py

In the folder C{certificates} are PEM files, each with a certificate, its chain and its key.  What is put there while it
runs is shown from then on.
"""

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File

from atstls.edge.service import TLSEdgeService
from atstls.endpoints import CertificateFolder, ServerTLS


class Hello(Resource):
    """Greets whoever comes."""

    isLeaf = True

    def render_GET(self, request):
        return b"Hello, " + request.getClientAddress().host.encode() + b"\n"


edge = TLSEdgeService(reactor)
edge.listen(
    "https",
    ServerTLS(CertificateFolder("certificates")),
    {
        "www.example.com": Site(File("www")),
        "*.api.example.com": Site(Hello()),
    },
    port=8443,
)

application = Application("sites")
edge.setServiceParent(application)
