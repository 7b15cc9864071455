"""Shared by the scripts of the official clients. `python SCRIPT URL CASE…` sends a request to
`URL/CASE` for each case and prints the received text and the reported error as a line of JSON."""

import asyncio
import json
import sys

base, *cases = sys.argv[1:]


def each(ask):
    """Calls `ask(url, receive)` for each case. `ask` calls `receive(text)` for each piece, returns
    once the answer has ended, and raises the client's error."""

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
