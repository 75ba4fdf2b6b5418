"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes depends on who else uses the machine: that is for benchmarks to say.
settings.register_profile("subgrpc", deadline=None, print_blob=True)
settings.load_profile("subgrpc")
