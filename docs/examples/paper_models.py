"""The feed-forward, convolutional and recurrent models of the paper, as plain modules.

Source: Jaewoo Lee and Daniel Kifer, "Scaling up Differentially Private Deep Learning with Fast Per-Example
Gradient Clipping", Proceedings on Privacy Enhancing Technologies 2021(1), 128-144, and the authors' released
program.

What is different here: ResNet normalises with group norm, example by example, because batch norm in training
mode couples the examples of a batch, and then no gradient belongs to one example. VGG and ResNet take small
images. A `width` makes every model narrower or wider. Nothing in this file knows about clipping.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

VGG11_STAGES = (
    (64,),
    (128,),
    (256, 256),
    (512, 512),
    (512, 512),
)  # configuration A: convolutions between two pools
RESNET_STAGES = (64, 128, 256, 512)
MODELS = ("mlp", "cnn", "rnn", "lstm", "vgg11", "resnet18")


def scaled(features: int, width: float) -> int:
    """features → features · width, as a whole number of at least 1."""
    return max(1, round(features * width))


class MLP(nn.Module):
    """[N, channels, size, size] → [N, classes]: 784-128-256-10 with sigmoids between, for 28x28 images."""

    def __init__(self, *, width: float = 1.0, channels: int = 1, image_size: int = 28, classes: int = 10) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * image_size**2, scaled(128, width))
        self.fc2 = nn.Linear(self.fc1.out_features, scaled(256, width))
        self.fc3 = nn.Linear(self.fc2.out_features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Flatten the images and classify them."""
        x = self.fc1(x.flatten(1)).sigmoid()
        x = self.fc2(x).sigmoid()
        return self.fc3(x)


class CNN(nn.Module):
    """[N, channels, size, size] → [N, classes]: two 5x5 convolutions, to 20 and 50 channels, then 128 wide.

    A ReLU and a 2x2 max pool follow each convolution.
    """

    def __init__(self, *, width: float = 1.0, channels: int = 1, image_size: int = 28, classes: int = 10) -> None:
        super().__init__()
        size = ((image_size - 4) // 2 - 4) // 2  # a 5x5 convolution takes 4 pixels off, a pool halves
        if size < 1:
            raise ValueError(f"the CNN needs images of at least 16x16, not {image_size}x{image_size}")
        self.conv1 = nn.Conv2d(channels, scaled(20, width), kernel_size=5)
        self.conv2 = nn.Conv2d(self.conv1.out_channels, scaled(50, width), kernel_size=5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(self.conv2.out_channels * size**2, scaled(128, width))
        self.fc2 = nn.Linear(self.fc1.out_features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify the images."""
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu())
        x = self.fc1(x.flatten(1)).relu()
        return self.fc2(x)


class VGG11(nn.Module):
    """[N, channels, size, size] → [N, classes]: configuration A, eight 3x3 convolutions and a head of three.

    Simonyan and Zisserman, 2015. There is no batch norm, no dropout in the head, and no ReLU in place. The
    images are 32x32 or larger; what is left of them after five pools, (size / 32)² places, enters the head.
    """

    def __init__(self, *, width: float = 1.0, channels: int = 3, image_size: int = 32, classes: int = 10) -> None:
        super().__init__()
        if image_size < 32:
            raise ValueError(f"VGG11 needs images of at least 32x32, not {image_size}x{image_size}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        convolutions = 0
        for stage, widths in enumerate(VGG11_STAGES, start=1):
            for features in widths:
                convolutions += 1
                out_channels = scaled(features, width)
                layers[f"conv{convolutions}"] = nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)
                layers[f"relu{convolutions}"] = nn.ReLU()
                channels = out_channels
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
        self.features = nn.Sequential(layers)
        self.fc1 = nn.Linear(channels * (image_size // 32) ** 2, scaled(4096, width))
        self.fc2 = nn.Linear(self.fc1.out_features, self.fc1.out_features)
        self.fc3 = nn.Linear(self.fc2.out_features, classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights that keep the signal's size through eleven layers without a norm; biases are 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify the images."""
        x = self.features(x).flatten(1)
        x = self.fc1(x).relu()
        x = self.fc2(x).relu()
        return self.fc3(x)


def group_norm(channels: int) -> nn.GroupNorm:
    """A group norm of 16 channels a group, or of the largest power of 2 that divides the channels if less."""
    return nn.GroupNorm(channels // math.gcd(channels, 16), channels)


class BasicBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)).

    The shortcut is the identity, or a 1x1 convolution and a norm where the shape changes.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm1 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = group_norm(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            convolution = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(OrderedDict(conv=convolution, norm=group_norm(out_channels)))

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]."""
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y))
        return (y + self.downsample(x)).relu()


class ResNet18(nn.Module):
    """[N, channels, size, size] → [N, classes]: eight basic blocks in four stages, for images of any size.

    He et al., 2016. Group norm stands where batch norm stood. The stem is one 3x3 convolution without a pool,
    as is usual for small images.
    """

    def __init__(self, *, width: float = 1.0, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        widths = [scaled(features, width) for features in RESNET_STAGES]
        self.conv1 = nn.Conv2d(channels, widths[0], kernel_size=3, padding=1, bias=False)
        self.norm1 = group_norm(widths[0])
        self.layer1 = self._stage(widths[0], widths[0], stride=1)
        self.layer2 = self._stage(widths[0], widths[1], stride=2)
        self.layer3 = self._stage(widths[1], widths[2], stride=2)
        self.layer4 = self._stage(widths[2], widths[3], stride=2)
        self.fc = nn.Linear(widths[3], classes)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(in_channels, out_channels, stride), BasicBlock(out_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Classify the images."""
        x = self.norm1(self.conv1(x)).relu()
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class RowByRow(nn.Module):
    """[N, channels, size, size] → [N, classes]: a recurrent layer of 128 reads row by row; its last output decides.

    The rows of all channels stand side by side.
    """

    def __init__(
        self,
        layer: type[nn.RNN | nn.LSTM],
        *,
        width: float = 1.0,
        channels: int = 1,
        image_size: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.recurrent = layer(channels * image_size, scaled(128, width), batch_first=True)
        self.fc = nn.Linear(self.recurrent.hidden_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify the images."""
        outputs, _ = self.recurrent(x.transpose(1, 2).flatten(2))
        return self.fc(outputs[:, -1])


def build(name: str, *, width: float = 1.0, channels: int = 1, image_size: int = 28, classes: int = 10) -> nn.Module:
    """The model called `name`, one of MODELS, with every hidden layer `width` times the paper's."""
    if name == "mlp":
        return MLP(width=width, channels=channels, image_size=image_size, classes=classes)
    if name == "cnn":
        return CNN(width=width, channels=channels, image_size=image_size, classes=classes)
    if name in ("rnn", "lstm"):
        layer = nn.LSTM if name == "lstm" else nn.RNN
        return RowByRow(layer, width=width, channels=channels, image_size=image_size, classes=classes)
    if name == "vgg11":
        return VGG11(width=width, channels=channels, image_size=image_size, classes=classes)
    if name == "resnet18":
        return ResNet18(width=width, channels=channels, classes=classes)
    raise ValueError(f"no model is called {name!r}; there are {', '.join(MODELS)}")
