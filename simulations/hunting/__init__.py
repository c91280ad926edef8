"""Looking for what breaks: many seeds, mutants that must be found, and the smallest run that shows it."""
