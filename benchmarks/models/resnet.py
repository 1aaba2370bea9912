"""ResNet-18 (He et al. 2015): a training step with SGD, and inference on one image."""
from __future__ import annotations

from . import Function, Training


def resnet18(torch, classes: int = 1000, width: int = 64):
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
            self.down = None
            if stride != 1 or inputs != outputs:
                self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x):
            kept = x if self.down is None else self.down(x)
            x = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(x)) + kept)

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
            blocks, inputs = [], width
            for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
                blocks += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
                inputs = outputs
            self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(inputs, classes)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn(self.conv(x))), 3, 2, 1)
            return self.fc(self.blocks(x).mean((2, 3)))

    return ResNet()


def training(torch, batch: int = 16, size: int = 112, width: int = 64, channels_last: bool = False) -> Training:
    """Momentum 0.9, weight decay 1e-4, cross entropy over 1000 classes."""
    torch.manual_seed(0)
    model = resnet18(torch, width=width)
    x, y = torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    return Training(torch, model, optimizer, lambda x, y: torch.nn.functional.cross_entropy(model(x), y), [(x, y)])


def inference(torch, size: int = 224, width: int = 64, channels_last: bool = False) -> Function:
    torch.manual_seed(0)
    model = resnet18(torch, width=width).eval()
    x = torch.randn(1, 3, size, size)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    return Function(torch, model, (x,))
