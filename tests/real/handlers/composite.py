"""The function with the agent `thundra` 2.x, which decorates it in code, as its documentation shows."""

from answer import answer
from thundra.thundra_agent import Thundra

thundra = Thundra()


@thundra
def handler(event, context):
    return answer(event, context)
