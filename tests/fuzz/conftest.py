"""Sums up the fuzzing of a run: how many models were exact, how many refused and why."""

from collections import Counter

import pytest

#: The share of the sound models of a run that may be refused, and of its programs that may be void; asked of runs of
#: at least so many sound models.
REFUSED_AT_MOST, VOID_AT_MOST, MODELS = 0.05, 0.05, 1000


def tallies(config):
    """What became of the models of all chunks together, workers of pytest-xdist included."""
    total = Counter()
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for outcome in ("passed", "failed") if reporter else ():
        for report in reporter.stats.get(outcome, []):
            for name, rows in getattr(report, "user_properties", []):
                if name == "fuzz":
                    for kind, mixing, label, count in rows:
                        total[kind, mixing, label] += count
    return total


def refused_share(total):
    """The share of the sound models that were refused, and how many sound models there were."""
    sound = sum(v for (kind, mixing, _), v in total.items() if not mixing and kind != "void")
    refused = sum(v for (kind, mixing, _), v in total.items() if not mixing and kind == "refused")
    return refused / max(sound, 1), sound


def void_share(total):
    """The share of the programs that torch does not run, or whose gradients are not finite."""
    void = sum(v for (kind, _, _), v in total.items() if kind == "void")
    return void / max(sum(total.values()), 1)


def pytest_sessionfinish(session):
    """A long run fails where more than 5% of its sound models were refused, or of its programs void."""
    total = tallies(session.config)
    share, sound = refused_share(total)
    if sound >= MODELS and (share > REFUSED_AT_MOST or void_share(total) > VOID_AT_MOST):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """One line for each kind, and the reasons of the refusals."""
    total = tallies(terminalreporter.config)
    if not total:
        return
    terminalreporter.section("random models")
    for kind in sorted({(k, m) for k, m, _ in total}):
        count = sum(v for (k, m, _), v in total.items() if (k, m) == kind)
        terminalreporter.write_line(f"{'mixing' if kind[1] else 'sound'}, {kind[0]}: {count}")
    share, sound = refused_share(total)
    terminalreporter.write_line(f"refused of {sound} sound models: {share:.2%} (at most {REFUSED_AT_MOST:.0%})")
    terminalreporter.write_line(f"void of all programs: {void_share(total):.2%} (at most {VOID_AT_MOST:.0%})")
    for (kind, mixing, label), count in total.most_common():
        if kind == "refused":
            terminalreporter.write_line(f"  {count:5} {'mixing' if mixing else 'SOUND '} {label}")
