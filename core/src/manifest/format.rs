//! Bytes of a manifest file. All integers are little-endian, all checksums crc32c.
//!
//! A file is a header page and then frames, each at a page (4,096 bytes) boundary and padded with zeros. The first
//! frames are the snapshot, the rest are changes of it in order; one frame is one atomic change. Behind the last
//! frame no frame of the file begins.
//!
//! | file header | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic `OMENMAN` and 0 |
//! | 8 | 4 | version: 2, or 1 without the edits from 13 on |
//! | 12 | 4 | checksum of the page without this field |
//! | 16 | 8 | number, as in the file's name |
//! | 24 | 8 | salt, drawn anew for every file |
//! | 32 | 4,064 | zero |
//!
//! | frame | bytes | |
//! |---|---|---|
//! | 0 | 4 | magic `OMF1` |
//! | 4 | 4 | checksum of all that follows, with the payload |
//! | 8 | 8 | salt of the file |
//! | 16 | 8 | offset of the frame in the file |
//! | 24 | 4 | bytes of the payload |
//! | 28 | 4 | edits in the payload |
//! | 32 | 1 | kind: 0 part of the snapshot, 1 last part of the snapshot, 2 change |
//! | 33 | 7 | zero |
//! | 40 | | payload |
//!
//! | edit | tag | fields |
//! |---|---|---|
//! | CreateRange | 1 | range u64, table u32, start key, 1 and end key or 0, schema (length u32 and bytes) |
//! | DropRange | 2 | range u64 |
//! | AddSegment | 3 | range u64, id u64, rows u64, bytes u64, checksum u32, first key, last key |
//! | RemoveSegment | 4 | range u64, id u64 |
//! | SetFlushed | 5 | range u64, LSN u64, index u64 |
//! | SetDeletions | 6 | range u64, id u64, count u32, then for each: distance to the position before (first: the position itself) as varint, difference to the stamp before (first: to 0) as zigzag varint |
//! | NextSegment | 7 | u64 |
//! | ClockAtLeast | 8 | u64 |
//! | Decided | 9 | transaction u64, 1 and timestamp u64 or 0 |
//! | ForgetDecision | 10 | transaction u64 |
//! | NextTxn | 11 | u64 |
//! | LogFrom | 12 | lsn u64 |
//! | Closed | 13 | lsn u64; only in a snapshot |
//! | AddDeletions | 14 | as SetDeletions |
//! | MergeSegments | 15 | range u64, count u16, ids u64 of the inputs; 1 and the output as in AddSegment from its id on, or 0 |
//!
//! A key is its length u16 and its bytes. A varint has seven bits a byte, the lowest first, the top bit set in all
//! but the last byte.

use std::rc::Rc;

use crate::clock::Timestamp;
use crate::env::IO_ALIGN;
use crate::id::{Lsn, RangeId, TableId, TxnId};
use crate::key::{KEY_BYTES_MAX, Key, KeySpan};
use crate::segment::{Position, SegmentId, SegmentMeta};
use crate::stamp::Stamp;

use super::Edit;
use super::ends::{pack, unpack};

/// Bytes of a page.
pub const PAGE_BYTES: u64 = IO_ALIGN as u64;
/// Bytes of the file header.
pub const FILE_HEADER_BYTES: u64 = PAGE_BYTES;
/// Bytes of a frame beside its payload.
pub const FRAME_HEADER_BYTES: usize = 40;
/// Largest payload of a frame: what one call may change, and what a reader may have to hold.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Largest schema of a range.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// A span's end may be the point after the longest key.
const BOUND_BYTES_MAX: usize = KEY_BYTES_MAX + 1;

const MAGIC: [u8; 8] = *b"OMENMAN\0";
pub(crate) const VERSION: u32 = 2;
/// The oldest version that is read.
const VERSION_MIN: u32 = 1;
const FRAME_MAGIC: [u8; 4] = *b"OMF1";

/// What is wrong with bytes.
pub type Malformed = &'static str;

/// What the first page of a file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// The number in the file's name.
    pub number: u64,
    /// Marks the frames of this file.
    pub salt: u64,
    /// Of the format.
    pub version: u32,
}

impl FileHeader {
    /// The header of a new file.
    pub fn new(number: u64, salt: u64) -> FileHeader {
        FileHeader { number, salt, version: VERSION }
    }

    /// Whether the file takes changes as this build writes them.
    pub fn is_current(&self) -> bool {
        self.version == VERSION
    }

