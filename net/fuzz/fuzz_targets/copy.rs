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
    let whole = decode(&options, data, data.len().max(1));
    assert_eq!(whole, decode(&options, data, usize::from(*cut).max(1)));
});
