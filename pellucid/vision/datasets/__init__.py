"""Data sets under torchvision's names, in its files: existing folders work.

In: a folder, transforms; `download=True` fetches what is not there. Out: a `torch.utils.data.Dataset` of (image, target).
"""
from . import utils
from .cifar import CIFAR10, CIFAR100
from .fakedata import FakeData
from .folder import DatasetFolder, ImageFolder
from .mnist import EMNIST, FashionMNIST, KMNIST, MNIST, QMNIST
from .vision import VisionDataset

__all__ = ["CIFAR10", "CIFAR100", "DatasetFolder", "EMNIST", "FakeData", "FashionMNIST", "ImageFolder", "KMNIST", "MNIST", "QMNIST",
           "VisionDataset",
           "utils"]
