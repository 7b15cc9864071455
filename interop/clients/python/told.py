"""What the Python clients share: a line of JSON for each thing that they tell."""

import json
import sys
import threading

url, method, leave_after = sys.argv[1:4]
_seen = 0


def _print(line):
    print(json.dumps(line), flush=True)


def event(name, id, data):
    """The answer is whether it is time to leave."""
    global _seen
    _print({"event": {"name": name, "id": id or "", "data": data}})
    _seen += 1
    return str(_seen) == leave_after


def ended():
    _print("ended")


def stopped(why):
    _print({"stopped": why})


def stay():
    """Whoever has left stays, so that it is not the process' end that the server notices."""
    threading.Event().wait()
