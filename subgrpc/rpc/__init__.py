"""gRPC: listeners, authentication, the mapping of errors, and the server that puts all together."""
