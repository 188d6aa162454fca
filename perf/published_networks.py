"""Work of the networks that the published energies name, typed in from their architectures.

MobileNet V1 (arXiv:1704.04861), V2 (1801.04381) and V3 with its minimalistic variants (1905.02244), the
EfficientNet-Lite family (github.com/tensorflow/tpu, efficientnet/lite), ResNet-18, -34 and -50 (1512.03385,
stride in the 3x3 convolution), and the MLPerf Tiny reference networks (github.com/mlcommons/tiny).
Activations are NHWC or NCHW alike: only their sizes matter here. Checked in tests against published MACs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from joulecut.workload.layer import DTYPE_BITS, LayerWork, Workload

__all__ = ["network"]


@dataclass(slots=True)
class _Net:
    """A network while it is typed in: the current activation, and the layers so far."""

    height: int
    width: int
    channels: int
    dtype: str
    layers: list[LayerWork] = field(default_factory=list)

    @property
    def element(self) -> int:
        return DTYPE_BITS[self.dtype] // 8

    def conv(
        self, out: int, kernel: int | tuple[int, int], stride: int = 1, *, depthwise: bool = False
    ) -> None:
        """A convolution with "same" padding, batch norm folded into its bias."""
        kernel_h, kernel_w = (kernel, kernel) if isinstance(kernel, int) else kernel
        high, wide = math.ceil(self.height / stride), math.ceil(self.width / stride)
        per_filter = kernel_h * kernel_w * (1 if depthwise else self.channels)
        self._layer(
            "conv2d",
            "depthwise" if depthwise else "dense",
            macs=high * wide * out * per_filter,
            weights=(out, 1 if depthwise else self.channels, kernel_h, kernel_w),
            out_shape=(1, out, high, wide),
            groups=self.channels if depthwise else 1,
        )
        self.height, self.width, self.channels = high, wide, out

    def linear(self, out: int) -> None:
        """A fully connected layer on what is left of the image."""
        features = self.height * self.width * self.channels
        self.height, self.width, self.channels = 1, 1, features
        self._layer("linear", "dense", macs=features * out, weights=(out, features), out_shape=(1, out))
        self.channels = out

    def add(self) -> None:
        """The sum of the activation and one of the same size."""
        self._layer("add", "elementwise", operands=2, out_shape=self._shape())

    def pool(self) -> None:
        """The mean over the whole image."""
        self._layer("mean", "elementwise", out_shape=(1, self.channels, 1, 1))
        self.height = self.width = 1

    def _shape(self) -> tuple[int, ...]:
        return (1, self.channels, self.height, self.width)

    def _layer(
        self,
        op: str,
        kind: str,
        *,
        out_shape: tuple[int, ...],
        macs: int = 0,
        weights: tuple[int, ...] = (),
        operands: int = 1,
        groups: int = 1,
    ) -> None:
        shape = self._shape()
        bias = 4 * weights[0] if weights else 0
        self.layers.append(
            LayerWork(
                path=f"{len(self.layers)}.{op}",
                op=op,
                kind=kind,  # type: ignore[arg-type]
                macs=macs,
                weight_bytes=(math.prod(weights) * self.element if weights else 0) + bias,
                in_bytes=operands * math.prod(shape) * self.element,
                out_bytes=math.prod(out_shape) * self.element,
                in_shape=shape,
                out_shape=out_shape,
                weight_shape=weights,
                in_channels=self.channels,
                out_channels=out_shape[1],
                groups=groups,
                dtype=self.dtype,
                bias_bytes=bias,
                reads_input=not self.layers,
            )
        )


def _round8(channels: float) -> int:
    """The nearest multiple of 8 that takes no more than a tenth away (MobileNet V2, make_divisible)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _mobilenet_v1(net: _Net, multiplier: float, classes: int = 1001) -> None:
    net.conv(max(8, int(32 * multiplier)), 3, 2)
    for out, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        net.conv(net.channels, 3, stride, depthwise=True)
        net.conv(max(8, int(out * multiplier)), 1)
    net.pool()
    net.linear(classes)


