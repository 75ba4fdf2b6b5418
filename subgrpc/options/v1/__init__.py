"""Generated messages of package subgrpc.options.v1."""
