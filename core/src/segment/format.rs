//! Bytes of a segment file, version 1. All numbers are little-endian; reserved bytes are zero and checked.
//!
//! | part | bytes |
//! |---|---|
//! | header | one page of 4,096 bytes |
//! | blocks | one after another, each padded with zeros to whole pages |
//! | footer | padded with zeros to whole pages |
//! | trailer | one page |
//!
//! Header: 0 `MAGIC` 8 bytes, 8 `VERSION` u32, 12 schema fingerprint u32, 16 segment id u64, then zeros.
//!
//! Trailer: 0..24 as the header, 24 rows u64, 32 blocks u32, 36 crc32c of the padded footer u32, 40 bytes of the footer
//! without padding u64, 48 length of the last key u16, then zeros, 4,092 crc32c of the bytes before it u32. The manifest
//! holds that checksum too.
//!
//! Footer: for each block 16 bytes: 0 padded bytes u32, 4 crc32c of all of them u32, 8 rows u16, 10 flags u16 (bit 0: its
//! first key is also the last key of the block before it), 12 length of its first key u16, 14 zeros; then the first keys
//! of all blocks, then the last key of the segment.
//!
//! Block: header of 64 bytes, a directory of 16 bytes for each column, sections that begin at multiples of 8.
//!
//! | block header | |
//! |---|---|
//! | 0 | `BLOCK_MAGIC` u32 |
//! | 4 | rows u32 |
//! | 8 | segment id u64 |
//! | 16 | number of the block u32 |
//! | 20 | columns u32 |
//! | 24 | begin of all versions, or the latest, u64 |
//! | 32 | offset of the begins u32, each u64; 0 if all are equal |
//! | 36 | length of what all keys begin with, u16 |
//! | 38 | length of the rest of each key u16; 65,535 if they differ |
//! | 40 | offset of the keys u32: the common beginning, then if lengths differ the end of each rest u32, then the rests |
//! | 44 | bytes of the keys u32 |
//! | 48 | zeros |
//!
//! Directory entry: 0 offset of the values u32, 4 their bytes u32, 8 offset of validity bits u32 (0: no NULL), 12 offset
//! of rows + 1 value offsets i32 (0: values have a fixed size). Values are as `column` describes.

use std::ops::Range;

use super::SegmentId;
use crate::catalog::TableSchema;
use crate::env::IO_ALIGN;
use crate::key::KEY_BYTES_MAX;
use crate::row::ROW_BYTES_MAX;

/// First bytes of header and trailer.
pub const MAGIC: [u8; 8] = *b"OmenSegm";
/// Version of the format.
pub const VERSION: u32 = 1;
/// First bytes of a block.
pub const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"OBlk");
/// Bytes of a page.
pub const PAGE_BYTES: usize = IO_ALIGN;
/// Most rows of a block.
pub const BLOCK_ROWS: usize = 1 << BLOCK_ROW_BITS;
/// Bits of a position that count within a block.
pub const BLOCK_ROW_BITS: u32 = 10;
/// A block is full at this size too: a direct read of 64 KiB takes 1.6 times as long as one of 16 KiB, larger ones longer.
pub const BLOCK_BYTES_TARGET: usize = 64 << 10;
/// No block is larger: a full one, and one more row with its key and room to align every column.
pub const BLOCK_BYTES_MAX: usize = 4 * ROW_BYTES_MAX;
/// Most blocks of a segment.
pub const BLOCKS_MAX: usize = 1 << (u32::BITS - BLOCK_ROW_BITS);

const FOOTER_ENTRY_BYTES: usize = 16;
const TRAILER_CRC_AT: usize = PAGE_BYTES - 4;
const FLAG_CONTINUES: u16 = 1;

const _: () = assert!(BLOCK_ROWS <= u16::MAX as usize);

/// What is wrong with the bytes.
pub type Detail = &'static str;

/// Reads numbers; `None` beyond the end.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    pub(super) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A u32 as a size.
    pub(super) fn size(self, at: usize) -> Option<usize> {
        self.u32(at).and_then(|n| usize::try_from(n).ok())
    }

    pub(super) fn slice(self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    pub(super) fn zeros(self, range: Range<usize>) -> bool {
        self.0.get(range).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    }
}

