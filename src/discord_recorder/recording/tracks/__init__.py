"""Tracks as they grow: chunk files, and how they are sealed."""
