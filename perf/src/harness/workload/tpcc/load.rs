//! TPC-C's tables and what they begin with (clauses 1.3 and 4.3).

use super::{DISTRICTS, Tpcc, last_name, uneven};
use crate::harness::load::Random;
use crate::harness::wire::{Client, Error, Result};
use crate::harness::workload::expect;
use crate::rows::mix;

const TABLES: [(&str, &str); 9] = [
    (
        "warehouse",
        "w_id int PRIMARY KEY, w_name text, w_street text, w_city text, w_state text, w_zip text, \
         w_tax numeric(4,4), w_ytd numeric(12,2)",
    ),
    (
        "district",
        "d_w_id int, d_id int, d_name text, d_street text, d_city text, d_state text, d_zip text, \
         d_tax numeric(4,4), d_ytd numeric(12,2), d_next_o_id int, PRIMARY KEY (d_w_id, d_id)",
    ),
    (
        "customer",
        "c_w_id int, c_d_id int, c_id int, c_first text, c_middle text, c_last text, c_street text, c_city text, \
         c_state text, c_zip text, c_phone text, c_since timestamptz, c_credit text, c_credit_lim numeric(12,2), \
         c_discount numeric(4,4), c_balance numeric(12,2), c_ytd_payment numeric(12,2), c_payment_cnt int, \
         c_delivery_cnt int, c_data text, PRIMARY KEY (c_w_id, c_d_id, c_id)",
    ),
    (
        "history",
        "h_c_id int, h_c_d_id int, h_c_w_id int, h_d_id int, h_w_id int, h_date timestamptz, h_amount numeric(6,2), \
         h_data text",
    ),
    ("new_order", "no_w_id int, no_d_id int, no_o_id int, PRIMARY KEY (no_w_id, no_d_id, no_o_id)"),
    (
        "orders",
        "o_w_id int, o_d_id int, o_id int, o_c_id int, o_entry_d timestamptz, o_carrier_id int, o_ol_cnt int, \
         o_all_local int, PRIMARY KEY (o_w_id, o_d_id, o_id)",
    ),
    (
        "order_line",
        "ol_w_id int, ol_d_id int, ol_o_id int, ol_number int, ol_i_id int, ol_supply_w_id int, \
         ol_delivery_d timestamptz, ol_quantity int, ol_amount numeric(6,2), ol_dist_info text, \
         PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number)",
    ),
    ("item", "i_id int PRIMARY KEY, i_im_id int, i_name text, i_price numeric(5,2), i_data text"),
    (
        "stock",
        "s_w_id int, s_i_id int, s_quantity int, s_dist_01 text, s_dist_02 text, s_dist_03 text, s_dist_04 text, \
         s_dist_05 text, s_dist_06 text, s_dist_07 text, s_dist_08 text, s_dist_09 text, s_dist_10 text, s_ytd int, \
         s_order_cnt int, s_remote_cnt int, s_data text, PRIMARY KEY (s_w_id, s_i_id)",
    ),
];

/// For servers that have them.
const INDEXES: [&str; 2] = [
    "CREATE INDEX ON perf_customer (c_w_id, c_d_id, c_last, c_first)",
    "CREATE INDEX ON perf_orders (o_w_id, o_d_id, o_c_id, o_id)",
];

/// Makes the tables anew.
pub(super) fn tables(client: &mut Client) -> Result<()> {
    for (name, columns) in TABLES {
        client.query(&format!("DROP TABLE IF EXISTS perf_{name}"))?;
        client.query(&format!("CREATE TABLE perf_{name} ({columns})"))?;
    }
    Ok(())
}

/// When everything began.
const BEGAN: &str = "2026-01-01 00:00:00+00";

