"""Layers that this network needs and PyTorch's own do slowly, equal in value to the plain ones.

All work on channels-last features. On a CPU each is one autograd function that keeps no more for the backward pass
than it needs and, since the network feeds them some volumes at a time, works in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Row k: which of the three taps of a 3-wide kernel fall on tap k of the 4-wide, stride-2 transposed convolution
# that equals up-sampling ×2 followed by the 3-wide convolution.
_FUSE = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
CACHE_BYTES = 2**21  # of the widest features worked on at a time
_POOLING: tuple[Any, ...] = ([2] * 3, [2] * 3, [0] * 3, [1] * 3, False)  # window, stride, padding, dilation, ceil


def _on_gpu(features: Tensor) -> bool:
    return features.is_cuda


def by_parts(function: Callable[[Tensor], Tensor], batch: Tensor, floats: int) -> Tensor:
    """`function` of the batch; on a CPU of as many volumes at a time as fit its cache with `floats` numbers each.

    The backward pass goes through the same parts.
    """
    if _on_gpu(batch):
        return function(batch)
    size = max(2, CACHE_BYTES // (4 * floats))  # PyTorch convolves a lone volume by a slow path
    return torch.cat([function(part) for part in batch.tensor_split(max(1, len(batch) // size))])


def channels_last(volumes: Tensor) -> Tensor:
    """(b, 1, d, h, w) → the same, with strides that say channels-last.

    PyTorch's own conversion leaves one channel as it is, and all layers behind it would then run channels-first.
    """
    b, _, d, h, w = volumes.shape
    return volumes.reshape(b, d, h, w, 1).movedim(-1, 1)


class ConvPool3d(nn.Conv3d):
    """A 3×3×3 "same" convolution, max-pooling ×2, ReLU. (b, c, 2d, 2h, 2w) → (b, c', d, h, w).

    ReLU after the pooling has the values and gradients of ReLU before it, on an eighth of the voxels.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve, pool and rectify."""
        pooled: Tensor
        if _on_gpu(features):
            full = super().forward(features)
            # PyTorch's own pooling has no deterministic backward pass on a GPU.
            pooled = F.relu(
                _tile_maxima(full) if torch.are_deterministic_algorithms_enabled() else F.max_pool3d(full, 2)
            )
        else:
            pooled = _ConvPool.apply(features, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return pooled


def _tile_maxima(full: Tensor) -> Tensor:
    b, c, d, h, w = full.shape
    return full.reshape(b, c, d // 2, 2, h // 2, 2, w // 2, 2).amax((3, 5, 7))


class _ConvPool(torch.autograd.Function):
    """Forgets the convolution's output: where each maximum was is all that the backward pass needs of it."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        full = F.conv3d(features, weight, bias, padding=1)
        pooled: Tensor
        pooled, where = torch.ops.aten.max_pool3d_with_indices(full, *_POOLING)
        pooled.clamp_min_(0)
        ctx.save_for_backward(features, weight, pooled, where)
        ctx.full_size = full.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, pooled, where = ctx.saved_tensors
        # Its sizes and strides are all that is asked of it: memory that nobody touches is never there.
        full = torch.empty(ctx.full_size, dtype=pooled.dtype, memory_format=torch.channels_last_3d)
        through = torch.ops.aten.threshold_backward(gradients[0], pooled, 0)
        full = torch.ops.aten.max_pool3d_with_indices_backward(through, full, *_POOLING, where)
        return _convolution_backward(ctx, full, features, weight)


class UpConv3d(nn.Conv3d):
    """Nearest-neighbour up-sampling ×2, a 3×3×3 "same" convolution, ReLU, as one transposed convolution.

    64 multiply-adds a low-resolution voxel and channel pair instead of 216. (b, c, d, h, w) → (b, c', 2d, 2h, 2w).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)
        self.register_buffer("fuse", torch.tensor(_FUSE), persistent=False)

    def fused(self) -> Tensor:
        """The kernel of the transposed convolution, (c, c', 4, 4, 4)."""
        fuse = self.fuse
        kernel: Tensor = torch.einsum("oidhw,ad,bh,cw->ioabc", self.weight, fuse, fuse, fuse)
        return kernel.contiguous(memory_format=torch.channels_last_3d)

    def forward(self, features: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Up-sample, convolve and rectify; `kernel` is `fused()`, where many calls share it."""
        kernel = self.fused() if kernel is None else kernel
        if _on_gpu(features):
            return F.relu(F.conv_transpose3d(features, kernel, self.bias, stride=2, padding=1))
        up: Tensor = _UpConv.apply(features, kernel, self.bias)  # type: ignore[no-untyped-call]
        return up


class _UpConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        up = F.conv_transpose3d(features, kernel, bias, stride=2, padding=1).clamp_min_(0)
        ctx.save_for_backward(features, kernel, up)
        return up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, kernel, up = ctx.saved_tensors
        through = torch.ops.aten.threshold_backward(gradients[0], up, 0)
        return _convolution_backward(ctx, through, features, kernel, transposed=True)


def _convolution_backward(
    ctx: Any, gradient: Tensor, features: Tensor, weight: Tensor, transposed: bool = False
) -> tuple[Tensor | None, ...]:
    """Gradients to features (where asked for), weight and bias; the bias' by a product, for PyTorch sums it slowly."""
    stride = [2] * 3 if transposed else [1] * 3
    wanted = [ctx.needs_input_grad[0], True, False]
    to_features, to_weight, _ = torch.ops.aten.convolution_backward(
        gradient, features, weight, None, stride, [1] * 3, [1] * 3, transposed, [0] * 3, 1, wanted
    )
    voxels = gradient.movedim(1, -1).reshape(-1, gradient.shape[1])
    return to_features, to_weight, voxels.new_ones(len(voxels)) @ voxels


class ConvToOne3d(nn.Conv3d):
    """A 3×3×3 "same" convolution to one channel, (b, c, d, h, w) → (b, 1, d, h, w).

    On a CPU: a matrix product of the 27 taps with all voxels, then 27 shifted sums.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 1, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve."""
        if _on_gpu(features):
            return super().forward(features)
        one: Tensor = _ConvToOne.apply(features, self.weight)  # type: ignore[no-untyped-call]
        return one if self.bias is None else one + self.bias


class _ConvToOne(torch.autograd.Function):
    """Plane (i, j, k) holds tap (i, j, k) times every voxel; the sums go along one axis after the other.

    In the flat memory of a plane a step along an axis is a shift by a constant; voxels that a shift would carry over
    an edge, into the next row or volume, are zeroed first.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        x = features.movedim(1, -1).contiguous()  # (b, d, h, w, c)
        b, d, h, w, c = x.shape
        taps = weight[0].reshape(c, 27).t().contiguous()  # (27, c)
        sums = taps @ x.view(-1, c).t()  # (27, voxels)
        for n_planes, step, size in ((9, 1, w), (3, w, h), (1, h * w, d)):
            planes = sums.view(n_planes, 3, -1, size, step)
            planes[:, 0, :, -1] = 0
            planes[:, 2, :, 0] = 0
            planes = planes.view(n_planes, 3, -1)
            sums = planes[:, 1]
            sums[:, step:] += planes[:, 0, :-step]
            sums[:, :-step] += planes[:, 2, step:]
            sums = sums.contiguous() if n_planes > 1 else sums
        ctx.save_for_backward(x, taps)
        return sums.view(b, 1, d, h, w)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, taps = ctx.saved_tensors
        (d, h, w), c = x.shape[1:4], x.shape[4]
        sums = gradients[0].reshape(1, -1)
        for n_planes, step, size in ((1, h * w, d), (3, w, h), (9, 1, w)):
            planes = sums.new_empty(n_planes, 3, sums.shape[1])
            planes[:, 1] = sums
            planes[:, 0, :-step] = sums[:, step:]
            planes[:, 2, step:] = sums[:, :-step]
            rows = planes.view(n_planes, 3, -1, size, step)
            rows[:, 0, :, -1] = 0
            rows[:, 2, :, 0] = 0
            sums = planes.view(3 * n_planes, -1)
        to_features = (sums.t() @ taps).view(x.shape).movedim(-1, 1)
        return to_features, (sums @ x.view(-1, c)).t().reshape(1, c, 3, 3, 3)
