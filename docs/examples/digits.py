"""Scikit-learn's handwritten digits as tensors: 1797 images of 8x8 that come with the package."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import TensorDataset


def digits(image_size: int, *, held_out: float = 0.2) -> tuple[TensorDataset, TensorDataset]:
    """image_size → (training set, held-out set) of pairs (image [1, image_size, image_size], class).

    The split is the same at every call. Pixels go from 0..16 to -1..1 by a constant: a mean over the training
    images would tell something about them that is not accounted for.
    """
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 8 - 1
    images = F.interpolate(images, size=(image_size, image_size), mode="bilinear", align_corners=False)
    classes = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, rest = order.tensor_split([round(len(order) * (1 - held_out))])
    return TensorDataset(images[train], classes[train]), TensorDataset(images[rest], classes[rest])


def first(dataset: TensorDataset, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` examples as one batch."""
    images, classes = dataset.tensors
    return images[:count], classes[:count]
