# ruff: noqa: E501
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

# What each module may import of its own package, imports inside functions included; `errors` and `files` of vse are
# for everybody.
VSE = {
    "system.errors": "",
    "system.files": "",
    "system.terminal": "",
    "system.arguments": "",
    "system.command_line": "system.arguments data.datasets system.terminal",
    # words, pixels, data on disk
    "system.precision": "system.settings",
    "data.vocabulary": "system.terminal",
    "data.word_vectors": "",
    "data.caption_lists": "system.terminal",
    "data.formats": "data.caption_lists data.photo_files",
    "data.listed_photos": "data.caption_lists data.formats data.photo_files",
    "data.report": "data.datasets data.photos data.vocabulary",
    "data.datasets": "data.caption_lists data.formats data.listed_photos data.photo_files scenes.scenes",
    "data.download": "data.formats data.photo_files",
    "scenes.pen": "",
    "scenes.things": "scenes.pen",
    "scenes.sentences": "",
    "scenes.drawing": "scenes.pen scenes.things",
    "scenes.scenes": "scenes.sentences scenes.drawing scenes.things",
    "data.photo_files": "system.terminal",
    "data.photos": "data.photo_files",
    "features._torchvision": "",
    "features.weights": "",
    "features.networks": "features._torchvision features.weights",
    "features.named": "features.weights",
    "features.side_by_side": "",
    "features.info": "",
    "features.matrix": "features.side_by_side",
    "features.store": "data.datasets features.info features.matrix features.side_by_side",
    "features.sources": "features.info features.store features.side_by_side",
    "features.folder": "features.info features.matrix features.store",
    "features.extractor": "features.networks features.weights runs.distributed features.info data.photos system.precision",
    "features.build": "runs.distributed features.extractor features.folder features.info features.sources features.store data.photos"
    " system.precision",
    # the space
    "system.settings": "",
    "configs": "system.settings",
    "encoders.image": "configs",
    "encoders.text": "configs data.vocabulary",
    "metrics": "",
    "losses": "configs",
    "runs.distributed": "",
    "batches": "data.datasets features.build data.vocabulary",
    "model": "batches configs features.info encoders.image features.build features.named encoders.text data.vocabulary",
    "system.manifest": "",
    "runs.checkpoint": "features.info system.manifest model system.settings features.side_by_side data.vocabulary",
    "evaluate": "data.datasets features.build metrics model",
    "distillation": "batches data.datasets features.build model",
    "runs.resumed": "runs.checkpoint system.precision",
    "runs.log": "",
    "runs.optimizer": "",
    "train": "batches runs.checkpoint configs data.datasets runs.distributed evaluate features.build losses model runs.log distillation"
    " system.precision runs.resumed runs.optimizer data.vocabulary data.word_vectors",
    "recipes": "configs",
    # what people do with it
    "search.index": "",
    "search.kept_index": "search.index system.terminal",
    "search.queries": "data.formats features.store search.index search.kept_index data.photo_files data.photos system.terminal data.vocabulary",
    "pages.layout": "data.photos system.terminal",
    "pages.retrieval": "data.datasets evaluate features.build search.index model pages.layout search.queries",
    "regularities": "features.store search.index search.queries data.vocabulary",
    "pages.arithmetic": "pages.layout",
    "pca": "",
    "pages.figure": "pca data.photos system.terminal",
    "commands.search": "runs.checkpoint system.command_line runs.distributed features.build pages.retrieval search.queries",
    "commands.regularities": "system.arguments system.command_line commands.search pca pages.figure regularities pages.arithmetic"
    " search.queries",
    "system.__init__": "",
    "scenes.__init__": "",
    "data.__init__": "",
    "features.__init__": "",
    "encoders.__init__": "",
    "search.__init__": "",
    "pages.__init__": "",
    "runs.__init__": "",
    "commands.__init__": "",
    "__init__": "runs.checkpoint model",
    "__main__": "__init__ runs.checkpoint system.command_line system.settings commands.regularities commands.search configs data.report data.datasets"
    " runs.distributed data.download evaluate features.build recipes pages.retrieval scenes.scenes search.queries train",
}
SCNLM = {
    # the trigram
    "rerank.kneser_ney": "",
    "rerank.arpa": "",
    "rerank.trigram": "rerank.arpa rerank.kneser_ney",
    # structure and the models
    "tags": "",
    "configs": "tags",
    "structure": "tags",
    "models": "configs",
    "data": "models structure",
    "language_model": "models structure",
    "train": "configs data language_model models structure tags",
    # captions
    "rerank.cider": "",
    "generate": "language_model models",
    "rerank.score": "rerank.trigram",
    "rerank.concepts": "configs",
    "captions.captioner": "rerank.concepts configs generate language_model rerank.score rerank.trigram",
    "captions.assemble": "captions.captioner rerank.cider rerank.concepts language_model rerank.score rerank.trigram",
    "captions.page": "rerank.score",
    "captions.describe": "captions.captioner captions.page rerank.score",
    "rerank.__init__": "",
    "captions.__init__": "",
    "__init__": "",
    "__main__": "__init__ captions.assemble captions.captioner configs captions.describe tags train rerank.trigram",
}
MAY_IMPORT = {"vse": VSE, "scnlm": SCNLM}


def imports(path):
    """Every imported module of a file as a dotted name; a name taken from a package counts as its module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            folder = ROOT / node.module.replace(".", "/")
            if node.module.split(".")[0] in ("vse", "scnlm", "experiments") and folder.is_dir():
                inside = {p.stem for p in folder.glob("*.py")}
                names = (alias.name for alias in node.names)
                yield from (f"{node.module}.{name if name in inside else '__init__'}" for name in names)
            else:
                yield node.module


def id_of(path):
    return str(path.relative_to(ROOT))


every_file = pytest.mark.parametrize("path", FILES, ids=id_of)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_table_has_every_module_and_no_other(package):
    assert set(MAY_IMPORT[package]) == {
        name.split(".", 1)[1] for name in MODULES if name.split(".")[0] == package
    }


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_the_table_says(module):
    package, name = module.split(".", 1)
    found = {name.split(".", 1)[1] for name in imports(MODULES[module]) if name.startswith(f"{package}.")}
    assert found - {"system.errors", "system.files"} <= set(MAY_IMPORT[package].get(name, "").split())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_arrows_of_the_table_point_down(package):
    """No circle: the modules can be put in an order in which each imports earlier ones only."""
    left = {module: set(allowed.split()) for module, allowed in MAY_IMPORT[package].items()}
    while left:
        ground = [module for module, allowed in left.items() if not allowed & left.keys()]
        assert ground, f"a circle among {sorted(left)}"
        left = {module: allowed for module, allowed in left.items() if module not in ground}


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
