"""What the scripts of the official clients share: `python SCRIPT URL CASE…` has the client ask `URL/CASE` for each case, and
prints a line of JSON for each: the text that it received, and the error that it reported."""

import asyncio
import json
import sys

base, *cases = sys.argv[1:]


def each(ask):
    """`ask(url, receive)` calls `receive(text)` for each piece, returns at the end of the answer, and raises the client's error."""

    async def one(name):
        received = []
        error = None
        try:
            await ask(f"{base}/{name}", received.append)
        except Exception as raised:
            while isinstance(raised, ExceptionGroup):
                raised = raised.exceptions[0]
            error = f"{type(raised).__name__}: {raised}"
        print(json.dumps({"case": name, "received": "".join(received), "error": error}), flush=True)

    for name in cases:
        asyncio.run(one(name))
