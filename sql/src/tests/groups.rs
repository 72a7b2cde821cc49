//! Groups and orders do not depend on the memory that they may take.

use super::joins::Client;
use super::mem_router::MemRouter;

#[test]
fn groups_do_not_depend_on_memory() {
    let mut client = Client::new(MemRouter::new());
    client.run("create table t (id int primary key, a int, b text, c numeric, d float8)").expect("valid");
    let row = |n: i32| {
        let a = if n % 11 == 0 { "null".to_owned() } else { (n % 97).to_string() };
        format!("({n}, {a}, 'text number {}', {}.5, {}.1)", n * 7 % 350, n % 40, n % 13)
    };
    let rows = (0..900).map(row).collect::<Vec<_>>().join(", ");
    client.run(&format!("insert into t values {rows}")).expect("valid");
    let queries = [
        "select a, count(*), sum(c), avg(d), min(b), max(b) from t group by a",
        "select b, count(*), sum(d), string_agg(id::text, ',') from t group by b",
        "select a, b, array_agg(id) from t group by a, b",
        "select a, count(distinct b), count(distinct c) from t group by a",
        "select b, array_agg(a order by c desc, id) from t group by b",
        "select a, percentile_cont(0.5) within group (order by d) from t group by a",
        "select a, b, count(*), grouping(a, b) from t group by rollup (a, b)",
        "select a, c, count(*) from t group by grouping sets ((a), (c), ())",
        "select distinct a, b from t",
        "select distinct on (a) a, id from t order by a, id desc",
        "select b, count(*) filter (where a > 3) from t group by b having count(*) > 2",
        "select id, row_number() over (partition by a order by b, id) from t",
        "select count(*) from (select b, c from t group by b, c) x",
        "select a from t union select id from t",
        "select x.b, n from (select b, count(*) n from t group by b) x join t using (b) where t.a = 5",
    ];
    for sql in queries {
        client.session.spill_beyond(1 << 30);
        let expected = client.run(sql).expect("enough memory");
        for bytes in [1, 3_000, 20_000, 100_000] {
            client.session.spill_beyond(bytes);
            assert!(client.run(sql).expect("puts aside") == expected, "{bytes} bytes: {sql}");
        }
    }
}
