Every mistake in ``tap.cfg`` is one line with its section and key, all of them are told at once, and
``twistd atstls --check`` tells them without starting anything.
