A ``[listen]`` or an ``[sni]`` section says what its connections are for: the welcome page, ``site``, ``factory``,
``forward_route``, ``partial_blind_route``, which verifies the origin, or ``tunnel_route``, which passes on
untouched what it has not opened.
