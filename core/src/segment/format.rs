//! Bytes of a segment file, version 4. All numbers are little-endian; reserved bytes are zero and checked.
//!
//! | part | bytes |
//! |---|---|
//! | header | one page of 4,096 bytes |
//! | blocks | one after another, those of a row group in the order of its column groups, each padded with zeros to a multiple of 8 |
//! | footer | padded with zeros to the end of a page |
//! | trailer | one page |
//!
//! Header: 0 `MAGIC` 8 bytes, 8 `VERSION` u32, 12 schema fingerprint u32, 16 segment id u64, then zeros.
//!
//! Trailer: 0..24 as the header, 24 rows u64, 32 row groups u32, 36 crc32c of the padded footer u32, 40 bytes of the footer
//! without padding u64, 48 where the footer begins u64, then zeros, 4,092 crc32c of the bytes before it u32. The manifest
//! holds that checksum too.
//!
//! Footer: for each row group 16 bytes: 0 padded bytes of its first block u32, 4 crc32c of all of them u32, 8 rows u16, 10
//! flags u16 (bit 0: its first key is also the last key of the row group before it), 12 length of its first key u16, 14
//! zeros; then 20 bytes: 0 length of the last key u16, 2 column groups u16, 4 bytes of the zones u32, 8 bytes of the tables
//! u32, 12 bytes of the division into column groups u32, 16 bytes of the sketches u32; then for each row group and each
//! column group but the first the padded bytes of the block u32 and their crc32c u32; then the first keys of all row
//! groups, the last key of the segment, the division (`groups`), the zones (`zone`), for each column group u32 the length
//! of what its blocks share and that (`encoding`), and for each column of the table the sketch of its values: how many
//! registers are set u8 and the number u8 and rank u8 of each, or 128 and the ranks of all 256 (`sketch`).
//!
//! Block: a header of 24 bytes, 8 bytes for each column of the column group, the columns' sections, each at a multiple of
//! 8. The last column of the first group is not the table's: it holds when each version begins. Keys are not stored: they
//! follow from the key columns.
//!
//! | block header | |
//! |---|---|
//! | 0 | `BLOCK_MAGIC` u32 |
//! | 4 | rows u16 |
//! | 6 | columns u16, with the begins |
//! | 8 | segment id u64 |
//! | 16 | number of the row group u32 |
//! | 20 | number of the column group u32 |
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
pub const VERSION: u32 = 4;
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
/// Most row groups of a segment.
pub const BLOCKS_MAX: usize = 1 << (u32::BITS - BLOCK_ROW_BITS);
/// Most column groups: reading a whole row takes at most as many reads, 1 MiB.
pub const GROUPS_MAX: usize = 16;

const FOOTER_ENTRY_BYTES: usize = 16;
const FOOTER_LENGTHS_BYTES: usize = 20;
const FOOTER_EXTENT_BYTES: usize = 8;
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
    /// Row groups.
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

/// What the footer says of a row group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Where its first block begins in the file, in units of `BLOCK_ALIGN`.
    offset: u32,
    /// Bytes of its first block, with padding.
    bytes: u32,
    /// crc32c of all of them.
    crc: u32,
    /// Its versions.
    pub rows: u16,
    /// Whether its first key is also the last one of the row group before it.
    pub continues: bool,
}

const _: () = assert!(size_of::<Fence>() == 16);

/// A block as the footer knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Its bytes with padding.
    pub bytes: u32,
    /// crc32c of all of them.
    pub crc: u32,
}

/// Where a block lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub extent: Extent,
}

impl Place {
    /// Where it ends in the file.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.extent.bytes)
    }
}

/// All blocks of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directory {
    /// The row groups.
    pub fences: Vec<Fence>,
    /// Column groups beside the first.
    more: usize,
    /// For each row group the blocks of those.
    extents: Vec<Extent>,
}

impl Directory {
    /// A directory of no row groups with so many column groups.
    pub fn new(groups: usize) -> Directory {
        Directory { more: groups.saturating_sub(1), ..Directory::default() }
    }

