//! RocksDB.

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType,
    DataBlockIndexType, IteratorMode, Options, WriteBatch, WriteOptions,
};

use crate::args::Args;
use crate::{Key, Settings, Store};

pub struct Rocks {
    db: DB,
    durable: WriteOptions,
}

impl Store for Rocks {
    const NAME: &'static str = "rocksdb";
    const DIRECT: bool = true;

    fn open(args: &Args, settings: &Settings) -> Rocks {
        let mut blocks = BlockBasedOptions::default();
        // The faster of its caches, and hashes in blocks: both suit point reads.
        blocks.set_block_cache(&Cache::new_hyper_clock_cache(settings.cache_bytes, 0));
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::None);
        options.set_use_direct_reads(settings.direct);
        options.set_write_buffer_size(settings.memtable_bytes / 4);
        options.set_max_write_buffer_number(4);
        options.increase_parallelism(2);
        options.set_max_open_files(-1);
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        Rocks { db: DB::open(&options, &args.dir).expect("opens"), durable }
    }

    fn write(&self, batch: &[(Key, Vec<u8>)]) {
        let mut writes = WriteBatch::default();
        batch.iter().for_each(|(key, row)| writes.put(key, row));
        self.db.write_opt(writes, &self.durable).expect("writes");
    }

    fn get(&self, key: &Key) -> Option<usize> {
        Some(self.db.get_pinned(key).expect("reads")?.len())
    }

    fn warm(&self) -> u64 {
        self.db.iterator(IteratorMode::Start).map(|row| row.expect("reads")).count() as u64
    }

    fn settle(&self) {
        self.db.flush().expect("flushes");
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_opt(None::<Key>, None::<Key>, &options);
    }

    fn disk_bytes(&self) -> u64 {
        let files = self.db.property_int_value("rocksdb.total-sst-files-size");
        files.expect("is known").unwrap_or_default()
    }
}
