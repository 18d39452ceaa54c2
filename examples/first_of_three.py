"""The mirrors of `first_of_three.yaml`."""

import asyncio

from workflow_engine import function


@function
async def download(mirror: str, file: str, delay_s: float) -> dict[str, object]:
    """Fetch a file. Async functions are cancelled when their step is withdrawn."""
    await asyncio.sleep(delay_s)
    return {"mirror": mirror, "file": file}
