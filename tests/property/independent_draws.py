"""A backend for Hypothesis that draws each sequence of commands independently, not as a variation of an earlier one."""

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

INDEPENDENT_DRAWS = "independent-draws"
"""The name of the backend."""


class IndependentDraws(HypothesisProvider):
    """Hypothesis' own provider under another name, which turns its mutation of examples off.

    With the default backend, five of six sequences only repeat some steps of the sixth at another place, and the first
    ones are short. As a sequence takes a second, and a violation needs several matching commands, that finds very few.
    """


AVAILABLE_PROVIDERS[INDEPENDENT_DRAWS] = f"{IndependentDraws.__module__}.{IndependentDraws.__qualname__}"