/// A number that names the columns and key that a segment's rows have.
pub fn fingerprint(schema: &TableSchema) -> u32 {
    let mut crc = 0;
    for column in &schema.columns {
        crc = crc32c::crc32c_append(crc, &column.pg_type.oid().to_le_bytes());
        crc = crc32c::crc32c_append(crc, &column.pg_type.type_modifier().to_le_bytes());
    }
    schema.key.iter().fold(crc, |crc, column| crc32c::crc32c_append(crc, &(*column as u64).to_le_bytes()))
}

/// The header page.
pub fn header(id: SegmentId, fingerprint: u32) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE_BYTES);
    page.extend_from_slice(&MAGIC);
    page.extend_from_slice(&VERSION.to_le_bytes());
    page.extend_from_slice(&fingerprint.to_le_bytes());
    page.extend_from_slice(&id.0.to_le_bytes());
    page.resize(PAGE_BYTES, 0);
    page
}

/// The trailer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// The segment.
    pub id: SegmentId,
    /// Of its schema.
    pub fingerprint: u32,
    /// Versions in all blocks.
    pub rows: u64,
    /// Blocks.
    pub blocks: u32,
    /// crc32c of the padded footer.
    pub footer_crc: u32,
    /// Bytes of the footer without padding.
    pub footer_bytes: u64,
    /// Length of the last key.
    pub last_key_bytes: u16,
}

impl Trailer {
    /// The page, and its checksum.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        let mut page = header(self.id, self.fingerprint);
        page.truncate(24);
        page.extend_from_slice(&self.rows.to_le_bytes());
        page.extend_from_slice(&self.blocks.to_le_bytes());
        page.extend_from_slice(&self.footer_crc.to_le_bytes());
        page.extend_from_slice(&self.footer_bytes.to_le_bytes());
        page.extend_from_slice(&self.last_key_bytes.to_le_bytes());
        page.resize(TRAILER_CRC_AT, 0);
        let crc = crc32c::crc32c(&page);
        page.extend_from_slice(&crc.to_le_bytes());
        (page, crc)
    }

    /// Inverse of `encode`; the checksum must be `crc`.
    ///
    /// # Errors
    /// If the page is not a trailer of this version.
    pub fn decode(page: &[u8], crc: u32) -> Result<Trailer, Detail> {
        const SHORT: Detail = "short trailer";
        let bytes = Bytes(page);
        let covered = page.get(..TRAILER_CRC_AT).ok_or(SHORT)?;
        if page.len() != PAGE_BYTES
            || bytes.u32(TRAILER_CRC_AT) != Some(crc)
            || crc32c::crc32c(covered) != crc
        {
            return Err("wrong checksum of the trailer");
        }
        Trailer::decode_fields(bytes)
    }

    fn decode_fields(bytes: Bytes<'_>) -> Result<Trailer, Detail> {
        const SHORT: Detail = "short trailer";
        if bytes.array(0) != Some(MAGIC) {
            return Err("not a segment");
        }
        if bytes.u32(8) != Some(VERSION) {
            return Err("unknown version of the format");
        }
        if !bytes.zeros(50..TRAILER_CRC_AT) {
            return Err("reserved bytes of the trailer are set");
        }
        Ok(Trailer {
            fingerprint: bytes.u32(12).ok_or(SHORT)?,
            id: SegmentId(bytes.u64(16).ok_or(SHORT)?),
            rows: bytes.u64(24).ok_or(SHORT)?,
            blocks: bytes.u32(32).ok_or(SHORT)?,
            footer_crc: bytes.u32(36).ok_or(SHORT)?,
            footer_bytes: bytes.u64(40).ok_or(SHORT)?,
            last_key_bytes: bytes.u16(48).ok_or(SHORT)?,
        })
    }
}

/// What the footer says of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Where the block begins in the file.
    pub offset: u64,
    /// Its bytes with padding.
    pub bytes: u32,
    /// crc32c of all of them.
    pub crc: u32,
    /// Its versions.
    pub rows: u16,
    /// Whether its first key is also the last one of the block before it.
    pub continues: bool,
    /// Where its first key ends among the first keys.
    key_end: u32,
}

/// The footer: it stays in memory while the segment is open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Footer {
    fences: Vec<Fence>,
    keys: Vec<u8>,
    last_key: Vec<u8>,
}

impl Footer {
    /// Adds a block behind the others.
    pub fn push(&mut self, bytes: u32, crc: u32, rows: u16, continues: bool, first_key: &[u8]) {
        let offset = self.blocks_end();
        self.keys.extend_from_slice(first_key);
        let key_end = u32::try_from(self.keys.len()).expect("below BLOCKS_MAX keys, of long keys far below");
        self.fences.push(Fence { offset, bytes, crc, rows, continues, key_end });
    }

