"""The function without any agent, in a package of its own."""

from answer import answer


def handler(event, context):
    return answer(event, context)
