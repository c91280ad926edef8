"""A broken invariant, as it leaves a run."""


class ViolationError(Exception):
    """An invariant is broken."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant, self.sentence = invariant, sentence
