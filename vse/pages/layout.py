"""One HTML page from a template of the folder `templates`, which holds the look and the text; what is shown comes in.

The file is complete in itself (styles inside, thumbnails as data URIs, no script), so it can be mailed, and
it follows the reader's light or dark setting. All that comes in is shown as text, never read as HTML.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from vse.data.photos import read_photo
from vse.system.errors import InputError
from vse.system.files import write_bytes
from vse.system.terminal import printable

THUMBNAIL_PX = 320  # longest side; shown at half of it on ordinary screens, sharp on dense ones

# (photo, cosine, is it right; None where nobody knows), best first
PhotoHits = Sequence[tuple[Path, float, bool | None]]
CaptionHits = Sequence[tuple[str, float, bool | None]]


def write_html(out: Path, template: str, *, package: str = "vse.pages", **content: Any) -> Path:
    """`out`, written whole or not at all: the `template` of `package` filled with `content`.

    It may extend and import the templates of vse.pages. A photo that cannot be read becomes a box that says so.
    """
    loader = ChoiceLoader([PackageLoader(package), PackageLoader("vse.pages")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["thumbnail"] = _thumbnail
    page = environment.get_template(template).render(content)
    # Names and captions may hold control characters, which HTML forbids and which could turn lines around.
    page = "\n".join(map(printable, page.split("\n"))) + "\n"
    write_bytes(Path(out), page.encode("utf-8", "replace"))
    return Path(out)


def _thumbnail(path: Path) -> dict[str, Any] | None:
    """The photo, upright and small: `jpeg` in base64, its `width` and `height`; None if it cannot be read."""
    try:
        small = read_photo(path, shortest=THUMBNAIL_PX)
    except InputError:
        return None
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=82, optimize=True)
    return {"jpeg": base64.b64encode(jpeg.getvalue()).decode(), "width": small.width, "height": small.height}
