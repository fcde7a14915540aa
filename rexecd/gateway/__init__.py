"""The exposed process: TLS, framing, back-pressure. It never decides and cannot exec."""
