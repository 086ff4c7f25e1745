"""Nearest photos and nearest sentences."""
