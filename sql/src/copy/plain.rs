//! Lines without surprises, which are nearly all: found and split in one pass, 64 bytes at a time.
//!
//! Takes the line only if nothing in it needs care; the marker `\N` (text) and fields all in quotes (CSV) need none.
//! All else, errors included, is left to `text` and `csv`, which begin the line anew.

use super::decoder::{LineEnd, LineEnding, Span};
use super::{CopyFormat, CopyOptions};

/// Bytes looked at together: one bit of a `u64` for each.
const BLOCK_BYTES: usize = 64;

/// The bits of the bytes of a block that are one of the needles. The block begins at `base`.
struct Finder<'a> {
    data: &'a [u8],
    needles: [u8; 4],
    base: usize,
    bits: u64,
}

impl<'a> Finder<'a> {
    fn new(data: &'a [u8], needles: [u8; 4]) -> Finder<'a> {
        let mut finder = Finder { data, needles, base: 0, bits: 0 };
        finder.load();
        finder
    }

    #[inline]
    fn load(&mut self) {
        let rest = &self.data[self.base..];
        self.bits = match rest.first_chunk::<BLOCK_BYTES>() {
            Some(block) => needle_bits(block, self.needles),
            None => {
                let mut block = [0; BLOCK_BYTES];
                block[..rest.len()].copy_from_slice(rest);
                needle_bits(&block, self.needles) & ((1 << rest.len()) - 1)
            }
        };
    }

    /// Where the next needle is, each one once; `None` at the end of the data.
    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            self.base += BLOCK_BYTES;
            if self.base >= self.data.len() {
                return None;
            }
            self.load();
        }
        let at = self.base + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(at)
    }
}

/// Bit `i` is set if byte `i` is one of the needles. The comparison vectorises; a multiplication then gathers the
/// lowest bits of eight bytes in one.
#[inline]
fn needle_bits(block: &[u8; BLOCK_BYTES], needles: [u8; 4]) -> u64 {
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let [a, b, c, d] = needles;
    let found = block.map(|byte| u8::from((byte == a) | (byte == b) | (byte == c) | (byte == d)));
    let (words, _) = found.as_chunks::<8>();
    words.iter().rev().fold(0, |bits, word| bits << 8 | u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56)
}

/// Takes the line that begins `data` if it is whole there and needs no care, its fields being at most `limit`.
/// Otherwise answers `None`; `spans` may then hold anything.
#[inline]
pub(super) fn take_line(
    options: &CopyOptions,
    ending: &mut LineEnding,
    data: &[u8],
    limit: usize,
    spans: &mut Vec<Span>,
) -> Option<LineEnd> {
    spans.clear();
    match options.format {
        CopyFormat::Text => take_text(options, ending, data, limit, spans),
        CopyFormat::Csv => take_csv(options, ending, data, limit, spans),
    }
}

fn take_text(
    options: &CopyOptions,
    ending: &mut LineEnding,
    data: &[u8],
    limit: usize,
    spans: &mut Vec<Span>,
) -> Option<LineEnd> {
    let has_usual_null = *options.null == *b"\\N";
    // A marker with a backslash is never equal to a field without.
    let null = if has_usual_null { None } else { Some(&*options.null) };
    let mut finder = Finder::new(data, [options.delimiter, b'\n', b'\r', b'\\']);
    let mut start = 0;
    loop {
        let at = finder.next()?;
        let byte = data[at];
        if byte == options.delimiter {
            if spans.len() + 1 >= limit {
                return None;
            }
            spans.push(field(data, start, at, null));
            start = at + 1;
        } else if byte == b'\\' {
            let is_null = has_usual_null && at == start && data.get(at + 1) == Some(&b'N');
            if !is_null {
                return None;
            }
            // What ends the field is a needle too, so it comes next.
            let end = finder.next()?;
            if end != at + 2 || data[end] == b'\\' {
                return None;
            }
            if data[end] != options.delimiter {
                spans.push(Span::NULL);
                return end_line(ending, data, end);
            }
            if spans.len() + 1 >= limit {
                return None;
            }
            spans.push(Span::NULL);
            start = end + 1;
        } else {
            spans.push(field(data, start, at, null));
            return end_line(ending, data, at);
        }
    }
}

fn take_csv(
    options: &CopyOptions,
    ending: &mut LineEnding,
    data: &[u8],
    limit: usize,
    spans: &mut Vec<Span>,
) -> Option<LineEnd> {
    if data.first() == Some(&b'\\') {
        return None;
    }
    let mut finder = Finder::new(data, [options.delimiter, b'\n', b'\r', options.quote]);
    let mut start = 0;
    loop {
        let mut at = finder.next()?;
        let span = if data[at] == options.quote {
            if at != start || options.escape != options.quote {
                return None;
            }
            let close = loop {
                let at = finder.next()?;
                match data[at] {
                    b'\n' | b'\r' => return None,
                    byte if byte == options.quote => break at,
                    _ => {}
                }
            };
            at = finder.next()?;
            if at != close + 1 || data[at] == options.quote {
                return None;
            }
            Span::line(start + 1, close)
        } else {
            field(data, start, at, Some(&options.null))
        };
        if data[at] != options.delimiter {
            spans.push(span);
            return end_line(ending, data, at);
        }
        if spans.len() + 1 >= limit {
            return None;
        }
        spans.push(span);
        start = at + 1;
    }
}

#[inline]
fn field(data: &[u8], start: usize, end: usize, null: Option<&[u8]>) -> Span {
    match null {
        Some(null) if end - start == null.len() && data[start..end] == *null => Span::NULL,
        _ => Span::line(start, end),
    }
}

/// The line ends at the newline or carriage return at `at`, if lines end so here.
#[inline]
fn end_line(ending: &mut LineEnding, data: &[u8], at: usize) -> Option<LineEnd> {
    let consumed = match (*ending, data[at]) {
        (LineEnding::Newline | LineEnding::Unknown, b'\n') => {
            *ending = LineEnding::Newline;
            at + 1
        }
        (LineEnding::ReturnNewline, b'\r') if data.get(at + 1) == Some(&b'\n') => at + 2,
        _ => return None,
    };
    Some(LineEnd { length: at, consumed, last: false })
}
