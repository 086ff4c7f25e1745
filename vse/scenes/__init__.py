"""The drawn data set: scenes of things, colors and weather, with captions and exact truth."""

from vse.scenes.scenes import make_scenes

__all__ = ["make_scenes"]
