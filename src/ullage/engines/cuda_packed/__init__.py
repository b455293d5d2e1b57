"""Encoders on PyTorch with rows laid end to end and no padding: on a GPU by our own kernels, on a CPU by plain tensors.

`llama.py` and `bert.py` are the models, each read from top to bottom; `engine.py` holds one inside its bytes.
PyTorch is an extra of the package, so nothing here is imported before a plan asks for it.
"""
