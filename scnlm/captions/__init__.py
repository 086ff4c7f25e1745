"""A caption set: make it, use it, show it."""
