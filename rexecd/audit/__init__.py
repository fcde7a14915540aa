"""The trail: what is recorded, how it is sealed, written and read."""
