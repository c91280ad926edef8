"""What lies on disk: the home and its keys, LevelDB behind the cores, the sealed votes, caches with a life."""
