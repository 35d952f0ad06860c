"""The description of the fleet is complete, pure, and starts what it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sortie_bringup.fleet import MANAGER, check, fleet
from sortie_bringup.processes import command_line
from sortie_core.config import UserError, load_config
from sortie_policy.checkpoint import write_checkpoint

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"


@pytest.mark.parametrize(("n_agents", "size"), [(1, 1), (8, 1), (8, 3), (9, 3), (30, 8), (5, 50)])
def test_every_drone_has_one_place(n_agents: int, size: int) -> None:
    overrides = [f"team.n_agents={n_agents}", f"ros.agents_per_process={size}"]
    nodes = fleet(load_config(YAML, overrides), YAML, overrides, "/somewhere")
    assert [drone for node in nodes for drone in node.drones] == list(range(n_agents))
    assert max(len(node.drones) for node in nodes) <= size
    assert sum(not node.drones for node in nodes) == 5
    assert len({node.label for node in nodes}) == len(nodes)
    for node in nodes:
        assert node.parameters["config_file"] == str(YAML)
        assert node.parameters["overrides"] == overrides
        if len(node.drones) == 1:
            assert (node.executable, node.namespace) == ("agent_node", f"/drone_{node.drones[0]}")
            assert node.parameters["index"] == node.drones[0]
    manager = next(node for node in nodes if node.name == MANAGER)
    assert manager.parameters["out"] == "/somewhere"


def test_a_command_line_names_an_executable_and_keeps_every_parameter() -> None:
    overrides = ["comm.radius_m=2.5", "train.n_consumers=[5, 6]", "policy.checkpoint=a 'b' c.ckpt"]
    for node in fleet(load_config(YAML, overrides), YAML, overrides):
        command = command_line(node)
        assert Path(command[0]).is_file()
        given = dict(item.split(":=", 1) for item in command if ":=" in item)
        for name, value in node.parameters.items():
            assert yaml.safe_load(given[name]) == value


def test_what_cannot_be_flown_is_refused_before_anything_starts(checkpoint: Path, tmp_path: Path) -> None:
    check(load_config(YAML, [f"policy.checkpoint={checkpoint}"]))
    with pytest.raises(UserError, match="nowhere.ckpt"):
        check(load_config(YAML, ["policy.checkpoint=nowhere.ckpt"]))
    with pytest.raises(UserError, match="radius_m"):
        check(load_config(YAML, [f"policy.checkpoint={checkpoint}", "comm.radius_m=9"]))
    unexported = tmp_path / "mlp.ckpt"
    write_checkpoint(unexported, load_config(YAML, ["policy.network=mlp"]), {}, {})
    with pytest.raises(UserError, match="mlp.ckpt holds a network .mlp. that agents cannot fly by themselves"):
        check(load_config(YAML, [f"policy.checkpoint={unexported}"]))
