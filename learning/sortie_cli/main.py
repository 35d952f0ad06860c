"""The `sortie` command: what to run is named here, and imported only when it runs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from sortie_core.config import Config

_EXIT_BAD_INPUT = 2
_EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="sortie",
    help="Teams of drones that agree, by radio and without a centre, who delivers what to whom.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file, e.g. configs/delivery.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SECTION.KEY=VALUE]", help="Keys to change for this run, e.g. team.n_agents=12."),
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="New folder for the run; default runs/<UTC time>.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out DIR.")]
Seeds = Annotated[int, typer.Option(min=1, help="Fly so many missions one after the other, seeds counting up.")]
View = Annotated[bool, typer.Option("--view", help="Show the run in the browser, and to Foxglove.")]
Only = Annotated[
    str, typer.Option(metavar="PART", help="Start only this part, the rest elsewhere: world, or drones such as 0-3.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def sim(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Out = None,
    lockstep: Annotated[
        bool, typer.Option("--lockstep", help="Each tick waits for every drone: bit-exact replay, any speed.")
    ] = False,
    only: Only = "",
    view: View = False,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Fly a mission as a graph of ROS 2 nodes, in simulation."""
    loaded = _load(config, overrides)
    if seeds > 1:
        _refuse_part(only)
        flags = [*(["--lockstep"] if lockstep else []), *(["--view"] if view else [])]
        _fly_series("sim", [str(config), *(overrides or []), *flags], loaded.seed, seeds, out, json)
    from sortie_cli.graph import run_graph

    run_graph(config, overrides, out, only, lockstep=lockstep, view=view, json=json)


@app.command()
def fly(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file, e.g. configs/flight/mavlink.yaml.")],
    overrides: Overrides = None,
    out: Out = None,
    only: Only = "",
    yes: Annotated[bool, typer.Option("--yes", help="Arm as soon as the checklist is green, without asking.")] = False,
    view: View = False,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Fly a mission with real drones, or with simulated autopilots that speak their protocols (flight.peers=true)."""
    from sortie_core.config import load, sections
    from sortie_core.flight_config import FlightConfig

    if "flight" not in sections(config):
        raise _user_error(
            f"{config} has no section flight; fly it with `sortie sim`, or start from a copy of {FlightConfig.EXAMPLE}"
        )
    changes = [*(overrides or []), *(["flight.confirm=false"] if yes else [])]
    loaded = load(FlightConfig, config, changes)
    if seeds > 1:
        _refuse_part(only)
        if loaded.asks:
            raise _user_error("--seeds flies many missions without asking; add --yes, or flight.peers=true")
        flags = ["--view"] if view else []
        _fly_series("fly", [str(config), *changes, *flags], loaded.seed, seeds, out, json)
    from sortie_cli.graph import run_graph

    run_graph(config, changes, out, only, view=view, json=json)


def _refuse_part(only: str) -> None:
    if only:
        raise _user_error("--only starts a part of one mission; leave out --seeds")


def _fly_series(
    command: str, arguments: list[str], first_seed: int, n_seeds: int, out: Path | None, json: bool
) -> NoReturn:
    from sortie_cli.series import fly_series

    raise typer.Exit(fly_series(command, arguments, first_seed, n_seeds, out, json))


@app.command()
def train(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train a policy: drones in the batched point world, or the agents of a cluster."""
    from sortie_cli.configurations import load_any
    from sortie_cluster.config import ClusterConfig

    found = load_any(config, overrides or [])
    if isinstance(found, ClusterConfig):
        from sortie_cli.cluster_runs import train_agents

        train_agents(found, config, overrides, out, resume)
        return
    loaded = _load(config, overrides)
    from sortie_cli.run_folder import create_run_folder, open_run_folder, say_how_to_go_on

    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one makes the folder
    if "RANK" in os.environ and out is None:
        raise _user_error("name the run's folder with --out DIR, so that all processes of torchrun share it")
    if out is not None and not leads:
        folder = out
    else:
        folder = open_run_folder(out) if resume else create_run_folder(out, resumable=True)
    from sortie_train.train import report
    from sortie_train.train import train as train_policy

    try:
        checkpoint = train_policy(loaded, folder, resume)
    except KeyboardInterrupt:
        if leads and (folder / "train_state.pt").exists():
            say_how_to_go_on("train", config, overrides, folder)
        elif leads:
            print(
                f"sortie: interrupted before anything was saved (train.checkpoint_every="
                f"{loaded.train.checkpoint_every}); delete {folder} to begin again",
                file=sys.stderr,
            )
        raise
    if leads:
        report(checkpoint, json)


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that fly at the same time.")] = 1,
    json: Json = False,
) -> None:
    """Compare all methods on the same unseen layouts or tasks, or answer questions about them."""
    from sortie_cli.configurations import load_any
    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.flows_config import FlowsConfig

    found = load_any(config, overrides or [])
    if isinstance(found, ClusterConfig | FlowsConfig):
        from sortie_cli.cluster_runs import evaluate_suites

        evaluate_suites(found, config, overrides, out, resume, jobs, json)
        return
    loaded = _load(config, overrides)
    if loaded.evaluation.train_seeds and any(each.startswith("policy.checkpoint=") for each in overrides or []):
        raise _user_error(
            "policy.checkpoint: has no effect beside evaluation.train_seeds, which names the policies by "
            "evaluation.checkpoints; add evaluation.train_seeds=[] to fly this one alone"
        )
    from sortie_cli.run_folder import open_run_folder, resumable_run
    from sortie_train.evaluate import evaluate as evaluate_methods
    from sortie_train.flights import plan
    from sortie_train.questions import ask

    if resume:
        open_run_folder(out)
    flights, asked = plan(loaded), ask(loaded)  # refuse what cannot be flown, before there is a folder
    with resumable_run("evaluate", config, overrides, out, resume) as folder:
        evaluate_methods(loaded, flights, folder, jobs, json, asked)


