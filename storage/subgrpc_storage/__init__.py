"""Artifact stores of subgrpc on other systems than a folder: a module and an extra each."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
