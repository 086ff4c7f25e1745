"""torchvision, also beside a CPU build of torch. Not a model: only the import.

The torchvision wheel of the package index is built for CUDA. Beside a CPU torch its compiled operators do not
load, and its import stops at the first of them that it wants to describe. Declaring that one and its twin is
enough for the models; the operators themselves (`torchvision.ops.nms`, `torchvision.io`) stay unusable there.
"""

import importlib
import sys
from types import ModuleType

import torch

_MISSING = "operator torchvision::nms does not exist"


def import_torchvision() -> ModuleType:
    """The module torchvision. A plain import on a healthy install; ImportError where there is none."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # the half-imported ones, or the second import would take them for finished
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    module = importlib.import_module("torchvision")
    module._declared_operators = operators  # they live as long as this object
    return module
