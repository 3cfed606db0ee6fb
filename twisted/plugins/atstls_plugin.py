"""
Tells twistd that there is C{twistd atstls}.
"""

from twisted.application.service import ServiceMaker

atstls = ServiceMaker("atstls", "atstls.tap", "A TLS edge, after Apache Traffic Server's SSLNetVConnection.", "atstls")
