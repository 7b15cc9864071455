"""The application that `fastapi.json` describes. Run it with FastAPI 0.165.0:

    python3 -m venv venv
    venv/bin/pip install fastapi==0.165.0
    venv/bin/python fastapi_app.py > fastapi.json
"""

import json

from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import FastAPI, Header, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

app = FastAPI(title="Shop", version="1.2.0", description="The shop's event streams.")


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []
    discount: float | None = Field(default=None, description="In percent.")


class Prompt(BaseModel):
    text: str
    temperature: float = 0.7


class Token(BaseModel):
    text: str


@app.get("/shops/{shop}/items", response_class=EventSourceResponse, summary="Items as they are added")
async def items(
    shop: Annotated[int, Path(ge=1, description="The shop's number.")],
    kind: Annotated[str | None, Query(description="Only items of this kind.")] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterable[Item]:
    """Streams every item that is added to a shop."""
    yield Item(name="lamp", price=12.5)


@app.post("/answers", response_class=EventSourceResponse)
async def answers(prompt: Prompt) -> AsyncIterable[Token]:
    yield Token(text="Hello")


@app.get("/log", response_class=EventSourceResponse)
async def log() -> AsyncIterable[ServerSentEvent]:
    yield ServerSentEvent(raw_data="a line", event="line", id="1")


@app.get("/items")
async def list_items() -> list[Item]:
    return []


if __name__ == "__main__":
    print(json.dumps(app.openapi(), indent=2))
