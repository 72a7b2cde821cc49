//! TPC-C's transactions (clauses 2.4 to 2.8).

use super::{DISTRICTS, Tpcc, last_name, uneven, value};
use crate::harness::load::Random;
use crate::harness::wire::{Client, Result};
use crate::harness::workload::{expect, transaction};

/// Names of statements, and what they are.
const STATEMENTS: [(&str, &str); 24] = [
    ("warehouse tax", "SELECT w_tax FROM perf_warehouse WHERE w_id = $1::int"),
    (
        "next order",
        "UPDATE perf_district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = $1::int AND d_id = $2::int \
         RETURNING d_next_o_id - 1, d_tax",
    ),
    (
        "customer discount",
        "SELECT c_discount, c_last, c_credit FROM perf_customer \
         WHERE c_w_id = $1::int AND c_d_id = $2::int AND c_id = $3::int",
    ),
    (
        "insert order",
        "INSERT INTO perf_orders (o_w_id, o_d_id, o_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local) \
         VALUES ($1::int, $2::int, $3::int, $4::int, now(), $5::int, $6::int)",
    ),
    ("insert new order", "INSERT INTO perf_new_order VALUES ($1::int, $2::int, $3::int)"),
    ("item", "SELECT i_price, i_name, i_data FROM perf_item WHERE i_id = $1::int"),
    (
        "update stock",
        "UPDATE perf_stock SET s_quantity = $1::int, s_ytd = s_ytd + $2::int, s_order_cnt = s_order_cnt + 1, \
         s_remote_cnt = s_remote_cnt + $3::int WHERE s_w_id = $4::int AND s_i_id = $5::int",
    ),
    (
        "insert line",
        "INSERT INTO perf_order_line (ol_w_id, ol_d_id, ol_o_id, ol_number, ol_i_id, ol_supply_w_id, ol_quantity, \
         ol_amount, ol_dist_info) VALUES ($1::int, $2::int, $3::int, $4::int, $5::int, $6::int, $7::int, \
         $8::numeric * $7::int, $9::text)",
    ),
    (
        "pay warehouse",
        "UPDATE perf_warehouse SET w_ytd = w_ytd + $1::numeric WHERE w_id = $2::int RETURNING w_name",
    ),
    (
        "pay district",
        "UPDATE perf_district SET d_ytd = d_ytd + $1::numeric WHERE d_w_id = $2::int AND d_id = $3::int \
         RETURNING d_name",
    ),
    (
        "customers named",
        "SELECT c_id FROM perf_customer WHERE c_w_id = $1::int AND c_d_id = $2::int AND c_last = $3::text \
         ORDER BY c_first, c_id",
    ),
    (
        "pay customer",
        "UPDATE perf_customer SET c_balance = c_balance - $1::numeric, c_ytd_payment = c_ytd_payment + $1::numeric, \
         c_payment_cnt = c_payment_cnt + 1, c_data = CASE WHEN c_credit = 'BC' THEN left(concat_ws(' ', c_id, c_d_id, \
         c_w_id, $1::numeric, c_data), 500) ELSE c_data END \
         WHERE c_w_id = $2::int AND c_d_id = $3::int AND c_id = $4::int RETURNING c_balance",
    ),
    (
        "insert history",
        "INSERT INTO perf_history VALUES ($1::int, $2::int, $3::int, $4::int, $5::int, now(), $6::numeric, $7::text)",
    ),
    (
        "customer balance",
        "SELECT c_balance, c_first, c_last FROM perf_customer \
         WHERE c_w_id = $1::int AND c_d_id = $2::int AND c_id = $3::int",
    ),
    (
        "last order",
        "SELECT o_id, o_entry_d, o_carrier_id, o_ol_cnt FROM perf_orders \
         WHERE o_w_id = $1::int AND o_d_id = $2::int AND o_c_id = $3::int ORDER BY o_id DESC LIMIT 1",
    ),
    (
        "lines",
        "SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d FROM perf_order_line \
         WHERE ol_w_id = $1::int AND ol_d_id = $2::int AND ol_o_id = $3::int",
    ),
    (
        "oldest new order",
        "SELECT no_o_id FROM perf_new_order WHERE no_w_id = $1::int AND no_d_id = $2::int \
         ORDER BY no_w_id, no_d_id, no_o_id LIMIT 1",
    ),
    (
        "delete new order",
        "DELETE FROM perf_new_order WHERE no_w_id = $1::int AND no_d_id = $2::int AND no_o_id = $3::int",
    ),
    (
        "deliver order",
        "UPDATE perf_orders SET o_carrier_id = $4::int WHERE o_w_id = $1::int AND o_d_id = $2::int AND o_id = $3::int \
         RETURNING o_c_id",
    ),
    (
        "deliver lines",
        "UPDATE perf_order_line SET ol_delivery_d = now() \
         WHERE ol_w_id = $1::int AND ol_d_id = $2::int AND ol_o_id = $3::int",
    ),
    (
        "sum of lines",
        "SELECT sum(ol_amount) FROM perf_order_line \
         WHERE ol_w_id = $1::int AND ol_d_id = $2::int AND ol_o_id = $3::int",
    ),
    (
        "deliver to customer",
        "UPDATE perf_customer SET c_balance = c_balance + $4::numeric, c_delivery_cnt = c_delivery_cnt + 1 \
         WHERE c_w_id = $1::int AND c_d_id = $2::int AND c_id = $3::int",
    ),
    ("district next", "SELECT d_next_o_id FROM perf_district WHERE d_w_id = $1::int AND d_id = $2::int"),
    (
        "low stock",
        "SELECT count(DISTINCT s_i_id) FROM perf_order_line, perf_stock WHERE ol_w_id = $1::int AND ol_d_id = $2::int \
         AND ol_o_id >= $3::int - 20 AND ol_o_id < $3::int AND s_w_id = $1::int AND s_i_id = ol_i_id \
         AND s_quantity < $4::int",
    ),
];

