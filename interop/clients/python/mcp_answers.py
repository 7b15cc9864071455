from mcp import Client

import answers


async def ask(url, receive):
    async def on_progress(progress, total, message):
        receive(message)

    async with Client(f"{url}/mcp", read_timeout_seconds=10) as client:
        question = {"question": "What is SSE?"}
        result = await client.call_tool("ask", question, progress_callback=on_progress)
        if result.is_error:
            raise RuntimeError(result.content[0].text)


answers.each(ask)
