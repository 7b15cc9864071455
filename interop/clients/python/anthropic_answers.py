from anthropic import AsyncAnthropic

import answers


async def ask(url, receive):
    request = {"model": "parrot-1", "max_tokens": 10, "messages": [{"role": "user", "content": "What is SSE?"}]}
    async with (
        AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client,
        client.messages.stream(**request) as stream,
    ):
        async for text in stream.text_stream:
            receive(text)
        await stream.get_final_message()


answers.each(ask)
