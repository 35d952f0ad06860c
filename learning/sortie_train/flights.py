"""What an evaluation flies: every method, by every training seed, in every suite and team size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sortie_core.config import UserError
from sortie_policy.checkpoint import MissingCheckpointError, load_metadata
from sortie_train.teams import REFERENCES, make_team

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sortie_core.config import Config
    from sortie_train.teams import Team


@dataclass(frozen=True, eq=False)
class Flight:
    """One method over the layouts of one suite with one team size.

    Attributes:
        suite: its name in `evaluation.suites`.
        method: its name in `evaluation.methods`.
        train_seed: the seed it was trained with; None for the policy of `policy.checkpoint`, and for references.
        config: the suite's, with the team size and, for a trained method, the checkpoint.
    """

    suite: str
    method: str
    train_seed: int | None
    config: Config

    @property
    def n_agents(self) -> int:
        """The team size."""
        return self.config.team.n_agents

    @property
    def learned(self) -> bool:
        """Whether the method was trained."""
        return self.method in self.config.evaluation.learned

    @property
    def name(self) -> str:
        """Suite, team size, method and training seed."""
        parts = (self.suite, self.n_agents, self.method.replace(":", "."), self.train_seed)
        return "-".join(str(part) for part in parts if part is not None)

    def make_team(self) -> Team:
        """A team that has flown nothing yet."""
        return make_team(self.method, self.config)


def plan(config: Config) -> list[Flight]:
    """All flights of an evaluation, by suite, team size, method and training seed; each can be flown.

    Args:
        config: a whole configuration.

    Raises:
        UserError: an unknown method, a checkpoint that is missing, damaged, of another method or seed, or does not fit
            the suite, a class that cannot be imported, or a key that is none.
    """
    known = sources(config, config.evaluation.methods) if config.evaluation.suites else {}
    flights = []
    for suite, changes in config.evaluation.suites.items():
        if own := [key for key in changes if key.startswith("evaluation")]:
            raise UserError(f"evaluation.suites.{suite}: {own[0]} is the same for all suites; set it outside")
        here = config.changed(changes, f"evaluation.suites.{suite}")
        sizes = [] if "team.n_agents" in changes else config.evaluation.n_agents
        for n_agents in sizes or [here.team.n_agents]:
            sized = here.changed({"team.n_agents": n_agents}, "evaluation.n_agents")
            flights += [
                Flight(suite, method, seed, sized.changed(key, "evaluation.checkpoints"))
                for method in config.evaluation.methods
                if n_agents <= config.evaluation.most_agents.get(method, n_agents)
                for seed, key in known[method]
            ]
        if suite not in {each.suite for each in flights}:
            raise UserError(f"evaluation.most_agents: leaves no method for any team of suite {suite}; raise it")
    # Whether a method can be flown in a suite does not depend on the team size.
    for flight in {(each.suite, each.method, each.train_seed): each for each in flights}.values():
        flight.make_team()
    return flights


def sources(config: Config, methods: Iterable[str]) -> dict[str, list[tuple[int | None, dict[str, Any]]]]:
    """The training seeds of each method, each with the changed keys that make it fly that policy.

    Raises:
        UserError: as `plan` for the names and the checkpoints.
    """
    methods = list(dict.fromkeys(methods))
    _check_names(config, methods)
    return {method: list(_sources(config, method)) for method in methods}


def _check_names(config: Config, methods: list[str]) -> None:
    evaluation = config.evaluation
    known = evaluation.learned.keys() | REFERENCES.keys()
    if strange := [name for name in evaluation.most_agents if name not in known and ":" not in name]:
        raise UserError(f"evaluation.most_agents: {strange[0]} is neither in evaluation.learned nor a reference")
    if both := sorted(evaluation.learned.keys() & REFERENCES.keys()):
        raise UserError(f"evaluation.learned: {both[0]} is the name of a reference; rename it")
    learned = [method for method in methods if method in evaluation.learned]
    if len(learned) > 1 and not evaluation.train_seeds:
        raise UserError(
            f"evaluation.train_seeds: without any, policy.checkpoint is the only policy, but there are "
            f"{' and '.join(learned)}; give the seeds, and in evaluation.checkpoints where the policies lie"
        )
    needed = {"{seed}": len(evaluation.train_seeds), "{method}": len(learned) if evaluation.train_seeds else 0}
    for field, count in needed.items():
        if count > 1 and field not in evaluation.checkpoints:
            raise UserError(f"evaluation.checkpoints: {evaluation.checkpoints} is one file for {count}; put in {field}")


def _sources(config: Config, method: str) -> Iterator[tuple[int | None, dict[str, Any]]]:
    evaluation = config.evaluation
    if method not in evaluation.learned:
        yield None, {}
    elif not evaluation.train_seeds:
        _check_checkpoint(_asked(config, method), method, None, config.policy.checkpoint)
        yield None, {}
    else:
        asked = _asked(config, method)
        for seed in evaluation.train_seeds:
            path = evaluation.checkpoints.replace("{method}", method).replace("{seed}", str(seed))
            try:
                _check_checkpoint(asked, method, seed, path)
            except MissingCheckpointError as error:
                raise UserError(
                    f"evaluation.checkpoints: {error.what}; train what is missing with `sortie sweep`, say in "
                    "evaluation.checkpoints where it lies, or change evaluation.methods or evaluation.train_seeds"
                ) from None
            except UserError as error:
                raise UserError(f"evaluation.checkpoints: {error}") from None
            yield seed, {"policy.checkpoint": path}


def _asked(config: Config, method: str) -> Config:
    """The configuration that a trained method asks for."""
    return config.changed(config.evaluation.learned[method], f"evaluation.learned.{method}")


def _check_checkpoint(config: Config, method: str, seed: int | None, path: str) -> None:
    """Refuse a checkpoint of another method or seed; a key that its version did not have yet cannot have differed.

    Methods differ by their networks and by what any of them changes, also where this one does not. The one policy of
    `policy.checkpoint` may be trained in any way that its method leaves open.
    """
    learned = config.evaluation.learned
    asked = config.model_dump(mode="python")
    metadata = load_metadata(path)
    compared = learned.values() if seed is not None else [learned[method]]
    keys = dict.fromkeys(["policy.network", *(key for changes in compared for key in changes)])
    expected = {key: _look_up(asked, key) for key in keys} | ({} if seed is None else {"seed": seed})
    for key, value in expected.items():
        trained = _look_up(metadata["config"], key)
        if trained is not None and trained != value:
            cure = "name another, or train it again"
            if seed is None and key not in learned[method]:
                cure = f"set {key}={trained} to fly it, or name another"
            raise UserError(
                f"checkpoint {path} was trained with {key}={trained}, but {method} asks for {key}={value}; {cure}"
            )


def _look_up(data: Any, key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    for part in key.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data
