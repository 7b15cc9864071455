"""Shared by the Python clients. Prints each message as a line of JSON."""

import json
import sys
import threading

url, method, leave_after = sys.argv[1:4]
_seen = 0


def _print(line):
    print(json.dumps(line), flush=True)


def event(name, id, data):
    """Reports an event, and returns whether to close the stream."""
    global _seen
    _print({"event": {"name": name, "id": id or "", "data": data}})
    _seen += 1
    return str(_seen) == leave_after


def ended():
    _print("ended")


def stopped(why):
    _print({"stopped": why})


def stay():
    """Keeps running after closing the stream so that the server notices the closed stream rather
    than the exiting process."""
    threading.Event().wait()
