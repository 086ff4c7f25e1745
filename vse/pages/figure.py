"""The figure of a projection: words where they lie, photos as thumbnails near their points, nothing covered.

Where photos may not be shown, dots in the colour of their group stand for them. Computes no projection: see pca.py.
Axes: n boxes; a box is its centre (x, y) and its size (width, height).
"""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from vse.data.photos import read_photo
from vse.pca import Projection
from vse.system.errors import InputError
from vse.system.files import write_atomically
from vse.system.terminal import printable

FORMATS = (".png", ".pdf", ".svg", ".jpg")
_DPI, _SIDE, _MARGIN = 100, 720, 0.07  # pixels a panel; the points keep this part of it free at each side
_THUMBNAIL = 72  # pixels, longest side; smaller where they are crowded
_NEAR = 80  # pixels from its point, where that can be had
_RINGS, _AROUND = 100, 32  # places tried around a point for its box: this many distances, and directions at each
_INK, _WORD, _LINE = "#1f2328", "#b42318", "#9aa1ab"


@dataclass(frozen=True)
class Panel:
    """One projection to draw: its points are those of `words`, then those of the photos.

    `photos` are shown as thumbnails; where `groups` are given instead, each photo is a dot of its group.
    """

    title: str
    projection: Projection
    words: Sequence[str]
    photos: Sequence[Path] = ()
    groups: Sequence[str] = ()

    def __post_init__(self):
        drawn = len(self.words) + len(self.photos or self.groups)
        if drawn != len(self.projection.points):
            raise InputError(f"{len(self.projection.points)} points for {drawn} words and photos: expected one each")


def draw(panels: Sequence[Panel], out: Path, colours: dict[str, str] | None = None) -> Path:
    """`out` (.png, .pdf, .svg or .jpg), written whole or not at all: the panels side by side.

    `colours`: of each group's dots; they are named in a legend. Every label is drawn as it is, dollar signs too.
    Where the font lacks characters of a label they become boxes, which is said on stderr.
    """
    out = check_name(out)
    with rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _draw(panels, out, colours or {})
    lacking = [str(w.message) for w in told if "Glyph" in str(w.message)]
    if lacking:
        print(f"note: {out}: the font lacks {len(set(lacking))} characters, drawn as boxes", file=sys.stderr)
    for other in (w for w in told if "Glyph" not in str(w.message)):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return out


def _draw(panels: Sequence[Panel], out: Path, colours: dict[str, str]) -> None:
    width = _SIDE / _DPI
    figure = Figure(figsize=(width * len(panels), width + 0.45), dpi=_DPI, layout="none")
    canvas = FigureCanvasAgg(figure)
    for i, panel in enumerate(panels):
        left, top = (i + 0.05) / len(panels), 1 - 0.45 / (width + 0.45)
        axes = figure.add_axes((left, 0.06, 0.93 / len(panels), top - 0.06))
        _draw_panel(axes, panel, colours, canvas)
    out.parent.mkdir(parents=True, exist_ok=True)
    # No date and no version inside: the same call gives the same file.
    metadata = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    kind = out.suffix.lower()
    write_atomically(out, lambda p: figure.savefig(p, format=kind[1:], dpi=_DPI, metadata=metadata.get(kind)))


def check_name(out: Path) -> Path:
    """`out`. Raises InputError for a name that no figure can have; worth asking before anything is computed."""
    if Path(out).suffix.lower() not in FORMATS:
        raise InputError(f"{out}: a figure ends in {', '.join(FORMATS)}; give such a name")
    return Path(out)


def _draw_panel(axes: Axes, panel: Panel, colours: dict[str, str], canvas: FigureCanvasAgg) -> None:
    """Everything in pixels of the panel, so that what is measured is what is drawn."""
    box = axes.get_window_extent()
    page = np.array([box.width, box.height])
    axes.set(xlim=(0, page[0]), ylim=(0, page[1]), xticks=[], yticks=[])
    for set_label, label in zip((axes.set_xlabel, axes.set_ylabel), panel.projection.axis_labels(), strict=True):
        set_label(label, color=_INK, fontsize=10)
    axes.set_title(panel.title, loc="left", color=_INK, fontsize=13)
    points = _to_page(panel.projection.points, page)
    halo = [withStroke(linewidth=2.5, foreground="white")]  # words are read over dots too
    style = {"ha": "center", "va": "center", "color": _WORD, "fontsize": 13, "zorder": 5, "path_effects": halo}
    words = [axes.text(0, 0, printable(word), **style) for word in panel.words]
    extents = [word.get_window_extent(canvas.get_renderer()) for word in words]
    word_sizes = np.array([(extent.width + 4, extent.height + 2) for extent in extents]).reshape(-1, 2)
    count = len(words)
    if panel.groups:
        dots, names = [], list(dict.fromkeys(panel.groups))
        for name in names:
            x, y = points[count:][np.array([g == name for g in panel.groups])].T
            dots.append(axes.scatter(x, y, s=26, c=colours.get(name, _INK), edgecolors=_LINE, linewidths=0.6))
        legend = axes.legend(dots, [f"{i}" for i in range(len(names))], loc="best", fontsize=9, frameon=True)
        for text, name in zip(legend.get_texts(), names, strict=True):  # as labels, those that begin with _ are hidden
            text.set_text(printable(name))
    pictures, sizes = _fitting(panel.photos, points, word_sizes, page)
    centres = place(points[: len(sizes)], sizes, page, gap=2.0)
    for i, centre in enumerate(centres):
        if np.abs(centre - points[i]).max() > 3:  # not at its point: a line leads there
            axes.plot(*zip(points[i], centre, strict=True), color=_LINE, linewidth=0.8, zorder=1)
            axes.plot(*points[i], ".", color=_WORD if i < count else _LINE, markersize=4, zorder=1)
    for word, centre in zip(words, centres, strict=False):
        word.set_position(centre)
    for picture, (x, y), (w, h) in zip(pictures, centres[count:], sizes[count:], strict=True):
        axes.imshow(picture, extent=(x - w / 2, x + w / 2, y - h / 2, y + h / 2), zorder=3, aspect="auto")
    axes.set(xlim=(0, page[0]), ylim=(0, page[1]))


