"""How sequences of commands are drawn: each anew, and none as a variation of one before."""

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

EVENLY = "evenly"
"""A backend for Hypothesis."""


class Evenly(HypothesisProvider):
    """As Hypothesis draws by itself.

    With its own backend, five of six sequences only repeat some steps of the sixth at another place, and the first ones
    are short: where a sequence takes a second, and several commands have to fit, next to nothing is found so.
    """


AVAILABLE_PROVIDERS[EVENLY] = f"{Evenly.__module__}.{Evenly.__qualname__}"
