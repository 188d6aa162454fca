"""Work of small networks, typed in from their published architectures."""

from __future__ import annotations

from joulecut.workload.layer import LayerWork, Workload


def conv(
    path: str,
    size_in: int,
    size_out: int,
    channels_in: int,
    channels_out: int,
    kernel: int,
    *,
    reads_input: bool = False,
    writes_output: bool = False,
    calls: int = 1,
) -> LayerWork:
    """A square float32 convolution with bias, batch 1; activations and MACs are summed over its calls."""
    weights = channels_out * channels_in * kernel * kernel
    return LayerWork(
        path=path,
        op="conv2d",
        kind="dense",
        macs=weights * size_out * size_out * calls,
        weight_bytes=4 * (weights + channels_out),
        in_bytes=4 * channels_in * size_in * size_in * calls,
        out_bytes=4 * channels_out * size_out * size_out * calls,
        in_shape=(1, channels_in, size_in, size_in),
        out_shape=(1, channels_out, size_out, size_out),
        weight_shape=(channels_out, channels_in, kernel, kernel),
        in_channels=channels_in,
        out_channels=channels_out,
        bias_bytes=4 * channels_out,
        reads_input=reads_input,
        writes_output=writes_output,
        calls=calls,
    )


def depthwise(path: str, size: int, channels: int) -> LayerWork:
    """A 3x3 depthwise float32 convolution, same padding, no bias."""
    return LayerWork(
        path=path,
        op="conv2d",
        kind="depthwise",
        macs=9 * channels * size * size,
        weight_bytes=4 * 9 * channels,
        in_bytes=4 * channels * size * size,
        out_bytes=4 * channels * size * size,
        in_shape=(1, channels, size, size),
        out_shape=(1, channels, size, size),
        weight_shape=(channels, 1, 3, 3),
        in_channels=channels,
        out_channels=channels,
        groups=channels,
    )


def linear(path: str, features_in: int, features_out: int, *, writes_output: bool = False) -> LayerWork:
    """A float32 linear layer without bias, batch 1."""
    return LayerWork(
        path=path,
        op="linear",
        kind="dense",
        macs=features_in * features_out,
        weight_bytes=4 * features_in * features_out,
        in_bytes=4 * features_in,
        out_bytes=4 * features_out,
        in_shape=(1, features_in),
        out_shape=(1, features_out),
        weight_shape=(features_out, features_in),
        in_channels=features_in,
        out_channels=features_out,
        writes_output=writes_output,
    )


def add(path: str, size: int, channels: int) -> LayerWork:
    """An addition of two float32 activations."""
    count = channels * size * size
    return LayerWork(
        path=path,
        op="add",
        kind="elementwise",
        macs=0,
        weight_bytes=0,
        in_bytes=8 * count,
        out_bytes=4 * count,
        in_shape=(1, channels, size, size),
        out_shape=(1, channels, size, size),
        in_channels=channels,
        out_channels=channels,
    )


def resnet8() -> Workload:
    """MLPerf Tiny ResNet-8 on 32x32x3: 12,501,632 MACs."""
    layers = [conv("stem", 32, 32, 3, 16, 3, reads_input=True)]
    layers += [conv("b1.c1", 32, 32, 16, 16, 3), conv("b1.c2", 32, 32, 16, 16, 3), add("b1.add", 32, 16)]
    for name, size, channels in (("b2", 16, 32), ("b3", 8, 64)):
        layers += [
            conv(f"{name}.c1", 2 * size, size, channels // 2, channels, 3),
            conv(f"{name}.c2", size, size, channels, channels, 3),
            conv(f"{name}.skip", 2 * size, size, channels // 2, channels, 1),
            add(f"{name}.add", size, channels),
        ]
    layers.append(linear("fc", 64, 10, writes_output=True))
    return Workload("resnet8", tuple(layers))
