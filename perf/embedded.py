#!/usr/bin/env python3
"""An analytic engine that lives in a process, DuckDB or ClickHouse (chdb), as a server of the PostgreSQL protocol.

    embedded.py duckdb|clickhouse --folder DIR --port N --threads N

omendb-perf runs it to measure such an engine like any server; needs the PyPI package `duckdb` or `chdb`. It listens on
127.0.0.1 only, and takes any user and any database name for its only database, which is kept in the folder. What the
adapter itself costs is part of every time measured through it. With two cores, a prepared SELECT 1 takes 0.38 ms here
and 0.17 ms in DuckDB, 0.93 and 0.63 ms in ClickHouse; a row of 3 columns takes 3 to 4 µs, one of 16 columns 10 to 13.

Each statement of a simple query is a transaction of its own unless BEGIN came before. All columns have type text.
Statements go to the engine as they are, but for these:

- `SELECT version()` names the engine. COPY .. FROM STDIN takes text without escapes other than `\\N`, or CSV, with the
  options FORMAT, DELIMITER and HEADER, and is loaded from a file by the engine's own bulk load.
- DuckDB: VACUUM is CHECKPOINT. `SET default_transaction_isolation` takes the levels up to repeatable read: each
  transaction has a snapshot.
- ClickHouse: there are no parameters, transactions, UPDATE or DELETE. CREATE TABLE makes a MergeTree that is ordered by
  the primary key (which need not be unique) and synced at each insert; dates begin in 1970. VACUUM t is OPTIMIZE
  TABLE t FINAL; ANALYZE does nothing, for there are no statistics to renew. `SET timezone` takes UTC, which it is.
  Statements run one at a time, and SET holds for all connections.

Refused: values in binary, COPY of all other kinds and in the extended protocol, fetching a portal in parts, cancelling.
"""

import argparse
import decimal
import io
import os
import re
import signal
import socketserver
import struct
import sys
import tempfile
import threading
import types
import zoneinfo

TEXT_OID = 25
SEND_BYTES = 1 << 16
LAST_WORDS = {"COMMIT", "END", "ROLLBACK", "ABORT"}
COUNTED_WORDS = {"UPDATE", "DELETE"}
ROW_WORDS = {"SELECT", "WITH", "VALUES", "FROM", "TABLE"}
TOKENS = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|;", re.S)
BLANK = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.S)
COPY = re.compile(r"copy\s+([\w.\"]+)\s*(\([^()]*\))?\s*from\s+stdin\s*(?:(?:with\s*)?\((.*)\))?\s*", re.I | re.S)
SET = re.compile(r"set\s+(?:session\s+)?(\w+)\s*(?:=|\bto\b)\s*'?(.*?)'?\s*", re.I | re.S)
UPKEEP = re.compile(r"(vacuum|analyze)(?:\s+([\w.\"]+))?\s*", re.I)
WEAKER_LEVELS = {"read uncommitted", "read committed", "repeatable read"}


class Refused(Exception):
    def __init__(self, message, state="0A000"):
        super().__init__(message)
        self.state = state


class Result:
    """What a statement answers: rows of bytes or None if it has columns, and how many it wrote or found."""

    def __init__(self, names=None, rows=(), count=0):
        self.names, self.rows, self.count = names, rows, count


def statements(sql):
    """The statements of a text, without what is blank before them."""
    ends = [token.start() for token in TOKENS.finditer(sql) if token.group() == ";"] + [len(sql)]
    for begin, end in zip([0] + [end + 1 for end in ends], ends):
        if statement := sql[begin:end][BLANK.match(sql[begin:end]).end() :].rstrip():
            yield statement


def first_word(sql):
    return re.match(r"[\s(]*(\w*)", sql).group(1).upper()


def tag(sql, result):
    word = first_word(sql)
    if word in ROW_WORDS:
        return f"SELECT {result.count}"
    if word in ("CREATE", "DROP", "ALTER"):
        kind = re.match(r"\w+\s+(?:(?:or\s+replace|temp|temporary|unique)\s+)*(\w+)", sql, re.I)
        return f"{word} {kind.group(1).upper()}" if kind else word
    return {"INSERT": f"INSERT 0 {result.count}"}.get(word, f"{word} {result.count}" if word in COUNTED_WORDS else word)


