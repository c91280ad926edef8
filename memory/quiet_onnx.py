"""onnxruntime, told before it is loaded that it may not report to anybody.

From 1.31 on it looks up a collector of its maker's as soon as it is imported, in packages for Linux too, and leaves a
file with a device's id in the folder for temporary files; `disable_telemetry_events()` comes too late for that. A node
sends what its owner asks for and nothing else, so onnxruntime is imported here alone.
"""

from __future__ import annotations

import os

# Read while the library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

__all__ = ["ort"]
