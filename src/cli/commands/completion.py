"""`deploy completion SHELL`: what makes a shell complete commands, options and names."""

from __future__ import annotations

import click

from teamwright.cli.app import Call, app, command

#: How each shell takes it.
_HOW = {
    "bash": 'eval "$(deploy completion bash)"    # in ~/.bashrc',
    "zsh": 'eval "$(deploy completion zsh)"    # in ~/.zshrc, after compinit',
    "fish": "deploy completion fish > ~/.config/fish/completions/deploy.fish",
}


@command("completion")
@click.argument("shell", type=click.Choice(list(_HOW)))
@click.pass_obj
def completion(call: Call, shell: str) -> None:
    """Print the script that has a shell complete commands, options, and names of jobs, agents, sessions and traces.

    \b
    eval "$(deploy completion bash)"    # in ~/.bashrc
    eval "$(deploy completion zsh)"     # in ~/.zshrc, after compinit
    deploy completion fish > ~/.config/fish/completions/deploy.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(app, {}, "deploy", "_DEPLOY_COMPLETE").source()
    if call.json:
        call.emit({"shell": shell, "script": script, "install": _HOW[shell]})
    else:
        click.echo(script)
