"""One meeting while it is captured: pushes, pauses, notes, marks, and what is stored of them."""
