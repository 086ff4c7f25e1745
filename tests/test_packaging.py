"""What `pip install .` puts into place: every package, package data, and all that is imported."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import vse
from scnlm.captions import captioner

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


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


def test_the_version_is_the_same_everywhere():
    version = vse.__version__
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_installed_copy_is_found(tmp_path, monkeypatch):
    """Beside the installed modules, where there is no checkout."""
    there = tmp_path / "site" / "scnlm" / "shipped" / "flickr8k"
    there.mkdir(parents=True)
    (there / captioner.WEIGHTS).write_text("{}")
    monkeypatch.setattr(captioner, "__file__", str(tmp_path / "site" / "scnlm" / "captions" / "captioner.py"))
    assert captioner.shipped_set() == there


def names(requirements: list[str]) -> set[str]:
    """The distributions of lines such as "torch>=2.13"."""
    return {re.split(r"[=<>\s]", line)[0].lower().replace("_", "-") for line in requirements}


DEPENDENCIES = names(PYPROJECT["project"]["dependencies"])
EXTRAS = {extra: names(lines) for extra, lines in PYPROJECT["project"]["optional-dependencies"].items()}
LISTS = [(ROOT / name).read_text().splitlines() for name in ("requirements.txt", "requirements-oracles.txt")]
PINNED = names([line for lines in LISTS for line in lines if not line.startswith("#")])
BY_NAME = ("import_module", "importorskip", "find_spec")
NOT_PINNED = {"umap": "umap-learn", "pillow_heif": "pillow-heif"}  # module -> distribution of what no test needs
NOT_INSTALLED = NOT_PINNED | {"open_clip": "open-clip-torch"}  # also of what `make test` does without


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(top-level module, guarded: in a function or a `try`, or only looked for) of each import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    blocks = [block for block in ast.walk(tree) if isinstance(block, ast.FunctionDef | ast.Try)]
    guarded = {id(node) for block in blocks for node in ast.walk(block)}
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(BY_NAME):
            modules = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        asks = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("find_spec")
        yield from ((module.split(".")[0], asks or id(node) in guarded) for module in modules)


def third_party(top: str) -> set[tuple[str, bool]]:
    """(distribution, guarded) of all that the Python files of a folder import and that is neither Python's nor ours."""
    helpers = {path.stem for path in (ROOT / "tests" / "helpers").glob("*.py")}
    ours = {"vse", "scnlm", "experiments"} | helpers | sys.stdlib_module_names
    installed = importlib.metadata.packages_distributions()
    found = {item for path in (ROOT / top).rglob("*.py") for item in imports(path) if item[0] not in ours}
    distributions = {module: (installed.get(module) or [NOT_INSTALLED.get(module, module)])[0] for module, _ in found}
    return {(distributions[module].lower().replace("_", "-"), guarded) for module, guarded in found}


@pytest.mark.parametrize("top", ["vse", "scnlm"])
def test_what_the_packages_import_is_a_dependency_or_an_extra_they_do_without(top):
    extras = set().union(*(EXTRAS[extra] for extra in ("timm", "tensorboard", "umap", "heif", "open-clip")))
    for distribution, guarded in third_party(top):
        assert distribution in DEPENDENCIES or (guarded and distribution in extras), distribution


@pytest.mark.parametrize("top", ["experiments", "tests", "notebooks"])
def test_what_experiments_and_tests_import_is_declared_and_pinned(top):
    declared = DEPENDENCIES.union(*EXTRAS.values())
    assert {distribution for distribution, _ in third_party(top)} <= declared & (PINNED | set(NOT_PINNED.values()))


def test_what_is_declared_is_pinned_and_nothing_else():
    assert DEPENDENCIES.union(*EXTRAS.values()) - set(NOT_PINNED.values()) == PINNED
