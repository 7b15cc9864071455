from anthropic import AsyncAnthropic

import answers


async def ask(url, receive):
    client = AsyncAnthropic(base_url=url, api_key="none", max_retries=0)
    messages = [{"role": "user", "content": "What is SSE?"}]
    async with client.messages.stream(model="parrot-1", max_tokens=10, messages=messages) as stream:
        async for text in stream.text_stream:
            receive(text)
        await stream.get_final_message()


answers.each(ask)
