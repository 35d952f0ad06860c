"""What the shell offers at the Tab key: configuration files, keys and values of overrides, names.

Typer installs a script for the shell, which asks this program at each Tab; `_SCRIPTS` says why it is not typer's own.
Nothing here may fail: where there is nothing to offer, the shell offers files.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer
from typer import _completion_shared

if TYPE_CHECKING:
    from sortie_core.config import Configuration

_MOST_HELP = 70
_SCRIPTS = {
    "bash": r"""
%(complete_func)s() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} words typed
    IFS=' ' read -ra words <<< "$line."
    COMPREPLY=( $( env COMP_WORDS="$line" COMP_CWORD=$(( ${#words[@]} - 1 )) %(autocomplete_var)s=complete_bash "$1" ) )
    [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    typed=${words[-1]%%.}
    if [[ $typed == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=( "${COMPREPLY[@]#"${typed%%=*}="}" )
    fi
}

complete -o default -F %(complete_func)s %(prog_name)s
""",
    "zsh": r"""
#compdef %(prog_name)s

%(complete_func)s() {
    local -a open closed
    local offered
    for offered in ${(f)"$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _TYPER_COMPLETE_FISH_ACTION=get-args \
        %(autocomplete_var)s=complete_fish ${(Q)~words[1]})"}; do
        local word=${offered%%%%$'\t'*} meaning=${offered#*$'\t'}
        [[ $meaning == $offered ]] && meaning=
        word=${word//:/\\:}${meaning:+:$meaning}
        if [[ $offered == *=(|$'\t'*) ]]; then open+=($word); else closed+=($word); fi
    done
    if (( ${#open} + ${#closed} == 0 )); then _files; return; fi
    (( ${#open} )) && _describe -V 'key' open -S ''
    (( ${#closed} )) && _describe -V 'value' closed
}

compdef %(complete_func)s %(prog_name)s
""",
    "fish": r"""
function %(complete_func)s
    set -l words (commandline -opc)
    set -l offered (env %(autocomplete_var)s=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) $words[1])
    if test -n "$offered[1]"
        printf '%%s\n' $offered
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command %(prog_name)s --no-files --arguments "(%(complete_func)s)"
""",
}
"""Typer's scripts with what overrides need: no space after `=`, and no word that begins at it, as bash has it."""


def use_own_scripts() -> None:
    """Let --install-completion and --show-completion take `_SCRIPTS`; typer has no public way to."""
    _completion_shared._completion_scripts.update(_SCRIPTS)


def complete_configuration(incomplete: str) -> list[str]:
    """YAML files here and one folder below, and those that are shipped."""
    import glob

    from sortie_core.shipped import shipped

    begun = glob.escape(incomplete)
    here = {name for pattern in ("*.yaml", "*/*.yaml") for name in glob.glob(begun + pattern)}
    root = shipped("configs")
    shipped_files = {f"configs/{path.relative_to(root).as_posix()}" for path in root.rglob("*.yaml")}
    return [name for name in sorted(here | shipped_files) if "/." not in f"/{name}"]


def complete_override(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Keys of the command's configuration with their meanings, and the values of those that have few."""
    from sortie_core.config import Config, UserError

    kind: type[Configuration] = Config
    with suppress(UserError):
        from sortie_cli.configurations import kind_of

        kind = kind_of(ctx.params["config"])
    key, equals, _ = incomplete.partition("=")
    if equals:
        return [(f"{key}={value}", "") for value in _values(kind, key)]
    from sortie_cli.key_comments import comments
    from sortie_core.config import keys

    meant = comments(kind)
    return [(f"{name}=", _short(meant.get(name, ""))) for name in keys(kind)]


def _values(kind: type[Configuration], key: str) -> list[Any]:
    from sortie_cli.key_reference import documented_keys

    schema = next((each.schema for each in documented_keys(kind) if each.path == key), {})
    return ["true", "false"] if schema.get("type") == "boolean" else schema.get("enum", [])


def _short(text: str) -> str:
    return text if len(text) <= _MOST_HELP else f"{text[: _MOST_HELP - 1].rsplit(' ', 1)[0]} ..."


def complete_bench() -> list[tuple[str, str]]:
    """Names of benches."""
    from sortie_cli.bench import BENCHES

    return [(name, bench.title) for name, bench in BENCHES.items()]


def complete_kind() -> list[str]:
    """Kinds of configurations."""
    from sortie_cli.configurations import NAMES

    return list(NAMES)
