"""Photos, captions and words as users have them on disk."""
