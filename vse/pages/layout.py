"""One HTML page that shows what a model retrieves: a table, photos for sentences, sentences for photos.

The file is complete in itself (styles inside, thumbnails as data URIs, no script), so it can be mailed, and
it follows the reader's light or dark setting. It draws what it is given; it ranks and loads nothing.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from vse.data.photos import read_photo
from vse.system.errors import InputError
from vse.system.files import write_bytes
from vse.system.terminal import printable

THUMBNAIL_PX = 320  # longest side; shown at half of it on ordinary screens, sharp on dense ones

# (photo, cosine, is it right; None where nobody knows), best first
PhotoHits = Sequence[tuple[Path, float, bool | None]]
CaptionHits = Sequence[tuple[str, float, bool | None]]

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #fff; --ink: #1f2328; --soft: #5d6570;
  --line: #e3e0d8; --good: #1a7f4b; --good-soft: #e2f3e8; --accent: #3b5bdb; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #1e2125; --ink: #e7e5e0;
  --soft: #a3a9b2; --line: #33373d; --good: #63d297; --good-soft: #183626; --accent: #91a7ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) clamp(1rem, 4vw, 2.5rem); }
h1, h2, blockquote { font-family: Charter, "Iowan Old Style", Georgia, serif; text-wrap: balance; }
h1 { font-size: clamp(1.9rem, 5vw, 2.9rem); line-height: 1.15; margin: 0 0 1rem; }
h2 { font-size: 1.6rem; line-height: 1.25; margin: 3.5rem 0 .25rem; }
p { max-width: 42rem; margin: 0 0 1rem; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 60%; }
th, td { padding: .5rem .9rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--soft); font-size: .8125rem; font-weight: 600; border-bottom-width: 2px; }
tbody th { font-weight: 500; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .9rem; margin: 1.25rem 0;
  padding: 1.25rem; break-inside: avoid; }
blockquote { margin: 0 0 1rem; font-size: 1.25rem; line-height: 1.35; font-style: italic; }
.row { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
.pair { display: grid; gap: 1.5rem; grid-template-columns: minmax(11rem, 17rem) minmax(0, 1fr); }
@media (max-width: 40rem) { .pair { grid-template-columns: minmax(0, 1fr); } }
figure { margin: 0; }
.thumb { display: block; width: 100%; height: auto; aspect-ratio: 4 / 3; object-fit: cover;
  border-radius: .5rem; background: var(--line); }
.pair .thumb { aspect-ratio: auto; }
.none { display: grid; place-items: center; padding: 1rem; text-align: center; color: var(--soft); }
.right .thumb { outline: 3px solid var(--good); outline-offset: 2px; }
figcaption { display: flex; justify-content: space-between; gap: .5rem; margin-top: .5rem;
  font-variant-numeric: tabular-nums; }
.mark { color: var(--good); font-weight: 600; }
ol, ul { margin: 0; padding-left: 1.4rem; }
ol li { padding: .4rem .6rem; border-radius: .4rem; overflow-wrap: anywhere; }
ol li::marker { color: var(--soft); font-size: .875rem; }
ol li.right { background: var(--good-soft); }
details { margin: .75rem 0 0 .6rem; }
summary { cursor: pointer; }
ul { margin-top: .4rem; }
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
$intro
</header>
$body
</main>
</body>
</html>
""")


def retrieval_page(
    out: Path,
    *,
    title: str,
    intro: str,
    table: Sequence[Sequence[str]] = (),
    text_queries: Sequence[tuple[str, PhotoHits]] = (),
    image_queries: Sequence[tuple[Path, Sequence[str], CaptionHits]] = (),
) -> Path:
    """`out`, written whole or not at all: the page. An empty part is left out.

    `intro`: paragraphs parted by a blank line. `table`: its header, then its rows, each led by its name.
    `text_queries`: (sentence, photos found). `image_queries`: (photo, what people wrote, captions found).
    All text is shown as it is, never read as HTML. A photo that cannot be read becomes a box that says so.
    """
    body = [_table(table)] if table else []
    if text_queries:
        note = _note("The photos that lie nearest to each sentence, best first", text_queries)
        body += ["<section>", "<h2>From words to photos</h2>", note]
        body += [*(_text_query(*query) for query in text_queries), "</section>"]
    if image_queries:
        note = _note("The sentences that lie nearest to each photo, best first", image_queries)
        body += ["<section>", "<h2>From photos to words</h2>", note]
        body += [*(_image_query(*query) for query in image_queries), "</section>"]
    return write_page(out, title, intro, body)


