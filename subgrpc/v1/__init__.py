"""Generated messages and stubs of package subgrpc.v1: the public API."""