pub(in crate::harness::workload) fn letters(random: &mut Random, least: u64, most: u64) -> String {
    let length = least + random.below(most - least + 1);
    (0..length).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

fn zip(random: &mut Random) -> String {
    format!("{:04}11111", random.below(10_000))
}

fn tax(random: &mut Random) -> String {
    format!("0.{:04}", random.below(2_001))
}

/// Clause 4.3.3.1: a tenth of items and stocks is marked.
fn data(random: &mut Random) -> String {
    let text = letters(random, 26, 50);
    if random.below(10) == 0 { format!("{}ORIGINAL", &text[..18]) } else { text }
}

fn place(random: &mut Random) -> String {
    let (street, city) = (letters(random, 10, 20), letters(random, 10, 20));
    format!("{street}\t{city}\t{}\t{}", letters(random, 2, 2), zip(random))
}

impl Tpcc {
    /// Fills the tables.
    pub(super) fn fill(&self, client: &mut Client) -> Result<()> {
        let copy = |client: &mut Client, table: &str, rows: u64, lines: &mut dyn Iterator<Item = String>| {
            let copied = client.copy(&format!("COPY perf_{table} FROM STDIN"), lines)?;
            expect(&format!("rows copied into {table}"), copied, rows)
        };
        let mut random = Random::new(self.items);
        let districts = self.warehouses * DISTRICTS;
        let paid = 10 * self.customers;
        let mut items = (1..=self.items).map(|id| {
            let price = 100 + random.below(9_901);
            let name = letters(&mut random, 14, 24);
            let image = random.below(10_000) + 1;
            format!("{id}\t{image}\t{name}\t{}.{:02}\t{}", price / 100, price % 100, data(&mut random))
        });
        copy(client, "item", self.items, &mut items)?;
        let mut warehouses = (1..=self.warehouses).map(|id| {
            let name = letters(&mut random, 6, 10);
            let ytd = paid * DISTRICTS;
            format!("{id}\t{name}\t{}\t{}\t{ytd}.00", place(&mut random), tax(&mut random))
        });
        copy(client, "warehouse", self.warehouses, &mut warehouses)?;
        let mut lines = self.districts().map(|(warehouse, id)| {
            let (name, place, tax) = (letters(&mut random, 6, 10), place(&mut random), tax(&mut random));
            format!("{warehouse}\t{id}\t{name}\t{place}\t{tax}\t{paid}.00\t{}", self.customers + 1)
        });
        copy(client, "district", districts, &mut lines)?;
        let stocks =
            (1..=self.warehouses).flat_map(|warehouse| (1..=self.items).map(move |id| (warehouse, id)));
        let mut stocks = stocks.map(|(warehouse, id)| {
            let quantity = 10 + random.below(91);
            let dists: Vec<String> = (0..DISTRICTS).map(|_| letters(&mut random, 24, 24)).collect();
            let data = data(&mut random);
            format!("{warehouse}\t{id}\t{quantity}\t{}\t0\t0\t0\t{data}", dists.join("\t"))
        });
        copy(client, "stock", self.items * self.warehouses, &mut stocks)?;
        let customers = self.districts().flat_map(|at| (1..=self.customers).map(move |id| (at, id)));
        let mut lines = customers.clone().map(|(at, id)| customer(at, id, &mut random));
        copy(client, "customer", districts * self.customers, &mut lines)?;
        let mut lines = customers.map(|((warehouse, district), id)| {
            let data = letters(&mut random, 12, 24);
            format!("{id}\t{district}\t{warehouse}\t{district}\t{warehouse}\t{BEGAN}\t10.00\t{data}")
        });
        copy(client, "history", districts * self.customers, &mut lines)?;
        self.fill_orders(client)?;
        for index in INDEXES {
            match client.query(index) {
                Ok(_) => {}
                // A server without such indexes finds rows by the primary key and filters them.
                Err(Error::Server(state, _)) if state == "0A000" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Each customer has an order; the last 30 % are not delivered yet.
    fn fill_orders(&self, client: &mut Client) -> Result<()> {
        let delivered = self.customers - self.customers * 3 / 10;
        let orders = || self.districts().flat_map(|at| (1..=self.customers).map(move |id| (at, id)));
        // What an order has follows from its number: so tables agree.
        let lines_of = |((warehouse, district), id): ((u64, u64), u64)| {
            5 + mix(warehouse << 40 ^ district << 32 ^ id) % 11
        };
        let lines = orders().map(|order| {
            let ((warehouse, district), id) = order;
            // Every customer once: a step without a common divisor goes through all.
            let customer = (id * 7_919 + district) % self.customers + 1;
            let carrier = if id > delivered { "\\N".to_owned() } else { (mix(id) % 10 + 1).to_string() };
            format!("{warehouse}\t{district}\t{id}\t{customer}\t{BEGAN}\t{carrier}\t{}\t1", lines_of(order))
        });
        client.copy("COPY perf_orders FROM STDIN", lines)?;
        let mut random = Random::new(self.customers);
        let items = self.items;
        let lines = orders().flat_map(|order| (1..=lines_of(order)).map(move |number| (order, number)));
        let lines = lines.map(|(((warehouse, district), id), number)| {
            let (at, cents) = match id > delivered {
                true => ("\\N", random.below(999_999) + 1),
                false => (BEGAN, 0),
            };
            let (item, info) = (random.below(items) + 1, letters(&mut random, 24, 24));
            let amount = format!("{}.{:02}", cents / 100, cents % 100);
            format!("{warehouse}\t{district}\t{id}\t{number}\t{item}\t{warehouse}\t{at}\t5\t{amount}\t{info}")
        });
        client.copy("COPY perf_order_line FROM STDIN", lines)?;
        let new = orders().filter(|(_, id)| *id > delivered);
        let lines = new.map(|((warehouse, district), id)| format!("{warehouse}\t{district}\t{id}"));
        client.copy("COPY perf_new_order FROM STDIN", lines).map(drop)
    }
}

fn customer((warehouse, district): (u64, u64), id: u64, random: &mut Random) -> String {
    // The first 1,000 have all names, the others some more often.
    let last = last_name(if id <= 1_000 { id - 1 } else { uneven(random, 255, 1_000) - 1 });
    let (first, place, since) = (letters(random, 8, 16), place(random), BEGAN);
    let phone = format!("{:016}", random.below(10_000_000_000_000_000));
    let credit = if random.below(10) == 0 { "BC" } else { "GC" };
    let discount = format!("0.{:04}", random.below(5_001));
    let data = letters(random, 300, 500);
    format!(
        "{warehouse}\t{district}\t{id}\t{first}\tOE\t{last}\t{place}\t{phone}\t{since}\t{credit}\t50000.00\t{discount}\t\
         -10.00\t10.00\t1\t0\t{data}"
    )
}
