"""The networks as a reader of the paper would write them: the oracle of values, the reference of speed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.base.arrays import UNLABELLED
from bench.learning.contracts import Batch
from bench.learning.networks import AutoencodingNetwork, sparsity


def plain_encode(network: AutoencodingNetwork, volumes: Tensor) -> Tensor:
    """Conv3D, ReLU, MaxPool3D, as Figure 2 draws them."""
    for convolution in network.encoder.convolutions:
        volumes = F.max_pool3d(F.relu(F.conv3d(volumes, convolution.weight, convolution.bias, padding=1)), 2)
    return volumes


def plain_decode(network: AutoencodingNetwork, code: Tensor) -> Tensor:
    """Up-sampling, then Conv3D, then ReLU, as two layers."""
    decoder = network.decoder
    features = F.relu(F.linear(code, *decoder.from_code.parameters())).unflatten(1, decoder.shape)
    for convolution in decoder.convolutions:
        features = F.interpolate(features, scale_factor=2, mode="nearest")
        features = F.relu(F.conv3d(features, convolution.weight, convolution.bias, padding=1))
    return F.conv3d(features, decoder.last.weight, decoder.last.bias, padding=1)


def plain_reconstruct(network: AutoencodingNetwork, volumes: Tensor) -> Tensor:
    """Encode and decode."""
    features = plain_encode(network, volumes)
    return plain_decode(network, F.relu(F.linear(features.flatten(1), *network.encoder.to_code.parameters())))


def plain_joint_loss(network: AutoencodingNetwork, batch: Batch) -> Tensor:
    """Eq. 3 with the plain layers."""
    features = plain_encode(network, batch.volumes)
    code = network.encoder.code(features)
    error = (plain_decode(network, code) - batch.volumes).square().flatten(1).mean(1)
    logits = network.classifier(features)
    cross_entropy = F.cross_entropy(logits, batch.labels, ignore_index=UNLABELLED, reduction="none")
    return torch.mean(error + cross_entropy + sparsity(code))
