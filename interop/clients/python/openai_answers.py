from openai import AsyncOpenAI

import answers


async def ask(url, receive):
    messages = [{"role": "user", "content": "What is SSE?"}]
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        chunks = await client.chat.completions.create(model="parrot-1", messages=messages, stream=True)
        async for chunk in chunks:
            receive(chunk.choices[0].delta.content or "")


answers.each(ask)
