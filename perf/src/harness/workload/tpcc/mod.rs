//! TPC-C (TPC Benchmark C, revision 5.11): orders of a wholesaler, in the mix of clause 5.2.3. There are no thinking times:
//! the rate says how often transactions come, whatever the number of warehouses.
//!
//! Below scale 1 a warehouse has fewer items and customers than clause 4.3 wants.

mod load;
mod transactions;

use super::{Done, Random, Session, Workload, expect};
use crate::harness::wire::{Client, Error, Result};
pub(super) use load::letters;

/// Districts of a warehouse.
const DISTRICTS: u64 = 10;
/// Customers of a district, and orders that each district begins with.
const CUSTOMERS: u64 = 3_000;
const ITEMS: u64 = 100_000;

pub(super) const KINDS: [&str; 5] = ["new-order", "payment", "order-status", "delivery", "stock-level"];
const NEW_ORDER: usize = 0;
const PAYMENT: usize = 1;
const ORDER_STATUS: usize = 2;
const DELIVERY: usize = 3;
const STOCK_LEVEL: usize = 4;

/// The warehouses.
pub(super) struct Tpcc {
    warehouses: u64,
    /// Customers of each district.
    customers: u64,
    items: u64,
}

impl Tpcc {
    pub(super) fn new(scale: f64) -> Tpcc {
        let share = scale.min(1.0);
        let least = |count: u64| ((count as f64 * share) as u64).max(count / 100);
        Tpcc { warehouses: (scale as u64).max(1), customers: least(CUSTOMERS), items: least(ITEMS) }
    }

    /// Each district of each warehouse.
    fn districts(&self) -> impl Iterator<Item = (u64, u64)> + Clone + use<> {
        (1..=self.warehouses).flat_map(|warehouse| (1..=DISTRICTS).map(move |district| (warehouse, district)))
    }
}

/// Clause 2.1.6: numbers from 1 to `count`, of which some are drawn more often.
fn uneven(random: &mut Random, spread: u64, count: u64) -> u64 {
    const RUN: u64 = 123;
    (((random.below(spread + 1) | random.below(count)) + RUN) % count) + 1
}

/// Clause 4.3.2.3: last names, of three syllables.
fn last_name(number: u64) -> String {
    const SYLLABLES: [&str; 10] =
        ["BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING"];
    [number / 100 % 10, number / 10 % 10, number % 10].map(|digit| SYLLABLES[digit as usize]).concat()
}

/// Conditions that hold between transactions (clause 3.3.2), as queries that count where they do not.
const CONSISTENCY: [(&str, &str); 5] = [
    (
        "warehouses whose payments are not those of their districts",
        "SELECT count(*) FROM perf_warehouse WHERE w_ytd <> \
         (SELECT sum(d_ytd) FROM perf_district WHERE d_w_id = w_id)",
    ),
    (
        "districts whose next order does not follow the last one",
        "SELECT count(*) FROM perf_district WHERE d_next_o_id - 1 <> \
         (SELECT max(o_id) FROM perf_orders WHERE o_w_id = d_w_id AND o_d_id = d_id)",
    ),
    (
        "districts with gaps between new orders",
        "SELECT count(*) FROM (SELECT 1 AS one FROM perf_new_order GROUP BY no_w_id, no_d_id \
         HAVING max(no_o_id) - min(no_o_id) + 1 <> count(*)) q",
    ),
    (
        "orders without as many lines as they say",
        "SELECT count(*) FROM perf_orders o LEFT JOIN (SELECT ol_w_id, ol_d_id, ol_o_id, count(*) AS lines \
         FROM perf_order_line GROUP BY 1, 2, 3) l ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id \
         WHERE lines IS DISTINCT FROM o_ol_cnt",
    ),
    (
        "orders that are new and delivered, or neither",
        "SELECT count(*) FROM perf_orders LEFT JOIN perf_new_order \
         ON no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id \
         WHERE (no_o_id IS NULL) <> (o_carrier_id IS NOT NULL)",
    ),
];

impl Workload for Tpcc {
    fn kinds(&self) -> &[&'static str] {
        &KINDS
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        load::tables(client)?;
        self.fill(client)
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        client.query("SET default_transaction_isolation = 'repeatable read'")?;
        transactions::prepare(client)
    }

    fn request(&self, session: &mut Session, random: &mut Random) -> Result<Done> {
        let client = &mut session.client;
        let (kind, retries) = match random.below(100) {
            0..45 => (NEW_ORDER, self.new_order(client, random)?),
            45..88 => (PAYMENT, self.payment(client, random)?),
            88..92 => (ORDER_STATUS, self.order_status(client, random)?),
            92..96 => (DELIVERY, self.delivery(client, random)?),
            _ => (STOCK_LEVEL, self.stock_level(client, random)?),
        };
        Ok(Done { kind, retries })
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        for (what, sql) in CONSISTENCY {
            expect(what, client.query(sql)?.number(0, 0)?, 0)?;
        }
        let stock = client.query("SELECT count(*) FROM perf_stock WHERE s_quantity BETWEEN 0 AND 100")?;
        expect("stock between 0 and 100", stock.number(0, 0)?, (self.items * self.warehouses) as i64)
    }
}

/// The value of a column that is not NULL.
fn value(answer: &crate::harness::wire::Answer, row: usize, column: usize) -> Result<String> {
    let absent = || Error::Wrong(format!("NULL in row {row}, column {column}"));
    answer.text(row, column)?.map(str::to_owned).ok_or_else(absent)
}