    /// Writes the page.
    ///
    /// # Panics
    /// If `page` is no page.
    pub fn encode(&self, page: &mut [u8]) {
        assert_eq!(page.len() as u64, FILE_HEADER_BYTES, "the header is one page");
        page.fill(0);
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&self.version.to_le_bytes());
        page[16..24].copy_from_slice(&self.number.to_le_bytes());
        page[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = Self::checksum(page);
        page[12..16].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the page.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(page: &[u8]) -> Result<FileHeader, Malformed> {
        if page.len() as u64 != FILE_HEADER_BYTES || page[..8] != MAGIC {
            return Err("not a manifest");
        }
        let mut reader = Reader(&page[8..32]);
        let (version, checksum) = (reader.u32()?, reader.u32()?);
        if checksum != Self::checksum(page) {
            return Err("wrong checksum of the file header");
        }
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err("a version of the manifest format that this build does not know");
        }
        if page[32..].iter().any(|byte| *byte != 0) {
            return Err("reserved bytes of the file header are not zero");
        }
        Ok(FileHeader { number: reader.u64()?, salt: reader.u64()?, version })
    }

    fn checksum(page: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&page[..12]), &page[16..])
    }
}

/// What a frame is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// The snapshot, which goes on.
    Snapshot,
    /// The snapshot, which is complete with it.
    SnapshotEnd,
    /// A change.
    Change,
}

/// What stands before the edits of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// The file's.
    pub salt: u64,
    /// Where the frame begins in the file.
    pub offset: u64,
    /// Bytes of the payload.
    pub bytes: u32,
    /// Edits in the payload.
    pub edits: u32,
    /// What it is part of.
    pub kind: FrameKind,
}

impl FrameHeader {
    /// Bytes of the frame with its padding.
    pub fn padded_bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES as u64 + u64::from(self.bytes)).next_multiple_of(PAGE_BYTES)
    }

    /// Writes the header in front of the payload, which is there already.
    pub fn encode(&self, frame: &mut [u8]) {
        frame[..4].copy_from_slice(&FRAME_MAGIC);
        frame[8..16].copy_from_slice(&self.salt.to_le_bytes());
        frame[16..24].copy_from_slice(&self.offset.to_le_bytes());
        frame[24..28].copy_from_slice(&self.bytes.to_le_bytes());
        frame[28..32].copy_from_slice(&self.edits.to_le_bytes());
        frame[32..40].copy_from_slice(&[self.kind as u8, 0, 0, 0, 0, 0, 0, 0]);
        let checksum = crc32c::crc32c(&frame[8..FRAME_HEADER_BYTES + self.bytes as usize]);
        frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the header of a frame that begins at `offset` of the file, without its checksum; `None` if none does.
    pub fn decode(bytes: &[u8], file: &FileHeader, offset: u64) -> Option<FrameHeader> {
        let mut reader = Reader(bytes.get(..FRAME_HEADER_BYTES)?);
        if *reader.take(4).ok()? != FRAME_MAGIC {
            return None;
        }
        reader.u32().ok()?;
        let (salt, at) = (reader.u64().ok()?, reader.u64().ok()?);
        let (bytes, edits) = (reader.u32().ok()?, reader.u32().ok()?);
        let kind = match reader.take(8).ok()? {
            [0, 0, 0, 0, 0, 0, 0, 0] => FrameKind::Snapshot,
            [1, 0, 0, 0, 0, 0, 0, 0] => FrameKind::SnapshotEnd,
            [2, 0, 0, 0, 0, 0, 0, 0] => FrameKind::Change,
            _ => return None,
        };
        let here = salt == file.salt && at == offset && bytes as usize <= FRAME_PAYLOAD_BYTES_MAX;
        here.then_some(FrameHeader { salt, offset, bytes, edits, kind })
    }

    /// Whether the checksum of a whole frame without padding is right.
    pub fn is_whole(frame: &[u8]) -> bool {
        frame.len() >= FRAME_HEADER_BYTES && frame[4..8] == crc32c::crc32c(&frame[8..]).to_le_bytes()
    }
}

