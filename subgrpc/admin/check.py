"""Looks for everything that can be wrong with a data folder, while its server runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from subgrpc.errors import DataLoss
from subgrpc.journal import audit as journals
from subgrpc.metastore import offline
from subgrpc.metastore.artifact_audit import ArtifactAudit
from subgrpc.metastore.audit import Audit, Kept, Problem
from subgrpc.metastore.audit_logs import is_pending
from subgrpc.metastore.model_audit import ModelAudit


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        experiments: how many were looked at.
        models: how many were looked at.
        versions: of models: how many were looked at.
        artifacts: how many were looked at.
        journals: how many were looked at.
        problems: everything that is wrong.
    """

    experiments: int = 0
    models: int = 0
    versions: int = 0
    artifacts: int = 0
    journals: int = 0
    problems: list[Problem] = field(default_factory=list)


def check(folder: Path, database: str = "", *, logs: bool = True) -> Report:
    """Looks at the metastore of a data folder and at its logs.

    Args:
        folder: the data folder.
        database: the URL of its PostgreSQL database; empty: SQLite in the folder.
        logs: whether to read every byte of the logs, too; otherwise only whether they are there.

    Raises:
        NotFound: there is no metastore.
        Unavailable: it cannot be reached.
        DataLoss: it cannot be read at all.
        FailedPrecondition: it is of another version.
    """
    report = Report()
    # Before the metastore is looked at: what is gone from it by then is looked for once more.
    there = {(uid, attempt): path for uid, attempt, path in journals.journals_in(_logs(folder))}
    if not database:
        report.problems += offline.damage(folder)
    with offline.reading(offline.Place(folder, database)) as connection:
        audit = Audit(connection)
        report.problems += audit.problems()
        registry = ModelAudit(connection)
        report.problems += registry.problems()
        artifacts = ArtifactAudit(connection)
        report.problems += artifacts.problems()
    report.experiments = audit.experiments
    report.models, report.versions = registry.models, registry.versions
    report.artifacts = artifacts.artifacts
    kept = {(each.uid, each.attempt): each for each in audit.kept}
    for key, path in there.items():
        report.journals += 1
        report.problems += _journal(folder, path, kept.get(key), logs)
    absent = [each for key, each in kept.items() if key not in there and _is_missing(folder, each)]
    if absent:
        # Looked at again: they may have come into the artifact store, or been deleted, meanwhile.
        with offline.reading(offline.Place(folder, database)) as connection:
            absent = [each for each in absent if is_pending(connection, each.uid, each.attempt)]
    report.problems += _missing(folder, absent)
    return report


def _journal(folder: Path, path: Path, kept: Kept | None, logs: bool) -> Iterator[Problem]:
    if not path.exists():
        return  # deleted or evicted meanwhile
    if kept is None:
        yield Problem("JOURNAL_ORPHAN", str(path), "it is of an attempt that is not there")
        return
    try:
        sealed = journals.is_sealed(path)
    except DataLoss as error:
        yield Problem("JOURNAL", str(path), error.message)
        return
    if kept.complete and not sealed and _is_here(folder, kept) and path.exists():
        text = "all output of its attempt should be in it, but it was not closed"
        yield Problem("JOURNAL", str(path), text)
    if logs and (problem := _damage(path)) and path.exists():
        yield Problem("JOURNAL", str(path), problem)


def _damage(path: Path) -> str:
    try:
        return journals.damage(path)
    except FileNotFoundError as error:  # evicted or deleted meanwhile, or a part of it is gone
        return f"{error.filename} is not there"


def _is_missing(folder: Path, kept: Kept) -> bool:
    if not kept.complete or kept.stored or not _is_here(folder, kept):
        return False
    return not (_logs(folder) / kept.uid / str(kept.attempt)).exists()


def _missing(folder: Path, absent: list[Kept]) -> Iterator[Problem]:
    for each in absent:
        path = _logs(folder) / each.uid / str(each.attempt)
        text = "all output of its attempt should be in it, but it is not there"
        yield Problem("JOURNAL_MISSING", str(path), text)


def _is_here(folder: Path, kept: Kept) -> bool:
    """Whether an attempt's journal should be on this server's disk."""
    own = folder / "server-id"
    return not kept.server or (own.exists() and own.read_text().strip() == kept.server)


def _logs(folder: Path) -> Path:
    return folder / "journals"