    /// Column groups.
    pub fn groups(&self) -> usize {
        self.more + 1
    }

    /// The block of a column group in a row group, if there is one.
    pub fn place(&self, block: usize, group: usize) -> Option<Place> {
        let fence = self.fences.get(block)?;
        let offset = u64::from(fence.offset) * BLOCK_ALIGN as u64;
        let first = Extent { bytes: fence.bytes, crc: fence.crc };
        let Some(before) = group.checked_sub(1) else { return Some(Place { offset, extent: first }) };
        let others = self.extents.get(block * self.more..(block + 1) * self.more)?;
        let extent = *others.get(before)?;
        let bytes = |extent: &Extent| u64::from(extent.bytes);
        let offset = offset + bytes(&first) + others[..before].iter().map(bytes).sum::<u64>();
        Some(Place { offset, extent })
    }

    /// Where the last block ends in the file.
    pub fn end(&self) -> u64 {
        let last = self.fences.len().checked_sub(1).and_then(|last| self.place(last, self.more));
        last.map_or(PAGE_BYTES as u64, |place| place.end())
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        self.fences.capacity() * size_of::<Fence>() + self.extents.capacity() * size_of::<Extent>()
    }
}

/// The footer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Footer {
    /// All blocks.
    pub directory: Directory,
    /// The first keys of all row groups, one after another.
    pub keys: Vec<u8>,
    /// Where each first key ends in `keys`.
    pub key_ends: Vec<u32>,
    /// The last key of the segment.
    pub last_key: Vec<u8>,
    /// The division into column groups, as `groups` encodes it.
    pub division: Vec<u8>,
    /// Zone maps, as `zone` encodes them.
    pub zones: Vec<u8>,
    /// What the blocks of each column group share.
    pub tables: Vec<u8>,
    /// Of the table's columns, as `sketch` encodes them.
    pub sketches: Vec<u8>,
}

impl Footer {
    /// Adds a row group behind the others, with a block for each column group; false if the file has become too long.
    pub fn push(&mut self, blocks: &[Extent], rows: u16, continues: bool, first_key: &[u8]) -> bool {
        let Some((first, others)) = blocks.split_first() else { return false };
        let Ok(offset) = u32::try_from(self.directory.end() / BLOCK_ALIGN as u64) else { return false };
        let Ok(key_end) = u32::try_from(self.keys.len() + first_key.len()) else { return false };
        assert_eq!(others.len(), self.directory.more, "a block for each column group");
        self.keys.extend_from_slice(first_key);
        self.key_ends.push(key_end);
        let (bytes, crc) = (first.bytes, first.crc);
        self.directory.fences.push(Fence { offset, bytes, crc, rows, continues });
        self.directory.extents.extend_from_slice(others);
        true
    }

    /// Where the blocks end in the file.
    pub fn blocks_end(&self) -> u64 {
        self.directory.end()
    }

    /// The first key of a row group.
    pub fn first_key(&self, block: usize) -> &[u8] {
        let start = if block == 0 { 0 } else { self.key_ends[block - 1] as usize };
        &self.keys[start..self.key_ends[block] as usize]
    }

    /// Versions in all row groups.
    pub fn rows(&self) -> u64 {
        self.directory.fences.iter().map(|fence| u64::from(fence.rows)).sum()
    }

