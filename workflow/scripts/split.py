"""Split a table at random into training and test rows, with equal shares of every digit."""

import argparse

import pandas as pd
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in", dest="table", required=True, help="Parquet file with all rows")
    parser.add_argument("--train", required=True, help="Parquet file to write")
    parser.add_argument("--test", required=True, help="Parquet file to write")
    parser.add_argument("--fraction", type=float, default=0.25, help="share of the test rows")
    args = parser.parse_args()

    table = pd.read_parquet(args.table)
    train, test = train_test_split(table, test_size=args.fraction, stratify=table["label"])
    train.sort_values("image").to_parquet(args.train, index=False)
    test.sort_values("image").to_parquet(args.test, index=False)


if __name__ == "__main__":
    main()
