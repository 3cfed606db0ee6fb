The process counts what it does under Traffic Server's names, ``proxy.process.net.*`` and ``proxy.process.ssl.*``:
``snapshot`` of ``atstls.statistics.registry`` is all of it, and the difference of two is what happened in between.
