"""Models of the package open_clip (an extra), with weights from a file that the user has; nothing is downloaded.

OpenAI's and LAION's checkpoints are of these. A file is read as tensors alone: one that holds more is refused.
"""

import difflib
import importlib
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from vse.features._torchvision import import_torchvision
from vse.features.weights import read_weights
from vse.system.errors import InputError


def import_open_clip() -> ModuleType:
    """The package. Raises InputError where it is not installed."""
    import_torchvision()  # open_clip imports it, which fails beside a CPU build of torch
    try:
        return importlib.import_module("open_clip")
    except ImportError:
        raise InputError('the package open_clip is not installed, run `pip install ".[open-clip]"`') from None


def load_clip(architecture: str, weights: str | Path) -> nn.Module:
    """The model of open_clip called `architecture`, in evaluation mode.

    `weights`: its state dict as .safetensors or torch file, or "random" (drawn from torch's generator). Raises
    InputError in one line for an unknown name and for a file that is missing, holds code or is another model's.
    """
    open_clip = import_open_clip()
    known = open_clip.list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, 3)
        hint = f"near it: {', '.join(near)}" if near else f"such as {', '.join(known[:3])}"
        raise InputError(f"architecture {architecture!r}: open_clip has no such model; expected one {hint}")
    if open_clip.get_model_config(architecture).get("text_cfg", {}).get("hf_model_name"):
        raise InputError(
            f"architecture {architecture!r}: its text tower comes from a hub; expected one of open_clip's own"
        )
    model = open_clip.create_model(architecture, pretrained=None, load_weights=False)
    if str(weights) != "random":
        _fill(model, Path(weights), architecture)
    return model.eval()


def _fill(model: nn.Module, path: Path, architecture: str) -> None:
    """Puts the tensors of a file into the model. Raises InputError where they are not of its names and shapes."""
    state, expected = read_weights(path), model.state_dict()
    for extra in ("input_resolution", "context_length", "vocab_size", "attn_mask"):  # of OpenAI's files: no weights
        state.pop(extra, None)
    for name in ("logit_scale", "logit_bias"):  # a number in some files, a list of one in others
        if name in state and name in expected and state[name].numel() == 1:
            state[name] = state[name].reshape(expected[name].shape)
    wrong = [n for n in state if n not in expected or state[n].shape != expected[n].shape]
    wrong += [n for n in expected if n not in state]
    if wrong:
        count = f"{len(wrong)} tensors differ, the first is {wrong[0]}"
        raise InputError(
            f"{path}: not the weights of {architecture} ({count}); give the --architecture it was made with"
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise InputError(f"{path}: {name} has a value that is NaN or infinite; take another file of weights")
    model.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in state.items()})


def last_map(visual: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w): the states of the patches after the last block of an image tower, or the ResNet's last map."""
    return visual.forward_intermediates(x, indices=1, intermediates_only=True)["image_intermediates"][-1]
