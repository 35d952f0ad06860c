"""Networks decide alike whether demands are broadcast or each agent happens to know all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sortie_core.comm_graph import adjacency
from sortie_core.config import UserError, load_config
from sortie_core.demand_knowledge import DemandKnowledge
from sortie_core.layout import sample_layout
from sortie_core.observation import observe
from sortie_policy.team_policy import make_policy
from sortie_sim.learner_world import LearnerWorld

CONFIG = Path(__file__).parents[2] / "configs" / "scarce.yaml"


@pytest.mark.parametrize("network", ["lgtc", "mlp", "attention"])
def test_who_knows_all_decides_as_if_it_were_broadcast(network: str) -> None:
    keys = [f"policy.network={network}", "team.n_agents=7", "task.demand_sensing=relayed", "policy.hidden=8"]
    config = load_config(CONFIG, [*keys, "policy.mlp_width=16", "task.sensing_radius_m=.inf"])
    torch.manual_seed(2)
    policy = make_policy(config).eval()
    state = sample_layout(config, [1, 2, 3]).map(torch.as_tensor)
    linked = adjacency(state.position, state.alive, config.comm.radius_m)
    knowledge = DemandKnowledge.nothing(state).learned(state, linked, config)
    views = observe(state, config), observe(state, config, knowledge)
    assert (views[0].need.ndim, views[1].need.ndim) == (3, 4)
    with torch.no_grad():
        memories = [policy.initial_memory(seen) for seen in views]
        for _ in range(2):
            outs = []
            for index, seen in enumerate(views):
                out, memories[index], _ = policy(seen, linked, memories[index])
                outs.append(out)
            for name, plain in vars(outs[0]).items():
                torch.testing.assert_close(getattr(outs[1], name), plain, atol=1e-5, rtol=1e-5, msg=name)


def test_worlds_whose_observations_show_all_demands_refuse_to_have_them_sensed() -> None:
    with pytest.raises(UserError, match=r"task.demand_sensing.*set it to broadcast"):
        LearnerWorld(load_config(CONFIG, ["task.demand_sensing=relayed"]), 1)


def test_what_an_agent_does_not_know_does_not_move_it() -> None:
    """Changing a demand that only one agent knows changes nobody else who does not hear of it."""
    keys = ["team.n_agents=4", "task.demand_sensing=relayed", "policy.hidden=8", "policy.mlp_width=16"]
    config = load_config(CONFIG, [*keys, "task.sensing_radius_m=2.0", "comm.radius_m=0.01"])
    torch.manual_seed(2)
    policy = make_policy(config).eval()
    state = sample_layout(config, range(20)).map(torch.as_tensor)
    linked = adjacency(state.position, state.alive, config.comm.radius_m)
    outs, known = [], []
    for unmet in (state.unmet, 0.3 * state.unmet):
        now = state.replace(unmet=unmet)
        knowledge = DemandKnowledge.nothing(now).learned(now, linked, config)
        seen = observe(now, config, knowledge)
        known.append(knowledge.known.any(-1))
        with torch.no_grad():
            outs.append(policy(seen, linked, policy.initial_memory(seen))[0].log_choice)
    assert 0 < known[0].float().mean() < 1
    same = (outs[0] == outs[1]).all(-1)
    assert same[~known[0]].all() and not same[known[0]].all()
