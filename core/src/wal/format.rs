//! Bytes of a log file. All integers are little-endian, all checksums crc32c.
//!
//! File: one header page, then batches, each at a page (4,096 bytes) boundary. What one write makes durable is one
//! batch; its last page is padded and never written again, so a torn write damages nothing that was acknowledged.
//!
//! | file header | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic `OMENWAL` and 0 |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | checksum of the page without this field |
//! | 16 | 8 | number, as in the file's name |
//! | 24 | 8 | salt, drawn anew for every use of the file |
//! | 32 | 8 | LSN of the file's first byte |
//! | 40 | 8 | bytes of the file |
//! | 48 | 4,048 | zero |
//!
//! | batch header | bytes | |
//! |---|---|---|
//! | 0 | 4 | magic `OWB1` |
//! | 4 | 4 | checksum of bytes 8..40 |
//! | 8 | 8 | salt of the file |
//! | 16 | 8 | LSN of this header |
//! | 24 | 8 | LSN at which the log ended before; all below was durable when this was written |
//! | 32 | 4 | bytes of the batch with this header, without padding |
//! | 36 | 4 | zero |
//!
//! | record | bytes | |
//! |---|---|---|
//! | 0 | 4 | checksum of all that follows, with the payload |
//! | 4 | 4 | bytes of the payload |
//! | 8 | 4 | low half of the file's salt |
//! | 12 | 1 | kind |
//! | 13 | 3 | zero |
//! | 16 | 8 | LSN of this record |
//! | 24 | 8 | range id |
//! | 32 | 8 | term |
//! | 40 | 8 | index |
//! | 48 | | payload |
//!
//! A file that is used again keeps its old bytes until they are overwritten. They are never taken for new ones,
//! because salt and LSN are checked in every batch header and every record.

use crate::env::IO_ALIGN;
use crate::id::{Lsn, RangeId};

use super::Record;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = IO_ALIGN as u64;
/// Bytes of the file header.
pub const FILE_HEADER_BYTES: u64 = PAGE_BYTES;
/// Bytes of a batch header.
pub const BATCH_HEADER_BYTES: usize = 40;
/// Bytes of a record beside its payload.
pub const RECORD_HEADER_BYTES: usize = 48;

const MAGIC: [u8; 8] = *b"OMENWAL\0";
pub(crate) const VERSION: u32 = 1;
const BATCH_MAGIC: [u8; 4] = *b"OWB1";

/// What the first page of a file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// The number in the file's name.
    pub number: u64,
    /// Marks everything that belongs to this use of the file.
    pub salt: u64,
    /// LSN of the file's first byte.
    pub start: Lsn,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl FileHeader {
    /// Writes the page.
    ///
    /// # Panics
    /// If `page` is no page.
    pub fn encode(&self, page: &mut [u8]) {
        assert_eq!(page.len() as u64, FILE_HEADER_BYTES, "the header is one page");
        page.fill(0);
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        put_u64(page, 16, self.number);
        put_u64(page, 24, self.salt);
        put_u64(page, 32, self.start.0);
        put_u64(page, 40, self.file_bytes);
        let checksum = Self::checksum(page);
        page[12..16].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the page.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(page: &[u8]) -> Result<FileHeader, &'static str> {
        if page.len() as u64 != FILE_HEADER_BYTES || page[..8] != MAGIC {
            return Err("not a log file");
        }
        if u32_at(page, 12) != Self::checksum(page) {
            return Err("wrong checksum of the file header");
        }
        if u32_at(page, 8) != VERSION {
            return Err("a version of the log format that this build does not know");
        }
        let header = FileHeader {
            number: u64_at(page, 16),
            salt: u64_at(page, 24),
            start: Lsn(u64_at(page, 32)),
            file_bytes: u64_at(page, 40),
        };
        let aligned =
            header.start.0.is_multiple_of(PAGE_BYTES) && header.file_bytes.is_multiple_of(PAGE_BYTES);
        let bounded = header.start.0.checked_add(header.file_bytes).is_some();
        if !aligned
            || !bounded
            || header.file_bytes <= FILE_HEADER_BYTES
            || page[48..].iter().any(|b| *b != 0)
        {
            return Err("impossible file header");
        }
        Ok(header)
    }

    fn checksum(page: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&page[..12]), &page[16..])
    }

    /// LSN of the byte after the file's last.
    pub fn end(&self) -> Lsn {
        Lsn(self.start.0 + self.file_bytes)
    }
}

/// What stands before the records of one write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The file's.
    pub salt: u64,
    /// LSN of this header.
    pub lsn: Lsn,
    /// LSN at which the log ended before this batch; all below was durable when this was written.
    pub previous: Lsn,
    /// Bytes with this header, without padding.
    pub bytes: u32,
}

