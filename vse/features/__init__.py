"""Photos to feature matrices: frozen CNNs, the extractor, and the folders that hold what it made."""

from vse.features.build import extract_features
from vse.features.extractor import FeatureExtractor
from vse.features.side_by_side import combine_features, open_combined
from vse.features.store import Features, open_features, without_skipped

__all__ = [
    "FeatureExtractor", "Features", "combine_features", "extract_features", "open_combined", "open_features",
    "without_skipped",
]  # fmt: skip
