"""The function without any agent."""

from answer import answer


def handler(event, context):
    return answer(event, context)