def _to_page(points: np.ndarray, page: np.ndarray) -> np.ndarray:
    """The points spread over the page, margins left free, each axis by its own scale."""
    low, extent = points.min(0), np.ptp(points, axis=0)
    extent = np.where(extent > 0, extent, 1)
    return page * (_MARGIN + (1 - 2 * _MARGIN) * (points - low) / extent)


def _fitting(
    photos: Sequence[Path], points: np.ndarray, word_sizes: np.ndarray, page: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """The thumbnails and the sizes of words and thumbnails: the largest at which each lies near its point.

    Where even small ones have to go further, as for many photos in one point, the smallest that fits.
    """
    opened = [read_photo(path, shortest=2 * _THUMBNAIL) for path in photos]
    proportions = np.array([(p.width, p.height) for p in opened], np.float64).reshape(-1, 2)
    proportions /= proportions.max(1, initial=0, keepdims=True) if opened else 1
    fitting = None
    for longest in (_THUMBNAIL, 60, 52, 44, 36, 28, 20):
        sizes = np.concatenate([word_sizes, longest * proportions])
        try:
            centres = place(points[: len(sizes)], sizes, page, gap=2.0)
        except InputError:
            continue
        fitting = sizes
        if np.abs(centres - points[: len(sizes)]).max() <= _NEAR:
            break
    if fitting is None:
        raise InputError(f"{len(photos)} photos do not fit beside each other; draw fewer: --photos {len(photos) // 2}")
    # Twice the pixels that are shown, for dense screens and print.
    pixels = [tuple(np.maximum(1, np.round(2 * size)).astype(int)) for size in fitting[len(word_sizes) :]]
    return [np.asarray(p.resize(wh)) for p, wh in zip(opened, pixels, strict=True)], fitting


def place(
    points: Float[np.ndarray, "n 2"],
    sizes: Float[np.ndarray, "n 2"],
    page: Float[np.ndarray, "2"],
    gap: float = 0.0,
) -> Float[np.ndarray, "n 2"]:
    """The centres of boxes of these sizes, on the page (width, height), at least `gap` apart and near their points.

    Greedy: in the order given, each box goes to the free place nearest to its point.
    Raises InputError when a box finds no free place: there are too many for the page, or they are too large.
    """
    centres = np.empty_like(points, dtype=np.float64)
    room = page.astype(np.float64)
    around = _places(float(room.max()))
    for i, (point, size) in enumerate(zip(points.astype(np.float64), sizes.astype(np.float64), strict=True)):
        low, high = size / 2, room - size / 2
        if (low > high).any():
            raise InputError(f"a box of {size.tolist()} on a page of {room.tolist()}: expected a smaller one")
        tried = np.clip(point + around, low, high)
        apart = np.abs(tried[:, None] - centres[None, :i]) - (size + sizes[:i]) / 2 - gap  # (places, i, 2)
        free = (apart >= 0).any(2).all(1)
        if not free.any():
            raise InputError(f"no free place for box {i + 1} of {len(points)}: draw fewer, or smaller ones")
        distance = np.square(tried - point).sum(1)
        centres[i] = tried[np.argmin(np.where(free, distance, np.inf))]
    return centres


def _places(reach: float) -> np.ndarray:
    """(places, 2): the point itself, then rings around it out to `reach`."""
    distances = reach * (np.arange(1, _RINGS + 1) / _RINGS) ** 1.5  # close together near the point
    angles = 2 * np.pi * np.arange(_AROUND) / _AROUND
    rings = distances[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([np.zeros((1, 2)), rings.reshape(-1, 2)])
