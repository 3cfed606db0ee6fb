``action = tunnel`` in a ``[certificate]`` section has connections passed on untouched, by the address that they come to or by
the name that they ask for, on listeners with ``tr-pass``.
