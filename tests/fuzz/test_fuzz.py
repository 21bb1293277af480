"""Random models of every op family: exact or refused; those that mix examples refused; the failures of the past."""

import random
from collections import Counter

import pytest

from fuzz.examine import examine
from fuzz.generate import generate
from fuzz.minimise import minimised
from fuzz.regressions import EXACT, REFUSED

#: The sound models that may be refused, of those of one chunk: of all together, ``conftest`` allows 5%.
REFUSED_AT_MOST = 0.1
#: The programs that torch does not run, or whose gradients are not finite, of those of one chunk: of all, 5%.
VOID_AT_MOST = 0.16
#: (models, ops) of the ordinary suite; (models, chunks, ops) of the slow one. A quarter are built to mix.
SHORT = (40, 1)
LONG = (5000, 25, 8)
FAULTS = ("wrong", "crash")


def run(mixes, seeds, most):
    """Examines the programs of these seeds: the tally of what became of them, and the failures in full."""
    tally, failures = Counter(), []
    for seed in seeds:
        program, sizes = generate(random.Random(seed), mixes, most), (1, 2 + seed % 4)
        verdict = examine(program, sizes)
        tally[verdict.kind, verdict.mixing, verdict.label] += 1
        if verdict.kind in FAULTS:
            failures.append(f"seed {seed}: {told(program, sizes, verdict)}")
        elif verdict.mixing and not mixes:
            failures.append(f"seed {seed}: the generator took a mixing model for sound\n{program}")
    return tally, failures


def told(program, sizes, verdict):
    """A failure in full, and the shortest program that fails alike."""
    small = minimised(program, sizes, lambda other: (other.kind, other.mixing) == (verdict.kind, verdict.mixing))
    return f"{verdict}\n{program!r}\nminimised, at N in {sizes}: {examine(small, sizes)}\n{small!r}"


def check(mixes, seeds, most, record_property):
    """No failure; at most ``REFUSED_AT_MOST`` of the sound models of a run are refused."""
    tally, failures = run(mixes, seeds, most)
    record_property("fuzz", [[*key, count] for key, count in sorted(tally.items())])
    assert not failures, "\n\n".join(failures)
    void = sum(v for (kind, _, _), v in tally.items() if kind == "void")
    assert void <= VOID_AT_MOST * sum(tally.values()), f"{void} programs that torch itself does not run: {tally}"
    sound = sum(v for (kind, mixing, _), v in tally.items() if not mixing and kind != "void")
    refused = sum(v for (kind, mixing, _), v in tally.items() if not mixing and kind == "refused")
    assert mixes or refused <= REFUSED_AT_MOST * sound, f"{refused} of {sound} sound models refused: {tally}"


@pytest.mark.parametrize("mixes", [False, True], ids=["sound", "mixing"])
def test_random_models_are_exact_or_refused(mixes, record_property):
    """Short programs."""
    count, most = SHORT
    check(mixes, range(count // 4 if mixes else count - count // 4), most, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(LONG[1]))
@pytest.mark.parametrize("mixes", [False, True], ids=["sound", "mixing"])
def test_many_random_models_are_exact_or_refused(mixes, chunk, record_property):
    """Long programs, a chunk with seeds of its own."""
    models, chunks, most = LONG
    count = models // chunks
    first = 10_000 * (chunk + 1)
    check(mixes, range(first, first + (count // 4 if mixes else count - count // 4)), most, record_property)


@pytest.mark.parametrize("name", EXACT)
def test_models_that_failed_are_exact(name):
    """What once was wrong, crashed or was refused without need."""
    assert examine(EXACT[name], (1, 2, 4)).kind == "exact"


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_failed_are_refused(name):
    """What once was accepted."""
    assert examine(REFUSED[name], (4,)).kind == "refused"


@pytest.mark.parametrize("number", range(10))
def test_the_same_numbers_make_the_same_program(number):
    """A seed names a program."""
    assert generate(random.Random(number)) == generate(random.Random(number))
