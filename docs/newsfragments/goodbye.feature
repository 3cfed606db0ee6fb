Over TLS a protocol that has called ``loseConnection`` gets what the peer says before it answers close_notify, as with
Twisted's own TLS; the wait for the answer has a limit.
