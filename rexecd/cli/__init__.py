"""The doors: where the programs meet people. Only here are things wired together."""