/// Prepares the statements.
pub(super) fn prepare(client: &mut Client) -> Result<()> {
    for (name, sql) in STATEMENTS {
        client.prepare(name, sql)?;
    }
    for district in 1..=DISTRICTS {
        let sql = format!(
            "SELECT s_quantity, s_dist_{district:02}, s_data FROM perf_stock WHERE s_w_id = $1::int AND s_i_id = $2::int"
        );
        client.prepare(&format!("stock {district}"), &sql)?;
    }
    Ok(())
}

/// A line of an order.
struct Line {
    item: u64,
    warehouse: u64,
    quantity: u64,
}

/// Runs a statement that changes a row or answers one.
fn one(client: &mut Client, name: &str, params: &[&str]) -> Result<crate::harness::wire::Answer> {
    let answer = client.run(name, params)?;
    let count = answer.tag.rsplit(' ').next().and_then(|count| count.parse().ok());
    expect(name, count, Some(1))?;
    Ok(answer)
}

impl Tpcc {
    fn warehouse(&self, random: &mut Random) -> u64 {
        random.below(self.warehouses) + 1
    }

    /// Another warehouse in so many of 100 cases, if there is one.
    fn remote(&self, own: u64, percent: u64, random: &mut Random) -> u64 {
        if self.warehouses == 1 || random.below(100) >= percent {
            return own;
        }
        (own + random.below(self.warehouses - 1)) % self.warehouses + 1
    }

    fn customer(&self, random: &mut Random) -> u64 {
        uneven(random, 1_023, self.customers)
    }

    pub(super) fn new_order(&self, client: &mut Client, random: &mut Random) -> Result<u64> {
        let home = self.warehouse(random);
        let line = |random: &mut Random| Line {
            item: uneven(random, 8_191, self.items),
            warehouse: self.remote(home, 1, random),
            quantity: random.below(10) + 1,
        };
        let mut lines: Vec<Line> = (0..5 + random.below(11)).map(|_| line(random)).collect();
        // Rows in one order: two transactions never wait for each other.
        lines.sort_by_key(|line| (line.warehouse, line.item));
        let is_wrong = random.below(100) == 0;
        let all_local = u64::from(lines.iter().all(|line| line.warehouse == home)).to_string();
        let (district, customer) =
            ((random.below(DISTRICTS) + 1).to_string(), self.customer(random).to_string());
        let (home, count) = (home.to_string(), lines.len().to_string());
        transaction(client, |client| {
            one(client, "warehouse tax", &[&home])?;
            let order = value(&one(client, "next order", &[&home, &district])?, 0, 0)?;
            one(client, "customer discount", &[&home, &district, &customer])?;
            one(client, "insert order", &[&home, &district, &order, &customer, &count, &all_local])?;
            one(client, "insert new order", &[&home, &district, &order])?;
            for (number, line) in lines.iter().enumerate() {
                if is_wrong && number + 1 == lines.len() {
                    // Clause 2.4.1.4: an item that is not there, so the order is given up.
                    let unused = (self.items + 1).to_string();
                    expect("rows of an item", client.run("item", &[&unused])?.row_count(), 0)?;
                    return client.query("ROLLBACK").map(drop);
                }
                order_line(client, [&home, &district, &order], number + 1, line)?;
            }
            Ok(())
        })
    }

    /// Who pays or asks: six of ten times by name, of whom the middle one is meant (clause 2.5.2.2).
    fn customer_of(&self, client: &mut Client, at: [&str; 2], id: u64, name: Option<&str>) -> Result<String> {
        let Some(name) = name else { return Ok(id.to_string()) };
        let named = client.run("customers named", &[at[0], at[1], name])?;
        match named.row_count() {
            // Below scale 1 not all names are there.
            0 => Ok(id.to_string()),
            count => value(&named, count.div_ceil(2) - 1, 0),
        }
    }

