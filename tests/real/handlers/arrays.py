"""The function with the agent `thundra` 3.0.7 and later. Its package is `catchpoint`."""

from answer import answer
from catchpoint.catchpoint_agent import Catchpoint

catchpoint = Catchpoint()


@catchpoint
def handler(event, context):
    return answer(event, context)
