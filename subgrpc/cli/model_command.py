"""`subgrpc model`."""

from __future__ import annotations

import click

from subgrpc.cli import model_changes, model_promotion, model_pull, model_reads
from subgrpc.cli.examples import examples


@click.group(
    "model",
    epilog=examples(
        "subgrpc model register digits my-run/model --metric accuracy=0.97 --alias champion",
        "subgrpc model alias digits champion 2 -m 'better on the new data'",
        "subgrpc model rollback digits champion",
        "subgrpc model pull digits@champion model",
    )
    + "Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.",
)
def command() -> None:
    """Keep models: versions of artifacts, with stages, aliases and their history.

    A version is named NAME/NUMBER or NAME@ALIAS; NAME@latest is the one with the greatest number.
    """


for each in (
    *(model_changes.create, model_changes.register, model_reads.list_models, model_reads.get),
    *(model_reads.search, model_changes.update, model_changes.tag, model_promotion.stage),
    *(model_promotion.alias, model_promotion.rollback, model_reads.history, model_reads.watch),
    *(model_pull.pull, model_changes.delete),
):
    command.add_command(each)
