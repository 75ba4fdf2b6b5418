"""Benchmarks: every figure beside a limit that was taken in the same run (docs/benchmarks.md)."""
