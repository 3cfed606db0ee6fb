"""
Tells Twisted of C{--reactor=atstls}.
"""

from twisted.application.reactors import Reactor

atstls = Reactor("atstls", "atstls.net.reactor", "epoll(7) based reactor with atstls' connections in its own set.")