/// Appends an edit.
///
/// # Panics
/// If a key or schema is longer than the format takes.
pub fn encode_edit(edit: &Edit, out: &mut Vec<u8>) {
    match edit {
        Edit::CreateRange { range, table, span, schema } => {
            out.push(1);
            put_u64(out, range.0);
            out.extend_from_slice(&table.0.to_le_bytes());
            put_key(out, &span.start);
            out.push(u8::from(span.end.is_some()));
            span.end.iter().for_each(|end| put_key(out, end));
            assert!(schema.len() <= SCHEMA_BYTES_MAX, "a schema of {} bytes", schema.len());
            out.extend_from_slice(&(schema.len() as u32).to_le_bytes());
            out.extend_from_slice(schema);
        }
        Edit::DropRange { range } => put_tagged(out, 2, &[range.0]),
        Edit::AddSegment { range, segment } => {
            put_tagged(out, 3, &[range.0]);
            put_segment(out, segment);
        }
        Edit::RemoveSegment { range, segment } => put_tagged(out, 4, &[range.0, segment.0]),
        Edit::SetFlushed { range, lsn, index } => put_tagged(out, 5, &[range.0, lsn.0, *index]),
        Edit::SetDeletions { range, segment, entries } => put_deletions(out, 6, *range, *segment, entries),
        Edit::AddDeletions { range, segment, entries } => put_deletions(out, 14, *range, *segment, entries),
        Edit::MergeSegments { range, inputs, output } => {
            put_tagged(out, 15, &[range.0]);
            let count = u16::try_from(inputs.len()).expect("a merge of few segments");
            out.extend_from_slice(&count.to_le_bytes());
            inputs.iter().for_each(|input| put_u64(out, input.0));
            out.push(u8::from(output.is_some()));
            output.iter().for_each(|output| put_segment(out, output));
        }
        Edit::NextSegment(next) => put_tagged(out, 7, &[*next]),
        Edit::ClockAtLeast(at) => put_tagged(out, 8, &[at.0]),
        Edit::Decided { txn, commit } => {
            put_tagged(out, 9, &[txn.0]);
            out.push(u8::from(commit.is_some()));
            commit.iter().for_each(|at| put_u64(out, at.0));
        }
        Edit::ForgetDecision { txn } => put_tagged(out, 10, &[txn.0]),
        Edit::NextTxn(next) => put_tagged(out, 11, &[*next]),
        Edit::LogFrom(lsn) => put_tagged(out, 12, &[lsn.0]),
        Edit::Closed(lsn) => put_tagged(out, 13, &[lsn.0]),
    }
}

/// Reads the edits of a frame.
///
/// # Errors
/// What is wrong with them.
pub fn decode_edits(payload: &[u8], count: u32) -> Result<Vec<Edit>, Malformed> {
    if count as usize > payload.len() {
        return Err("more edits than bytes");
    }
    let mut reader = Reader(payload);
    let mut edits = Vec::with_capacity((count as usize).min(1_024));
    for _ in 0..count {
        edits.push(reader.edit()?);
    }
    if reader.0.is_empty() { Ok(edits) } else { Err("bytes after the last edit") }
}

