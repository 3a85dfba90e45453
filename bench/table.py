"""Print one table of everything that the other scripts measured last.

python bench/table.py
"""

from __future__ import annotations

import json

from bench._pair import RESULTS, Row, table


def main() -> None:
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        for kept in json.loads(path.read_text())["rows"]:
            rows.append(Row(**{key: kept[key] for key in Row.__slots__}))
    print(table(rows) if rows else "nothing measured yet")


if __name__ == "__main__":
    main()
