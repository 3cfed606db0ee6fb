The PROXY protocol, versions 1 and 2: ``flags = …, pp`` or ``pp-clnt`` takes its headers, ``proxy_protocol_allowlist``
says from whom, ``proxy_protocol_out`` (in Python ``proxy_out`` of a way) sends them on, and hooks see
``vc.proxy_header``, TLVs included.
