"""The trusted process: it authenticates, decides, records, starts, watches and ends."""
