//! fjall. It reads through the page cache only, so it has no cold reads to measure.

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::args::Args;
use crate::{Key, Settings, Store};

pub struct Fjall {
    db: Database,
    rows: Keyspace,
}

impl Store for Fjall {
    const NAME: &'static str = "fjall";
    const DIRECT: bool = false;

    fn open(args: &Args, settings: &Settings) -> Fjall {
        let builder = Database::builder(&args.dir).cache_size(settings.cache_bytes as u64).worker_threads(2);
        let db = builder.open().expect("opens");
        let memtable_bytes = settings.memtable_bytes as u64 / 4;
        let options = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
                .max_memtable_size(memtable_bytes)
        };
        let rows = db.keyspace("rows", options).expect("opens");
        Fjall { db, rows }
    }

    fn write(&self, batch: &[(Key, Vec<u8>)]) {
        let mut writes = self.db.batch().durability(Some(PersistMode::SyncData));
        batch.iter().for_each(|(key, row)| writes.insert(&self.rows, key, row.as_slice()));
        writes.commit().expect("writes");
    }

    fn get(&self, key: &Key) -> Option<usize> {
        Some(self.rows.get(key).expect("reads")?.len())
    }

    fn warm(&self) -> u64 {
        self.rows.len().expect("reads") as u64
    }

    fn settle(&self) {
        self.rows.rotate_memtable_and_wait().expect("flushes");
        self.rows.major_compact().expect("compacts");
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_space()
    }
}
