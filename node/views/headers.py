"""Headers of answers that both ends of the gateway must name alike."""

from __future__ import annotations

HEIGHT = "X-Height"
"""After which block an answer is the answer."""
