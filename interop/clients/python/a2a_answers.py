from a2a.client import ClientFactory
from a2a.types import Message, Part, Role, SendMessageRequest, TaskState

import answers


async def ask(url, receive):
    client = await ClientFactory().create_from_url(url)
    message = Message(message_id="message-1", role=Role.ROLE_USER, parts=[Part(text="What is SSE?")])
    async for event in client.send_message(SendMessageRequest(message=message)):
        for part in event.artifact_update.artifact.parts:
            receive(part.text)
        status = event.status_update.status
        if status.state == TaskState.TASK_STATE_FAILED:
            raise RuntimeError(status.message.parts[0].text)


answers.each(ask)
