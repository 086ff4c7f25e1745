"""From a point of the joint space to a sentence: the structure-content neural language model (section 2.3 to 2.5)."""

from vse import __version__

__all__ = ["__version__"]