    /// Its bytes, not padded.
    pub fn encode(&self) -> Vec<u8> {
        let Directory { fences, more, extents } = &self.directory;
        let mut out = Vec::with_capacity(fences.len() * FOOTER_ENTRY_BYTES + self.keys.len());
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("far below 4 GiB");
        for (block, fence) in fences.iter().enumerate() {
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
        out.extend_from_slice(&u16::try_from(more + 1).expect("at most GROUPS_MAX").to_le_bytes());
        out.extend_from_slice(&length(&self.zones).to_le_bytes());
        out.extend_from_slice(&length(&self.tables).to_le_bytes());
        out.extend_from_slice(&length(&self.division).to_le_bytes());
        out.extend_from_slice(&length(&self.sketches).to_le_bytes());
        for extent in extents {
            out.extend_from_slice(&extent.bytes.to_le_bytes());
            out.extend_from_slice(&extent.crc.to_le_bytes());
        }
        let Footer { keys, last_key, division, zones, tables, sketches, .. } = self;
        for part in [keys, last_key, division, zones, tables, sketches] {
            out.extend_from_slice(part);
        }
        out
    }

    /// Inverse of `encode`. The checksum was verified, the number of row groups comes from the trailer.
    ///
    /// # Errors
    /// If the bytes are not a footer.
    pub fn decode(bytes: &[u8], blocks: u32) -> Result<Footer, Detail> {
        Footer::decode_parts(bytes, blocks as usize).ok_or("malformed footer")
    }

    fn decode_parts(bytes: &[u8], blocks: usize) -> Option<Footer> {
        let (entries, rest) = bytes.split_at_checked(blocks.checked_mul(FOOTER_ENTRY_BYTES)?)?;
        let (lengths, rest) = rest.split_at_checked(FOOTER_LENGTHS_BYTES)?;
        let lengths = Bytes(lengths);
        let groups = usize::from(lengths.u16(2)?);
        if !(1..=GROUPS_MAX).contains(&groups) || !(1..=BLOCKS_MAX).contains(&blocks) {
            return None;
        }
        let extents_of_one = (groups - 1) * FOOTER_EXTENT_BYTES;
        let (mut extents, mut rest) = rest.split_at_checked(blocks * extents_of_one)?;
        let mut footer = Footer { directory: Directory::new(groups), ..Footer::default() };
        for entry in entries.chunks_exact(FOOTER_ENTRY_BYTES) {
            let (of_entry, others) = extents.split_at_checked(extents_of_one)?;
            rest = footer.decode_entry(Bytes(entry), of_entry, rest)?;
            extents = others;
        }
        let (last_key, rest) = rest.split_at_checked(usize::from(lengths.u16(0)?))?;
        let (division, rest) = rest.split_at_checked(lengths.size(12)?)?;
        let (zones, rest) = rest.split_at_checked(lengths.size(4)?)?;
        let (tables, rest) = rest.split_at_checked(lengths.size(8)?)?;
        let (sketches, rest) = rest.split_at_checked(lengths.size(16)?)?;
        (footer.last_key, footer.division) = (last_key.into(), division.into());
        (footer.zones, footer.tables, footer.sketches) = (zones.into(), tables.into(), sketches.into());
        (rest.is_empty() && last_key.len() <= KEY_BYTES_MAX).then_some(footer)
    }

    fn decode_entry<'a>(&mut self, entry: Bytes<'_>, others: &[u8], keys: &'a [u8]) -> Option<&'a [u8]> {
        let (rows, flags) = (entry.u16(8)?, entry.u16(10)?);
        let (key, rest) = keys.split_at_checked(usize::from(entry.u16(12)?))?;
        let extent = |bytes: Bytes<'_>| Some(Extent { bytes: bytes.u32(0)?, crc: bytes.u32(4)? });
        let others = others.chunks_exact(FOOTER_EXTENT_BYTES).map(Bytes);
        let blocks: Vec<Extent> = std::iter::once(entry).chain(others).map(extent).collect::<Option<_>>()?;
        let is_block = |extent: &Extent| {
            let bytes = extent.bytes as usize;
            bytes > 0 && bytes <= BLOCK_BYTES_MAX && bytes.is_multiple_of(BLOCK_ALIGN)
        };
        let ok = blocks.iter().all(is_block)
            && (1..=BLOCK_ROWS).contains(&usize::from(rows))
            && flags <= FLAG_CONTINUES
            && key.len() <= KEY_BYTES_MAX
            && entry.zeros(14..16);
        (ok && self.push(&blocks, rows, flags == FLAG_CONTINUES, key)).then_some(rest)
    }
}

/// The place of a block; stands in the block too, so that a read of the wrong place is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockId {
    /// The segment.
    pub segment: SegmentId,
    /// The row group in it.
    pub block: u32,
    /// The column group.
    pub group: u32,
}
