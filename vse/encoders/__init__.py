"""The two encoders: images and sentences to unit vectors of the joint space."""