    fn name(&self, random: &mut Random) -> Option<String> {
        (random.below(100) < 60).then(|| last_name(uneven(random, 255, self.customers.min(1_000)) - 1))
    }

    pub(super) fn payment(&self, client: &mut Client, random: &mut Random) -> Result<u64> {
        let home = self.warehouse(random);
        let (other, district) = (self.remote(home, 15, random), random.below(DISTRICTS) + 1);
        let other_district = if other == home { district } else { random.below(DISTRICTS) + 1 };
        let cents = 100 + random.below(499_901);
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let (id, name) = (self.customer(random), self.name(random));
        let [home, other, district, other_district] =
            [home, other, district, other_district].map(|number| number.to_string());
        transaction(client, |client| {
            let warehouse = value(&one(client, "pay warehouse", &[&amount, &home])?, 0, 0)?;
            let name_of = value(&one(client, "pay district", &[&amount, &home, &district])?, 0, 0)?;
            let customer = self.customer_of(client, [&other, &other_district], id, name.as_deref())?;
            one(client, "pay customer", &[&amount, &other, &other_district, &customer])?;
            let data = format!("{warehouse}    {name_of}");
            let row = [&customer, &other_district, &other, &district, &home, &amount, &data];
            one(client, "insert history", &row.map(String::as_str)).map(drop)
        })
    }

    pub(super) fn order_status(&self, client: &mut Client, random: &mut Random) -> Result<u64> {
        let (home, district) =
            (self.warehouse(random).to_string(), (random.below(DISTRICTS) + 1).to_string());
        let (id, name) = (self.customer(random), self.name(random));
        transaction(client, |client| {
            let customer = self.customer_of(client, [&home, &district], id, name.as_deref())?;
            one(client, "customer balance", &[&home, &district, &customer])?;
            let last = client.run("last order", &[&home, &district, &customer])?;
            if last.row_count() == 0 {
                return Ok(());
            }
            let lines = client.run("lines", &[&home, &district, &value(&last, 0, 0)?])?;
            expect("lines of the order", lines.row_count() as i64, last.number(0, 3)?)
        })
    }

    /// The oldest order of each district, in one transaction.
    pub(super) fn delivery(&self, client: &mut Client, random: &mut Random) -> Result<u64> {
        let (home, carrier) = (self.warehouse(random).to_string(), (random.below(10) + 1).to_string());
        transaction(client, |client| {
            for district in (1..=DISTRICTS).map(|district| district.to_string()) {
                let oldest = client.run("oldest new order", &[&home, &district])?;
                if oldest.row_count() == 0 {
                    continue;
                }
                let order = value(&oldest, 0, 0)?;
                one(client, "delete new order", &[&home, &district, &order])?;
                let delivered = one(client, "deliver order", &[&home, &district, &order, &carrier])?;
                let customer = value(&delivered, 0, 0)?;
                client.run("deliver lines", &[&home, &district, &order])?;
                let sum = value(&one(client, "sum of lines", &[&home, &district, &order])?, 0, 0)?;
                one(client, "deliver to customer", &[&home, &district, &customer, &sum])?;
            }
            Ok(())
        })
    }

    pub(super) fn stock_level(&self, client: &mut Client, random: &mut Random) -> Result<u64> {
        let (home, district) =
            (self.warehouse(random).to_string(), (random.below(DISTRICTS) + 1).to_string());
        let threshold = (random.below(11) + 10).to_string();
        transaction(client, |client| {
            let next = value(&one(client, "district next", &[&home, &district])?, 0, 0)?;
            one(client, "low stock", &[&home, &district, &next, &threshold]).map(drop)
        })
    }
}

/// Takes an item from its stock and writes it into the order; `at`: warehouse, district, order.
fn order_line(client: &mut Client, at: [&str; 3], number: usize, line: &Line) -> Result<()> {
    let [home, district, order] = at;
    let (item, supplier) = (line.item.to_string(), line.warehouse.to_string());
    let price = value(&one(client, "item", &[&item])?, 0, 0)?;
    let stock = one(client, &format!("stock {district}"), &[&supplier, &item])?;
    let (there, taken) = (stock.number(0, 0)?, line.quantity as i64);
    let left = if there >= taken + 10 { there - taken } else { there - taken + 91 };
    let info = value(&stock, 0, 1)?;
    let (left, taken, remote) =
        (left.to_string(), taken.to_string(), u64::from(home != supplier).to_string());
    one(client, "update stock", &[&left, &taken, &remote, &supplier, &item])?;
    let number = number.to_string();
    let row = [home, district, order, &number, &item, &supplier, &taken, &price, &info];
    one(client, "insert line", &row).map(drop)
}
