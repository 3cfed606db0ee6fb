The process counts what it does under Traffic Server's names, ``proxy.process.net.*``, ``ssl.*`` and ``tunnel.*``:
``snapshot`` of ``atstls.statistics.registry`` is all of it, and the difference of two is what happened in between.
