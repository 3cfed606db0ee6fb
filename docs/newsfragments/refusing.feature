The last descriptors are kept for those who are connected already: new connections are refused before there are none.
A program that uses the library can have those whom the throttle turns away told why (``Throttle.message``).
