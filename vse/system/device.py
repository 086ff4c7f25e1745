"""Where tensors are: the device that a name asks for."""

import torch

from vse.system.errors import InputError


def find_device(name: str) -> torch.device:
    """The device called `name`: cpu, cuda, cuda:N, or auto for a GPU where there is one. Raises InputError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count() or "no"
        raise InputError(f"--device {name}: {there} CUDA device is available; use --device cpu")
    return device
