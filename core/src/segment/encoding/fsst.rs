//! Strings as codes of symbols of up to eight bytes (FSST: Boncz, Neumann, Leis 2020).
//!
//! Code 255 is followed by one byte that stands for itself. The crate `fsst-rs` finds the symbols and writes the codes;
//! it panics on codes that end in 255 and trusts the lengths of symbols, so that reading is done here.

use fsst::Compressor;

const ESCAPE: u8 = 255;
/// Strings of this many bytes are enough to find the symbols.
pub(super) const TRAIN_BYTES: usize = 64 << 10;

/// Symbols by code.
#[derive(Debug)]
pub(super) struct Symbols {
    /// Zeros behind the last.
    symbols: [[u8; 8]; 256],
    /// 0 behind the last.
    lengths: [u8; 256],
}

impl Symbols {
    pub(super) fn decode(bytes: &[u8]) -> Option<Symbols> {
        let (count, rest) = bytes.split_first()?;
        let (lengths, mut rest) = rest.split_at_checked(usize::from(*count))?;
        let mut symbols = Symbols { symbols: [[0; 8]; 256], lengths: [0; 256] };
        for (code, length) in lengths.iter().enumerate() {
            (1..=8).contains(length).then_some(())?;
            let (symbol, others) = rest.split_at_checked(usize::from(*length))?;
            symbols.symbols[code][..symbol.len()].copy_from_slice(symbol);
            symbols.lengths[code] = *length;
            rest = others;
        }
        rest.is_empty().then_some(symbols)
    }

    /// Appends what the codes say. Codes without a symbol say nothing.
    pub(super) fn decompress(&self, codes: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        // Eight bytes are written for each code, and the next one overwrites what is too much.
        out.resize(start + (codes.len() + 1) * 8, 0);
        let buffer = &mut out[start..];
        let (mut at, mut index) = (0, 0);
        while let Some(code) = codes.get(index) {
            index += 1;
            if *code == ESCAPE {
                buffer[at] = codes.get(index).copied().unwrap_or(0);
                at += usize::from(index < codes.len());
                index += 1;
                continue;
            }
            if let Some(place) = buffer.get_mut(at..at + 8) {
                place.copy_from_slice(&self.symbols[usize::from(*code)]);
            }
            at += usize::from(self.lengths[usize::from(*code)]);
        }
        out.truncate(start + at);
    }
}

/// The bytes that `Symbols::decode` takes.
pub(super) fn encode_symbols(compressor: &Compressor) -> Vec<u8> {
    let (symbols, lengths) = (compressor.symbol_table(), compressor.symbol_lengths());
    let mut out = vec![u8::try_from(symbols.len()).expect("at most 255 symbols")];
    out.extend_from_slice(lengths);
    for (symbol, length) in symbols.iter().zip(lengths) {
        out.extend_from_slice(&symbol.to_u64().to_le_bytes()[..usize::from(*length)]);
    }
    out
}
