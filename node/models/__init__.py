"""The model servers of this machine: those that the owner names, those found, and what is told of them."""