def plain_text(value):
    return str(value).encode()


def float_text(value):
    value = float(value)
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}[str(value)]
    if 1e15 <= abs(value) < 1e16:
        return plain_text(f"{decimal.Decimal(repr(value)).normalize():e}")
    return plain_text(repr(value).removesuffix(".0"))


def time_text(value):
    """A timestamp: zeros at the end of fractions of a second and of the zone are left out."""
    time, plus, zone = str(value).partition("+")
    time = time.rstrip("0").rstrip(".") if "." in time else time
    return plain_text(time + plus + zone.removesuffix(":00"))


class Duck:
    FORMATS = {
        **dict.fromkeys(["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
                         "UBIGINT", "UHUGEINT", "VARCHAR", "DATE", "UUID", '"NULL"'], plain_text),
        "BOOLEAN": lambda value: b"t" if value else b"f", "DECIMAL": lambda value: plain_text(f"{value:f}"),
        "DOUBLE": float_text, "TIMESTAMP": time_text, "TIMESTAMP WITH TIME ZONE": time_text,
    }
    STATES = {
        "ParserException": "42601", "CatalogException": "42P01", "BinderException": "42000",
        "ConstraintException": "23000",
        "ConversionException": "22P02", "OutOfRangeException": "22003", "NotImplementedException": "0A000",
    }

    def __init__(self, folder, threads):
        import duckdb

        # DuckDB asks pytz for zones, but does not depend on it; the standard library has them too.
        class Zone(zoneinfo.ZoneInfo):
            def localize(self, time):
                return time.replace(tzinfo=self)

        sys.modules["pytz"] = types.SimpleNamespace(timezone=Zone)
        self.version = f"DuckDB {duckdb.__version__}"
        self.connection = duckdb.connect(os.path.join(folder, "embedded.duckdb"))
        self.connection.execute(f"SET threads = {threads}")
        self.connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self.cursors = set()

    def open(self):
        cursor = self.connection.cursor()
        self.cursors.add(cursor)
        return cursor

    def leave(self, cursor):
        self.cursors.discard(cursor)
        cursor.close()

    def close(self):
        for cursor in list(self.cursors):
            cursor.interrupt()
            cursor.close()
        self.connection.close()

    def translated(self, sql):
        """What to run instead; None if that is nothing."""
        setting = SET.fullmatch(sql)
        if setting and setting.group(1).lower() == "default_transaction_isolation":
            if setting.group(2).lower() not in WEAKER_LEVELS:
                raise Refused("transactions of DuckDB have snapshots, they are not serializable")
            return None
        upkeep = UPKEEP.fullmatch(sql)
        return "CHECKPOINT" if upkeep and upkeep.group(1).upper() == "VACUUM" else sql

    def prepared(self, cursor, sql):
        return cursor.extract_statements(sql)[0]

    def run(self, cursor, statement, values):
        cursor.execute(statement, values or None)
        columns, rows = cursor.description, cursor.fetchall()
        names = [column[0] for column in columns]
        if first_word(statement.query) not in ROW_WORDS and names in (["Count"], ["Success"]):
            return Result(count=rows[0][0] if rows and names == ["Count"] else 0)
        kinds = [str(column[1]).split("(")[0] for column in columns]
        if unknown := [kind for kind in kinds if kind not in self.FORMATS]:
            raise Refused(f"values of type {unknown[0]} are not sent, cast them to text")
        formats = [self.FORMATS[kind] for kind in kinds]
        rows = [[None if value is None else write(value) for write, value in zip(formats, row)] for row in rows]
        return Result(names, rows, len(rows))

    def names(self, cursor, statement, parameters):
        if first_word(statement.query) not in ROW_WORDS:
            return None
        rows = cursor.execute(f"DESCRIBE {statement.query}", [None] * parameters or None).fetchall()
        return [row[0] for row in rows]

    def copy(self, cursor, table, columns, path, is_csv, delimiter, has_header):
        quoting = """QUOTE '"', ESCAPE '"', NULLSTR '', ALLOW_QUOTED_NULLS false"""
        quoting = quoting if is_csv else r"QUOTE '', ESCAPE '', NULLSTR '\N'"
        how = f"FORMAT csv, AUTO_DETECT false, DELIMITER '{delimiter}', HEADER {has_header}, {quoting}"
        return cursor.execute(f"COPY {table} {columns} FROM '{path}' ({how})").fetchall()[0][0]

    def state(self, error):
        if "conflict" in str(error).lower():
            return "40001"
        return "23505" if "duplicate key" in str(error).lower() else self.STATES.get(type(error).__name__, "XX000")


