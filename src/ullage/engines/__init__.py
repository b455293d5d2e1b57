"""Run one model inside its envelope. `base.py` is the narrow waist; one file or folder an engine."""