impl BatchHeader {
    /// Writes the header to the beginning of `out`.
    pub fn encode(&self, out: &mut [u8]) {
        let out = &mut out[..BATCH_HEADER_BYTES];
        out[..4].copy_from_slice(&BATCH_MAGIC);
        put_u64(out, 8, self.salt);
        put_u64(out, 16, self.lsn.0);
        put_u64(out, 24, self.previous.0);
        out[32..36].copy_from_slice(&self.bytes.to_le_bytes());
        out[36..40].fill(0);
        let checksum = crc32c::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the header that must stand at `lsn` of the file, with `room` bytes from there to the file's end; `None`
    /// if it is not there.
    pub fn decode(bytes: &[u8], file: &FileHeader, lsn: Lsn, room: u64) -> Option<BatchHeader> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if bytes[..4] != BATCH_MAGIC || u32_at(bytes, 4) != crc32c::crc32c(&bytes[8..]) {
            return None;
        }
        let header = BatchHeader {
            salt: u64_at(bytes, 8),
            lsn: Lsn(u64_at(bytes, 16)),
            previous: Lsn(u64_at(bytes, 24)),
            bytes: u32_at(bytes, 32),
        };
        let sized = header.bytes as usize > BATCH_HEADER_BYTES && u64::from(header.bytes) <= room;
        let here = header.salt == file.salt && header.lsn == lsn && header.previous <= lsn;
        (sized && here && u32_at(bytes, 36) == 0).then_some(header)
    }
}

/// Writes a record, whose payload begins with `head`, to `out`, which has exactly its size.
///
/// # Panics
/// If `out` has another size or the payload needs more than 32 bits.
pub fn encode_record(head: &[u8], record: &Record<'_>, salt: u64, lsn: Lsn, out: &mut [u8]) {
    let payload_bytes = head.len() + record.payload.len();
    assert_eq!(out.len(), RECORD_HEADER_BYTES + payload_bytes, "a record fills its place");
    let length = u32::try_from(payload_bytes).expect("bounded by record_bytes_max");
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..12].copy_from_slice(&salt.to_le_bytes()[..4]);
    out[12..16].copy_from_slice(&[record.kind, 0, 0, 0]);
    put_u64(out, 16, lsn.0);
    put_u64(out, 24, record.range.0);
    put_u64(out, 32, record.term);
    put_u64(out, 40, record.index);
    let (first, rest) = out[RECORD_HEADER_BYTES..].split_at_mut(head.len());
    first.copy_from_slice(head);
    rest.copy_from_slice(record.payload);
    let checksum = crc32c::crc32c(&out[4..]);
    out[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Bytes of the record that begins here, by its unverified length field; `None` if that exceeds `room`.
pub fn record_size(header: &[u8], room: u64) -> Option<usize> {
    let header = header.get(..RECORD_HEADER_BYTES)?;
    let size = RECORD_HEADER_BYTES as u64 + u64::from(u32_at(header, 4));
    (size <= room).then_some(size as usize)
}

/// Reads the record that must stand at `lsn` and fills `bytes`; `None` if it is not there.
pub fn decode_record(bytes: &[u8], salt: u64, lsn: Lsn) -> Option<Record<'_>> {
    let payload = bytes.get(RECORD_HEADER_BYTES..)?;
    if u32_at(bytes, 0) != crc32c::crc32c(&bytes[4..]) || u32_at(bytes, 4) as usize != payload.len() {
        return None;
    }
    let here = bytes[8..12] == salt.to_le_bytes()[..4] && u64_at(bytes, 16) == lsn.0;
    (here && bytes[13..16] == [0; 3]).then_some(Record {
        range: RangeId(u64_at(bytes, 24)),
        term: u64_at(bytes, 32),
        index: u64_at(bytes, 40),
        kind: bytes[12],
        payload,
    })
}

fn put_u64(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileHeader =
        FileHeader { number: 7, salt: 0x1234_5678_9ABC_DEF0, start: Lsn(1 << 20), file_bytes: 1 << 16 };

    #[test]
    fn file_header() {
        let mut page = [0; 4_096];
        FILE.encode(&mut page);
        assert_eq!(FileHeader::decode(&page), Ok(FILE));
        for bit in 0..page.len() * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&page).is_err(), "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(FileHeader::decode(&page[..100]).is_err());
    }

    #[test]
    fn batch_header() {
        let header = BatchHeader { salt: FILE.salt, lsn: Lsn(8_192), previous: Lsn(8_000), bytes: 99 };
        let mut bytes = [0; BATCH_HEADER_BYTES];
        header.encode(&mut bytes);
        assert_eq!(BatchHeader::decode(&bytes, &FILE, Lsn(8_192), 99), Some(header));
        assert_eq!(BatchHeader::decode(&bytes, &FILE, Lsn(8_192), 98), None);
        assert_eq!(BatchHeader::decode(&bytes, &FILE, Lsn(12_288), 99), None);
        assert_eq!(BatchHeader::decode(&bytes, &FileHeader { salt: 1, ..FILE }, Lsn(8_192), 99), None);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&bytes, &FILE, Lsn(8_192), u64::MAX), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn record() {
        let record = Record { range: RangeId(5), term: 6, index: 7, kind: 8, payload: b"payload" };
        let mut bytes = [0; RECORD_HEADER_BYTES + 7];
        encode_record(b"pay", &Record { payload: b"load", ..record }, FILE.salt, Lsn(40), &mut bytes);
        assert_eq!(record_size(&bytes, 55), Some(55));
        assert_eq!(record_size(&bytes, 54), None);
        assert_eq!(decode_record(&bytes, FILE.salt, Lsn(40)), Some(record));
        assert_eq!(decode_record(&bytes, FILE.salt, Lsn(41)), None);
        assert_eq!(decode_record(&bytes, 1, Lsn(40)), None);
        assert_eq!(decode_record(&bytes[..54], FILE.salt, Lsn(40)), None);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_record(&bytes, FILE.salt, Lsn(40)), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
