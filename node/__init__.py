"""The daemon: composition, configuration, storage, HTTP gateway and command line."""
