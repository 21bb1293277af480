"""Sums up the fuzzing of a run: how many models were exact, how many refused and why."""

from collections import Counter


def pytest_terminal_summary(terminalreporter):
    """The tallies of all chunks together, workers of pytest-xdist included."""
    total = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, rows in getattr(report, "user_properties", []):
                if name == "fuzz":
                    for kind, mixing, label, count in rows:
                        total[kind, mixing, label] += count
    if not total:
        return
    terminalreporter.section("random models")
    for kind in sorted({(k, m) for k, m, _ in total}):
        count = sum(v for (k, m, _), v in total.items() if (k, m) == kind)
        terminalreporter.write_line(f"{'mixing' if kind[1] else 'sound'}, {kind[0]}: {count}")
    for (kind, mixing, label), count in total.most_common():
        if kind == "refused":
            terminalreporter.write_line(f"  {count:5} {'mixing' if mixing else 'SOUND '} {label}")
