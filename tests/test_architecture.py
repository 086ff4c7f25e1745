"""The house keeps its shape: who may import whom, nothing unpickled, files that are read in one sitting."""

import ast
from pathlib import Path

import pytest


def name_of(path):
    """The dotted name of a file; a package's is that of its `__init__`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(p for package in ("vse", "scnlm", "experiments") for p in (ROOT / package).rglob("*.py"))
MODULES = {name_of(p): p for name in ("vse", "scnlm") for p in sorted((ROOT / name).rglob("*.py"))}
LIMIT = 300  # lines a file of a package

# The floor plan: what a folder, or a file on the landing, may import of its own package beside itself, imports inside
# functions included. Every row names rows above it only, so the plan has no circle.
VSE = {
    "system": "",
    "configs": "system",
    "recipes": "configs",
    "scenes": "system",
    "data": "configs scenes system",
    "metrics": "system",
    "losses": "configs system",
    "pca": "system",
    "features": "configs data system",
    "encoders": "features configs data system",
    "search": "features data system",
    "model": "configs encoders features data system",
    "tags": "features data system",
    "batches": "configs features data system",
    "pixel_batches": "batches configs features data system",
    "regularities": "search features data system",
    "zero_shot": "regularities model search data system",
    "distillation": "model batches features data system",
    "hubs": "model metrics search features data system",
    "evaluate": "hubs model metrics features data system",
    "clip_checkpoint": "evaluate metrics features data system",
    "fusion": "model configs encoders features data system",
    "answers": "fusion configs encoders features data system",
    "rerank": "fusion evaluate model metrics search features data system",
    "runs": "answers rerank fusion model tags configs features data system",
    "pages": "evaluate model metrics search features pca data system",
    "gradient_cache": "",
    "train": "runs evaluate tags pixel_batches gradient_cache distillation batches losses model configs features data"
    " system",
    "fusion_batches": "model batches configs features data system",
    "train_fusion": "fusion_batches runs rerank fusion model configs features data system",
    "train_answers": "runs answers fusion model configs features data system",
    "__init__": "runs answers fusion model",
    "commands": "clip_checkpoint train train_fusion train_answers pages runs answers rerank fusion evaluate hubs tags"
    " zero_shot regularities model search features pca metrics recipes configs scenes data system __init__",
    "__main__": "commands configs recipes system __init__",
}
SCNLM = {
    "configs": "",
    "structure": "",
    "models": "configs",
    "data": "models structure",
    "language_model": "models structure",
    "generate": "language_model models",
    "git": "configs",
    "beam": "git",
    "git_run": "git configs",
    "git_batches": "git",
    "git_answers": "beam git",
    "rerank": "configs",
    "train": "data language_model models structure configs",
    "train_git": "git_answers beam git_run git_batches git rerank configs",
    "captions": "beam git_run git generate rerank language_model configs",
    "__init__": "",
    "commands": "train_git git_answers git_run configs",
    "__main__": "commands captions rerank train configs __init__",
}
MAY_IMPORT = {"vse": VSE, "scnlm": SCNLM}


def row_of(name: str) -> str:
    """The row of a module: its folder's, or its own where it stands on the landing."""
    return name.split(".")[1]


def imports(path):
    """Every imported module of a file as a dotted name; a name taken from a package counts as its module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            folder = ROOT / node.module.replace(".", "/")
            if node.module.split(".")[0] in ("vse", "scnlm", "experiments") and folder.is_dir():
                inside = {p.stem for p in folder.iterdir() if p.is_dir() or p.suffix == ".py"}
                names = (alias.name for alias in node.names)
                yield from (f"{node.module}.{name if name in inside else '__init__'}" for name in names)
            else:
                yield node.module


def id_of(path):
    return str(path.relative_to(ROOT))


every_file = pytest.mark.parametrize("path", FILES, ids=id_of)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_table_has_every_row_and_no_other(package):
    assert set(MAY_IMPORT[package]) == {row_of(name) for name in MODULES if name.split(".")[0] == package}


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_the_table_says(module):
    package, row = module.split(".")[0], row_of(module)
    used = {row_of(name) for name in imports(MODULES[module]) if name.startswith(f"{package}.")}
    assert used - {row} <= set(MAY_IMPORT[package].get(row, "").split())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_arrows_of_the_table_point_up_the_list(package):
    above = set()
    for row, allowed in MAY_IMPORT[package].items():
        assert set(allowed.split()) <= above, row
        above.add(row)


def test_the_files_have_no_circle():
    left = {name: {used for used in imports(path) if used in MODULES} - {name} for name, path in MODULES.items()}
    while left:
        ground = [name for name, used in left.items() if not used & left.keys()]
        assert ground, f"a circle among {sorted(left)}"
        left = {name: used for name, used in left.items() if name not in ground}


@every_file
def test_packages_import_downwards_only(path):
    """notebooks, experiments, tests -> scnlm -> vse, never back; nobody imports experiments or tests."""
    package = path.relative_to(ROOT).parts[0]
    allowed = {"vse": {"vse"}, "scnlm": {"vse", "scnlm"}, "experiments": {"vse", "scnlm", "experiments"}}[package]
    ours = {name.split(".")[0] for name in imports(path)} & {"vse", "scnlm", "experiments", "tests"}
    assert ours <= allowed


@every_file
def test_nothing_is_unpickled(path):
    pickles = {"cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    assert not pickles & {name.split(".")[0] for name in imports(path)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            assert node.attr == "UnpicklingError", f"{path}:{node.lineno}"  # may be caught, no more
        if isinstance(node, ast.Call):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            called = ast.unparse(node.func)
            if called in ("torch.load", "load_state_dict_from_url", "torch.hub.load_state_dict_from_url"):
                assert given.get("weights_only") == "True", f"{path}:{node.lineno}"
            if called in ("np.load", "numpy.load"):
                assert given.get("allow_pickle") == "False", f"{path}:{node.lineno}"
            assert called not in ("torch.hub.load", "np.lib.format.read_array"), f"{path}:{node.lineno}"
        if isinstance(node, ast.ImportFrom):
            assert node.module != "pickle", f"{path}:{node.lineno}"


@every_file
def test_a_file_says_what_it_is_and_can_be_read_in_one_sitting(path):
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return
    assert ast.get_docstring(ast.parse(text)), "no docstring at the top"
    assert len(text.splitlines()) <= LIMIT


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "vse")], ids=id_of)
def test_public_functions_have_a_docstring(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has none"
