"""Usage: python sseclient_client.py URL METHOD LEAVE_AFTER"""

import requests
from sseclient import SSEClient

import told

with requests.Session() as session:
    response = session.request(
        told.method, told.url, stream=True, headers={"accept": "text/event-stream"}
    )
    client = SSEClient(response)
    for event in client.events():
        if told.event(event.event, event.id, event.data):
            client.close()
            break
    else:
        told.ended()
    told.stay()