@app.command()
def sweep(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the sweep.")],
    overrides: Overrides = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at the same time.")] = 2,
) -> None:
    """Train each method of evaluation.learned, or each of a cluster's trainings, by each training seed."""
    from sortie_cli.configurations import load_any
    from sortie_cluster.config import ClusterConfig

    found = load_any(config, overrides or [])
    if isinstance(found, ClusterConfig):
        from sortie_cli.cluster_runs import sweep_routers

        sweep_routers(found, config, overrides, out, resume, jobs)
        return
    loaded = _load(config, overrides)
    from sortie_cli.run_folder import open_run_folder, resumable_run
    from sortie_train.sweep import evaluation_overrides, plan_trainings
    from sortie_train.sweep import sweep as train_all

    if resume:
        open_run_folder(out)
    trainings = plan_trainings(loaded, out)
    with resumable_run("sweep", config, overrides, out, resume):
        failed = train_all(trainings, jobs)
    for training in failed:
        print(f"sortie: {training.folder} failed: {training.last_words} (see train.log there)", file=sys.stderr)
    again = [str(config), *(overrides or [])]
    if failed:
        command = shlex.join(["sortie", "sweep", *again, "--out", str(out), "--resume"])
        print(
            f"sortie: {len(failed)} of {len(trainings)} trainings failed; when that is mended: {command}",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    print(shlex.join(["sortie", "evaluate", *again, *evaluation_overrides(loaded, out)]))


@app.command()
def cluster(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file, e.g. configs/cluster.yaml.")],
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    lockstep: Annotated[
        bool, typer.Option("--lockstep", help="Live, simulated backend: each tick waits for every node; exact replay.")
    ] = False,
    only: Only = "",
    view: View = False,
    json: Json = False,
) -> None:
    """Schedule the tasks of a trace on a cluster of agents: compare policies, or live, as a graph of ROS 2 nodes."""
    from sortie_cli.configurations import load_any
    from sortie_cluster.config import ClusterConfig
    from sortie_cluster.live_config import LiveConfig
    from sortie_core.config import load

    if isinstance(load_any(config, overrides or []), LiveConfig):
        from sortie_cli.graph import run_graph

        run_graph(config, overrides, out, only, lockstep=lockstep, view=view, json=json)
    if only:
        raise _user_error("--only starts a part of a live cluster, such as configs/cluster_live.yaml; leave it out")
    loaded = load(ClusterConfig, config, overrides or [])
    from sortie_cli.run_folder import resumable_run
    from sortie_cluster.scenario import make_scenario
    from sortie_schedule.comparison import compare, with_reference

    with_reference(loaded)  # refuse what cannot be run, before there is a folder
    make_scenario(loaded, loaded.comparison.first_seed)
    with resumable_run("cluster", config, overrides, out, resume) as folder:
        compare(loaded, folder, jobs, json)


@app.command()
def flows(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file, e.g. configs/task_flows.yaml.")],
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    json: Json = False,
) -> None:
    """Let flows of tasks find their way through a network of agents, and compare policies."""
    from sortie_cluster.flows_config import FlowsConfig
    from sortie_core.config import load

    loaded = load(FlowsConfig, config, overrides or [])
    from sortie_cli.run_folder import resumable_run
    from sortie_schedule.flows import policies, run_flows

    policies(loaded)  # refuse what cannot be made, before there is a folder
    with resumable_run("flows", config, overrides, out, resume) as folder:
        run_flows(loaded, folder, jobs, json)


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="MCAP file of a run, or the run's folder.")],
    port: Annotated[
        int, typer.Option(min=1, max=65534, help="Of Foxglove's WebSocket; the page has the next one.")
    ] = 8765,
) -> None:
    """Show a recorded run again, in the browser and to Foxglove."""
    from rich.console import Console

    from sortie_view.replay import replay as show

    show(recording, port, Console(stderr=True, highlight=False))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or their MCAP files.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder; default runs/<UTC time>.")] = None,
) -> None:
    """Write one page about recorded missions, and its pictures as PNG files."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from sortie_cli.run_folder import create_run_folder
    from sortie_view.report import load_missions, write_report

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        readings: dict[str, TaskID] = {}

        def show(name: str, share: float) -> None:
            if name not in readings:
                readings[name] = bar.add_task(f"reading {name}", total=1.0)
            bar.update(readings[name], completed=share)

        missions = load_missions(runs, show)
    print(write_report(missions, create_run_folder(out)))


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="point_world, pybullet_world, agent_tick, training, expert, cluster_world, cluster_decision, "
            "safety_gate or lockstep_mission.",
        ),
    ],
    json: Json = False,
) -> None:
    """Measure the speed on this machine against a target."""
    from sortie_cli.bench import run_bench

    run_bench(name, json)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what is installed, missing or broken on this machine, and how to mend it."""
    from sortie_cli.doctor import examine

    raise typer.Exit(examine(json))


def _user_error(message: str) -> Exception:
    from sortie_core.config import UserError

    return UserError(message)


def _load(config: Path, overrides: list[str] | None) -> Config:
    from sortie_core.config import load_config, sections

    if "flight" in sections(config):
        raise _user_error(f"{config} is a flight; use `sortie fly`, or a mission such as configs/delivery.yaml")
    return load_config(config, overrides or [])


def main() -> None:
    """Run the command line; bad input ends with one line on stderr and exit code 2."""
    sys.path.append(os.getcwd())  # where classes that a configuration names may lie
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
