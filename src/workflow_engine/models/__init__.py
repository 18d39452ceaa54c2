"""Data only: what crosses between the rooms. No I/O, no clock, no behaviour beyond reading a value."""
