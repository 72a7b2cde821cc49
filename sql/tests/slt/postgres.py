#!/usr/bin/env python3
"""Checks the scripts against a real PostgreSQL 15, or fills in what it answers.

    postgres.py [--fill] PORT FILE..

Records under `onlyif omendb` are left aside. With --fill, records whose head is `auto` get the head and the answer that
PostgreSQL gives; `auto detail` adds DETAIL, HINT, CONSTRAINT, COLUMN and POSITION lines of errors. The server must be
set up like ours: locale C, time zone UTC, default_transaction_isolation 'repeatable read'. Every file gets a database
of its own.
"""
import re
import subprocess
import sys

MARK = "=-=end of record=-="


class Connection:
    def __init__(self, port, database):
        self.port, self.database = port, database
        self.process = subprocess.Popen(
            ["psql", "-X", "-A", "-t", "-F", "|", "-P", "null=NULL", "-h", "127.0.0.1", "-p", port, "-U", "postgres",
             "-d", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.ask("\\set VERBOSITY verbose")

    def ask(self, text):
        self.process.stdin.write(f"{text}\n\\echo {MARK}\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n").endswith(MARK):
                rest = line.rstrip("\n")[:-len(MARK)]
                return lines + ([rest] if rest else [])
            lines.append(line.rstrip("\n"))
        raise SystemExit("psql ended: " + "\n".join(lines))


    def ask_alone(self, text):
        """For text that psql would wait for the end of."""
        done = subprocess.run(
            ["psql", "-X", "-A", "-t", "-F", "|", "-P", "null=NULL", "-v", "VERBOSITY=verbose", "-h", "127.0.0.1", "-p",
             self.port, "-U", "postgres", "-d", self.database, "-c", text],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.rstrip("\n").split("\n")


def parse(block):
    lines = block.split("\n")
    body = [line for line in lines if not line.startswith("#")]
    while body and (not body[0].strip() or body[0].startswith("onlyif")):
        if body[0].startswith("onlyif"):
            return None
        body.pop(0)
    if not body:
        return None
    values = body.pop(0)[5:].split("|") if body[0].startswith("with ") else None
    head, rest = body[0].strip(), body[1:]
    expected = None
    if "----" in rest:
        at = rest.index("----")
        rest, expected = rest[:at], rest[at + 1:]
    return head, "\n".join(rest), expected, values


TAG = re.compile(r"^(INSERT 0|UPDATE|DELETE|COPY|SELECT) \d+$|^(CREATE|DROP|TRUNCATE) TABLE$|^(SET|RESET|BEGIN|START TRANSACTION|COMMIT|"
                 r"ROLLBACK|PREPARE|DEALLOCATE|DEALLOCATE ALL|DISCARD ALL|CHECKPOINT|VACUUM|SHOW|DISCARD PLANS|"
                 r"DISCARD TEMP|DISCARD SEQUENCES|UNLISTEN|CLOSE CURSOR ALL)$")


def run(connection, head, sql, expected, values):
    """Rows, tag and error of a record."""
    text = sql.strip()
    options = head.split()
    if values is not None:
        quoted = ", ".join("NULL" if v == "NULL" else "'" + v.replace("'", "''") + "'" for v in values)
        connection.ask("DEALLOCATE ALL;")
        lines = connection.ask(f"PREPARE the_record AS {text};")
        if lines == ["PREPARE"]:
            lines = connection.ask(f"EXECUTE the_record({quoted});")
        connection.ask("DEALLOCATE ALL;")
    elif options[0] == "copy":
        lines = connection.ask(f"{text};\n" + "\n".join(expected or []) + "\n\\.")
    else:
        if ";" in text and not text.lower().startswith("prepare"):
            text = text.rstrip(";").replace(";", "\\;")
        if "names" in options:
            connection.ask("\\t off")
        if text.count("(") != text.count(")") or text.count("'") % 2:
            lines = connection.ask_alone(text)
        else:
            lines = connection.ask(text + "\n\\g")
        if "names" in options:
            connection.ask("\\t on")
            lines = [line for line in lines if not re.match(r"^\(\d+ rows?\)$", line)]
    error, rows, tag, fields = None, [], None, {}
    for line in lines:
        found = re.match(r"^(?:psql:\S+ )?ERROR:  (\w{5}): (.*)$", line)
        if found:
            error = (found[1], found[2])
        elif error is not None:
            field = re.match(r"^(DETAIL|HINT|CONSTRAINT NAME|COLUMN NAME|CONTEXT):  (.*)$", line)
            if field:
                fields[field[1].split()[0]] = field[2]
            if re.match(r"^LINE \d+: ", line):
                fields["line"] = line
            elif "line" in fields and re.match(r"^ *\^$", line):
                number = int(re.match(r"^LINE (\d+): ", fields["line"])[1])
                at = len(line) - len(f"LINE {number}: ")
                at += sum(len(line) + 1 for line in text.split("\n")[:number - 1])
                fields["POSITION"] = str(at)
        elif re.match(r"^(NOTICE|WARNING|LOCATION|INFO):? ", line) or line.startswith("LOCATION:"):
            continue
        elif TAG.match(line):
            tag = line
        else:
            rows.append("|".join("(empty)" if cell == "" else cell for cell in line.split("|")))
    if "rowsort" in options:
        rows.sort()
    return rows, tag, error, fields


def block_of(head, sql, expected):
    text = f"{head}\n{sql}" if sql else head
    return text + ("\n----\n" + "\n".join(expected) if expected is not None else "")


def check(path, port, fill):
    name = "slt_" + re.sub(r"\W", "_", path.split("/")[-1])
    admin = Connection(port, "postgres")
    admin.ask(f"DROP DATABASE IF EXISTS {name};")
    admin.ask(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C';")
    connections, current, out, wrong = {}, "main", [], 0
    for block in open(path).read().rstrip("\n").split("\n\n"):
        record = parse(block)
        out.append(block)
        if record is None:
            continue
        head, sql, expected, values = record
        if head.startswith("connection "):
            current = head.split()[1]
            continue
        connection = connections.get(current) or connections.setdefault(current, Connection(port, name))
        rows, tag, error, fields = run(connection, head, sql, expected, values)
        comments = [line for line in block.split("\n") if line.startswith(("#", "with "))]
        if head.startswith("auto"):
            if not fill:
                raise SystemExit(f"{path}: run with --fill first")
            rest = head[4:].strip()
            if error:
                detail = None
                if "detail" in rest:
                    detail = [f"{k}: {fields[k]}" for k in ("DETAIL", "HINT", "CONSTRAINT", "COLUMN", "POSITION")
                              if k in fields]
                new = block_of(f"statement error {error[0]} {error[1]}", sql, detail or None)
            elif rows or tag is None or tag == "SELECT 0":
                new = block_of(("query " + rest).strip(), sql, rows)
            else:
                new = block_of(f"statement tag {tag}", sql, None)
            out[-1] = "\n".join(comments + [new])
            continue
        kind, rest = head.split(" ", 1) if " " in head else (head, "")
        if kind == "query":
            good = error is None and rows == (expected or [])
        elif rest == "ok":
            good = error is None
        elif rest.startswith("tag "):
            good = error is None and (tag == rest[4:] or tag is None)
        else:
            _, state, message = (rest.split(" ", 2) + [""])[:3]
            good = error is not None and error[0] == state and error[1].startswith(message)
            for line in expected or []:
                if kind == "statement" and not line.startswith("CONTEXT"):
                    key, value = line.split(": ", 1)
                    good = good and fields.get(key) == value
        if not good:
            wrong += 1
            print(f"{path}: {head}\n  {sql}\n  PostgreSQL: {error or rows or tag} {fields}\n  script: {expected}")
    if fill:
        open(path, "w").write("\n\n".join(out) + "\n")
    return wrong


def main():
    args = sys.argv[1:]
    fill = "--fill" in args
    args = [arg for arg in args if arg != "--fill"]
    wrong = sum(check(path, args[0], fill) for path in args[1:])
    print(f"{wrong} differences")
    sys.exit(wrong > 0)


main()
