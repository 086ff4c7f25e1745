"""HTML pages and figures to look at."""
