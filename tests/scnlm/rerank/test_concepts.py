"""A bank of sentences is read strictly: what else a safetensors file may hold is one line."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scnlm.rerank.concepts import SentenceBank
from vse.system.errors import InputError


@pytest.mark.parametrize(
    "key, change",
    [
        ("codes", lambda x: x.bfloat16()), ("mean", lambda x: x.bfloat16()), ("scale", lambda x: x.double()),
        ("codes", lambda x: x.short()), ("codes", lambda x: x[0]), ("components", lambda x: x[None]),
        ("mean", lambda x: x * torch.nan), ("components", lambda x: x / 0), ("scale", lambda x: None),
    ],
)  # fmt: skip
def test_a_bank_of_other_types_or_values_is_one_line(tmp_path, key, change):
    path = tmp_path / "bank"
    points = np.random.default_rng(0).standard_normal((30, 16)).astype(np.float32)
    SentenceBank.from_embeddings(points).save(path)
    tensors = load_file(path)
    assert SentenceBank.load(path).embeddings().shape == (30, 16)
    changed = change(tensors.pop(key))
    save_file(tensors | ({key: changed.contiguous()} if changed is not None else {}), path)
    with pytest.raises(InputError, match="make it with `scnlm assemble`") as caught:
        SentenceBank.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_bank_that_is_a_folder(tmp_path):
    with pytest.raises(InputError, match="scnlm assemble"):
        SentenceBank.load(tmp_path)
