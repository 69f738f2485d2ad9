"""Encoder3D, Decoder3D, Classifier3D: the one backbone (Liu et al. 2019, Section 3.2, Figure 2).

Equal in value to the plain form (the tests hold it to that), with the fast layers of `bench.learning.layers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.base.errors import BenchError
from bench.learning.layers import ConvPool3d, ConvToOne3d, UpConv3d, by_parts, channels_last

CODE_SIZE = 128
SPARSITY_WEIGHT = 1e-4  # of the L1 penalty on the code


class Encoder3D(nn.Module):
    """`levels` × (Conv3D 3×3×3, MaxPool3D 2×2×2, ReLU); `code` adds the fully connected layer to the 128-vector."""

    def __init__(self, box: int, levels: int, filters: int, with_code: bool) -> None:
        super().__init__()
        channels = [1] + [filters] * levels
        self.convolutions = nn.ModuleList(ConvPool3d(a, b) for a, b in zip(channels, channels[1:]))
        self.widest = filters * box**3  # numbers a volume after the first convolution
        self.to_code = nn.Linear(filters * (box >> levels) ** 3, CODE_SIZE) if with_code else None

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → the feature map after the last pooling, (b, filters, m, m, m), m = n / 2^levels."""
        return by_parts(self._convolve, volumes, self.widest)

    def _convolve(self, volumes: Tensor) -> Tensor:
        features = channels_last(volumes)
        for convolution in self.convolutions:
            features = convolution(features)
        return features

    def code(self, features: Tensor) -> Tensor:
        """(b, filters, m, m, m) → (b, 128), ReLU."""
        if self.to_code is None:
            raise ValueError("this encoder was built without a code")
        return F.relu(self.to_code(features.flatten(1)))


class Decoder3D(nn.Module):
    """Symmetric to the encoder: fully connected layer, `levels` × (up-sampling, Conv3D, ReLU), Conv3D to 1 channel."""

    def __init__(self, box: int, levels: int, filters: int, code_size: int = CODE_SIZE) -> None:
        super().__init__()
        self.shape = (filters,) + (box >> levels,) * 3
        self.widest = filters * box**3  # numbers a volume before the last convolution
        self.from_code = nn.Linear(code_size, math.prod(self.shape))
        self.convolutions = nn.ModuleList(UpConv3d(filters, filters) for _ in range(levels))
        self.last = ConvToOne3d(filters)

    def forward(self, code: Tensor) -> Tensor:
        """(b, code_size) → (b, 1, n, n, n)."""
        features = F.relu(self.from_code(code)).unflatten(1, self.shape)
        kernels = [cast("UpConv3d", convolution).fused() for convolution in self.convolutions]
        return by_parts(lambda some: self._rebuild(some, kernels), features, self.widest)

    def _rebuild(self, features: Tensor, kernels: list[Tensor]) -> Tensor:
        features = features.contiguous(memory_format=torch.channels_last_3d)
        for convolution, kernel in zip(self.convolutions, kernels):
            features = convolution(features, kernel)
        rebuilt: Tensor = self.last(features)
        return rebuilt


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm1d; volumes too few to have a variance, none or one, are normalised by the running statistics."""

    def forward(self, features: Tensor) -> Tensor:
        """(b, features) → the same shape."""
        if len(features) > 1 or not self.training:
            return super().forward(features)
        return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Classifier3D(nn.Module):
    """Flatten, BatchNorm, two fully connected layers of 128 with ReLU, one to the classes; returns logits."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            BatchNorm(n_features),
            nn.Linear(n_features, CODE_SIZE),
            nn.ReLU(),
            nn.Linear(CODE_SIZE, CODE_SIZE),
            nn.ReLU(),
            nn.Linear(CODE_SIZE, n_classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(b, c, m, m, m) → logits (b, classes)."""
        logits: Tensor = self.layers(features)
        return logits


def sparsity(code: Tensor) -> Tensor:
    """L1 activity penalty on the code, one value a volume: (b, 128) → (b,)."""
    return SPARSITY_WEIGHT * code.abs().sum(1)


@dataclass(frozen=True)
class Backbone:
    """The sizes that every method's network shares; raises BenchError where the box does not divide."""

    box: int  # voxels along an edge of the cubic box
    n_classes: int
    filters: int = 32

    def __post_init__(self) -> None:
        if self.box < 8 or self.box % (1 << self.levels):
            raise BenchError(
                f"boxes of {self.box}³ voxels: the network halves them {self.levels} times, "
                f"so the box must divide by {1 << self.levels} (and be 8 or more); crop or pad the boxes"
            )

    @property
    def levels(self) -> int:
        """Two at 28³ and four at 64³, as in the paper."""
        return 2 if self.box < 48 else 4

    @property
    def n_features(self) -> int:
        """Size of the flattened feature map."""
        return self.filters * (self.box >> self.levels) ** 3

    def encoder(self, with_code: bool = True) -> Encoder3D:
        """A new Encoder3D."""
        return Encoder3D(self.box, self.levels, self.filters, with_code)

    def decoder(self, code_size: int = CODE_SIZE) -> Decoder3D:
        """A new Decoder3D."""
        return Decoder3D(self.box, self.levels, self.filters, code_size)

    def classifier(self) -> Classifier3D:
        """A new Classifier3D."""
        return Classifier3D(self.n_features, self.n_classes)


def initialise(network: nn.Module, generator: torch.Generator, keras_style: bool) -> None:
    """Draw every weight anew from `generator`: Keras' Glorot-uniform and BatchNorm, or PyTorch's own defaults."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            fan_in = module.weight[0].numel()
            if keras_style:
                nn.init.xavier_uniform_(module.weight, generator=generator)
            else:
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 0.0 if keras_style else 1 / math.sqrt(fan_in)
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
    if keras_style:
        set_keras_batch_norm(network)


def set_keras_batch_norm(network: nn.Module) -> None:
    """Give every BatchNorm Keras' constants."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum, module.eps = 0.01, 1e-3  # Keras' momentum 0.99 is PyTorch's 0.01


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Let volumes pass that do not move the running statistics of BatchNorm, as strong and mixed views must not."""
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    known = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, known):
            layer.momentum = momentum


class ClassifierNetwork(nn.Module):
    """Encoder3D's convolutions and Classifier3D."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.encoder = backbone.encoder(with_code=False)
        self.classifier = backbone.classifier()

    def logits(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, classes)."""
        logits: Tensor = self.classifier(self.encoder(volumes))
        return logits


class AutoencoderNetwork(nn.Module):
    """Encoder3D and Decoder3D."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.encoder = backbone.encoder()
        self.decoder = backbone.decoder()

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → the same shape."""
        rebuilt: Tensor = self.decoder(self.encoder.code(self.encoder(volumes)))
        return rebuilt


class AutoencodingNetwork(AutoencoderNetwork):
    """Encoder3D, Decoder3D and Classifier3D: two branches on one feature map."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.classifier = backbone.classifier()

    def logits(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, classes); the decoder does not run."""
        logits: Tensor = self.classifier(self.encoder(volumes))
        return logits
