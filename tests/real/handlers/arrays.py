"""The function under the agent `thundra` 3.0.7 and later, whose package is called `catchpoint`."""

from answer import answer
from catchpoint.catchpoint_agent import Catchpoint

catchpoint = Catchpoint()


@catchpoint
def handler(event, context):
    return answer(event, context)