/// Takes fields from the front of bytes.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("the bytes end too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("neither 0 nor 1"),
        }
    }

    /// A number in seven bits a byte.
    ///
    /// # Errors
    /// If it is cut or too long.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err("a number of more than 64 bits");
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number of more than ten bytes")
    }

    fn key(&mut self) -> Result<Key, Malformed> {
        let len = usize::from(u16::from_le_bytes(self.take(2)?.try_into().expect("two bytes")));
        if len > BOUND_BYTES_MAX {
            return Err("a key longer than keys are");
        }
        Ok(Key::from_bytes(self.take(len)?))
    }

    fn timestamp(&mut self) -> Result<Timestamp, Malformed> {
        let at = Timestamp(self.u64()?);
        if at <= Timestamp::MAX { Ok(at) } else { Err("a timestamp with the top bit set") }
    }

    fn edit(&mut self) -> Result<Edit, Malformed> {
        let tag = self.u8()?;
        let range = if matches!(tag, 1..=6 | 14..=15) { RangeId(self.u64()?) } else { RangeId(0) };
        Ok(match tag {
            1 => {
                let table = TableId(self.u32()?);
                let start = self.key()?;
                let end = if self.bool()? { Some(self.key()?) } else { None };
                let len = self.u32()? as usize;
                if len > SCHEMA_BYTES_MAX {
                    return Err("a schema longer than schemas are");
                }
                let schema: Rc<[u8]> = self.take(len)?.into();
                Edit::CreateRange { range, table, span: KeySpan { start, end }, schema }
            }
            2 => Edit::DropRange { range },
            3 => Edit::AddSegment { range, segment: self.segment()? },
            4 => Edit::RemoveSegment { range, segment: SegmentId(self.u64()?) },
            5 => Edit::SetFlushed { range, lsn: Lsn(self.u64()?), index: self.u64()? },
            6 => Edit::SetDeletions { range, segment: SegmentId(self.u64()?), entries: self.deletions()? },
            7 => Edit::NextSegment(self.u64()?),
            8 => Edit::ClockAtLeast(self.timestamp()?),
            9 => {
                let txn = TxnId(self.u64()?);
                Edit::Decided { txn, commit: if self.bool()? { Some(self.timestamp()?) } else { None } }
            }
            10 => Edit::ForgetDecision { txn: TxnId(self.u64()?) },
            11 => Edit::NextTxn(self.u64()?),
            12 => Edit::LogFrom(Lsn(self.u64()?)),
            13 => Edit::Closed(Lsn(self.u64()?)),
            14 => Edit::AddDeletions { range, segment: SegmentId(self.u64()?), entries: self.deletions()? },
            15 => {
                let count = u16::from_le_bytes(self.take(2)?.try_into().expect("two bytes"));
                let inputs = (0..count).map(|_| self.u64().map(SegmentId)).collect::<Result<_, _>>()?;
                let output = if self.bool()? { Some(self.segment()?) } else { None };
                Edit::MergeSegments { range, inputs, output }
            }
            _ => return Err("an edit of unknown kind"),
        })
    }

    fn segment(&mut self) -> Result<SegmentMeta, Malformed> {
        Ok(SegmentMeta {
            id: SegmentId(self.u64()?),
            rows: self.u64()?,
            bytes: self.u64()?,
            checksum: self.u32()?,
            first_key: self.key()?,
            last_key: self.key()?,
        })
    }

    fn deletions(&mut self) -> Result<Vec<(Position, Stamp)>, Malformed> {
        let count = self.u32()? as usize;
        if count > self.0.len() / 2 {
            return Err("more deletions than bytes for them");
        }
        unpack(self, count)
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, values: &[u64]) {
    out.push(tag);
    values.iter().for_each(|value| put_u64(out, *value));
}

fn put_segment(out: &mut Vec<u8>, segment: &SegmentMeta) {
    [segment.id.0, segment.rows, segment.bytes].iter().for_each(|value| put_u64(out, *value));
    out.extend_from_slice(&segment.checksum.to_le_bytes());
    put_key(out, &segment.first_key);
    put_key(out, &segment.last_key);
}

fn put_deletions(
    out: &mut Vec<u8>,
    tag: u8,
    range: RangeId,
    segment: SegmentId,
    entries: &[(Position, Stamp)],
) {
    put_tagged(out, tag, &[range.0, segment.0]);
    let count = u32::try_from(entries.len()).expect("positions are 32 bits and rise");
    out.extend_from_slice(&count.to_le_bytes());
    pack(entries, out);
}

