//! COPY data means the same however it is cut, and whatever it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omen_sql::copy::{CopyFormat, CopyOptions, CopyRequest, Decoder, Direction, Header, Rows};

fn take(mut rows: Rows<'_>, out: &mut Vec<String>) -> bool {
    loop {
        match rows.next() {
            Ok(None) => return true,
            Ok(Some(row)) => out.push(format!("{:?} {:?}", row.field(0).ok(), row.field(1).ok())),
            Err(error) => {
                out.push(format!("{error} {:?}", error.context));
                return false;
            }
        }
    }
}

fn decode(options: &CopyOptions, data: &[u8], chunk_bytes: usize) -> Vec<String> {
    let mut decoder = Decoder::new(options.clone(), "t", vec!["a".to_owned(), "b".to_owned()]);
    let mut out = Vec::new();
    if data.chunks(chunk_bytes).all(|chunk| take(decoder.rows(chunk), &mut out)) {
        take(decoder.finish(), &mut out);
    }
    out
}

/// As the reader of a file does: it stops behind each row and goes on with the rest of the chunk.
fn decode_file(options: &CopyOptions, data: &[u8], chunk_bytes: usize) -> Vec<String> {
    let mut decoder = Decoder::of_file(options.clone(), "f", vec!["a".to_owned(), "b".to_owned()], 1 << 20);
    let mut out = Vec::new();
    for chunk in data.chunks(chunk_bytes) {
        let mut rest = chunk;
        loop {
            let mut rows = decoder.rows(rest);
            let next = rows
                .next()
                .map(|row| row.map(|row| format!("{:?} {:?}", row.field(0).ok(), row.field(1).ok())));
            let rest_bytes = rows.rest_bytes();
            match next {
                Ok(None) => break,
                Ok(Some(row)) => out.push(row),
                Err(error) => {
                    out.push(format!("{error} {:?}", error.context));
                    return out;
                }
            }
            rest = &rest[rest.len() - rest_bytes..];
        }
    }
    take(decoder.finish(), &mut out);
    out
}

fuzz_target!(|data: &[u8]| {
    let [flags, cut, data @ ..] = data else { return };
    let csv = flags & 1 == 1;
    let request = CopyRequest {
        format: if csv { CopyFormat::Csv } else { CopyFormat::Text },
        escape: (csv && flags & 2 == 2).then(|| "\\".to_owned()),
        header: if flags & 4 == 4 { Header::Match } else { Header::None },
        null: (flags & 8 == 8).then(|| "x".to_owned()),
        ..CopyRequest::default()
    };
    let options = CopyOptions::new(&request, Direction::From, 2).expect("allowed");
    let whole = decode_file(&options, data, data.len().max(1));
    assert_eq!(whole, decode_file(&options, data, usize::from(*cut).max(1)));
    let whole = decode(&options, data, data.len().max(1));
    assert_eq!(whole, decode(&options, data, usize::from(*cut).max(1)));
});