class ClickHouse:
    SETTINGS = """join_use_nulls = 1, data_type_default_nullable = 1, session_timezone = 'UTC',
        date_time_input_format = 'best_effort', output_format_decimal_trailing_zeros = 1,
        bool_true_representation = 't', bool_false_representation = 'f', input_format_null_as_default = 0,
        input_format_csv_empty_as_default = 0,
        input_format_csv_trim_whitespaces = 0, input_format_csv_allow_whitespace_or_tab_as_delimiter = 1,
        format_csv_allow_single_quotes = 0"""
    SYNCED = "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1"
    FORMATS = {"Float32": float_text, "Float64": float_text, "DateTime64": time_text}
    STATES = {"27": "22P02", "46": "42883", "47": "42703", "57": "42P07", "60": "42P01", "62": "42601", "349": "23502"}
    TABLE = re.compile(r"(create\s+table\s+(?:if\s+not\s+exists\s+)?[\w.\"]+)\s*\((.*)\)", re.I | re.S)
    TYPES = {r"(timestamptz|timestamp\s+with\s+time\s+zone)": "DateTime64(6, 'UTC')",
             r"timestamp(\s+without\s+time\s+zone)?": "DateTime64(6)"}
    ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"0": b"\0"}

    def __init__(self, folder, threads):
        import chdb
        from chdb import session

        self.version = f"ClickHouse {chdb.engine_version} (chdb {chdb.__version__})"
        self.session, self.lock = session.Session(os.path.join(folder, "chdb")), threading.Lock()
        self.ask("CREATE DATABASE IF NOT EXISTS embedded ENGINE = Atomic")
        self.ask("USE embedded")
        self.ask(f"SET max_threads = {threads}, {self.SETTINGS}")

    def ask(self, sql):
        with self.lock:
            return self.session.query(sql, "TabSeparatedWithNamesAndTypes")

    def open(self):
        return None

    def leave(self, _):
        pass

    def close(self):
        if self.lock.acquire(timeout=10):
            self.session.close()

    def translated(self, sql):
        """What to run instead; None if that is nothing."""
        if table := self.TABLE.fullmatch(sql):
            return self.table(*table.groups())
        setting = SET.fullmatch(sql)
        if setting and setting.group(1).lower() == "timezone" and setting.group(2).upper() == "UTC":
            return None
        if upkeep := UPKEEP.fullmatch(sql):
            if upkeep.group(1).upper() == "ANALYZE":
                return None
            if not upkeep.group(2):
                raise Refused("VACUUM needs a table")
            return f"OPTIMIZE TABLE {upkeep.group(2)} FINAL"
        if first_word(sql) in ("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "UPDATE", "DELETE"):
            raise Refused(f"ClickHouse has no {first_word(sql)} as in PostgreSQL")
        return sql

    def table(self, head, body):
        columns, key = re.findall(r"(?:[^,()']|'[^']*'|\((?:[^()]|\([^()]*\))*\))+", body), []
        for at, column in enumerate(columns):
            columns[at], is_key = re.subn(r"\bprimary\s+key\b", "", column.strip(), flags=re.I)
            if is_key:
                is_list = columns[at].strip().startswith("(")
                key = re.findall(r"[\w\"]+", columns[at] if is_list else columns[at].split()[0])
        columns = [column for column in columns if not column.strip().startswith("(")]
        for at, column in enumerate(columns):
            if re.search(r"\b(references|unique|foreign)\b|\bnumeric\b(?!\s*\()", column, re.I):
                raise Refused(f"ClickHouse has no such column: {column}")
            for pattern, kind in self.TYPES.items():
                column = re.sub(rf"^(\S+\s+){pattern}(?!\S)", rf"\g<1>{kind}", column, flags=re.I)
            is_bare = column.split()[0] in key and not re.search(r"\bnot\s+null\b", column, re.I)
            columns[at] = column + (" NOT NULL" if is_bare else "")
        order = f"({', '.join(key)})" if key else "tuple()"
        return f"{head} ({', '.join(columns)}) ENGINE = MergeTree ORDER BY {order} SETTINGS {self.SYNCED}"

    def prepared(self, _, sql):
        return sql

    def run(self, _, sql, values):
        if values:
            raise Refused("ClickHouse takes no parameters here")
        answer = self.ask(sql)
        lines = answer.bytes().removesuffix(b"\n").split(b"\n")
        if len(lines) < 2:
            return Result(count=answer.rows_written())
        names, kinds, *rows = [[self.unescaped(field) for field in line.split(b"\t")] for line in lines]
        for place, kind in enumerate(kinds):
            bare = re.sub(r"(Nullable|LowCardinality)\(", "", kind.decode())
            write, zone = self.FORMATS.get(re.match(r"\w+", bare).group()), "+00" if "'UTC'" in bare else ""
            if write or zone:
                for row in rows:
                    row[place] = row[place] and (write or plain_text)(row[place].decode() + zone)
        return Result([name.decode() for name in names], rows, len(rows))

    def unescaped(self, field):
        if b"\\" not in field:
            return field
        replaced = lambda found: self.ESCAPES.get(found.group(1), found.group(1))
        return None if field == rb"\N" else re.sub(rb"\\(.)", replaced, field, flags=re.S)

    def names(self, _, sql, parameters):
        rows = self.run(None, f"DESCRIBE ({sql})", [None] * parameters).rows if first_word(sql) in ROW_WORDS else None
        return rows and [row[0].decode() for row in rows]

    def copy(self, _, table, columns, path, is_csv, delimiter, has_header):
        null = "" if is_csv else r"\\N"
        how = f"format_csv_delimiter = '{delimiter}', format_csv_null_representation = '{null}', "
        how += f"format_csv_allow_double_quotes = {int(is_csv)}, input_format_csv_skip_first_lines = {int(has_header)}"
        return self.ask(f"INSERT INTO {table} {columns} FROM INFILE '{path}' SETTINGS {how} FORMAT CSV").rows_written()

    def state(self, error):
        code = re.match(r"Code: (\d+)", str(error))
        return self.STATES.get(code.group(1), "XX000") if code else "XX000"


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        self.engine, self.out, self.status = self.server.engine, bytearray(), b"I"
        self.prepared, self.portals = {}, {}
        self.cursor = self.engine.open()
        try:
            if self.start():
                self.serve()
        except (ConnectionError, struct.error):
            pass  # The client is gone.
        finally:
            self.engine.leave(self.cursor)

    def put(self, kind, body=b""):
        self.out += kind + struct.pack("!i", len(body) + 4) + body
        if len(self.out) >= SEND_BYTES:
            self.flush()

    def flush(self):
        self.wfile.write(self.out)
        self.out.clear()

    def fail(self, error):
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        state = error.state if isinstance(error, Refused) else self.engine.state(error)
        self.put(b"E", f"SERROR\0VERROR\0C{state}\0M{message}\0\0".encode())
        self.status = b"I" if self.status == b"I" else b"E"

    def ready(self):
        self.put(b"Z", self.status)
        self.flush()

    def start(self):
        while True:
            size, code = struct.unpack("!ii", self.rfile.read(8))
            words = self.rfile.read(size - 8).decode().split("\0")
            if code not in (80877103, 80877104):  # TLS, GSS
                break
            self.wfile.write(b"N")
        wanted = dict(zip(words[::2], words[1::2]))
        encoding = wanted.get("client_encoding", "UTF8").upper().replace("-", "")
        if code != 3 << 16 or "options" in wanted or encoding != "UTF8":
            self.fail(Refused("only protocol 3.0 without options, in UTF-8"))
            self.flush()
            return False
        self.put(b"R", struct.pack("!i", 0))
        status = {
            "server_version": f"15.0 ({self.engine.version})", "server_encoding": "UTF8", "client_encoding": "UTF8",
            "DateStyle": "ISO, YMD", "TimeZone": "UTC", "integer_datetimes": "on", "standard_conforming_strings": "on",
        }
        for name, value in status.items():
            self.put(b"S", f"{name}\0{value}\0".encode())
        self.ready()
        return True

    def message(self):
        kind, size = struct.unpack("!ci", self.rfile.read(5))
        return kind, self.rfile.read(size - 4)

    def serve(self):
        steps = {b"P": self.parse, b"B": self.bind, b"D": self.describe, b"E": self.execute, b"C": self.forget}
        failed = False
        while True:
            kind, body = self.message()
            if kind == b"X":
                return
            if kind == b"S":
                failed = False
                self.ready()
            elif kind == b"H":
                self.flush()
            elif kind == b"Q":
                self.query(body[:-1].decode())
            elif not failed and kind not in b"dcf":  # What is left of a COPY that failed is skipped.
                try:
                    steps[kind](body)
                except ConnectionError:
                    raise
                except Exception as error:
                    self.fail(error)
                    failed = True

    def query(self, text):
        try:
            found = list(statements(text))
            for sql in found:
                if copy := COPY.fullmatch(sql):
                    self.put(b"C", f"COPY {self.copy(*copy.groups())}\0".encode())
                    continue
                result = self.run(self.prepare(sql), [])
                self.describe_rows(result.names)
                self.send_rows(result)
            if not found:
                self.put(b"I")
        except ConnectionError:
            raise
        except Exception as error:
            self.fail(error)
        self.ready()

    def describe_rows(self, names):
        if names is None:
            return
        columns = [name.encode() + b"\0" + struct.pack("!ihihih", 0, 0, TEXT_OID, -1, -1, 0) for name in names]
        self.put(b"T", struct.pack("!h", len(columns)) + b"".join(columns))

    def send_rows(self, result):
        pack, null = struct.pack, struct.pack("!i", -1)
        for row in result.rows:
            values = [null if value is None else pack("!i", len(value)) + value for value in row]
            self.put(b"D", pack("!h", len(row)) + b"".join(values))
        self.put(b"C", f"{result.tag}\0".encode())

    def prepare(self, sql):
        """The SQL and what the engine makes of it: None if nothing is to be run."""
        if first_word(sql) == "COPY":
            raise Refused("only COPY t FROM STDIN in a simple query, with FORMAT, DELIMITER and HEADER")
        if re.fullmatch(r"select\s+version\(\)", sql, re.I):
            sql = f"SELECT '{self.engine.version}' AS version"
        translated = self.engine.translated(sql)
        return sql, translated and self.engine.prepared(self.cursor, translated)

    def run(self, prepared, values):
        sql, statement = prepared
        if self.status == b"E":
            if first_word(sql) not in LAST_WORDS:
                raise Refused("the transaction failed, it can only be rolled back", "25P02")
            sql, statement = self.prepare("ROLLBACK")
        if first_word(sql) in LAST_WORDS:
            self.status = b"I"
        result = self.engine.run(self.cursor, statement, values) if statement else Result()
        if first_word(sql) in ("BEGIN", "START"):
            self.status = b"T"
        result.tag = tag(sql, result)
        return result

    def copy(self, table, columns, options):
        wanted = {"FORMAT": "text", "HEADER": "false", "DELIMITER": None}
        for option in re.findall(r"(?:[^,']|'[^']*')+", options or ""):
            name, _, value = option.strip().partition(" ")
            if name.upper() not in wanted:
                raise Refused(f"COPY takes no {name} here")
            wanted[name.upper()] = value.strip().strip("'") if value.strip() else "true"
        is_csv, header = wanted["FORMAT"].lower() == "csv", wanted["HEADER"].lower()
        delimiter = wanted["DELIMITER"] or ("," if is_csv else "\t")
        known = wanted["FORMAT"].lower() in ("csv", "text") and header in ("true", "false", "on", "off", "1", "0")
        if not known or len(delimiter) != 1 or self.status == b"E":
            raise Refused("COPY takes FORMAT text or csv, HEADER true or false, DELIMITER of one character")
        self.put(b"G", struct.pack("!bh", 0, 0))
        self.flush()
        with tempfile.NamedTemporaryFile(dir=self.server.folder, suffix=".csv") as file:
            escaped, kind = False, b"d"
            while kind in b"dHS":
                kind, body = self.message()
                if kind == b"d":
                    file.write(body)
                    escaped = escaped or b"\\" in body
            if kind != b"c":
                raise Refused("COPY was given up", "57014")
            file.flush()
            if escaped and not is_csv:
                self.check_escapes(file, delimiter)
            return self.engine.copy(
                self.cursor, table, columns or "", file.name, is_csv, delimiter, header in ("true", "on", "1")
            )

    def check_escapes(self, file, delimiter):
        file.seek(0)
        for line in file:
            if any(b"\\" in field and field != rb"\N" for field in line.rstrip(b"\r\n").split(delimiter.encode())):
                raise Refused(r"COPY takes no escapes but \N here")

    def parse(self, body):
        name, sql, rest = body.split(b"\0", 2)
        found = list(statements(sql.decode()))
        if len(found) > 1:
            raise Refused("cannot prepare several statements at once", "42601")
        kinds = struct.unpack(f"!{len(rest[2:]) // 4}i", rest[2:])
        self.prepared[name] = (self.prepare(found[0]) if found else None, kinds)
        self.put(b"1")

    def bind(self, body):
        portal, name, rest = body.split(b"\0", 2)
        if name not in self.prepared:
            raise Refused(f"there is no statement {name.decode()!r}", "26000")
        rest, values = io.BytesIO(rest), []
        number = lambda code="h": struct.unpack(f"!{code}", rest.read(struct.calcsize(code)))[0]
        is_binary = any([number() for _ in range(number())])
        for _ in range(number("H")):
            size = number("i")
            values.append(rest.read(size) if size >= 0 else None)
        if is_binary or any([number() for _ in range(number())]):
            raise Refused("values are sent as text only")
        values = [None if value is None else value.decode() for value in values]
        self.portals[portal] = [self.prepared[name][0], values, None]
        self.put(b"2")

    def portal(self, name):
        if name not in self.portals:
            raise Refused(f"there is no portal {name.decode()!r}", "34000")
        portal = self.portals[name]
        if portal[0] and portal[2] is None:
            portal[2] = self.run(portal[0], portal[1])
        return portal

    def describe(self, body):
        kind, name = body[:1], body[1:-1]
        if kind == b"P":
            result = self.portal(name)[2]
            names = result and result.names
        else:
            if name not in self.prepared:
                raise Refused(f"there is no statement {name.decode()!r}", "26000")
            prepared, kinds = self.prepared[name]
            used = max(map(int, re.findall(r"\$(\d+)", prepared[0])), default=0) if prepared else 0
            kinds = list(kinds) + [TEXT_OID] * (used - len(kinds))
            self.put(b"t", struct.pack(f"!h{len(kinds)}i", len(kinds), *kinds))
            has_columns = prepared and prepared[1]
            names = self.engine.names(self.cursor, prepared[1], used) if has_columns else None
        self.put(b"n") if names is None else self.describe_rows(names)

    def execute(self, body):
        name, limit = body[:-5], struct.unpack("!i", body[-4:])[0]
        if limit:
            raise Refused("a portal is not fetched in parts")
        prepared, _, result = self.portal(name)
        del self.portals[name]
        self.send_rows(result) if prepared else self.put(b"I")

    def forget(self, body):
        {b"S": self.prepared, b"P": self.portals}[body[:1]].pop(body[1:-1], None)
        self.put(b"3")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
    request_queue_size = 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("engine", choices=["duckdb", "clickhouse"])
    parser.add_argument("--folder", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    kind, package = {"duckdb": (Duck, "duckdb"), "clickhouse": (ClickHouse, "chdb")}[options.engine]
    folder = os.path.abspath(options.folder)
    os.makedirs(folder, exist_ok=True)
    try:
        engine = kind(folder, options.threads)
    except ImportError:
        sys.exit(f"{package} is not installed (pip install {package})")
    server = Server(("127.0.0.1", options.port), Connection)
    server.engine, server.folder = engine, folder
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        engine.close()
        os._exit(0)  # Threads of connections may still be in the engine.


if __name__ == "__main__":
    main()
