"""The function under the agent `thundra` 2.x, as its documentation shows: decorated in code."""

from answer import answer
from thundra.thundra_agent import Thundra

thundra = Thundra()


@thundra
def handler(event, context):
    return answer(event, context)