def _inverted(net: _Net, expanded: int, out: int, kernel: int, stride: int, *, squeeze: bool = False) -> None:
    """An inverted residual block: expand, filter, optionally squeeze and excite, project."""
    before = net.channels
    if expanded != before:
        net.conv(expanded, 1)
    net.conv(expanded, kernel, stride, depthwise=True)
    if squeeze:
        size = net.height, net.width
        net.pool()
        net.linear(_round8(expanded / 4))
        net.linear(expanded)
        net.height, net.width = size
        net.add()  # the product of activation and gate: as many bytes as a sum
    net.conv(out, 1)
    if stride == 1 and before == out:
        net.add()


def _mobilenet_v2(net: _Net, multiplier: float, classes: int = 1001) -> None:
    net.conv(_round8(32 * multiplier), 3, 2)
    for factor, width, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(repeats):
            _inverted(net, net.channels * factor, _round8(width * multiplier), 3, stride if i == 0 else 1)
    net.conv(_round8(1280 * multiplier) if multiplier > 1 else 1280, 1)
    net.pool()
    net.linear(classes)


_V3_SMALL: Final = (
    (3, 16, 16, True, 2), (3, 72, 24, False, 2), (3, 88, 24, False, 1), (5, 96, 40, True, 2),
    (5, 240, 40, True, 1), (5, 240, 40, True, 1), (5, 120, 48, True, 1), (5, 144, 48, True, 1),
    (5, 288, 96, True, 2), (5, 576, 96, True, 1), (5, 576, 96, True, 1),
)  # fmt: skip
_V3_LARGE: Final = (
    (3, 16, 16, False, 1), (3, 64, 24, False, 2), (3, 72, 24, False, 1), (5, 72, 40, True, 2),
    (5, 120, 40, True, 1), (5, 120, 40, True, 1), (3, 240, 80, False, 2), (3, 200, 80, False, 1),
    (3, 184, 80, False, 1), (3, 184, 80, False, 1), (3, 480, 112, True, 1), (3, 672, 112, True, 1),
    (5, 672, 160, True, 2), (5, 960, 160, True, 1), (5, 960, 160, True, 1),
)  # fmt: skip
"""MobileNet V3, tables 1 and 2: kernel, expanded width, width, squeeze and excite, stride."""


def _mobilenet_v3(net: _Net, kind: str, minimal: bool, multiplier: float, classes: int = 1001) -> None:
    """Expanded widths are factors of the input's; the minimalistic networks have kernels of 3 only and no
    squeeze and excite (github.com/tensorflow/models, slim/nets/mobilenet/mobilenet_v3.py)."""
    net.conv(_round8(16 * multiplier), 3, 2)
    width = 16
    for kernel, expanded, out, squeeze, stride in _V3_SMALL if kind == "small" else _V3_LARGE:
        factor, width = expanded / width, out
        _inverted(
            net,
            _round8(net.channels * factor),
            _round8(out * multiplier),
            3 if minimal else kernel,
            stride,
            squeeze=squeeze and not minimal,
        )
    net.conv(_round8(net.channels * 6), 1)
    net.pool()
    net.linear(1024 if kind == "small" else 1280)
    net.linear(classes)


_LITE: Final = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2), 3: (1.2, 1.4), 4: (1.4, 1.8)}
"""EfficientNet-Lite: width and depth multipliers."""


