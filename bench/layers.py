"""Convolutions that this network needs and PyTorch's own do slowly, equal in value to the plain ones."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Row k: which of the three taps of a 3-wide kernel fall on tap k of the 4-wide, stride-2 transposed convolution
# that equals up-sampling ×2 followed by the 3-wide convolution.
_FUSE = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
_TAPS = tuple(product(range(3), repeat=3))  # of a 3×3×3 kernel, in memory order
_CHUNK_BYTES = 2**21  # of features worked on at a time, so that they stay in the processor's cache


class UpConv3d(nn.Conv3d):
    """Nearest-neighbour up-sampling ×2, then a 3×3×3 "same" convolution, as one transposed convolution.

    64 multiply-adds a low-resolution voxel and channel pair instead of 216. (b, c, d, h, w) → (b, c', 2d, 2h, 2w).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)
        self.register_buffer("fuse", torch.tensor(_FUSE), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Up-sample and convolve."""
        fuse = self.fuse
        kernel = torch.einsum("oidhw,ad,bh,cw->ioabc", self.weight, fuse, fuse, fuse)
        kernel = kernel.contiguous(memory_format=torch.channels_last_3d)
        return F.conv_transpose3d(features, kernel, self.bias, stride=2, padding=1)


class ReluToOneConv3d(nn.Conv3d):
    """ReLU, then a 3×3×3 "same" convolution to one channel. (b, c, d, h, w) → (b, 1, d, h, w).

    On a CPU: a matrix product of the 27 taps with all voxels, then 27 shifted sums; the ReLU's output never exists.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 1, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Rectify and convolve."""
        if features.is_cuda:
            return F.conv3d(F.relu(features), self.weight, self.bias, padding=1)
        rebuilt: Tensor = _ReluToOne.apply(features, self.weight)  # type: ignore[no-untyped-call]
        if self.bias is not None:
            rebuilt = rebuilt + self.bias
        return rebuilt


class _ReluToOne(torch.autograd.Function):
    """Works on channels-last features, some volumes at a time."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        x = features.permute(0, 2, 3, 4, 1).contiguous()  # (b, d, h, w, c)
        c, (d, h, w) = x.shape[4], x.shape[1:4]
        taps = weight[0].reshape(c, 27).t().contiguous()  # (27, c)
        sums = x.new_zeros(len(x), d + 2, h + 2, w + 2)
        for chunk, total in zip(_chunks(x), _chunks(sums, like=x)):
            planes = (taps @ chunk.reshape(-1, c).clamp_min(0).t()).view(27, -1, d, h, w)
            for plane, (i, j, k) in zip(planes, _TAPS):
                total[:, 2 - i : 2 - i + d, 2 - j : 2 - j + h, 2 - k : 2 - k + w] += plane
        ctx.save_for_backward(x, taps)
        return sums[:, None, 1:-1, 1:-1, 1:-1].contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, taps = ctx.saved_tensors
        c, (d, h, w) = x.shape[4], x.shape[1:4]
        padded = F.pad(gradients[0][:, 0], (1,) * 6)
        to_features, to_taps = torch.empty_like(x), torch.zeros_like(taps)
        for chunk, out, gradient in zip(_chunks(x), _chunks(to_features), _chunks(padded, like=x)):
            planes = x.new_empty(27, len(chunk), d, h, w)
            for plane, (i, j, k) in zip(planes, _TAPS):
                plane.copy_(gradient[:, 2 - i : 2 - i + d, 2 - j : 2 - j + h, 2 - k : 2 - k + w])
            columns, voxels = planes.view(27, -1), chunk.reshape(-1, c)
            torch.mm(columns.t(), taps, out=out.view(-1, c)).mul_(voxels > 0)
            to_taps.addmm_(columns, voxels.clamp_min(0))
        return to_features.permute(0, 4, 1, 2, 3), to_taps.t().reshape(1, c, 3, 3, 3)


def _chunks(volumes: Tensor, like: Tensor | None = None) -> tuple[Tensor, ...]:
    """`volumes` in parts of some volumes each, as many as fit the cache (or as `like` would be parted)."""
    whole = volumes if like is None else like
    parts: tuple[Tensor, ...] = volumes.split(max(1, _CHUNK_BYTES // (whole[0].numel() * whole.element_size())))
    return parts
