"""A trained policy in one file: metadata, the whole configuration, the weights, and the exported stages.

The file is a zip archive with ``metadata.json``, ``config.yaml``, ``weights.npz`` and one ONNX model per stage, so that
an agent needs NumPy and onnxruntime alone, and any change of its content is noticed. It is written atomically.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from sortie_core.config import Config, Configuration, UserError
from sortie_core.files import write_atomically
from sortie_core.observation import layout
from sortie_core.shipped import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STAGES = ("encode", "mix", "attend", "advance", "act")
FORMAT = 1
_FIXED_AT_TRAINING = (
    "network", "cell", "exchanges", "keep_decisions", "graph_filter", "cluster_mask", "hops", "hidden", "key_dim",
    "mlp_width", "integrator", "correction_mps",
)  # fmt: skip
# What zipfile and NumPy raise for changed bytes, depending on where those lie.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, yaml.YAMLError, NotImplementedError, RuntimeError, KeyError, OSError, EOFError,
    ValueError, AttributeError,
)  # fmt: skip


def write_checkpoint(
    path: str | Path,
    config: Configuration,
    weights: Mapping[str, np.ndarray],
    stages: Mapping[str, bytes],
    **metadata: Any,
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file.
        config: the configuration it was trained with.
        weights: the policy's state dictionary.
        stages: the exported model of each of `STAGES`; empty for a network that cannot be exported.
        metadata: what a user wants to know of it: seed, commit, figures, contraction_rate.
    """
    arrays, content = io.BytesIO(), io.BytesIO()
    np.savez(arrays, **dict(weights))  # type: ignore[arg-type]
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"format": FORMAT, **metadata}, indent=2))
        archive.writestr("config.yaml", config.to_yaml())
        archive.writestr("weights.npz", arrays.getvalue())
        for name, model in stages.items():
            archive.writestr(f"{name}.onnx", model)
    write_atomically(path, content.getvalue())


class MissingCheckpointError(UserError):
    """There is no checkpoint where one is asked for.

    Attributes:
        what: the same without advice.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; train one with `sortie train`, or set policy.checkpoint")
        self.what = what


def locate(path: str | Path) -> Path:
    """The file that a checkpoint's path means: in the working folder, or else shipped under this name.

    Raises:
        UserError: it is neither.
    """
    if (file := find(path).absolute()).is_file():
        return file
    if Path(path).is_dir():
        what = "is a folder"
    elif Path(path).is_absolute():
        what = "does not exist"
    else:
        what = f"is not in {Path.cwd()}, and none is shipped under this name"
    raise MissingCheckpointError(f"checkpoint {path} {what}")


@contextmanager
def _reading(path: str | Path) -> Iterator[Path]:
    """The file; errors of reading one that is not there, or not whole, as one line."""
    file = locate(path)
    try:
        yield file
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"checkpoint {path} is truncated or damaged ({reason}); copy or train it again") from None


def _read(path: str | Path, member: str) -> bytes:
    with _reading(path) as file, zipfile.ZipFile(file) as archive:
        return archive.read(member)


def load_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata, with the data of the configuration under ``config``.

    Raises:
        UserError: the file is missing, damaged, or of another format.
    """
    with _reading(path):
        metadata: dict[str, Any] = json.loads(_read(path, "metadata.json"))
        found, metadata["config"] = metadata.get("format"), yaml.safe_load(_read(path, "config.yaml"))
        if not isinstance(metadata["config"], dict):
            raise ValueError("its config.yaml holds no keys")
    if found != FORMAT:
        raise UserError(f"checkpoint {path} has format {found}, this version reads {FORMAT}; train it again")
    return metadata


def load_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The policy's state dictionary as arrays; errors as for a file that `load_metadata` cannot read."""
    with _reading(path), np.load(io.BytesIO(_read(path, "weights.npz"))) as arrays:
        return {name: arrays[name] for name in arrays.files}


def check_compatible(metadata: dict[str, Any], config: Config, path: str | Path) -> Config:
    """The mission's configuration with the network's sizes as trained.

    Args:
        metadata: from `load_metadata`.
        config: of the mission.
        path: for the message.

    Raises:
        UserError: another observation layout, tick or decision period than in training, which are built into the
            network; or another radius where `policy.accept_mismatch` is false.
    """

    def trained(key: str, asked: Any) -> Any:
        # A key that the checkpoint's version did not have yet cannot have differed.
        section, name = key.split(".")
        return metadata["config"].get(section, {}).get(name, asked)

    built_in = layout(config) | {
        "world.dt_s": config.world.dt_s,
        "policy.decision_steps": config.policy.decision_steps,
    }
    for key, asked in built_in.items():
        if (value := trained(key, asked)) != asked:
            raise UserError(
                f"checkpoint {path} was trained with {key}={value}, not {asked}; set {key}={value} or train another"
            )
    scenarios = metadata["config"].get("train", {}).get("scenarios", [{}])
    radii_m = {each.get("comm.radius_m", trained("comm.radius_m", config.comm.radius_m)) for each in scenarios}
    if config.comm.radius_m not in radii_m and not config.policy.accept_mismatch:
        known = " or ".join(f"{radius_m:g}" for radius_m in sorted(radii_m))
        raise UserError(
            f"checkpoint {path} was trained with comm.radius_m={known}, this is {config.comm.radius_m}; "
            f"set comm.radius_m={known}, or fly it all the same with policy.accept_mismatch=true"
        )
    as_trained = {name: trained(f"policy.{name}", getattr(config.policy, name)) for name in _FIXED_AT_TRAINING}
    return config.model_copy(update={"policy": config.policy.model_copy(update=as_trained)})


class OnnxStages:
    """The exported stages, run by onnxruntime on one thread; one method for each name in `STAGES`.

    Args:
        models: bytes of each of `STAGES`.
    """

    def __init__(self, models: Mapping[str, bytes]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3

        def stage(name: str) -> Any:
            return self._caller(onnxruntime.InferenceSession(models[name], options, providers=["CPUExecutionProvider"]))

        self.encode, self.mix, self.attend, self.advance, self.act = map(stage, STAGES)

    @staticmethod
    def _caller(session: Any) -> Any:
        names = [each.name for each in session.get_inputs()]

        def call(*inputs: np.ndarray) -> Any:
            outputs = session.run(None, dict(zip(names, inputs, strict=True)))
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

        return call


def check_exported(path: str | Path) -> None:
    """Refuse a checkpoint without exported stages.

    Raises:
        UserError: its network is one that only the batched pass computes.
    """
    with _reading(path) as file, zipfile.ZipFile(file) as archive:
        exported = any(name.endswith(".onnx") for name in archive.namelist())
    if not exported:
        network = load_metadata(path)["config"].get("policy", {}).get("network")
        raise UserError(
            f"checkpoint {path} holds a network ({network}) that agents cannot fly by themselves; compare it with "
            "`sortie evaluate`, or set policy.checkpoint to one trained with policy.network=lgtc"
        )


def load_stages(path: str | Path) -> OnnxStages:
    """The exported stages of a checkpoint, ready to run; errors as of `check_exported`."""
    check_exported(path)
    return OnnxStages({name: _read(path, f"{name}.onnx") for name in STAGES})
