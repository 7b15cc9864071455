"""Usage: python httpx_sse_client.py URL METHOD LEAVE_AFTER"""

import httpx
from httpx_sse import SSEError, connect_sse

import told

with httpx.Client(timeout=None) as client:
    with connect_sse(client, told.method, told.url) as source:
        try:
            for event in source.iter_sse():
                if told.event(event.event, event.id, event.data):
                    break
            else:
                told.ended()
        except SSEError as error:
            told.stopped(str(error))
    told.stay()
