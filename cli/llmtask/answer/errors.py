"""What is wrong with an answer."""


class InvalidError(Exception):
    """The text holds no object that fits the schema.

    Attributes:
        problems: One line each, for the model that is asked again and for people.
        kinds: One line each, for the log: free of anything that the answer says.
    """

    def __init__(self, problems: tuple[str, ...], kinds: tuple[str, ...] | None = None) -> None:
        """Take what is wrong; the kinds are the problems themselves where these are free of content."""
        super().__init__("; ".join(problems))
        self.problems = problems
        self.kinds = problems if kinds is None else kinds
