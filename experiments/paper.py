"""Printed figures as data: what others report, in the form of our own rows.

A cell is (R@1, R@5, R@10, Med r); None where a paper prints none. Rows are in the order of Table 1 of the paper, then
later work. `remembered`: the median ranks of these rows were not seen in a source; they are printed in brackets.
"""

from dataclasses import dataclass

Cell = tuple[float, float, float, float | None]


@dataclass(frozen=True)
class Printed:
    """A row as printed; `paper` tells the rows of Kiros et al.'s own table from later ones."""

    method: str
    i2t: Cell
    t2i: Cell
    paper: bool = True
    remembered: bool = True


FLICKR8K = (
    Printed("Random", (0.1, 0.6, 1.1, 631), (0.1, 0.5, 1.0, 500)),
    Printed("SDT-RNN", (4.5, 18.0, 28.6, 32), (6.1, 18.5, 29.0, 29)),
    Printed("DeViSE (with detections)", (4.8, 16.5, 27.3, 28), (5.9, 20.1, 29.6, 29)),
    Printed("SDT-RNN (with detections)", (6.0, 22.7, 34.0, 23), (6.6, 21.6, 31.7, 25)),
    Printed("DeFrag", (5.9, 19.2, 27.3, 34), (5.2, 17.6, 26.5, 32)),
    Printed("DeFrag (with detections)", (12.6, 32.9, 44.0, 14), (9.7, 29.6, 42.5, 15)),
    Printed("m-RNN", (14.5, 37.2, 48.5, 11), (11.5, 31.0, 42.4, 15)),
    Printed("Kiros et al., Toronto ConvNet", (13.5, 36.2, 45.7, 13), (10.4, 31.0, 43.7, 14)),
    Printed("Kiros et al., OxfordNet", (18.0, 40.9, 55.0, 8), (12.5, 37.0, 51.5, 10), remembered=False),
    Printed(
        "Kiros' later code (GRU-1024, VGG-19)", (22.3, 48.7, 59.8, 6), (14.9, 38.3, 51.6, 10),
        paper=False, remembered=False,
    ),
    Printed("FV GMM+HGLMM, VGG", (31.0, 59.3, 73.7, None), (21.2, 50.0, 64.8, None), paper=False),
    Printed("SPE, VGG", (30.1, 60.4, 73.7, None), (23.0, 51.3, 64.8, None), paper=False),
    Printed("MFM, VGG", (35.6, 67.0, 78.6, None), (28.4, 58.5, 72.3, None), paper=False),
    Printed("NAA, ResNet", (37.2, 68.1, 79.1, None), (27.7, 59.6, 71.8, None), paper=False),
    Printed("SCAN (region detector, ensemble)", (52.2, 81.0, 89.2, None), (38.3, 67.8, 78.9, None), paper=False),
)  # fmt: skip


@dataclass(frozen=True)
class PrintedCaptions:
    """Captions of Flickr8K's test photos as printed: BLEU-1 to 4, METEOR, ROUGE-L, CIDEr; None where nothing is."""

    method: str
    figures: tuple[float | None, ...]


CAPTIONS = (
    PrintedCaptions("Log-bilinear (Kiros et al., ICML 2014)", (65.6, 42.4, 27.7, 17.7, 17.31, None, None)),
    PrintedCaptions("Google NIC", (63, 41, 27, None, None, None, None)),
    PrintedCaptions("Soft attention (Xu et al. 2015)", (67, 44.8, 29.9, 19.5, 18.93, None, None)),
    PrintedCaptions("Hard attention (Xu et al. 2015)", (67, 45.7, 31.4, 21.3, 20.30, None, None)),
)


@dataclass(frozen=True)
class PrintedTau:
    """Kendall's tau with people's judgements of Flickr8K as printed, times 100: experts tau-c, crowd tau-b."""

    method: str
    expert: float
    crowd: float | None
    remembered: bool = True


# By the name of our own row of the same metric, or of a metric that is not computed here.
JUDGEMENTS = {
    "bleu4": PrintedTau("BLEU-4", 30.8, 16.9),
    "rouge_l": PrintedTau("ROUGE-L", 32.3, None),
    "meteor": PrintedTau("METEOR", 41.8, 22.2),
    "cider": PrintedTau("CIDEr", 43.9, 24.6),
    "spice": PrintedTau("SPICE, five references", 44.9, 24.4),
    "clipscore": PrintedTau("CLIPScore (ViT-B/32), no references", 51.2, 34.4, remembered=False),
    "refclipscore": PrintedTau("RefCLIPScore, five references", 53.0, 36.4, remembered=False),
}
