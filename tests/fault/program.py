"""What the containers of a fault run do, and what their logs must therefore hold."""

from __future__ import annotations

from dataclasses import dataclass, field

# Numbers its runs, writes numbered lines, and says with its last line how many there were and what
# it exits with. /w is a directory of the host: what is noted there has been written out before.
SCRIPT = r"""
R=$(($(cat /w/run 2>/dev/null || echo 0) + 1))
echo $R >/w/run.new && mv /w/run.new /w/run
I=0
END=
trap 'END=$((R * 7 % 90 + 2))' TERM
trap 'END=$((R * 7 % 90 + 102))' USR1
while [ -z "$END" ]; do
    N=0
    while [ $N -lt 8 ]; do
        N=$((N + 1))
        I=$((I + 1))
        echo "$R $I"
    done
    echo $R $I >/w/count
    sleep 0.2
done
echo "$R end $I $END"
exit $END
"""
KILLED = 137
START_FAILED = 128


@dataclass(slots=True)
class LogReport:
    """What a log says.

    Attributes:
        problems: Lines lost, doubled or out of order.
        runs: Number of the run -> lines it wrote.
        ended: Number of the run -> the exit code it said it would have.
    """

    problems: list[str] = field(default_factory=list)
    runs: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of the last run that wrote something; 0: none did."""
        return max(self.runs, default=0)


def read_log(text: str) -> LogReport:
    """Check a container's whole log; the last line may be incomplete while it runs."""
    report = LogReport()
    lines = text.replace("\r\n", "\n").split("\n")[:-1]
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            if len(words) == 2:
                _line(report, int(words[0]), int(words[1]))
                continue
            run, end, count, code = words
            if end != "end":
                raise ValueError(line)
            _end(report, int(run), int(count), int(code))
        except ValueError:
            report.problems.append(f"line {number} is broken: {line!r}")
    return report


def _line(report: LogReport, run: int, count: int) -> None:
    if run not in report.runs:
        if run < report.last:
            report.problems.append(f"run {run} after run {report.last}")
        report.runs[run] = 0
    if run in report.ended:
        report.problems.append(f"line {count} of run {run} after its end")
    expected = report.runs[run] + 1
    if count != expected:
        kind = "doubled" if count < expected else "lost"
        report.problems.append(f"run {run}: {kind}, line {count} instead of {expected}")
    report.runs[run] = count


def _end(report: LogReport, run: int, count: int, code: int) -> None:
    written = report.runs.setdefault(run, 0)
    if written != count:
        report.problems.append(f"run {run} wrote {count} lines, the log has {written}")
    if run in report.ended:
        report.problems.append(f"run {run} ended twice")
    report.ended[run] = code


def noted(text: str) -> tuple[int, int]:
    """Return (run, lines) that a container noted beside its log; (0, 0): nothing yet."""
    words = text.split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)
