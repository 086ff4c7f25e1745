"""Photos to feature matrices: frozen CNNs, the extractor, and the folders that hold what it found."""
