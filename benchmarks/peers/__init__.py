"""The same jobs on subgrpc and on its peers: MLflow, Ray Jobs, Prefect (docs/benchmarks.md)."""
