"""The protocol of `docs/PROTOCOL.md` as pure code: bytes in, messages out, no socket."""
