"""ERNIE-ViL 2.0's claim in figures: more views of a pair make sturdier features (rows `views-...` of rows.py)."""
