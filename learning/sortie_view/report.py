"""One page about one or more missions, with all that it shows inside it, and its pictures as files for papers."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape

from sortie_core.config import UserError
from sortie_core.files import write_atomically
from sortie_view import plots
from sortie_view.run_data import MissionData, load_mission

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

_DPI = 150
PAGE = "report.html"
_FIGURES = (
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
class Picture:
    """A plot of the report.

    Attributes:
        name: of its file, without ending.
        draw: into axes.
        wide: whether it takes the whole width.
    """

    name: str
    draw: Callable[[Axes], object]
    wide: bool = False


def load_missions(paths: Sequence[Path], progress: Callable[[str, float], object]) -> list[MissionData]:
    """The missions of a report.

    Args:
        paths: of recordings, or of the folders of runs.
        progress: called with the name of what is read, and the share of it.

    Raises:
        UserError: as `load_mission`, or one is named twice.
    """
    named = zip(paths, _names(paths), strict=True)
    return [load_mission(path, name, partial(progress, name)) for path, name in named]


def write_report(missions: Sequence[MissionData], folder: Path) -> Path:
    """Write the page and the pictures.

    Args:
        missions: at least one.
        folder: where to; new or empty.

    Returns:
        The page.
    """
    sections = [
        {"mission": mission, "pictures": [_drawn(each, folder, f"{mission.name}-") for each in _of_one(mission)]}
        for mission in missions
    ]
    together = [_drawn(each, folder, "") for each in _of_all(missions)] if len(missions) > 1 else []
    environment = Environment(loader=PackageLoader("sortie_view", "templates"), autoescape=select_autoescape())
    page = environment.get_template("report.html.j2").render(
        missions=missions, figures=_table(missions), sections=sections, together=together
    )
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _of_one(mission: MissionData) -> list[Picture]:
    radius_m = mission.config.task.service_radius_m
    return [
        Picture(
            "trajectories",
            lambda axes: plots.trajectories(axes, mission.position, mission.alive, mission.consumer_position, radius_m),
        ),
        Picture("demand", lambda axes: plots.demand(axes, mission.time_s, mission.unmet, mission.delivered)),
        Picture("subteams", lambda axes: plots.subteams(axes, mission), wide=True),
        Picture("separation", lambda axes: plots.separation(axes, [mission])),
        Picture("messages", lambda axes: plots.messages(axes, [mission])),
        Picture("reward", lambda axes: plots.reward(axes, mission)),
        Picture("interventions", lambda axes: plots.interventions(axes, [mission])),
    ]


def _of_all(missions: Sequence[MissionData]) -> list[Picture]:
    kinds = (plots.delivery, plots.separation, plots.messages, plots.interventions)
    return [Picture(f"compared-{kind.__name__}", partial(kind, missions=missions)) for kind in kinds]


def _drawn(picture: Picture, folder: Path, prefix: str) -> dict[str, Any]:
    """A picture as a file, and as the page holds it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 4) if picture.wide else (6, 4.5), layout="constrained")
    picture.draw(axes)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    pyplot.close(figure)
    file = folder / f"{prefix}{picture.name}.png"
    write_atomically(file, content.getvalue())
    return {"name": file.stem, "wide": picture.wide, "data": base64.b64encode(content.getvalue()).decode()}


def _table(missions: Sequence[MissionData]) -> list[tuple[str, list[str]]]:
    """Rows of figures, a cell for each mission; those that none has are left out."""
    rows = []
    for title, key, form in _FIGURES:
        values = [mission.summary.get(key) for mission in missions]
        if any(value is not None for value in values):
            rows.append((title, ["–" if value is None else form.format(value) for value in values]))
    return rows


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, with so much of the path that no two are alike.

    Raises:
        UserError: a run is named twice.
    """
    resolved = [path.resolve() for path in paths]
    folders = [path if path.is_dir() or path.name != "run.mcap" else path.parent for path in resolved]
    if twice := next((path for k, path in enumerate(folders) if path in folders[:k]), None):
        raise UserError(f"{twice} is named twice; name it once")
    depth = 1
    while len({each.parts[-depth:] for each in folders}) < len(folders):
        depth += 1
    return ["-".join(each.with_suffix("").parts[-depth:]) for each in folders]
