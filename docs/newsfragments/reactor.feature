``twistd atstls`` runs on a reactor of its own on Linux, Twisted's epoll reactor with the edge's connections in the same
set, where a lone request costs three quarters of what it did; ``--reactor=atstls`` gives it to any program of Twisted's.
