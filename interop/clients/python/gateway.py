"""Shared by the scripts that run the official SDKs against the `gateway` example.
`python SCRIPT URL CASE` prints a line of JSON with the text received, the error that the SDK
reports and the error response's `retry-after`."""

import json
import sys
import threading

url, case = sys.argv[1:]


def run(ask, text):
    """`ask(model)` sends a request and returns the SDK's stream. `text(event)` returns the text that
    an event of this stream adds to the answer."""
    received = ""
    error = retry_after = None
    try:
        # Stays open while the next request is sent.
        earlier = ask("parrot-1") if case == "limit" else None
        stream = ask(case if case in ("busy", "flaky") else "parrot-1")
        for event in stream:
            received += text(event)
            if case == "cancel" and received:
                stream.close()
                break
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
        retry_after = raised.response.headers.get("retry-after") if hasattr(raised, "response") else None
    print(json.dumps({"received": received, "error": error, "retry_after": retry_after}), flush=True)
    # Keep running so that the server notices the closed stream rather than the exiting process.
    threading.Event().wait()
