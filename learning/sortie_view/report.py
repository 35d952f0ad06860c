"""One page about recorded runs and trainings, with all that it shows inside it, and its pictures as files."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape

from sortie_core.config import UserError
from sortie_core.files import write_atomically
from sortie_view import cluster_data, cluster_plots, plots, training_comparison
from sortie_view.cluster_data import ClusterData
from sortie_view.mission_data import MissionData
from sortie_view.recorded_runs import load_run
from sortie_view.training_comparison import NamedTraining
from sortie_view.training_data import EVENTS, load_trainings, training_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sortie_view.run_data import RunData

_DPI = 150
PAGE = "report.html"
_RECORDINGS = "*.mcap"
_ENDED = "tasks that have ended"
_OF_MISSIONS = (
    ("delivered", "delivered_fraction", "{:.1%}"),
    ("the stock allows", "deliverable_fraction", "{:.1%}"),
    ("delivered, average over time", "delivered_auc", "{:.3f}"),
    ("time to 90 %, s", "time_to_90_s", "{:.1f}"),
    ("mission time, s", "mission_time_s", "{:.1f}"),
    ("collisions", "collisions", "{:.0f}"),
    ("least separation, m", "min_separation_m", "{:.2f}"),
    ("setpoints that the shield changed", "shielded_share", "{:.1%}"),
    ("packets sent", "messages_sent", "{:,}"),
    ("bytes sent", "bytes_sent", "{:,}"),
    ("seed", "seed", "{}"),
    ("drones", "n_agents", "{}"),
)


@dataclass(frozen=True)
class Runs:
    """What a report is about.

    Attributes:
        missions: that were recorded.
        clusters: runs of live clusters, likewise.
        trainings: that are over, or go on.
    """

    missions: list[MissionData]
    clusters: list[ClusterData]
    trainings: list[NamedTraining]

    def tables(self) -> dict[str, tuple[list[str], list[tuple[str, list[str]]]]]:
        """Of each kind of which there are any: their names, and rows with a cell for each."""
        found = {}
        if self.missions:
            found["missions"] = [each.name for each in self.missions], _table(self.missions, _OF_MISSIONS)
        if self.clusters:
            found["cluster runs"] = [each.name for each in self.clusters], _table(self.clusters, cluster_data.FIGURES)
        if self.trainings:
            found["trainings"] = [each.name for each in self.trainings], training_comparison.table(self.trainings)
        return found

    def summary(self) -> dict[str, Any]:
        """The same for machines, and the keys of configurations in which trainings differ."""
        found = {
            "missions": [{"name": each.name} | each.summary for each in self.missions],
            "clusters": [{"name": each.name} | each.summary for each in self.clusters],
            "trainings": [each.summary() for each in self.trainings],
            "differences": training_comparison.differences(self.trainings),
        }
        # JSON knows no infinity, which is a good radio radius
        strict: dict[str, Any] = json.loads(json.dumps(found, default=str), parse_constant=str)
        return strict


@dataclass(frozen=True)
class Picture:
    """A plot of the report.

    Attributes:
        name: of its file, without ending.
        draw: into a figure.
        size: inches.
        wide: whether it takes the whole width.
    """

    name: str
    draw: Callable[[Figure], object]
    size: tuple[float, float] = (6, 4.5)
    wide: bool = False


def load_runs(paths: Sequence[Path], progress: Callable[[str, float], object]) -> Runs:
    """The runs of a report.

    Args:
        paths: of recordings, of the folders of missions and trainings, or of folders that hold such, as of a sweep.
        progress: called with the name of what is read, and the share of it.

    Raises:
        UserError: as `load_run` and `load_trainings`, there are none, or one is named twice.
    """
    recordings = [found for path in paths for found in _recordings(path)]
    named = zip(recordings, _names(recordings), strict=True)
    recorded = [load_run(path, name, partial(progress, name)) for path, name in named]
    missions = [each for each in recorded if isinstance(each, MissionData)]
    clusters = [each for each in recorded if isinstance(each, ClusterData)]
    trainings = load_trainings(paths)
    names = _names([each.folder for each in trainings])
    return Runs(missions, clusters, [NamedTraining(name, each) for name, each in zip(names, trainings, strict=True)])


def write_report(runs: Runs, folder: Path) -> Path:
    """Write the page and the pictures.

    Args:
        runs: at least one.
        folder: where to; new or empty.

    Returns:
        The page.
    """
    recorded: list[MissionData | ClusterData] = [*runs.missions, *runs.clusters]
    sections = [
        {"run": run, "pictures": [_drawn(each, folder, f"{run.name}-") for each in _of_one(run)]} for run in recorded
    ]
    together = [_drawn(each, folder) for each in _of_all(runs)]  # whose names end as no single run's do
    environment = Environment(loader=PackageLoader("sortie_view", "templates"), autoescape=select_autoescape())
    page = environment.get_template("report.html.j2").render(
        tables=runs.tables(),
        sections=sections,
        together=together,
        trainings=runs.trainings,
        curves=[_drawn(each, folder) for each in _of_trainings(runs.trainings)],
    )
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _of_one(run: MissionData | ClusterData) -> list[Picture]:
    return _of_mission(run) if isinstance(run, MissionData) else _of_cluster(run)


def _of_mission(mission: MissionData) -> list[Picture]:
    radius_m = mission.config.task.service_radius_m
    kinds: dict[str, Callable[[Axes], object]] = {
        "trajectories": lambda axes: plots.trajectories(
            axes, mission.position, mission.alive, mission.consumer_position, radius_m
        ),
        "demand": lambda axes: plots.demand(axes, mission.time_s, mission.unmet, mission.delivered),
        "subteams": lambda axes: plots.subteams(axes, mission),
        "separation": lambda axes: plots.separation(axes, [mission]),
        "messages": lambda axes: plots.messages(axes, [mission]),
        "reward": lambda axes: plots.reward(axes, mission),
        "interventions": lambda axes: plots.interventions(axes, [mission]),
    }
    return [_of_axes(name, draw, wide=name == "subteams") for name, draw in kinds.items()]


def _of_cluster(run: ClusterData) -> list[Picture]:
    kinds: dict[str, Callable[[Axes], object]] = {
        "gantt": partial(cluster_plots.gantt, run=run),
        "queues": partial(cluster_plots.queues, run=run),
        "use": partial(cluster_plots.use, run=run),
        "ended": partial(plots.delivery, missions=[run], what=_ENDED),
        "messages": partial(plots.messages, missions=[run]),
    }
    return [_of_axes(name, draw, wide=name == "gantt") for name, draw in kinds.items()]


def _of_all(runs: Runs) -> list[Picture]:
    """Curves of several runs laid over each other."""
    found = []
    if len(runs.missions) > 1:
        kinds = (plots.delivery, plots.separation, plots.messages, plots.interventions)
        found += [_of_axes(f"{kind.__name__}-compared", partial(kind, missions=runs.missions)) for kind in kinds]
    if len(runs.clusters) > 1:
        found.append(_of_axes("ended-compared", partial(plots.delivery, missions=runs.clusters, what=_ENDED)))
    return found


def _of_axes(name: str, draw: Callable[[Axes], object], wide: bool = False) -> Picture:
    """A picture that is a single plot."""
    return Picture(name, lambda figure: draw(figure.subplots()), (11, 4) if wide else (6, 4.5), wide)


def _of_trainings(trainings: Sequence[NamedTraining]) -> list[Picture]:
    """Learning curves, a picture for each group of figures."""
    return [
        Picture(
            f"{group}-curves",
            partial(training_comparison.draw, trainings=trainings, names=names),
            training_comparison.size_of(trainings, names),
            wide=True,
        )
        for group, names in training_comparison.groups(trainings).items()
    ]


def _drawn(picture: Picture, folder: Path, prefix: str = "") -> dict[str, Any]:
    """A picture as a file, and as the page holds it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=picture.size, layout="constrained")
    FigureCanvasAgg(figure)
    picture.draw(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    file = folder / f"{prefix}{picture.name}.png"
    write_atomically(file, content.getvalue())
    return {"name": file.stem, "wide": picture.wide, "data": base64.b64encode(content.getvalue()).decode()}


def _recordings(path: Path) -> list[Path]:
    """The recordings that a path means: itself, that in it, or those below it; none where there are trainings only.

    Raises:
        UserError: there is neither.
    """
    if not path.is_dir():
        return [path]
    if found := sorted(path.glob(_RECORDINGS)):
        return [path] if len(found) == 1 else found
    if found := sorted(path.rglob(_RECORDINGS)):
        return found
    if not training_folders(path):
        raise UserError(f"{path} holds no recordings ({_RECORDINGS}) and no trainings ({EVENTS}); name what does")
    return []


def _table(runs: Sequence[RunData], figures: Sequence[tuple[str, str, str]]) -> list[tuple[str, list[str]]]:
    """Rows of figures, a cell for each run; those that none has are left out."""
    rows = []
    for title, key, form in figures:
        values = [run.summary.get(key) for run in runs]
        if any(value is not None for value in values):
            rows.append((title, ["–" if value is None else form.format(value) for value in values]))
    return rows


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's or file's, with so much of the path that no two are alike.

    Raises:
        UserError: a run is named twice.
    """
    resolved = [path.resolve() for path in paths]
    folders = [path if path.is_dir() or path.name != "run.mcap" else path.parent for path in resolved]
    if twice := next((path for k, path in enumerate(folders) if path in folders[:k]), None):
        raise UserError(f"{twice} is named twice; name it once")
    names: list[str] = []
    for depth in range(1, 1 + max((len(each.parts) for each in folders), default=0)):
        names = ["-".join(each.parts[-depth:]) for each in folders]
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{k}" for k, name in enumerate(names)]  # such as of a/b-c and a-b/c
