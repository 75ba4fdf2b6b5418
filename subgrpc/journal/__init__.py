"""The log journal: the output of every attempt, in order of arrival, on this server's disk."""

from __future__ import annotations

from subgrpc.journal.frames import DATA, FLUSH, GAP, Run
from subgrpc.journal.manifest import File, Manifest, survey
from subgrpc.journal.reader import STRIDE, Batch, JournalReader, Start
from subgrpc.journal.state import Absent
from subgrpc.journal.store import JournalStore
from subgrpc.journal.writer import JournalWriter

__all__ = [
    "DATA",
    "FLUSH",
    "GAP",
    "STRIDE",
    "Absent",
    "Batch",
    "File",
    "JournalReader",
    "JournalStore",
    "JournalWriter",
    "Manifest",
    "Run",
    "Start",
    "survey",
]
