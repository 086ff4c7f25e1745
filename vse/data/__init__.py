"""Photos, captions and words as users have them on disk."""

from vse.data.datasets import Dataset, read_dataset
from vse.data.vocabulary import Vocabulary, tokenize

__all__ = ["Dataset", "Vocabulary", "read_dataset", "tokenize"]
