"""
Connections are passed on untouched, to where a database says for the name that their client asks for.

    sqlite3 hosts.db 'CREATE TABLE hosts (name TEXT PRIMARY KEY, address TEXT)'
    sqlite3 hosts.db 'INSERT INTO hosts VALUES ("www.example.com", "192.0.2.7:443")'
    twistd -noy tunnels.py
"""

from twisted.application.service import Application
from twisted.enterprise import adbapi
from twisted.internet import reactor

from atstls.edge.service import TLSEdgeService
from atstls.edge.ways import Refuse, Tunnel
from atstls.endpoints import ServerTLS
from atstls.tls.certificates import self_signed

pool = adbapi.ConnectionPool("sqlite3", "hosts.db", check_same_thread=False)


async def look_up(vc):
    """Where the connection goes; while the database is asked it waits, and the others go on."""
    rows = await pool.runQuery("SELECT address FROM hosts WHERE name = ?", (vc.server_name,))
    return Tunnel(rows[0][0]) if rows else Refuse("it is in no table of ours")


edge = TLSEdgeService(reactor)
# A listener has a certificate.  Nobody is shown this one: TLS ends at the other hosts.
edge.listen("https", ServerTLS([self_signed(["localhost"])]), look_up, port=8443)

application = Application("tunnels")
edge.setServiceParent(application)
