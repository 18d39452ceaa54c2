"""Measures the engine. `python -m bench` runs everything, `python -m bench NAME...` only what is named."""
