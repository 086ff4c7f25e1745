"""Subcommands of `scnlm`, by system; `scnlm/__main__.py` has those of the paper's."""
