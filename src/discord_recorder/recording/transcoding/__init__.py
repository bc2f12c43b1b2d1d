"""The jobs: who claims a chunk, and how it becomes MP3."""
