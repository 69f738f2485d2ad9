"""The networks as a reader of the paper would write them, and rotated views: oracle of values, reference of speed."""

from __future__ import annotations

import math

import torch
from scipy.spatial.transform import Rotation
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


def plain_rotations(volumes: Tensor, power: Tensor, tilt_limit_in_degrees: float, generator: torch.Generator) -> Tensor:
    """Volumes (b, 1, n, n, n) in any rotations, the wedge cut anew, the old one filled with noise of this power.

    power: (n, n, n // 2 + 1), mean squared Fourier coefficients of the volumes.
    """
    b, n, fine = len(volumes), volumes.shape[-1], 2 * volumes.shape[-1]
    boxes = volumes[:, 0]
    turns = torch.from_numpy(Rotation.random(b, random_state=0).as_matrix()).float()
    spectrum = torch.fft.fftshift(torch.fft.fftn(boxes, dim=(1, 2, 3)), (1, 2, 3))
    margin = (fine - n) // 2
    padded = torch.fft.ifftshift(F.pad(spectrum, (margin,) * 6), (1, 2, 3))
    finer = torch.fft.ifftn(padded, dim=(1, 2, 3)).real * (fine / n) ** 3
    coordinates = torch.stack(torch.meshgrid(*[torch.arange(n) - n // 2] * 3, indexing="ij"), -1).float()
    source = torch.einsum("bji,zyxj->bzyxi", turns, coordinates)  # turnᵀ v
    at = 2 * (2 * (source + n // 2)) / (fine - 1) - 1
    turned = F.grid_sample(finer[:, None], at.flip(-1), align_corners=True, padding_mode="reflection")[:, 0]
    k = torch.fft.fftfreq(n, 1 / n)
    frequencies = torch.stack(torch.meshgrid(k, k, torch.fft.rfftfreq(n, 1 / n), indexing="ij"), -1)
    slope = math.tan(math.radians(tilt_limit_in_degrees))
    seen = (frequencies[..., 0].abs() <= slope * frequencies[..., 2].abs()).float()
    back = torch.einsum("bji,zyxj->bzyxi", turns, frequencies)
    held = (back[..., 0].abs() <= slope * back[..., 2].abs()).float()
    noise = torch.fft.rfftn(torch.randn(boxes.shape, generator=generator), dim=(1, 2, 3)) / n**1.5
    coefficients = torch.fft.rfftn(turned, dim=(1, 2, 3)) * seen + noise * (power * (1 - held * seen)).sqrt()
    image = torch.fft.irfftn(coefficients, s=(n, n, n), dim=(1, 2, 3))
    std, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True)
    return ((image - mean) / std)[:, None]
