"""The drawn data set: scenes of things, colors and weather, with captions and exact truth."""
