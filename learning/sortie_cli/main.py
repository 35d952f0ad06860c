"""The `sortie` command: what to run is named here, and imported only when it runs."""

from __future__ import annotations

import io
import os
import sys

import typer
from typer.exceptions import TyperException

from sortie_cli import cluster_commands, fly_commands, learn_commands, look_commands, machine_commands
from sortie_cli.completion import use_own_scripts

_EXIT_BAD_INPUT = 2
_EXIT_INTERRUPTED = 130
_EPILOG = """[bold]Examples[/bold]

sortie sim configs/delivery.yaml --view                   [dim]in the browser[/dim]

sortie sim configs/delivery.yaml team.n_agents=12         [dim]any key, one run[/dim]

sortie init my_scenario && sortie sim my_scenario.yaml    [dim]one of your own[/dim]

sortie fly configs/flight/mavlink.yaml flight.peers=true  [dim]real protocols[/dim]

All keys: docs/reference/configuration.md"""

app = typer.Typer(
    name="sortie",
    help="Teams of drones that agree, by radio and without a centre, who delivers what to whom.",
    epilog=_EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for group in (fly_commands, learn_commands, look_commands, cluster_commands, machine_commands):
    app.add_typer(group.commands)
use_own_scripts()


def main() -> None:
    """Run the command line; bad input ends with one line on stderr and exit code 2."""
    sys.path.append(os.getcwd())  # where classes that a configuration names may lie
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # tables and curves, where stdout is not UTF-8
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="sortie", standalone_mode=False)
    except KeyboardInterrupt:
        code = _EXIT_INTERRUPTED
    except TyperException as error:
        context = getattr(error, "ctx", None)
        code = _complain(error.format_message(), f" (see `{context.command_path} --help`)" if context else "")
    except Exception as error:
        from sortie_core.config import UserError

        if not isinstance(error, UserError):
            raise
        code = _complain(str(error))
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, hint: str = "") -> int:
    print(f"sortie: {' '.join(message.split()).rstrip('.')}{hint}", file=sys.stderr)
    return _EXIT_BAD_INPUT


if __name__ == "__main__":
    main()
