"""Measurements of speed and fidelity: `python -m benchmarks.<name>` prints a table and writes results/<name>.json."""
