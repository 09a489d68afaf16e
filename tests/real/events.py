"""The events of invocations."""

EVENTS = (
    # Large, so that it takes several segments. It comes first, because the Node.js agent trims later ones.
    {"order": 1, "padding": 150_000},
    {"order": 2},
    {"order": 3, "note": "Zoë, 東京 🚀"},
    {"order": 4, "refuse": True},
    {"order": 5},
)
# More than ten invocations, after which the extension counts a function as busy, and collects.
MANY = tuple({**event, "order": order} for order, event in enumerate((*EVENTS, *EVENTS[1:] * 4), 1))
# Each of the two returns only when the other one runs too, so two workers with two agents run.
TABLE_FOR_TWO = ({"order": 6, "guests": 2}, {"order": 7, "guests": 2})
