//! The rows that all engines are measured with: the same number gives the same row everywhere. Uses nothing but the
//! standard library, because the programs in `perf/baselines` include this file without the rest of the workspace.
//!
//! Rows and keys are bytes as `omen_core::row` and `omen_core::key` say; the other engines store the same bytes.

/// Values of the column `status`.
pub const STATUSES: [&str; 8] =
    ["active", "blocked", "closed", "draft", "expired", "new", "pending", "suspended"];

/// A row of the wide table: `id int8 primary key, a int8, price float8, email text, ts timestamp, status text`,
/// nothing null.
#[derive(Clone, PartialEq, Debug)]
pub struct Wide {
    /// The key: rises with the number of the row, by 1 to 5.
    pub id: i64,
    /// 0 to 999,999, at random.
    pub a: i64,
    /// 0.00 to 9,999.99, two decimals, at random.
    pub price: f64,
    /// 18 bytes.
    pub email: String,
    /// Microseconds since 1970; rises by a second with each row, give or take half a second.
    pub ts: i64,
    /// One of `STATUSES`, at random.
    pub status: &'static str,
}

/// Columns of the wide table.
pub const WIDE_COLUMNS: usize = 6;

/// A row of the narrow table: `id int8 primary key, device int4, value float8, ts timestamp`, nothing null.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Narrow {
    /// The key.
    pub id: i64,
    /// 0 to 9,999.
    pub device: i32,
    /// 0.00 to 99.99, two decimals.
    pub value: f64,
    /// Microseconds since 1970.
    pub ts: i64,
}

/// Columns of the narrow table.
pub const NARROW_COLUMNS: usize = 4;

/// A permutation of the 64-bit numbers (the finish of splitmix64) that leaves no order.
pub fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// The key of a row of the wide table.
pub fn wide_id(number: u64) -> i64 {
    (number * 3 + mix(number) % 3) as i64
}

/// A row of the wide table.
pub fn wide(number: u64) -> Wide {
    let random = mix(number ^ 0x5EED);
    let other = mix(random);
    Wide {
        id: wide_id(number),
        a: (random % 1_000_000) as i64,
        price: (other % 1_000_000) as f64 / 100.0,
        email: format!("user{:08}@x.org", mix(other) % 100_000_000),
        ts: 1_704_067_200_000_000 + number as i64 * 1_000_000 + (random >> 40) as i64 % 500_000,
        status: STATUSES[(random >> 61) as usize],
    }
}

/// A row of the narrow table with this key.
pub fn narrow(id: i64) -> Narrow {
    let random = mix(id as u64 ^ 0xBEE);
    Narrow {
        id,
        device: (random % 10_000) as i32,
        value: ((random >> 32) % 10_000) as f64 / 100.0,
        ts: 1_704_067_200_000_000 + (id & 0xFFFF_FFFF) * 1_000,
    }
}

/// An `int8` key.
pub fn key(id: i64) -> [u8; 8] {
    (id as u64 ^ 1 << 63).to_be_bytes()
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl Wide {
    /// The row's bytes, in place of what `out` held.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(0);
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.a.to_le_bytes());
        out.extend_from_slice(&self.price.to_le_bytes());
        push_text(&self.email, out);
        out.extend_from_slice(&self.ts.to_le_bytes());
        push_text(self.status, out);
    }
}

impl Narrow {
    /// The row's bytes, in place of what `out` held.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(0);
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.device.to_le_bytes());
        out.extend_from_slice(&self.value.to_le_bytes());
        out.extend_from_slice(&self.ts.to_le_bytes());
    }
}
