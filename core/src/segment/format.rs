//! Bytes of a segment file, version 2. All numbers are little-endian; reserved bytes are zero and checked.
//!
//! | part | bytes |
//! |---|---|
//! | header | one page of 4,096 bytes |
//! | blocks | one after another, each padded with zeros to a multiple of 8 |
//! | footer | padded with zeros to the end of a page |
//! | trailer | one page |
//!
//! Header: 0 `MAGIC` 8 bytes, 8 `VERSION` u32, 12 schema fingerprint u32, 16 segment id u64, then zeros.
//!
//! Trailer: 0..24 as the header, 24 rows u64, 32 blocks u32, 36 crc32c of the padded footer u32, 40 bytes of the footer
//! without padding u64, 48 where the footer begins u64, then zeros, 4,092 crc32c of the bytes before it u32. The manifest
//! holds that checksum too.
//!
//! Footer: for each block 16 bytes: 0 padded bytes u32, 4 crc32c of all of them u32, 8 rows u16, 10 flags u16 (bit 0: its
//! first key is also the last key of the block before it), 12 length of its first key u16, 14 zeros; then the length of
//! the last key u16, the bytes of the zones u32 and of the tables u32, 2 zeros; then the first keys of all blocks, the last
//! key of the segment, the zones (`zone`) and what the blocks share (`encoding`).
//!
//! Block: a header of 24 bytes, 8 bytes for each column, the columns' sections, each at a multiple of 8. The last column
//! is not the table's: it holds when each version begins. Keys are not stored: they follow from the key columns.
//!
//! | block header | |
//! |---|---|
//! | 0 | `BLOCK_MAGIC` u32 |
//! | 4 | rows u16 |
//! | 6 | columns u16, with the last |
//! | 8 | segment id u64 |
//! | 16 | number of the block u32 |
//! | 20 | zeros |
//! | 24 | for each column: offset of its section in the block u32, its bytes u32 |

use std::ops::Range;

use super::SegmentId;
use crate::catalog::TableSchema;
use crate::env::IO_ALIGN;
use crate::key::KEY_BYTES_MAX;
use crate::row::ROW_BYTES_MAX;

/// First bytes of header and trailer.
pub const MAGIC: [u8; 8] = *b"OmenSegm";
/// Version of the format.
pub const VERSION: u32 = 2;
/// First bytes of a block.
pub const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"OBlk");
/// Bytes of a page.
pub const PAGE_BYTES: usize = IO_ALIGN;
/// Most rows of a block.
pub const BLOCK_ROWS: usize = 1 << BLOCK_ROW_BITS;
/// Bits of a position that count within a block.
pub const BLOCK_ROW_BITS: u32 = 10;
/// Blocks of more than one row are at most this large: with the pages around them one read of 64 KiB, which takes 1.6
/// times as long as one of 16 KiB; larger ones take longer.
pub const BLOCK_BYTES_TARGET: usize = (64 << 10) - PAGE_BYTES;
/// Blocks begin and end at multiples of this.
pub const BLOCK_ALIGN: usize = 8;
/// No block is larger: one row of the largest size, with what encodings may add.
pub const BLOCK_BYTES_MAX: usize = 4 * ROW_BYTES_MAX;
/// Bytes of a block before its directory.
pub const BLOCK_HEADER_BYTES: usize = 24;
/// Bytes of the directory for each column.
pub const BLOCK_DIRECTORY_BYTES: usize = 8;
/// Most blocks of a segment.
pub const BLOCKS_MAX: usize = 1 << (u32::BITS - BLOCK_ROW_BITS);

const FOOTER_ENTRY_BYTES: usize = 16;
const FOOTER_LENGTHS_BYTES: usize = 12;
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
    /// Where the footer begins.
    pub footer_at: u64,
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
        page.extend_from_slice(&self.footer_at.to_le_bytes());
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
        if !bytes.zeros(56..TRAILER_CRC_AT) {
            return Err("reserved bytes of the trailer are set");
        }
        Ok(Trailer {
            fingerprint: bytes.u32(12).ok_or(SHORT)?,
            id: SegmentId(bytes.u64(16).ok_or(SHORT)?),
            rows: bytes.u64(24).ok_or(SHORT)?,
            blocks: bytes.u32(32).ok_or(SHORT)?,
            footer_crc: bytes.u32(36).ok_or(SHORT)?,
            footer_bytes: bytes.u64(40).ok_or(SHORT)?,
            footer_at: bytes.u64(48).ok_or(SHORT)?,
        })
    }
}

/// What the footer says of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Where the block begins in the file, in units of `BLOCK_ALIGN`.
    offset: u32,
    /// Its bytes with padding.
    pub bytes: u32,
    /// crc32c of all of them.
    pub crc: u32,
    /// Its versions.
    pub rows: u16,
    /// Whether its first key is also the last one of the block before it.
    pub continues: bool,
}

const _: () = assert!(size_of::<Fence>() == 16);

impl Fence {
    /// Where the block begins in the file.
    pub fn offset(&self) -> u64 {
        u64::from(self.offset) * BLOCK_ALIGN as u64
    }

    /// Where the block ends in the file.
    pub fn end(&self) -> u64 {
        self.offset() + u64::from(self.bytes)
    }
}

