"""Writes the golden programs anew, after a change of the generator that is meant."""

from test_programs import GOLDEN, NAMES, compiled

if __name__ == "__main__":
    for name in NAMES:
        (GOLDEN / f"{name}.py").write_text(compiled(name)[0].source)
        print(f"wrote {GOLDEN / name}.py")
