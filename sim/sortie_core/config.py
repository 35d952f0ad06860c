"""The configuration as a whole, its loader and its one-line errors.

A configuration is one complete YAML file: every key is present, carries its unit in its name, and is checked here. Any
key can be overridden as ``section.key=value``, with the same spelling on every command.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
import typing
from typing import Any, ClassVar, Self, TypeVar

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from sortie_core.config_sections import (
    Comm,
    Evaluation,
    Expert,
    Overrides,
    Policy,
    RewardWeights,
    Ros,
    Safety,
    Section,
    Seed,
    Task,
    Team,
    Train,
    World,
)
from sortie_core.shipped import find

if typing.TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class UserError(Exception):
    """Bad input: the message is one line that names the culprit and says how to mend it; commands exit with 2."""


class Configuration(Section):
    """A whole configuration of any kind, one class for each.

    Attributes:
        EXAMPLE: the shipped file that shows every key.
    """

    EXAMPLE: ClassVar[str]

    def hash(self) -> str:
        """Twelve hex digits that identify the content, independent of key order and comments."""
        return content_hash(self.model_dump(mode="python"))

    def to_yaml(self) -> str:
        """The configuration as YAML, loadable again."""
        return yaml.safe_dump(self.model_dump(mode="python"), sort_keys=False)

    def override(self, overrides: Iterable[str]) -> Self:
        """A copy with ``section.key=value`` strings applied.

        Raises:
            UserError: an override that is not ``key=value``, names no key, or has a wrong value.
        """
        data = self.model_dump(mode="python")
        _apply(data, map(_split, overrides), type(self))
        return _validate(data, "override", type(self))

    def changed(self, overrides: Overrides, source: str) -> Self:
        """A copy with other values for dotted keys, as a scenario or a suite gives them.

        Raises:
            UserError: as for `override`, naming `source`.
        """
        data = self.model_dump(mode="python")
        try:
            _apply(data, overrides.items(), type(self))
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        return _validate(data, source, type(self))


class Config(Configuration):
    """A delivery mission; see configs/delivery.yaml for every key with its unit."""

    EXAMPLE = "configs/delivery.yaml"

    seed: Seed
    team: Team
    task: Task
    world: World
    comm: Comm
    policy: Policy
    reward: RewardWeights
    expert: Expert
    train: Train
    evaluation: Evaluation
    safety: Safety
    ros: Ros

    @model_validator(mode="after")
    def _resources_fit(self) -> Config:
        most = max(self.task.n_resources, self.train.n_resources[1])
        if most > self.policy.max_resources:
            raise ValueError(
                f"policy.max_resources: {self.policy.max_resources} is less than the {most} resources asked for; "
                "lower task.n_resources and train.n_resources or raise it and train again"
            )
        return self

    @model_validator(mode="after")
    def _events_happen(self) -> Config:
        events = {
            "team.sudden_loss_s": (self.team.sudden_loss_share, self.team.sudden_loss_s),
            "task.demand_change_s": (self.task.demand_change_share, self.task.demand_change_s),
        }
        for key, (share, when_s) in events.items():
            if share and when_s[1] >= self.duration_s:
                raise ValueError(f"{key}: {when_s} reaches beyond the mission of {self.duration_s:g} s; lower it")
        return self

    @property
    def n_steps(self) -> int:
        """Policy ticks in one episode."""
        return max(1, round(self.duration_s / self.world.dt_s))

    @property
    def arena_half_m(self) -> float:
        """Half the side of the arena of this team, m."""
        return self.task.arena_half_m * self._scale

    @property
    def duration_s(self) -> float:
        """Mission time of this team, s, a whole number of ticks."""
        if not self.task.reference_agents:
            return self.task.duration_s
        return round(self.task.duration_s * self._scale / self.world.dt_s) * self.world.dt_s

    @property
    def _scale(self) -> float:
        """Lengths and times of a team of this size over those of the reference: drones per area stay the same."""
        reference = self.task.reference_agents
        return math.sqrt(self.team.n_agents / reference) if reference else 1.0


def content_hash(data: dict[str, Any]) -> str:
    """`Config.hash` of a configuration's data, also where they are of another version's schema."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


Kind = TypeVar("Kind", bound=Configuration)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """A delivery mission; as `load`."""
    return load(Config, path, overrides)


def load(kind: type[Kind], path: str | Path, overrides: Iterable[str] = ()) -> Kind:
    """Read a YAML file and apply overrides.

    Args:
        kind: what it configures.
        path: the YAML file, in the working folder or shipped (`sortie_core.shipped.find`); where it has the key
            ``extends``, only what differs from the file named there, which lies beside it or is shipped.
        overrides: strings ``section.key=value``; the value is YAML.

    Raises:
        UserError: one line that names the file or key and how to mend it.
    """
    data = _read(find(path), [], kind)
    changed = dict(map(_split, overrides))
    _apply(data, changed.items(), kind)
    return _validate(data, str(path), kind, changed)


def sections(path: str | Path) -> set[str]:
    """Top-level keys of a YAML file and of those that it extends, by which kinds of configurations are told apart.

    Raises:
        UserError: it cannot be read.
    """
    return set(_read(find(path), [], Config))


