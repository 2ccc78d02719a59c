"""Write the digits of scikit-learn as one table: image, label, 64 pixels."""

import argparse

from sklearn.datasets import load_digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="Parquet file to write")
    args = parser.parse_args()

    digits = load_digits(as_frame=True).frame.rename(columns={"target": "label"})
    digits.insert(0, "image", range(len(digits)))  # the place in load_digits, kept through splits
    digits.to_parquet(args.table, index=False)


if __name__ == "__main__":
    main()
