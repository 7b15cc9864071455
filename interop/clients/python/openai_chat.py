"""Runs OpenAI's own SDK against the `chat` example.
Usage: python openai_chat.py BASE_URL stream|error|abort"""

import json
import sys
import threading

from openai import OpenAI, APIStatusError

base_url, what = sys.argv[1:3]


def show(line):
    print(json.dumps(line), flush=True)


client = OpenAI(base_url=base_url, api_key="none", max_retries=0)
messages = [] if what == "error" else [{"role": "user", "content": "What is SSE?"}]
try:
    stream = client.chat.completions.create(model="parrot-1", messages=messages, stream=True)
    for number, chunk in enumerate(stream, 1):
        choice = chunk.choices[0]
        name = choice.finish_reason or "message"
        show({"event": {"name": name, "id": chunk.id, "data": choice.delta.content or ""}})
        if what == "abort" and number == 3:
            stream.close()
            break
    else:
        show("ended")
except APIStatusError as error:
    show({"stopped": f"{type(error).__name__} {error.status_code} {error.code}"})
# Keep running after closing the stream so that the server notices the closed stream rather than the
# exiting process.
threading.Event().wait()
