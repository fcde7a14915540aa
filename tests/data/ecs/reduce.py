"""Make fields.csv and values.json from a checkout of elastic/ecs: `reduce.py CHECKOUT`."""

import csv
import json
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
#: The four fields of categorization, whose values are a closed list.
CLOSED = ("event.kind", "event.category", "event.type", "event.outcome")


def main(checkout: Path) -> None:
    """Write both files: names, types and which fields are lists; which values the closed ones may have."""
    with (checkout / "generated/csv/fields.csv").open(encoding="utf-8") as file:
        rows = [(row["Field"], row["Type"], row["Normalization"]) for row in csv.DictReader(file)]
    with (HERE / "fields.csv").open("w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("field", "type", "normalization"))
        writer.writerows(sorted(rows))
    nested = yaml.safe_load((checkout / "generated/ecs/ecs_nested.yml").read_text(encoding="utf-8"))
    values = {
        name: {
            each["name"]: each.get("expected_event_types")
            for each in nested["event"]["fields"][name]["allowed_values"]
        }
        for name in CLOSED
    }
    told = {"version": (checkout / "version").read_text(encoding="utf-8").strip(), "values": values}
    (HERE / "values.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
