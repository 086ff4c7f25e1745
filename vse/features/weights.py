"""Files of CNN weights: fetched, read without executing anything in them, and fitted into a network.

Knows no architecture (that is networks.py) and no pixels.
"""

import hashlib
import importlib
import os
import pickle
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import torch
from torch import Tensor, nn

from vse.system.errors import InputError
from vse.system.files import sha256_of, user_cache

_KNOWN_HASHES = {  # SHA-256; torchvision publishes the first eight digits, in the names
    "alexnet-owt-7be5be79.pth": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "resnet152-394f9c45.pth": "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
    "vgg19-dcbb9e9d.pth": "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
}


def fetch(url: str, name: str) -> Path:
    """The file of `url` in torch's hub folder, downloaded if it is not there. Raises InputError.

    Without a home to write in, the folder is that of files.user_cache.
    """
    file = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file() and "TORCH_HOME" not in os.environ:
        path = user_cache("torch") / "hub" / "checkpoints" / file
    way = f"download {url} elsewhere and put it into {path.parent}, or pass it with --weights FILE"
    if path.exists() and sha256_of(path) != _KNOWN_HASHES[file]:
        raise InputError(f"{path}: damaged, its SHA-256 is not {_KNOWN_HASHES[file]}: delete it; or {way}")
    if not path.exists():
        try:
            pooch.retrieve(url, _KNOWN_HASHES[file], file, path.parent, progressbar=True)
        except (OSError, ValueError) as error:  # those of requests among them; another hash
            raise InputError(f"the weights of {name} cannot be fetched ({_first_line(error)}): {way}") from None
    return path


def require_host(url: str, hub: str, name: str, way: str) -> None:
    """Raises InputError at once where the hub's retries take a minute to find that there is no network."""
    hub_library = importlib.import_module("huggingface_hub")
    cached = hub and isinstance(hub_library.try_to_load_from_cache(hub, "model.safetensors"), str)
    if cached or urllib.request.getproxies():
        return
    host = urlsplit(getattr(hub_library.constants, "ENDPOINT", url)).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise InputError(f"the weights of {name} cannot be fetched ({host}: {error.strerror}): {way}") from None


def load_weights(
    net: nn.Module, weights: str | Path, name: str, source: str = "", head: str | tuple[str, ...] = ()
) -> str:
    """Where the weights are from, after `weights` (a file, or "random": nothing to do) went into `net`.

    `head`: the prefixes of the classifier's own tensors, which no feature needs: missing or of another shape
    is fine. `source` is given back for a file that the user did not name. Raises InputError for a file that
    is missing, that would run code when loaded, or whose tensors do not fit.
    """
    if str(weights) == "random":
        return "random"
    path = Path(weights)
    state = {key: tensor for key, tensor in read_weights(path).items() if not key.startswith(head)}
    shapes = {key: tensor.shape for key, tensor in net.state_dict().items() if not key.startswith(head)}
    wrong = [key for key, tensor in state.items() if shapes.get(key) != tensor.shape]
    wrong += [key for key in shapes if key not in state and not key.endswith("num_batches_tracked")]
    if wrong:
        raise InputError(f"{path}: not the weights of {name}, {len(wrong)} tensors differ, the first is {wrong[0]}")
    _check_values({key: tensor for key, tensor in state.items() if key in shapes}, path)
    net.load_state_dict(state, strict=False)
    return source or f"{path.name}, sha256 {file_digest(path)}"


def _check_values(state: dict[str, Tensor], path: Path) -> None:
    """Raises InputError for tensors of no real numbers, and for values that are not finite."""
    for key, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
            raise InputError(f"{path}: {key} is no plain tensor of real numbers; save the state_dict in float32")
        if not tensor.float().isfinite().all():
            raise InputError(f"{path}: {key} has a value that is NaN or infinite; take another file of weights")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a torch file (nothing in it is executed). Raises InputError."""
    if path.exists() and not path.is_file():  # a folder, a device that never ends
        raise InputError(f"--weights {path}: not a file (expected a .safetensors or torch file, or the word random)")
    try:
        if path.suffix == ".safetensors":
            state = importlib.import_module("safetensors.torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"--weights {path}: no such file (a .safetensors or torch file, or the word random)") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: holds more than tensors, or is damaged; save its state_dict or a .safetensors"
        ) from None
    except Exception as error:  # zip, safetensors and torch each have their own for a damaged file
        raise InputError(f"{path}: not a file of weights ({_first_line(error)})") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise InputError(f"{path}: not a file of weights (expected a table of named tensors)")
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def file_digest(path: str | Path) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256. Raises InputError for no such file."""
    if Path(path).exists() and not Path(path).is_file():
        raise InputError(f"--weights {path}: not a file (expected a .safetensors or torch file, or the word random)")
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise InputError(f"--weights {path}: {error.strerror}") from None
