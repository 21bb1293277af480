"""Writes the tables of docs/soundness.md anew, after a change of a pattern or of a message that is meant."""

from table import PAGE, page_with_tables

if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
