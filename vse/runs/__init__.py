"""A run: its folder, its log, its optimizer, its processes."""
