"""`subgrpc completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_EPILOG = """\b
To have it in every shell:
  bash:  echo 'source <(subgrpc completion bash)' >> ~/.bashrc
  zsh:   echo 'source <(subgrpc completion zsh)' >> ~/.zshrc   (behind compinit)
  fish:  subgrpc completion fish > ~/.config/fish/completions/subgrpc.fish

\b
Exit codes: 0 done, 2 wrong usage.
"""


@click.command("completion", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the script with which your SHELL completes commands, options and names.

    Names of experiments, tasks and clusters come from the server, which is given two seconds.
    """
    found = get_completion_class(shell)
    assert found is not None
    made = found(ctx.find_root().command, {}, "subgrpc", "_SUBGRPC_COMPLETE")
    # Not `source()`, which starts bash to ask for its version.
    click.echo(made.source_template % made.source_vars())