def write_page(out: Path, title: str, intro: str, body: Sequence[str]) -> Path:
    """`out`, written whole or not at all: a page of this look around `body`, which is HTML; title and intro are not."""
    paragraphs = [f"<p>{escape(part.strip())}</p>" for part in intro.split("\n\n") if part.strip()]
    page = _PAGE.substitute(
        title=escape(title), style=_STYLE, intro="\n".join(paragraphs), body="\n".join(body)
    )
    # Names and captions may hold control characters, which HTML forbids and which could turn lines around.
    page = "\n".join(map(printable, page.split("\n")))
    write_bytes(Path(out), page.encode("utf-8", "replace"))
    return Path(out)


def photo_article(path: Path, alt: str, beside: str) -> str:
    """A card with a photo and, beside it, the HTML `beside`."""
    return f'<article class="pair">\n<figure>{_thumbnail(path, alt)}</figure>\n<div>\n{beside}\n</div>\n</article>'


def _note(text: str, queries: Sequence[tuple]) -> str:
    judged = any(right is not None for *_, hits in queries for *_, right in hits)
    marked = "; the right ones are marked" if judged else ""
    return f'<p class="soft">{text}, with their cosine{marked}.</p>'


def _table(table: Sequence[Sequence[str]]) -> str:
    header, *rows = table
    head = _table_row(header, '<th scope="col">{}</th>', '<th scope="col">{}</th>')
    body = [_table_row(row, '<th scope="row">{}</th>', "<td>{}</td>") for row in rows]
    start, end = f'<div class="scroll"><table>\n<thead>{head}</thead>\n<tbody>', "</tbody>\n</table></div>"
    return "\n".join([start, *body, end])


def _table_row(row: Sequence[str], first: str, other: str) -> str:
    forms = [first, *[other] * len(row)]
    return f"<tr>{''.join(form.format(escape(cell)) for form, cell in zip(forms, row, strict=False))}</tr>"


def photo_row(hits: PhotoHits, about: str) -> str:
    """Photos in a row, each with its rank and cosine; `about` is what they were found for."""
    parts = ['<div class="row">']
    for rank, (path, score, right) in enumerate(hits, 1):
        photo = _thumbnail(path, f"Result {rank} for {about}: {Path(path).stem}")
        caption = f"<span>{rank} {_mark(right)}</span><span>{score:.2f}</span>"
        parts.append(f"<figure{_class(right)}>{photo}<figcaption>{caption}</figcaption></figure>")
    return "\n".join([*parts, "</div>"])


def _text_query(text: str, hits: PhotoHits) -> str:
    quoted = f"<blockquote>“{escape(text)}”</blockquote>"
    return f"<article>\n{quoted}\n{photo_row(hits, f'“{text}”')}\n</article>"


def _image_query(path: Path, written: Sequence[str], hits: CaptionHits) -> str:
    parts = ["<ol>"]
    for caption, score, right in hits:
        shown = f'{escape(caption)} {_mark(right)} <span class="soft">{score:.2f}</span>'
        parts.append(f"<li{_class(right)}>{shown}</li>")
    parts.append("</ol>")
    if written:
        items = "".join(f"<li>{escape(caption)}</li>" for caption in written)
        parts.append(f'<details class="soft"><summary>What people wrote</summary><ul>{items}</ul></details>')
    return photo_article(path, written[0] if written else f"Photo {Path(path).stem}", "\n".join(parts))


def _class(right: bool | None) -> str:
    return ' class="right"' if right else ""


def _mark(right: bool | None) -> str:
    """Said in a sign, not in colour alone."""
    return '<span class="mark">✓ right</span>' if right else ""


def _thumbnail(path: Path, alt: str) -> str:
    """An <img> that holds the photo, upright and small; a box with its name if it cannot be read."""
    try:
        small = read_photo(path, shortest=THUMBNAIL_PX)
    except InputError:
        return f'<div class="thumb none">{escape(Path(path).name)} cannot be read</div>'
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=82, optimize=True)
    data = base64.b64encode(jpeg.getvalue()).decode("ascii")
    size = f'width="{small.width}" height="{small.height}"'
    return f'<img class="thumb" src="data:image/jpeg;base64,{data}" {size} alt="{escape(alt)}">'
