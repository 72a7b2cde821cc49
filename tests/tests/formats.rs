//! `docs/formats.md` shows all bytes that OmenDB stores, taken from the modules that read and write them.
//! `UPDATE_GOLDENFILES=1` writes the page anew.

use std::fs;
use std::path::Path;

/// Heading, and the module whose documentation follows.
const MODULES: [(&str, &str); 9] = [
    ("Keys", "core/src/key.rs"),
    ("Rows", "core/src/row.rs"),
    ("Changes", "core/src/write_batch.rs"),
    ("Tables of the catalog", "core/src/catalog/format.rs"),
    ("Log", "core/src/wal/format.rs"),
    ("Manifest", "core/src/manifest/format.rs"),
    ("Segments", "core/src/segment/format.rs"),
    ("Zones of a segment", "core/src/segment/zone.rs"),
    ("Columns of a block", "core/src/segment/encoding/mod.rs"),
];

const HEAD: &str = "# Formats

The bytes of everything that is stored, as the modules that read and write them describe it; a test keeps this page equal
to them. Every file begins with a magic number and a version; every part is covered by a crc32c that also stands in its
parent, so that a read of the wrong place is noticed. A decoder trusts no length and no offset: bytes that are not what
was written end in an error (XX001), never in a wrong row.
";

/// The lines that a module begins with, without their marks.
fn module_doc(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"]).collect()
}

#[test]
fn the_page_is_what_the_modules_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut page = HEAD.to_string();
    for (heading, path) in MODULES {
        let doc = module_doc(&fs::read_to_string(root.join(path)).unwrap());
        assert!(!doc.is_empty(), "{path} says nothing");
        page.extend(["\n## ", heading, "\n\n`", path, "`\n\n", &doc]);
    }
    let file = root.join("docs/formats.md");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(&file, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == page,
        "run with UPDATE_GOLDENFILES=1 and look at the change"
    );
}
