"""Compares each frame with the one that Datastar's SDK creates for the same signals."""

import json

import httpx
from datastar_py import ServerSentEventGenerator

import answers


async def ask(url, receive):
    question = {"question": "What is SSE?"}
    text = ""
    seen = 0
    async with (
        httpx.AsyncClient() as client,
        client.stream("POST", f"{url}/answer", json=question, headers={"datastar-request": "true"}) as response,
    ):
        async for part in response.aiter_text():
            *frames, text = (text + part).split("\n\n")
            for frame in frames:
                signals = json.loads(frame[frame.index("{") :])
                expected = ServerSentEventGenerator.patch_signals(signals)
                if f"{frame}\n\n" != expected:
                    raise RuntimeError(f"{frame} instead of {expected}")
                if "error" in signals:
                    raise RuntimeError(signals["error"])
                receive(signals["answer"][seen:])
                seen = len(signals["answer"])


answers.each(ask)
