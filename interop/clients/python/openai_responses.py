from openai import AsyncOpenAI

import answers


async def ask(url, receive):
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        events = await client.responses.create(model="parrot-1", input="What is SSE?", stream=True)
        async with events:
            async for event in events:
                if event.type == "response.output_text.delta":
                    receive(event.delta)
                elif event.type == "error":
                    # This client delivers errors as ordinary events.
                    raise RuntimeError(event.message)


answers.each(ask)
