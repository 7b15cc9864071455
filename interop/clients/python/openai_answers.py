from openai import AsyncOpenAI

import answers


async def ask(url, receive):
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    messages = [{"role": "user", "content": "What is SSE?"}]
    stream = await client.chat.completions.create(model="parrot-1", messages=messages, stream=True)
    async for chunk in stream:
        receive(chunk.choices[0].delta.content or "")


answers.each(ask)
