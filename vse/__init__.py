"""Visual-semantic embeddings: one space for images and sentences (Kiros, Salakhutdinov, Zemel 2014)."""

__version__ = "0.1.0"