def _efficientnet_lite(net: _Net, size: int, classes: int = 1000) -> None:
    wide, deep = _LITE[size]
    net.conv(32, 3, 2)
    blocks = (
        (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
    )  # fmt: skip
    for number, (repeats, kernel, stride, factor, width) in enumerate(blocks):
        edge = number in (0, len(blocks) - 1)
        for i in range(repeats if edge else math.ceil(repeats * deep)):
            _inverted(net, net.channels * factor, _round8(width * wide), kernel, stride if i == 0 else 1)
    net.conv(1280, 1)
    net.pool()
    net.linear(classes)


def _shortcut(net: _Net, before: tuple[int, int, int], stride: int) -> None:
    """A 1x1 convolution on the block's input, and the sum."""
    out = net.channels
    if (before[2], stride) != (out, 1):
        after = net.height, net.width
        net.height, net.width, net.channels = before
        net.conv(out, 1, stride)
        net.height, net.width = after
    net.add()


def _resnet(net: _Net, repeats: tuple[int, ...], bottleneck: bool, classes: int = 1000) -> None:
    net.conv(64, 7, 2)
    net.height, net.width = math.ceil(net.height / 2), math.ceil(net.width / 2)
    for stage, blocks in enumerate(repeats):
        width = 64 << stage
        for i in range(blocks):
            stride = 2 if stage and i == 0 else 1
            before = net.height, net.width, net.channels
            if bottleneck:
                net.conv(width, 1)
                net.conv(width, 3, stride)
                net.conv(4 * width, 1)
            else:
                net.conv(width, 3, stride)
                net.conv(width, 3)
            _shortcut(net, before, stride)
    net.pool()
    net.linear(classes)


def _resnet8(net: _Net) -> None:
    net.conv(16, 3)
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        before = net.height, net.width, net.channels
        net.conv(width, 3, stride)
        net.conv(width, 3)
        _shortcut(net, before, stride)
    net.pool()
    net.linear(10)


def _ds_cnn(net: _Net) -> None:
    net.conv(64, (10, 4), 2)
    for _ in range(4):
        net.conv(64, 3, depthwise=True)
        net.conv(64, 1)
    net.pool()
    net.linear(12)


def _autoencoder(net: _Net) -> None:
    for features in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        net.linear(features)


_SIMPLE: Final[dict[str, tuple[tuple[int, int, int], Callable[[_Net], None]]]] = {
    "ds_cnn": ((49, 10, 1), _ds_cnn),
    "fc_autoencoder": ((1, 1, 640), _autoencoder),
    "resnet8": ((32, 32, 3), _resnet8),
    "resnet18": ((224, 224, 3), lambda net: _resnet(net, (2, 2, 2, 2), False)),
    "resnet50": ((224, 224, 3), lambda net: _resnet(net, (3, 4, 6, 3), True)),
}


@cache
def network(model: str, size: int = 224, dtype: str = "float32") -> Workload | None:
    """The work of a published network, or None for one that is not typed in here.

    Args:
        model: its name, as ``mobilenet_v1_0.25``, ``mobilenet_v3_large_min_1``, ``efficientnet_lite0``.
        size: height and width of the image, for the families that come in several.
        dtype: type of weights and activations.

    >>> network("resnet8").macs, network("mobilenet_v1_1").macs
    (12501632, 568741376)
    """
    if model in _SIMPLE:
        (height, width, channels), build = _SIMPLE[model]
        net = _Net(height, width, channels, dtype)
        build(net)
        return Workload(model, tuple(net.layers))
    net = _Net(size, size, 3, dtype)
    if found := re.fullmatch(r"mobilenet_v1_([\d.]+)", model):
        _mobilenet_v1(net, float(found[1]), 2 if size == 96 else 1001)  # 96: visual wake words
    elif found := re.fullmatch(r"mobilenet_v2_([\d.]+)", model):
        _mobilenet_v2(net, float(found[1]))
    elif found := re.fullmatch(r"mobilenet_v3_(large|small)(_min)?_([\d.]+)", model):
        _mobilenet_v3(net, found[1], bool(found[2]), float(found[3]))
    elif found := re.fullmatch(r"efficientnet_lite([0-4])", model):
        _efficientnet_lite(net, int(found[1]))
    else:
        return None
    return Workload(f"{model}-{size}", tuple(net.layers))
