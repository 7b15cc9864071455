from openai import OpenAI

import gateway

client = OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-demo", max_retries=0)


def ask(model):
    messages = [{"role": "user", "content": "What is a gateway?"}]
    return client.chat.completions.create(model=model, messages=messages, stream=True)


gateway.run(ask, lambda chunk: chunk.choices[0].delta.content or "")
