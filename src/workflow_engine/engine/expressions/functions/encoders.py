"""The encoders extension."""

from __future__ import annotations

import base64
import binascii

from workflow_engine.engine.expressions.errors import fail
from workflow_engine.engine.expressions.functions.registry import expect_text, function, refuse
from workflow_engine.engine.expressions.meter import Meter, text_units


@function("base64.encode", 1)
def encode(meter: Meter, value: object) -> str:
    """Bytes as base64 text."""
    if type(value) is not bytes:
        return refuse("base64.encode", "argument", "bytes, as bytes(x) makes of a string,", value)
    meter.charge(text_units(2 * len(value)))
    return base64.b64encode(value).decode()


@function("base64.decode", 1)
def decode(meter: Meter, value: object) -> bytes:
    """The bytes of a base64 text, padded or not."""
    text = expect_text("base64.decode", value)
    meter.charge(text_units(2 * len(text)))
    try:
        return base64.b64decode(text if text.endswith("=") else text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return fail("base64.decode needs a base64 text")
