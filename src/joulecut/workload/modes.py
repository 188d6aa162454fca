"""Training and evaluation of captured graphs, in which ``torch.export`` writes the mode down as literals.

A graph is captured in evaluation mode. Batch norm, instance norm, dropout of every kind and recurrent layers
carry the mode as an argument; attention carries a rate of dropout, which is 0 in evaluation, so the rate of
training is noted when the graph is captured. What an author's code leaves out in evaluation altogether
(``if self.training: ...``, as stochastic depth and the dropout of attention weights that are returned) is not
in the graph and does not come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from inspect import signature
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from joulecut.errors import ModelError
from joulecut.workload.callables import AuthorsCode

__all__ = ["note_training_mode", "set_training"]

_MODES: Final = ("training", "train", "use_input_stats")
"""What operations call the argument that says training or evaluation."""

_EVALUATED: Final = "joulecut_evaluated"
"""Key in a node's ``meta``: ``set_training`` switched it and will switch it back."""

_RATE: Final = "joulecut_dropout_p"
"""Key in a node's ``meta``: the rate of dropout of an attention in training."""

_CUMULATIVE: Final = "joulecut_cumulative"
"""Key in a node's ``meta``: a batch norm whose running statistics are cumulative averages."""

_ATTENTION: Final = torch.ops.aten.scaled_dot_product_attention.default
_NORM: Final = torch.ops.aten._native_batch_norm_legit.default
_EVALUATED_NORM: Final = torch.ops.aten._native_batch_norm_legit_no_training.default
_TRAINING_AT: Final = 5
"""Position of ``training`` in the first, which the second lacks."""


def set_training(module: torch.nn.Module, training: bool) -> None:
    """Switch a network to training or to evaluation, one captured by ``torch.export`` too.

    Exactly what was switched to training is switched back: what the author fixed to training (dropout that
    always drops, batch norm without running statistics) stays so.

    Raises:
        ModelError: a batch norm of a graph keeps cumulative averages (``momentum=None``), whose count is not
            in the graph.

    >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)).eval()
    >>> graph = torch.export.export(network, (torch.zeros(1, 2),)).module()
    >>> set_training(graph, True)
    >>> [node.args[-1] for node in graph.graph.nodes if "dropout" in str(node.target)]
    [True]
    """
    graph = module.graph if isinstance(module, fx.GraphModule) else fx.Graph()
    for node in graph.nodes:
        if training and node.meta.get(_CUMULATIVE):
            raise ModelError(
                f"the batch norm {node.meta[_CUMULATIVE]} averages over all batches (momentum=None), "
                "which a captured graph cannot go on with.",
                hint="Give it a momentum, as 0.1, before the network is captured.",
            )
    torch.nn.Module.train(module, training)  # by this name, as graphs of torch.export refuse train()
    for node in graph.nodes:
        if training:
            _train(node)
        elif node.meta.pop(_EVALUATED, False):
            _evaluate(node)
    if isinstance(module, fx.GraphModule):
        module.recompile()


def _train(node: fx.Node) -> None:
    mode = _mode(node)
    if node.target is _EVALUATED_NORM:
        node.target = _NORM
        node.args = (*node.args[:_TRAINING_AT], True, *node.args[_TRAINING_AT:])
    elif node.target is _ATTENTION and _value(node, "dropout_p") == 0.0 and node.meta.get(_RATE):
        _set(node, "dropout_p", node.meta[_RATE])
    elif mode and _value(node, mode) is False:
        _set(node, mode, True)
    else:
        return
    node.meta[_EVALUATED] = True


def _evaluate(node: fx.Node) -> None:
    if node.target is _NORM:
        node.target = _EVALUATED_NORM
        node.args = (*node.args[:_TRAINING_AT], *node.args[_TRAINING_AT + 1 :])
    elif node.target is _ATTENTION:
        _set(node, "dropout_p", 0.0)
    else:
        _set(node, _mode(node), False)


def _mode(node: fx.Node) -> str:
    """The name of the argument that says training or evaluation; "" where an operation has none."""
    return next((name for name in _MODES if name in _arguments(node)), "")


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Names of a node's arguments, in order, with their defaults."""
    schema = getattr(node.target, "_schema", None)
    return {a.name: a.default_value for a in schema.arguments} if schema is not None else {}


def _value(node: fx.Node, name: str) -> Any:
    names = _arguments(node)
    position = list(names).index(name)
    return node.args[position] if position < len(node.args) else node.kwargs.get(name, names[name])


def _set(node: fx.Node, name: str, value: Any) -> None:
    position = list(_arguments(node)).index(name)
    if position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(name, value)


def note_training_mode(graph: fx.GraphModule, model: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Note in a graph's nodes what only its author's modules know of training.

    The rates of attention's dropout come from one run of ``model`` in training mode on tensors without data;
    where that run fails or calls attention more or less often than the graph does, none is noted.

    Args:
        graph: ``model``, captured in evaluation mode.
        model: the author's network; its modes, parameters and statistics stay as they are.
        inputs: the example.
    """
    modules = dict(model.named_modules())
    for node in graph.graph.nodes:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        owner = modules.get(str(stack[-1][0])) if stack else None
        if isinstance(owner, torch.nn.modules.batchnorm._NormBase):
            tracked = owner.track_running_stats and owner.momentum is None
            node.meta.update({_CUMULATIVE: str(stack[-1][0])} if tracked else {})
    attentions = [n for n in graph.graph.nodes if n.target is _ATTENTION and _value(n, "dropout_p") == 0.0]
    rates = _attention_rates(model, inputs) if attentions and not isinstance(model, fx.GraphModule) else []
    if len(rates) == len(attentions):
        for node, rate in zip(attentions, rates, strict=True):
            node.meta[_RATE] = rate


def _attention_rates(model: torch.nn.Module, inputs: tuple[Tensor, ...]) -> list[float]:
    """Rates of dropout of every attention in a training run, in order; [] where it does not run."""
    watch = _Watch()
    with _training(model), FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        state = (*model.named_parameters(), *model.named_buffers())
        fake: dict[str, Tensor] = {name: mode.from_tensor(tensor) for name, tensor in state}
        example: list[Tensor] = [mode.from_tensor(tensor) for tensor in inputs]
        doubled = tuple(torch.cat([t, t]) if t.ndim else t for t in example)
        with suppress(ModelError), AuthorsCode("training"), watch:
            torch.func.functional_call(model, fake, doubled)
            return watch.rates
    return []


class _Watch(TorchFunctionMode):
    """Notes the rate of dropout of every attention that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            self.rates.append(float(args[4] if len(args) > 4 else keywords.get("dropout_p", 0.0)))
        elif func is functional.multi_head_attention_forward:  # what it calls is not seen from here
            bound = signature(func).bind(*args, **keywords)
            bound.apply_defaults()
            if not bound.arguments["need_weights"]:
                self.rates.append(float(bound.arguments["training"] and bound.arguments["dropout_p"]))
        return func(*args, **keywords)


@contextmanager
def _training(model: torch.nn.Module) -> Iterator[None]:
    """A network in training mode; the mode of each of its parts is put back, and torch's generator too."""
    modes = {part: part.training for part in model.modules()}
    with torch.random.fork_rng(devices=[]):
        model.train()
        try:
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode
