"""Start what was decided, watch it, end it."""
