from mcp import Client

import answers


async def ask(url, receive):
    async def on_progress(progress, total, message):
        receive(message)

    async with Client(f"{url}/mcp", read_timeout_seconds=10) as client:
        await client.call_tool("speak", {}, progress_callback=on_progress)


answers.each(ask)
