"""Which number format products run in: bfloat16 where this machine has units for it and gains by them, else float32.

A CPU is asked by executing, not by its name: emulated bfloat16 is a hundred times slower than float32, and `nn.LSTM`
may not run in it at all. Knows no model and no file.
"""

import functools
import math
import time
from typing import Literal, get_args

import torch
from torch import nn

from vse.system.errors import InputError
from vse.system.settings import Precision

PRECISIONS = get_args(Precision)
_SIDE = 256  # of the probe's product; where bfloat16 is emulated it takes 14 ms, else 0.1
_ROUNDS = 20


def resolve_precision(precision: str, device: torch.device | str = "cpu") -> Literal["float32", "bfloat16"]:
    """`precision` itself, or what "auto" is on this device. Raises InputError for another word."""
    if precision not in PRECISIONS:
        raise InputError(f"precision = {precision!r}: expected {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    return "bfloat16" if has_bfloat16(torch.device(device).type) else "float32"


def autocast(precision: str, device: torch.device | str, **settings) -> torch.autocast:
    """The context in which products run in the resolved `precision`; `settings` are torch.autocast's."""
    enabled = resolve_precision(precision, device) == "bfloat16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled, **settings)


def precision_of_run(requested: str, begun: object, device: torch.device) -> Literal["float32", "bfloat16"]:
    """What a training runs in: a run that was begun in one precision goes on in it wherever that runs and pays.

    `begun`: the precision saved in the run folder, None for a new run. A run begun in bfloat16 goes on in float32 on a
    machine without units for it. Raises InputError for bfloat16 that was asked for and cannot run.
    """
    here = resolve_precision("auto", device)
    if requested == "bfloat16" and here != requested and not runs_in_bfloat16(device.type):
        raise InputError(
            f"precision = bfloat16: {describe_device(device)} has no units for it; expected auto or float32 here"
        )
    if requested != "auto":
        return resolve_precision(requested, device)
    return here if begun not in PRECISIONS or begun == "bfloat16" else "float32"


def runs_in_bfloat16(kind: str) -> bool:
    """True where a recurrent encoder can be trained in bfloat16 at all, however slowly."""
    return kind != "cpu" or _runs()


@functools.cache
def has_bfloat16(kind: str = "cpu") -> bool:
    """True where bfloat16 runs and pays on that kind of device: asked once, in milliseconds.

    CUDA: from compute capability 8.0 on; before, it is emulated. CPU: a product and an LSTM of training both run,
    and the product is faster than in float32.
    """
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and _runs() and _pays()


def _pays() -> bool:
    """True where a product is not slower than in float32.

    Units make it two to sixteen times faster, emulation two to four hundred times slower; between lies nothing, and
    the two are timed in turn and in CPU seconds, so that a busy machine gives the same answer.
    """
    left = torch.ones(_SIDE, _SIDE)
    halves, best = left.bfloat16(), [math.inf, math.inf]
    for round_ in range(_ROUNDS + 1):
        for kind, factor in enumerate((left, halves)):
            start = time.process_time()
            factor @ factor
            if round_ or kind:  # the first product only warms up; a second emulated one would be wasted time
                best[kind] = min(best[kind], time.process_time() - start)
        if round_ and best[1] > 20 * best[0]:
            break
    return best[1] < best[0]


def _runs() -> bool:
    """True if an LSTM can be trained under bfloat16 autocast."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        reader, words = nn.LSTM(8, 8, batch_first=True), torch.zeros(2, 3, 8)
        try:
            with torch.autocast("cpu", torch.bfloat16):
                states = reader(words)[0]
            states.float().sum().backward()
        except RuntimeError:
            return False
    return True


def describe_device(device: torch.device | str = "cpu") -> str:
    """The processor's name and what matters of it here, such as "Intel Xeon (AVX512, amx_bf16), 2 threads"."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    told, kernels = torch.cpu.get_capabilities(), torch.backends.cpu.get_cpu_capability()
    # The hardware's units, which kernels of AVX2 cannot use, were they only simulated.
    units = () if kernels == "AVX2" else ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
    units = [name for name in units if told.get(name) is True]
    name = str(told.get("cpu_name") or told.get("architecture") or "CPU")
    return f"{name} ({', '.join([kernels, *units])}), {torch.get_num_threads()} threads"
