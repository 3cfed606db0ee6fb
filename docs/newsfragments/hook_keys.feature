``hook.client_hello = package.module:name`` and its kin, in ``[ssl]`` for all listeners or in a ``[listen]`` section, have
an operator's own code asked about connections; ``vc.park`` gives a hook a handle whose late answer speaks for no other.
