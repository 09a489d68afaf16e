"""What functions are invoked with."""

EVENTS = (
    # Large, so that it takes several segments; first, because only then does the Node.js agent not trim it.
    {"order": 1, "padding": 150_000},
    {"order": 2},
    {"order": 3, "note": "Zoë, 東京 🚀"},
    {"order": 4, "refuse": True},
    {"order": 5},
)
# Beyond the ten invocations after which the extension takes a function for busy, and collects.
MANY = tuple({**event, "order": order} for order, event in enumerate((*EVENTS, *EVENTS[1:] * 4), 1))
# Each of the two returns only once the other runs as well: two workers, two agents.
TABLE_FOR_TWO = ({"order": 6, "guests": 2}, {"order": 7, "guests": 2})
