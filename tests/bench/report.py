# SPDX-License-Identifier: LGPL-2.1-or-later
"""How tests/bench/run prints what it found."""


def table(title, head, rows):
    """Prints rows of words under a head, in columns."""
    print(f"\n{title}\n")
    rows = list(rows)
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(str(word).rjust(width) for word, width in zip(row, widths)),
              flush=True)


def ratio(a, b):
    return f"{a / b:.2f}" if a and b else "-"
