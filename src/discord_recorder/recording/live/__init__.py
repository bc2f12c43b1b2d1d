"""A live call: the voice client's frames, each at its place on the session clock."""
