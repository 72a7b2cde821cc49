//! Random choices that a seed repeats.

/// A generator (splitmix64, public domain).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// A seed from the environment variable `OMENDB_TEST_SEED`, or a new one; printed, so that a failure shows it.
    ///
    /// # Panics
    /// If the variable is no number.
    pub fn from_environment() -> Rng {
        let seed = match std::env::var("OMENDB_TEST_SEED") {
            Ok(text) => text.parse().expect("OMENDB_TEST_SEED is a number"),
            Err(_) => u64::from(std::process::id()) << 32 | u64::from(time_of_day_ns()),
        };
        println!("OMENDB_TEST_SEED={seed}");
        Rng(seed)
    }

    /// A number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// If `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// A generator of its own for each task.
    #[must_use]
    pub fn fork(&mut self) -> Rng {
        Rng(self.next_u64())
    }

    /// Printable text of this many characters.
    pub fn text(&mut self, len: usize) -> String {
        (0..len).map(|_| char::from(b' ' + (self.below(95) as u8))).collect()
    }
}

fn time_of_day_ns() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos())
}
