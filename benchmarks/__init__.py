"""What the recorder costs and how long it takes; `python -m benchmarks` runs all, README.md tells how to read it."""
