"""Precision: what "auto" is on this machine, and on one without units for bfloat16 (simulated by kernels of AVX2)."""

import os
import subprocess
import sys

import pytest
import torch

from vse.system import precision
from vse.system.errors import InputError
from vse.system.precision import autocast, has_bfloat16, precision_of_run, resolve_precision

AVX2 = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}
CPU = torch.device("cpu")


@pytest.fixture
def units(monkeypatch):
    """A function that says whether this machine has units for bfloat16."""
    return lambda there: monkeypatch.setattr(precision, "has_bfloat16", lambda kind="cpu": there)


def test_what_is_asked_for_is_taken():
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("bfloat16") == "bfloat16"
    with pytest.raises(InputError, match="float8.*auto, float32, bfloat16"):
        resolve_precision("float8")


def test_auto_asks_the_machine(units):
    units(True)
    assert resolve_precision("auto") == "bfloat16"
    units(False)
    assert resolve_precision("auto") == "float32"


def test_autocast_of_the_precision():
    a = torch.ones(4, 4)
    with autocast("bfloat16", CPU):
        assert (a @ a).dtype == torch.bfloat16
    with autocast("float32", CPU):
        assert (a @ a).dtype == torch.float32


@torch.inference_mode()
def test_the_probe_may_be_asked_anywhere():
    has_bfloat16.cache_clear()
    inside = has_bfloat16()
    with torch.inference_mode(False):
        has_bfloat16.cache_clear()
        assert has_bfloat16() == inside


class Product:
    """A factor whose product takes `seconds` of a clock that only products move."""

    clock = 0.0

    def __init__(self, seconds: float, seconds_in_halves: float):
        self.seconds, self.seconds_in_halves = seconds, seconds_in_halves

    def bfloat16(self) -> "Product":
        return Product(self.seconds_in_halves, self.seconds_in_halves)

    def __matmul__(self, other):
        Product.clock += self.seconds


@pytest.mark.parametrize(("float32", "bfloat16", "pays"), [(2, 1, True), (16, 1, True), (1, 2, False), (1, 400, False)])
def test_bfloat16_pays_where_its_product_is_faster(float32, bfloat16, pays, monkeypatch):
    monkeypatch.setattr(precision.torch, "ones", lambda *shape: Product(float32, bfloat16))
    monkeypatch.setattr(precision.time, "process_time", lambda: Product.clock)
    assert precision._pays() is pays


def test_the_probe_draws_nothing():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    precision._runs()
    assert torch.equal(torch.rand(1), expected)


PROBE = """
import torch
from vse.system.precision import has_bfloat16, resolve_precision, precision_of_run, runs_in_bfloat16
assert not has_bfloat16() and resolve_precision("auto") == "float32" and not runs_in_bfloat16("cpu")
reader = torch.nn.LSTM(8, 8)
try:
    with torch.autocast("cpu", torch.bfloat16):
        reader(torch.zeros(2, 3, 8))
except RuntimeError as error:
    assert "primitive" in str(error)
else:
    raise AssertionError("the LSTM runs in bfloat16: this simulates nothing")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are chosen by variables that oneDNN reads on Linux")
def test_a_machine_without_units_is_seen_by_running():
    done = subprocess.run([sys.executable, "-c", PROBE], env=AVX2, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("asked", "begun", "there", "expected"),
    [
        ("auto", None, True, "bfloat16"), ("auto", None, False, "float32"),
        ("auto", "bfloat16", True, "bfloat16"), ("auto", "bfloat16", False, "float32"),
        ("auto", "float32", True, "float32"), ("float32", "bfloat16", True, "float32"),
    ],
)  # fmt: skip
def test_a_run_goes_on_in_its_precision_where_that_runs(asked, begun, there, expected, units):
    units(there)
    assert precision_of_run(asked, begun, CPU) == expected


def test_bfloat16_that_cannot_run_is_refused_in_one_line(units, monkeypatch):
    units(False)
    monkeypatch.setattr(precision, "_runs", lambda: False)
    with pytest.raises(InputError, match="precision = bfloat16: .* has no units for it; expected auto or float32"):
        precision_of_run("bfloat16", None, CPU)
