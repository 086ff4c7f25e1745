"""Regularities measured: photo - word + word, on drawn scenes and on Flickr8K (section 5.1)."""
