"""Shared by the scripts of the official clients. `python SCRIPT URL CASE…` sends a request to
`URL/CASE` for each case and prints the received text and the reported error as a line of JSON.

In the case `leave`, the client is cancelled after the first piece. In the case `resume`, the script
prints a line after the first piece, so that the test can cut the connection."""

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
        asking = asyncio.ensure_future(ask(f"{base}/{name}", lambda text: receive(text)))

        def receive(text):
            if name == "resume" and text and not received:
                show({"case": name, "first": text})
            if text:
                received.append(text)
            if name == "leave" and received:
                asking.cancel()

        try:
            await asking
        except asyncio.CancelledError:
            error = "cancelled"
        except Exception as raised:
            while isinstance(raised, ExceptionGroup):
                raised = raised.exceptions[0]
            error = f"{type(raised).__name__}: {raised}"
        show({"case": name, "received": "".join(received), "error": error})

    for name in cases:
        asyncio.run(one(name))


def show(line):
    print(json.dumps(line), flush=True)
