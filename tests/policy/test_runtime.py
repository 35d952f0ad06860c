"""N separate runtimes that exchange packets must decide what the batched forward pass decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sortie_core.beacons import Beacons
from sortie_core.comm_graph import adjacency
from sortie_core.config import Config, load_config
from sortie_core.layout import sample_layout
from sortie_core.observation import observation
from sortie_core.packets import Consumers, LocalView, Packet, deliberation_rounds
from sortie_policy import checkpoint
from sortie_policy.actor_critic import LGTCPolicy
from sortie_policy.export import export_stages
from sortie_policy.rounds import dependent_rounds, draw_rounds
from sortie_policy.runtime import AgentRuntime

CONFIG = Path(__file__).parents[2] / "configs" / "delivery.yaml"
N, M, R = 7, 4, 2


def configured(*overrides: str) -> Config:
    return load_config(CONFIG, ["policy.decision_steps=1", "comm.radius_m=3.5", *overrides])


def restless_policy(config: Config) -> LGTCPolicy:
    """Weights large enough that every term of every stage shows in the result."""
    torch.manual_seed(3)
    policy = LGTCPolicy(config)
    with torch.no_grad():
        policy.attention.wait_key.normal_()
        policy.wait_embedding.normal_()
        policy.attention.temperature.fill_(0.3)
        for layer in (policy.memory, policy.corrector[-1]):
            layer.weight.mul_(100.0)
    return policy.eval()


def write(path: Path, config: Config, policy: LGTCPolicy, **metadata: object) -> Path:
    weights = {name: value.numpy() for name, value in policy.state_dict().items()}
    metadata = {"contraction_rate": 0.1} | metadata
    checkpoint.write_checkpoint(path, config, weights, export_stages(policy, config), **metadata)
    return path


def wandering_team(seed: int, steps: int, half_m: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    position = np.clip(
        random.uniform(-half_m, half_m, (1, N, 2)) + random.normal(0, 0.4, (steps, N, 2)).cumsum(0), -9, 9
    )
    return {
        "position": position.astype(np.float32),
        "velocity": random.normal(0, 1, (steps, N, 2)).astype(np.float32),
        "stock": random.uniform(0, 1, (steps, N, R)).astype(np.float32),
        "consumers": random.uniform(-half_m, half_m, (M, 2)).astype(np.float32),
        "demand": random.uniform(0.5, 2, (M, R)).astype(np.float32),
        "unmet": random.uniform(0, 1.5, (steps, M, R)).astype(np.float32),
    }


Inbox = list[list[Packet]]


def exchange(
    runtimes: list[AgentRuntime], views: list[LocalView], links: list[np.ndarray], late: list[Inbox] | None
) -> list[Inbox]:
    """One tick of radio rounds; links[r][i, j] says whether what j sends in round r reaches i.

    It does at once, or, where `late` is what was on its way to everybody in each round, then that comes instead.

    Returns:
        What reaches everybody of this tick, by round.
    """
    packets: list[Packet | None] = [runtime.start_tick(view) for runtime, view in zip(runtimes, views, strict=True)]
    sent = []
    for round_, linked in enumerate(links):
        sent.append([[packets[j] for j in np.flatnonzero(linked[i])] for i in range(N)])
        heard = sent[-1] if late is None else late[round_]
        packets = [runtime.finish_round(each) for runtime, each in zip(runtimes, heard, strict=True)]
    assert packets == [None] * N
    return sent


@pytest.mark.parametrize(
    ("loss", "overrides"),
    [
        (0.3, ["policy.hops=1"]),
        (0.0, []),
        (0.3, []),
        (0.0, ["policy.integrator=fused"]),
        (0.3, ["policy.hops=3", "policy.exchanges=3"]),
        (0.3, ["policy.exchanges=1", "policy.keep_decisions=1"]),
        (0.3, ["policy.exchanges=0"]),
        (0.3, ["policy.keep_decisions=0"]),
        (0.3, ["policy.cell=gru", "policy.cluster_mask=false"]),
        (0.3, ["policy.cell=none", "policy.graph_filter=false"]),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_packets_give_the_batched_forward_pass(tmp_path: Path, loss: float, overrides: list[str], late: bool) -> None:
    config = configured(*overrides)
    hops, exchanges = config.policy.hops, config.policy.exchanges
    policy = restless_policy(config)
    config = config.override([f"policy.checkpoint={write(tmp_path / 'p.ckpt', config, policy)}"])
    runtimes = [AgentRuntime.from_checkpoint(config, index) for index in range(N)]
    team, steps = wandering_team(5, 30, config.task.arena_half_m), 30
    random = np.random.default_rng(7)
    memory, worst, edges = None, 0.0, set()
    on_their_way: list[Inbox] | None = [[[] for _ in range(N)]] * (1 + deliberation_rounds(hops, exchanges))
    for t in range(steps):
        alive = np.ones((1, N), bool)
        graph = adjacency(team["position"][t][None], alive, config.comm.radius_m)[0]
        edges.add(graph.tobytes())
        rounds = deliberation_rounds(hops, exchanges)
        links = [graph & (random.random((N, N)) >= loss) for _ in range(1 + rounds)]
        active = np.arange(M) != (t // 10) % M
        completed = np.zeros(M, bool)
        consumers = Consumers(
            team["consumers"], team["demand"], team["unmet"][t], active, completed, completed, np.array([False, True])
        )
        views = [
            LocalView(t, 0.1 * t, team["position"][t, i], team["velocity"][t, i], team["stock"][t, i], consumers)
            for i in range(N)
        ]
        sent = exchange(runtimes, views, links, on_their_way if late else None)
        on_their_way = sent
        need = np.where([False, True], team["demand"], team["unmet"][t]) * active[:, None]
        seen = observation(
            *(torch.as_tensor(team[key][t])[None] for key in ("position", "velocity", "stock")),
            torch.tensor([0.1 * t]),
            torch.as_tensor(team["consumers"])[None],
            torch.as_tensor(need.astype(np.float32))[None],
            torch.as_tensor(active)[None],
            torch.tensor([[False, True]]),
            config,
        )
        with torch.no_grad():
            by_round = dependent_rounds(torch.as_tensor(np.stack(links[1:]))[None], hops, exchanges)
            out, memory, _ = policy(seen, by_round, memory or policy.initial_memory(seen, late))
        state = out.state
        worst = max(
            worst,
            np.abs(np.stack([r.state for r in runtimes]) - state[0].numpy()).max(),
            np.abs(np.stack([r.decision.attention for r in runtimes]) - out.attention[0].numpy()).max(),
            np.abs(np.stack([r._correction for r in runtimes]) - np.tanh(out.correction[0].numpy())).max(),
        )
        assert [r.decision.choice for r in runtimes] == out.log_choice[0].argmax(-1).tolist()
    assert len(edges) > 10, "the graph must change for this test to mean anything"
    assert worst < 1e-5


def test_packets_are_lost_at_the_rate_asked_for() -> None:
    linked = torch.ones(40, N, N, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(draw_rounds(linked, 2, 2, 0.0, generator), linked[:, None].expand(-1, 5, -1, -1))
    share = draw_rounds(linked, 2, 2, 0.3, generator).float().mean((0, 2, 3))
    # A later tap of the cell also needs the packet that told the attention.
    np.testing.assert_allclose(share, [0.7, 0.7, 0.7, 0.7, 0.7**2], atol=0.03)


@pytest.mark.parametrize("latency", [0, 2])
@pytest.mark.parametrize("loss", [0.0, 0.5])
def test_a_runtime_remembers_beacons_as_the_batched_team_does(latency: int, loss: float) -> None:
    """Both take neighbours to have gone straight on since, and forget them after the same time."""
    config = configured("policy.decision_steps=50", f"comm.loss={loss}", f"comm.latency_steps={latency}")
    random = np.random.default_rng(4)
    arrives = random.random(40) >= 0.6 if loss else np.ones(40, bool)
    drawn = iter(arrives)
    batched = Beacons(config, lambda shape: np.full(shape, float(next(drawn))))
    runtime, both = AgentRuntime(None, config, 0), ~np.eye(2, dtype=bool)[None]
    start, states, found = sample_layout(config, [1], 2), [], []
    nothing = np.zeros(config.task.n_consumers, bool)
    consumers = Consumers(
        start.consumer_position[0], start.demand[0], start.unmet[0], nothing, nothing, nothing, start.presence[0]
    )  # fmt: skip
    for tick in range(1, 41):
        moves = {key: random.normal(0, 1, (1, 2, 2)).astype(np.float32) for key in ("position", "velocity")}
        states.append(start.replace(time_s=np.array([0.1 * tick], np.float32), **moves))
        runtime.start_tick(LocalView(tick, 0.1 * tick, moves["position"][0, 0], moves["velocity"][0, 0],
                                     start.stock[0, 0], consumers))  # fmt: skip
        then = tick - latency
        packets = []
        if then >= 1 and arrives[then - 1]:
            sent = states[then - 1]
            parts = (sent.position[0, 1], sent.velocity[0, 1], sent.stock[0, 1])
            packets = [Packet(1, then, 0, np.concatenate(parts).astype(np.float32))]
        assert runtime.finish_round(packets) is None
        expected, known = batched.exchange(states[-1], both), runtime._neighbours(tick)
        found.append(known.linked.shape[-1] == 1)
        assert bool(expected.linked[0, 0, 1]) == found[-1]
        if found[-1]:
            place = np.broadcast_to(expected.position, (1, 2, 2, 2))[0, 0, 1]
            np.testing.assert_allclose(known.position[0, 0, 0], place, atol=1e-4)
    assert (0 < np.mean(found[latency:]) < 1) == (loss > 0)
