"""experiments.fusion_speed: the cost model counts what PyTorch counts."""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.fusion_speed import operations, part_of
from vse.configs import FusionConfig
from vse.data.datasets import Dataset
from vse.data.vocabulary import Vocabulary
from vse.fusion import Fusion


def test_the_cost_model_is_what_a_forward_pass_does():
    torch.manual_seed(0)
    config = FusionConfig(width=32, layers=3, heads=4)
    vocabulary = Vocabulary.from_captions(["a dog runs on grass"])
    model = Fusion(config, vocabulary, 20, {"encoder": "tiny", "feature_dim": 20}).eval()
    batch, regions, words = 4, 9, 7
    features, tokens = torch.randn(batch, 1, regions, 20), torch.full((batch, 1, words), 5)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        images = model.embed_images(features)
        photo = counter.get_total_flops()
        model.matching(images, *model.embed_texts(tokens, torch.full((batch, 1), words)))
    blocks = counter.get_total_flops() - photo
    told = operations(config, regions, 20, words)
    assert photo == batch * told["photo"]
    heads = batch * 2 * (32 * 32 + 32 * 2)  # pooled state and matching head, which the model leaves out
    n, told = 1 + regions + words, batch * told["blocks"]
    attention = batch * (2 * 4 * n * n * 32 + 4 * n * 32)  # what fused attention does is not counted everywhere
    assert blocks - heads in (told, told - attention)


def test_a_part_has_so_many_training_photos_and_their_captions():
    split = ("train",) * 5 + ("dev",) * 2
    owner = np.repeat(np.arange(7), 2)
    whole = Dataset("toy", None, tuple("abcdefg"), split, tuple(f"c{i}" for i in range(14)), owner)
    part = part_of(whole, 3)
    assert part.images == ("a", "b", "c", "f", "g")
    assert part.captions == ("c0", "c1", "c2", "c3", "c4", "c5", "c10", "c11", "c12", "c13")
    assert part.image_of_caption.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
