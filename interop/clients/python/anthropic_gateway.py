from anthropic import Anthropic

import gateway

client = Anthropic(base_url=gateway.url, api_key="sk-demo", max_retries=0)


def ask(model):
    messages = [{"role": "user", "content": "What is a gateway?"}]
    return client.messages.create(model=model, max_tokens=100, messages=messages, stream=True)


gateway.run(ask, lambda event: event.delta.text if event.type == "content_block_delta" else "")
