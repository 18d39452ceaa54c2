"""The HTTP door: requests in, answers out, nothing decided here."""
