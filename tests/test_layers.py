"""The fast layers against PyTorch's own, on boxes with three different sides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.learning import layers
from bench.learning.layers import ConvPool3d, ConvToOne3d, UpConv3d, by_parts, channels_last

SIDES = (4, 6, 8)


def _up_sampled(features: Tensor, layer: nn.Conv3d) -> Tensor:
    features = F.interpolate(features, scale_factor=2, mode="nearest")
    return F.relu(F.conv3d(features, layer.weight, layer.bias, padding=1))


PLAIN: dict[Callable[[], nn.Conv3d], Callable[[Tensor, nn.Conv3d], Tensor]] = {
    lambda: ConvPool3d(3, 5): lambda x, layer: F.max_pool3d(
        F.relu(F.conv3d(x, layer.weight, layer.bias, padding=1)), 2
    ),
    lambda: UpConv3d(3, 5): _up_sampled,
    lambda: ConvToOne3d(3): lambda x, layer: F.conv3d(x, layer.weight, layer.bias, padding=1),
}


@pytest.mark.parametrize(("make", "plain"), PLAIN.items(), ids=["ConvPool3d", "UpConv3d", "ConvToOne3d"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_values_and_gradients_are_those_of_the_plain_layer(
    make: Callable[[], nn.Conv3d],
    plain: Callable[[Tensor, nn.Conv3d], Tensor],
    on_gpu: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of what runs on a GPU, computed here."""
    monkeypatch.setattr(layers, "_on_gpu", lambda _: on_gpu)
    layer = make().double()
    features = torch.randn(5, 3, *SIDES, dtype=torch.float64).to(memory_format=torch.channels_last_3d).requires_grad_()
    inputs = (features, layer.weight, layer.bias)
    fast, reference = layer(features), plain(features, layer)
    assert torch.allclose(fast, reference, rtol=1e-10, atol=1e-12)
    upstream = torch.randn_like(reference)
    ours, theirs = torch.autograd.grad(fast, inputs, upstream), torch.autograd.grad(reference, inputs, upstream)
    for one, other in zip(ours, theirs):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_the_deterministic_pooling_has_the_values_and_gradients_of_the_other() -> None:
    full = torch.randn(2, 3, *SIDES, dtype=torch.float64, requires_grad=True)
    ours, theirs = layers._tile_maxima(full), F.max_pool3d(full, 2)
    upstream = torch.randn_like(theirs)
    assert torch.equal(ours, theirs)
    assert torch.equal(*(torch.autograd.grad(pooled, full, upstream)[0] for pooled in (ours, theirs)))


def test_one_channel_s_features_come_out_channels_last() -> None:
    features = ConvPool3d(1, 4)(channels_last(torch.randn(3, 1, *SIDES)))
    assert features.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_parts_keep_the_batch_whole_and_in_order(n: int) -> None:
    seen = []

    def square(part: Tensor) -> Tensor:
        seen.append(len(part))
        return part**2

    batch = torch.arange(float(n))[:, None]
    assert torch.equal(by_parts(square, batch, floats=2**18), batch**2)  # two volumes fill the cache
    assert min(seen) >= min(n, 2)
    assert len(seen) == max(1, n // 2)
