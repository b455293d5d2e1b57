"""Models that look at pages, on the CPU by ONNX Runtime: layout, tables, and text, inside a stated number of bytes.

One `VisionEngine` holds the sessions of all tasks and runs one image at a time; what it finds is in pixels of that
image. `elements.py`, `chart.py` and `table.py` turn what the models say into what a caller asks for.
"""