/// Appends a number in seven bits a byte.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_key(out: &mut Vec<u8>, key: &Key) {
    assert!(key.len() <= BOUND_BYTES_MAX, "a key of {} bytes", key.len());
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn one_of_each() -> Vec<Edit> {
        let key = |bytes: &[u8]| Key::from_bytes(bytes);
        let (range, segment, txn) = (RangeId(3), SegmentId(9), TxnId(77));
        let meta = SegmentMeta {
            id: segment,
            rows: 5,
            bytes: 1 << 40,
            checksum: 0xDEAD_BEEF,
            first_key: key(b""),
            last_key: key(&[7; KEY_BYTES_MAX]),
        };
        let stamps = [0, u64::MAX, 1 << 63, 1_700_000_000_000_000_000, Timestamp::MAX.0];
        let positions = [0, 1, 1_000, u32::MAX - 1, u32::MAX];
        let entries =
            positions.into_iter().map(Position).zip(stamps.into_iter().map(Stamp::from_bits)).collect();
        let span = KeySpan { start: key(b"a"), end: Some(key(&[1; BOUND_BYTES_MAX])) };
        vec![
            Edit::CreateRange { range, table: TableId(16_384), span, schema: Rc::from(*b"schema") },
            Edit::CreateRange {
                range: RangeId(4),
                table: TableId(1),
                span: KeySpan::all(),
                schema: Rc::from([]),
            },
            Edit::AddSegment { range, segment: meta.clone() },
            Edit::MergeSegments { range, inputs: vec![segment, SegmentId(8)], output: Some(meta) },
            Edit::MergeSegments { range, inputs: Vec::new(), output: None },
            Edit::AddDeletions { range, segment, entries: vec![(Position(7), Stamp::LIVE)] },
            Edit::SetDeletions { range, segment, entries },
            Edit::SetDeletions { range, segment, entries: Vec::new() },
            Edit::SetFlushed { range, lsn: Lsn(u64::MAX), index: 1 },
            Edit::RemoveSegment { range, segment },
            Edit::DropRange { range },
            Edit::NextSegment(10),
            Edit::ClockAtLeast(Timestamp(5)),
            Edit::Decided { txn, commit: Some(Timestamp(6)) },
            Edit::Decided { txn: TxnId(78), commit: None },
            Edit::ForgetDecision { txn },
            Edit::NextTxn(79),
            Edit::LogFrom(Lsn(80)),
            Edit::Closed(Lsn(81)),
        ]
    }

    fn encode(edits: &[Edit]) -> Vec<u8> {
        let mut bytes = Vec::new();
        edits.iter().for_each(|edit| encode_edit(edit, &mut bytes));
        bytes
    }

    #[test]
    fn edits_come_back() {
        let edits = one_of_each();
        let bytes = encode(&edits);
        assert_eq!(decode_edits(&bytes, edits.len() as u32), Ok(edits.clone()));
        assert!(decode_edits(&bytes, edits.len() as u32 + 1).is_err());
        assert!(decode_edits(&bytes, edits.len() as u32 - 1).is_err());
        for edit in edits {
            let bytes = encode(std::slice::from_ref(&edit));
            for len in 0..bytes.len() {
                assert!(decode_edits(&bytes[..len], 1).is_err(), "{edit:?} cut to {len}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut cases = vec![vec![0], vec![16], vec![255; 100], vec![9, 0, 0, 0, 0, 0, 0, 0, 0, 2]];
        let mut deletions = encode(&[Edit::SetDeletions {
            range: RangeId(1),
            segment: SegmentId(2),
            entries: vec![(Position(4), Stamp::LIVE), (Position(5), Stamp::LIVE)],
        }]);
        cases.push([&deletions[..17], &u32::MAX.to_le_bytes(), &[0; 50]].concat());
        let zero_distance = deletions.len() - 2;
        deletions[zero_distance] = 0;
        cases.push(deletions);
        cases.push([&[8][..], &u64::MAX.to_le_bytes()].concat());
        cases.push([&[3][..], &[0; 36], &[0xFF, 0xFF], &[0; 70_000]].concat());
        for case in cases {
            assert!(decode_edits(&case, 1).is_err(), "{:?}", &case[..case.len().min(40)]);
        }
        assert_eq!(Reader(&[0xFF; 9]).varint(), Err("the bytes end too early"));
        assert_eq!(Reader(&[0xFF; 11]).varint(), Err("a number of more than 64 bits"));
    }

    /// Whatever the bytes are, the answer is edits or an error, and the edits are what was read.
    #[test]
    fn random_damage_is_no_panic() {
        let whole = encode(&one_of_each());
        let mut rng = crate::env::sim::Rng::new(1);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + rng.below(4) {
                let at = rng.index(bytes.len());
                match rng.below(4) {
                    0 => bytes[at] = rng.next_u64() as u8,
                    1 => bytes[at] ^= 1 << rng.below(8),
                    2 => bytes.truncate(at + 1),
                    _ => drop(bytes.splice(at..at, [0xFF; 8])),
                }
            }
            if let Ok(edits) = decode_edits(&bytes, 19) {
                assert_eq!(decode_edits(&encode(&edits), 19), Ok(edits));
            }
        }
    }

    #[test]
    fn headers() {
        let file = FileHeader::new(5, 99);
        let mut page = [0; 4_096];
        file.encode(&mut page);
        assert_eq!(FileHeader::decode(&page), Ok(file));
        for bit in 0..page.len() * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&page).is_err(), "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        let mut frame = [7; FRAME_HEADER_BYTES + 9];
        let header = FrameHeader { salt: 99, offset: 4_096, bytes: 9, edits: 1, kind: FrameKind::Change };
        header.encode(&mut frame);
        assert_eq!(FrameHeader::decode(&frame, &file, 4_096), Some(header));
        assert!(FrameHeader::is_whole(&frame));
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            let read = FrameHeader::decode(&frame, &file, 4_096);
            assert!(read.is_none() || !FrameHeader::is_whole(&frame), "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(FrameHeader::decode(&frame, &FileHeader { salt: 98, ..file }, 4_096), None);
        assert_eq!(FrameHeader::decode(&frame, &file, 8_192), None);
    }
}
