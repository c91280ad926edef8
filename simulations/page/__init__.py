"""The page that `bizra-sim report` writes: markup, style and drawing, put together into one file."""
