"""The caller's side, with the standard library only."""
