"""What is wrong with a Dockerfile, in Docker's words."""

from collections.abc import Sequence

from pinnace.errors import InvalidParameter

_SHOWN_CHARS = 160
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(10, 32), *range(127, 160))}


class DockerfileError(InvalidParameter):
    """A Dockerfile cannot be meant.

    The first line of the message is Docker's; the second one shows file, line and instruction.

    Attributes:
        reason: What is wrong, without its place.
        line: Where, 1-based; 0: the file as a whole.
        instruction: The logical line, "" if there is none.
        file: Name of the Dockerfile inside the context.
    """

    def __init__(
        self, reason: str, *, line: int = 0, instruction: str = "", file: str = "Dockerfile"
    ) -> None:
        reason, instruction, file = map(plain_text, (reason, instruction, file))
        message = f"dockerfile parse error on line {line}: {reason}"
        if not line:
            message = f"failed to parse {file}: {reason}"
        elif instruction:
            shown = instruction[:_SHOWN_CHARS] + "…" * (len(instruction) > _SHOWN_CHARS)
            message += f"\n{file}:{line}: {shown}"
        super().__init__(message)
        self.reason = reason
        self.line = line
        self.instruction = instruction
        self.file = file


class CommandFailed(InvalidParameter):
    """A command of RUN ended with something else than 0.

    Attributes:
        code: Its exit code, which clients show and end with.
    """

    def __init__(self, words: Sequence[str], code: int) -> None:
        super().__init__(f"The command '{' '.join(words)}' returned a non-zero code: {code}")
        self.code = code


def plain_text(text: str) -> str:
    """Return text in which nothing moves a cursor or colours a terminal."""
    return text.translate(_CONTROLS)
