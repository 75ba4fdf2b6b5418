"""Use cases: what the API promises, without gRPC and without SQL."""