/// The footer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Footer {
    /// All blocks.
    pub fences: Vec<Fence>,
    /// The first keys of all blocks, one after another.
    pub keys: Vec<u8>,
    /// Where each first key ends in `keys`.
    pub key_ends: Vec<u32>,
    /// The last key of the segment.
    pub last_key: Vec<u8>,
    /// Zone maps, as `zone` encodes them.
    pub zones: Vec<u8>,
    /// What blocks share, as `encoding` encodes it.
    pub tables: Vec<u8>,
}

impl Footer {
    /// Adds a block behind the others; false if the file has become too long for it.
    pub fn push(&mut self, bytes: u32, crc: u32, rows: u16, continues: bool, first_key: &[u8]) -> bool {
        let Ok(offset) = u32::try_from(self.blocks_end() / BLOCK_ALIGN as u64) else { return false };
        let Ok(key_end) = u32::try_from(self.keys.len() + first_key.len()) else { return false };
        self.keys.extend_from_slice(first_key);
        self.key_ends.push(key_end);
        self.fences.push(Fence { offset, bytes, crc, rows, continues });
        true
    }

    /// Where the blocks end in the file.
    pub fn blocks_end(&self) -> u64 {
        self.fences.last().map_or(PAGE_BYTES as u64, Fence::end)
    }

    /// The first key of a block.
    pub fn first_key(&self, block: usize) -> &[u8] {
        let start = if block == 0 { 0 } else { self.key_ends[block - 1] as usize };
        &self.keys[start..self.key_ends[block] as usize]
    }

    /// Versions in all blocks.
    pub fn rows(&self) -> u64 {
        self.fences.iter().map(|fence| u64::from(fence.rows)).sum()
    }

    /// Its bytes, not padded.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.fences.len() * FOOTER_ENTRY_BYTES + self.keys.len());
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("far below 4 GiB");
        for (block, fence) in self.fences.iter().enumerate() {
            let key_bytes = u16::try_from(self.first_key(block).len()).expect("at most KEY_BYTES_MAX");
            out.extend_from_slice(&fence.bytes.to_le_bytes());
            out.extend_from_slice(&fence.crc.to_le_bytes());
            out.extend_from_slice(&fence.rows.to_le_bytes());
            out.extend_from_slice(&(if fence.continues { FLAG_CONTINUES } else { 0 }).to_le_bytes());
            out.extend_from_slice(&key_bytes.to_le_bytes());
            out.extend_from_slice(&[0, 0]);
        }
        let last_key_bytes = u16::try_from(self.last_key.len()).expect("at most KEY_BYTES_MAX");
        out.extend_from_slice(&last_key_bytes.to_le_bytes());
        out.extend_from_slice(&length(&self.zones).to_le_bytes());
        out.extend_from_slice(&length(&self.tables).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        for part in [&self.keys, &self.last_key, &self.zones, &self.tables] {
            out.extend_from_slice(part);
        }
        out
    }

    /// Inverse of `encode`. The checksum was verified, the number of blocks comes from the trailer.
    ///
    /// # Errors
    /// If the bytes are not a footer.
    pub fn decode(bytes: &[u8], blocks: u32) -> Result<Footer, Detail> {
        Footer::decode_parts(bytes, blocks as usize).ok_or("malformed footer")
    }

    fn decode_parts(bytes: &[u8], blocks: usize) -> Option<Footer> {
        let (entries, rest) = bytes.split_at_checked(blocks.checked_mul(FOOTER_ENTRY_BYTES)?)?;
        let (lengths, mut rest) = rest.split_at_checked(FOOTER_LENGTHS_BYTES)?;
        let lengths = Bytes(lengths);
        let mut footer = Footer { fences: Vec::with_capacity(blocks), ..Footer::default() };
        for entry in entries.chunks_exact(FOOTER_ENTRY_BYTES) {
            rest = footer.decode_entry(Bytes(entry), rest)?;
        }
        let (last_key, rest) = rest.split_at_checked(usize::from(lengths.u16(0)?))?;
        let (zones, rest) = rest.split_at_checked(lengths.size(2)?)?;
        let (tables, rest) = rest.split_at_checked(lengths.size(6)?)?;
        (footer.last_key, footer.zones, footer.tables) = (last_key.into(), zones.into(), tables.into());
        let ok = rest.is_empty()
            && lengths.zeros(10..FOOTER_LENGTHS_BYTES)
            && last_key.len() <= KEY_BYTES_MAX
            && (1..=BLOCKS_MAX).contains(&blocks);
        ok.then_some(footer)
    }

    fn decode_entry<'a>(&mut self, entry: Bytes<'_>, keys: &'a [u8]) -> Option<&'a [u8]> {
        let (block_bytes, rows, flags) = (entry.u32(0)?, entry.u16(8)?, entry.u16(10)?);
        let (key, rest) = keys.split_at_checked(usize::from(entry.u16(12)?))?;
        let ok = block_bytes > 0
            && block_bytes as usize <= BLOCK_BYTES_MAX
            && (block_bytes as usize).is_multiple_of(BLOCK_ALIGN)
            && (1..=BLOCK_ROWS).contains(&usize::from(rows))
            && flags <= FLAG_CONTINUES
            && key.len() <= KEY_BYTES_MAX
            && entry.zeros(14..16);
        let pushed = ok && self.push(block_bytes, entry.u32(4)?, rows, flags == FLAG_CONTINUES, key);
        pushed.then_some(rest)
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