    /// Sets the last key of the segment.
    pub fn set_last_key(&mut self, key: &[u8]) {
        self.last_key = key.to_vec();
    }

    /// Where the blocks end in the file.
    pub fn blocks_end(&self) -> u64 {
        self.fences.last().map_or(PAGE_BYTES as u64, |last| last.offset + u64::from(last.bytes))
    }

    /// All blocks.
    pub fn fences(&self) -> &[Fence] {
        &self.fences
    }

    /// The first key of a block.
    pub fn first_key(&self, block: usize) -> &[u8] {
        let start = if block == 0 { 0 } else { self.fences[block - 1].key_end as usize };
        &self.keys[start..self.fences[block].key_end as usize]
    }

    /// The last key of the segment.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Versions in all blocks.
    pub fn rows(&self) -> u64 {
        self.fences.iter().map(|fence| u64::from(fence.rows)).sum()
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        self.fences.capacity() * size_of::<Fence>() + self.keys.capacity() + self.last_key.capacity()
    }

    /// Its bytes, not padded.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.fences.len() * FOOTER_ENTRY_BYTES + self.keys.len());
        for (block, fence) in self.fences.iter().enumerate() {
            let key_bytes = u16::try_from(self.first_key(block).len()).expect("at most KEY_BYTES_MAX");
            out.extend_from_slice(&fence.bytes.to_le_bytes());
            out.extend_from_slice(&fence.crc.to_le_bytes());
            out.extend_from_slice(&fence.rows.to_le_bytes());
            out.extend_from_slice(&(if fence.continues { FLAG_CONTINUES } else { 0 }).to_le_bytes());
            out.extend_from_slice(&key_bytes.to_le_bytes());
            out.extend_from_slice(&[0, 0]);
        }
        out.extend_from_slice(&self.keys);
        out.extend_from_slice(&self.last_key);
        out
    }

    /// Inverse of `encode`. The checksum was verified, the number of blocks and length of the last key come from the
    /// trailer.
    ///
    /// # Errors
    /// If the bytes are not a footer.
    pub fn decode(bytes: &[u8], blocks: u32, last_key_bytes: u16) -> Result<Footer, Detail> {
        let entries_bytes = (blocks as usize).checked_mul(FOOTER_ENTRY_BYTES).ok_or("too many blocks")?;
        let (entries, keys) = bytes.split_at_checked(entries_bytes).ok_or("short footer")?;
        let first_keys_bytes = keys.len().checked_sub(usize::from(last_key_bytes)).ok_or("short footer")?;
        let (keys, last_key) = keys.split_at(first_keys_bytes);
        let mut footer = Footer { fences: Vec::with_capacity(blocks as usize), ..Footer::default() };
        let mut rest = keys;
        for entry in entries.chunks_exact(FOOTER_ENTRY_BYTES) {
            rest = footer.decode_entry(Bytes(entry), rest).ok_or("malformed footer")?;
        }
        if !rest.is_empty() || last_key.len() > KEY_BYTES_MAX || (blocks as usize) > BLOCKS_MAX {
            return Err("malformed footer");
        }
        footer.set_last_key(last_key);
        Ok(footer)
    }

    fn decode_entry<'a>(&mut self, entry: Bytes<'_>, keys: &'a [u8]) -> Option<&'a [u8]> {
        let (block_bytes, rows, flags) = (entry.u32(0)?, entry.u16(8)?, entry.u16(10)?);
        let (key, rest) = keys.split_at_checked(usize::from(entry.u16(12)?))?;
        let ok = block_bytes > 0
            && block_bytes as usize <= BLOCK_BYTES_MAX
            && (block_bytes as usize).is_multiple_of(PAGE_BYTES)
            && (1..=BLOCK_ROWS).contains(&usize::from(rows))
            && flags <= FLAG_CONTINUES
            && key.len() <= KEY_BYTES_MAX
            && entry.zeros(14..16)
            && u32::try_from(self.keys.len() + key.len()).is_ok();
        if !ok {
            return None;
        }
        self.push(block_bytes, entry.u32(4)?, rows, flags == FLAG_CONTINUES, key);
        Some(rest)
    }
}

/// The place of a block; stands in the block too, so that a read of the wrong place is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockId {
    /// The segment.
    pub segment: SegmentId,
    /// The number of the block in it.
    pub block: u32,
}
