"""What `pip install .` puts into place: every package, and as package data the shipped set and the templates."""

import tomllib
from pathlib import Path

from scnlm.captions import captioner

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_no_subpackage_is_left_out():
    files = (path for top in ("vse", "scnlm") for path in ROOT.glob(f"{top}/**/*.py"))
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in files}
    assert folders <= set(SETUPTOOLS["packages"])


def test_all_of_the_shipped_set_is_package_data():
    (package, folder), (pattern,) = *SETUPTOOLS["package-dir"].items(), SETUPTOOLS["package-data"]["scnlm.shipped"]
    assert package == "scnlm.shipped" and package in SETUPTOOLS["packages"]
    brought = {p for p in (ROOT / folder).glob(f"{pattern}/*") if p.is_file()}
    assert brought == {p for p in (ROOT / "models").rglob("*") if p.is_file()}


def test_every_template_is_package_data():
    patterns = [(name.replace(".", "/"), glob) for name, globs in SETUPTOOLS["package-data"].items() for glob in globs]
    brought = {path for folder, glob in patterns for path in ROOT.glob(f"{folder}/{glob}")}
    templates = {path for top in ("vse", "scnlm") for path in ROOT.glob(f"{top}/**/*.html")}
    assert templates and templates <= brought


def test_the_installed_copy_is_found(tmp_path, monkeypatch):
    """Beside the installed modules, where there is no checkout."""
    there = tmp_path / "site" / "scnlm" / "shipped" / "flickr8k"
    there.mkdir(parents=True)
    (there / captioner.WEIGHTS).write_text("{}")
    monkeypatch.setattr(captioner, "__file__", str(tmp_path / "site" / "scnlm" / "captions" / "captioner.py"))
    assert captioner.shipped_set() == there
