"""Which CNN a run folder may name: one that ships or is published at a pinned address, or one that the user passes.

A run may come from a stranger. Without this its config could have any file of the reader's read as weights, or make a
search fetch a model from the network.
"""

from collections.abc import Sequence
from pathlib import Path

from vse.features.weights import file_digest
from vse.system.errors import InputError


def permitted(info: dict, cnns: Sequence[str | Path] = ()) -> dict:
    """`info` of features, several side by side included, with the weights files that were passed in it.

    `cnns`: what the user passes: weights files, known by their SHA-256 wherever they lie now, and "timm:MODEL". Raises
    InputError for another file, and for a timm model that was not passed.
    """
    if "sources" in info:
        return info | {"sources": [permitted(source, cnns) for source in info["sources"]]}
    weights, encoder = info.get("weights"), str(info.get("encoder", ""))
    if weights is not None and str(weights) != "random":
        digest = info.get("weights_sha256", "")
        passed = next((str(file) for file in cnns if Path(file).is_file() and file_digest(file) == digest), None)
        if passed is None:
            raise InputError(
                f"the run names a file of weights of {encoder}, {weights} (SHA-256 {digest}...): "
                "a run may not have files read; if it is yours, pass it with --cnn FILE"
            )
        return info | {"weights": passed}
    if encoder.startswith("timm:") and weights is None and encoder not in map(str, cnns):
        raise InputError(
            f"the run names {encoder}, whose weights may have to come from the network: "
            f"a run may not have them fetched; if you want that, pass it with --cnn {encoder}"
        )
    return info
