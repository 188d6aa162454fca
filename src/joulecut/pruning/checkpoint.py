"""The state of a search in one file, from which a killed run goes on to the same recipe.

The file is a safetensors file: the weights of the network where the search stands, and everything else as
JSON in its header. It is replaced whole after every step, and is no pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, fx

from joulecut.codec import from_json, to_json, write_bytes
from joulecut.errors import SchemaError, UsageError
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.candidates.blocks import parts_of
from joulecut.pruning.metering import Look
from joulecut.pruning.network import Network
from joulecut.pruning.recipe import fingerprint
from joulecut.pruning.records import Budget, Kind, PruneStep
from joulecut.pruning.settings import SearchSettings
from joulecut.pruning.state import Run, Samples

__all__ = ["Checkpoint", "SearchState", "identity"]

_HEADER = "joulecut"


@dataclass(frozen=True, slots=True)
class SearchState:
    """What a checkpoint holds beside the weights.

    Attributes:
        identity: digests of what the run was given, by what it is of.
        kept: living channels by group.
        dropped: kind and name of the blocks and layers that are left out, in the order in which they went.
        steps: what was booked.
        banned: kind and name of options that the guard rejected, and the step until which they are.
        exchanged: what the last exchange kept.
        trials: end points that exchanges have compared.
        looks: what was measured, by what is limited.
    """

    identity: dict[str, str]
    kept: dict[str, tuple[int, ...]]
    dropped: tuple[tuple[Kind, str], ...]
    steps: tuple[PruneStep, ...]
    banned: tuple[tuple[str, str, int], ...]
    exchanged: dict[str, tuple[int, ...]] | None
    trials: int
    looks: dict[str, tuple[Look, ...]]


def identity(
    module: fx.GraphModule,
    calibration: Samples,
    device: DeviceSpec,
    budget: Budget,
    settings: SearchSettings,
) -> dict[str, str]:
    """Digests of all that decides what a search does, by what they are of."""
    labels = calibration.labels
    data = (calibration.inputs, *(() if labels is None else (labels,)))
    return {
        "network": _digest(fingerprint(module), module.code),
        "data": _digest(*(_content(tensor) for tensor in data)),
        "device": _digest(repr(device)),
        "budget": _digest(repr(budget)),
        "settings": _digest(repr(replace(settings, ranking=_named(settings.ranking)))),
        "version of torch": torch.__version__,
    }


def _named(ranking: object) -> str:
    """A ranking in words; a function by its name, as its place in memory changes from run to run."""
    return (
        ranking
        if isinstance(ranking, str)
        else str(getattr(ranking, "name", getattr(ranking, "__name__", "")))
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _content(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    header = f"{plain.dtype} {tuple(plain.shape)}"
    return header + hashlib.sha256(plain.view(torch.uint8).numpy().data).hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the state of a run is kept.

    Attributes:
        path: the file.
        identity: of the run, see ``identity``.
    """

    path: Path
    identity: Mapping[str, str]

    def save(self, run: Run) -> None:
        """Write the state of a run, whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        from safetensors.torch import save

        state = SearchState(
            identity=dict(self.identity),
            kept=dict(run.here.kept),
            dropped=_dropped(run.here),
            steps=tuple(run.steps),
            banned=tuple((*key, until) for key, until in sorted(run.banned.items())),
            exchanged=None if run.exchanged is None else dict(run.exchanged),
            trials=run.trials,
            looks=run.limits.looks,
        )
        tensors = {name: tensor.contiguous() for name, tensor in run.here.weights.items()}
        self.path.parent.mkdir(exist_ok=True)
        write_bytes(self.path, save(tensors, metadata={_HEADER: to_json(state)}))

    def resume(self, run: Run) -> None:
        """Put a run where the file says that it stood.

        Raises:
            UsageError: no such file, damaged, or of another run (with what differs).
        """
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            raise UsageError(f"there is no run to resume: no {self.path}.", hint="Start without --resume.")
        try:
            with safe_open(self.path, framework="pt") as file:
                header = (file.metadata() or {}).get(_HEADER, "")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            state = from_json(header, SearchState, where=str(self.path))
        except (SafetensorError, SchemaError, OSError) as error:
            raise UsageError(f"{self.path} is damaged.", hint="Delete it and start again.") from error
        differs = [name for name, digest in self.identity.items() if state.identity.get(name) != digest]
        if differs:
            raise UsageError(
                f"{self.path} is of a run with another {' and another '.join(differs)}.",
                hint="Resume with the same arguments, or start again in another folder.",
            )
        run.here = _network(run, state, tensors)
        run.steps = list(state.steps)
        run.banned = {(kind, name): until for kind, name, until in state.banned}
        run.exchanged, run.trials = state.exchanged, state.trials
        run.limits.recall(state.looks)


def _dropped(network: Network) -> tuple[tuple[Kind, str], ...]:
    parts = parts_of(network) if network.dropped else {}
    return tuple(key for part in network.dropped for key, known in parts.items() if known == part)


def _network(run: Run, state: SearchState, tensors: Mapping[str, Tensor]) -> Network:
    parts = parts_of(run.folded) if state.dropped else {}
    weights = {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in tensors.items()
    }
    dropped = tuple(parts[kind, name] for kind, name in state.dropped)
    return replace(run.folded, weights=weights, kept=state.kept, dropped=dropped)
