"""What is in a photo, as a list of names: found by taggers or read from a file, and said in a tag sentence."""