def _read(path: Path, extending: list[Path], kind: type[Configuration]) -> dict[str, Any]:
    """The data of a file over those of the files that it extends."""
    if path.resolve() in extending:
        raise UserError(f"{path} extends itself; let `extends` name another file")
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name a YAML file such as {kind.EXAMPLE}") from None
    except FileNotFoundError:
        meant = path.with_name(f"{path.name}.yaml")
        raise UserError(f"no configuration file {path}; try {meant if meant.exists() else kind.EXAMPLE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    data = _parse(text, str(path), kind)
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise UserError(f"{path}: extends must name a file (got {base!r})")
    try:
        return _merged(_read(find(base, path.parent), [*extending, path.resolve()], kind), data, _FREE)
    except UserError as error:
        raise error if extending else UserError(f"{path} extends {base}: {error}") from None


_FREE = {"suites", "questions", "learned", "most_agents"}
"""Keys whose names are the user's own: replaced as a whole."""


def _merged(base: dict[str, Any], data: dict[str, Any], whole: set[str]) -> dict[str, Any]:
    result = dict(base)
    for key, value in data.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict) and key not in whole
        result[key] = _merged(base[key], value, whole) if nested else value
    return result


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which the first would be lost."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.value in lines and key.tag != "tag:yaml.org,2002:merge":
                twice = f"key {key.value} is given twice, first at line {lines[key.value]}; keep one"
                raise yaml.composer.ComposerError(None, None, twice, key.start_mark)
            lines[str(key.value)] = key.start_mark.line + 1
        return node


def parse_config(text: str, overrides: Iterable[str] = (), source: str = "configuration") -> Config:
    """The configuration in a YAML text; errors as for `load_config`."""
    data = _parse(text, source, Config)
    _apply(data, map(_split, overrides), Config)
    return _validate(data, source, Config)


def _parse(text: str, source: str, kind: type[Configuration]) -> dict[str, Any]:
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{source} is not valid YAML{where}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{source} holds no keys; start from a copy of {kind.EXAMPLE}")
    return data


def _split(override: str) -> tuple[str, Any]:
    """The key and the value of ``section.key=value``."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"override {override!r} is not section.key=value, e.g. comm.radius_m=3.5")
    try:
        return key.strip(), _number(yaml.safe_load(value))
    except yaml.YAMLError:
        raise UserError(
            f"the value of override {override!r} is not valid YAML; one with blanks goes in quotes: 'KEY=[a, b]'"
        ) from None


def _apply(data: dict[str, Any], overrides: Iterable[tuple[str, Any]], kind: type[Configuration]) -> None:
    known = keys(kind)
    for key, value in overrides:
        if below := [name for name in known if name.startswith(f"{key}.")]:
            raise UserError(f"{key} is a section; name a key in it, such as {below[0]} (got {value!r})")
        if key not in known:
            raise UserError(f"unknown key {key}{_suggest(key, kind)}")
        *parents, leaf = key.split(".")
        node = data
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"{parent} in override {key} is no section")
        node[leaf] = value


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 and inf as strings; people mean numbers."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _validate(data: dict[str, Any], source: str, kind: type[Kind], overridden: Iterable[str] = ()) -> Kind:
    """The configuration; an error is blamed on its source, or on the override that has brought it."""
    try:
        return kind.model_validate(_numbers(data))
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        own = any(key == each or key.startswith(f"{each}.") for each in overridden)
        raise UserError(_one_line(error, "override" if own else source, kind)) from None


def _numbers(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _numbers(value) for key, value in data.items()}
    return [_number(value) for value in data] if isinstance(data, list) else _number(data)


def _one_line(error: ValidationError, source: str, kind: type[Configuration]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{source}: unknown key {key}{_suggest(key, kind)}{more}"
    if first["input"] is None and "." not in key:
        return f"{source}: {key}: holds nothing; delete the line, or put keys below it{more}"
    if first["type"] == "missing":
        return f"{source}: missing key {key}; add it, {kind.EXAMPLE} shows every key{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict | Section) else f" (got {first['input']!r})"
    return f"{source}: {key + ': ' if key else ''}{message}{given}{more}"


def keys(kind: type[Configuration] = Config) -> dict[str, Any]:
    """Every key of a kind of configuration, dotted, with its field."""
    found: dict[str, Any] = {}

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and not isinstance(field.annotation, types.GenericAlias):
                if issubclass(field.annotation, BaseModel):
                    walk(field.annotation, f"{prefix}{name}.")
                    continue
            found[f"{prefix}{name}"] = field

    walk(kind, "")
    return found


def _suggest(key: str, kind: type[Configuration]) -> str:
    import difflib

    names = list(keys(kind))
    if key in names:
        section, _, rest = key.partition(".")
        return f"; in a file, write `{section}:` and, indented below it, `{rest}: ...`"
    leaf = {name.rsplit(".", 1)[-1]: name for name in names}
    if whole := [name for name in names if key.startswith(f"{name}.") and name.rsplit(".", 1)[-1] in _FREE]:
        return f"; {whole[0]} is set as a whole, best in a file that extends this one"
    sections = dict.fromkeys(name.partition(".")[0] for name in names)
    close = [] if key.partition(".")[0] in sections else difflib.get_close_matches(key, sections, n=1, cutoff=0.75)
    close = close or difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not close and key.rsplit(".", 1)[-1] in leaf:
        close = [leaf[key.rsplit(".", 1)[-1]]]
    return f"; did you mean {close[0]}?" if close else f"; {kind.EXAMPLE} shows every key"
