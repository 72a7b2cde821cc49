//! Rules that the compiler does not check: which crate may know which, how long a file may be, where `unsafe` and
//! clocks may stand. Each rule is a function from texts to complaints, with a test that shows it bites.
//!
//! Lengths of functions are clippy's (`clippy.toml`); that the limit is set is checked here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use toml::Table;

/// Lines of a source file without its tests. The aim is 800; the rest is for finishing a thought.
const FILE_LINES_MAX: usize = 900;

/// Files that may be longer, with why.
const LONG_FILES: [(&str, &str); 0] = [];

/// Which of our packages each package is built on.
const DEPENDENCIES: [(&str, &[&str]); 8] = [
    ("omen-core", &[]),
    ("omen-raft", &["omen-core"]),
    ("omen-cloud-tier", &["omen-core"]),
    ("omen-sql", &["omen-core"]),
    ("omen-net", &["omen-core", "omen-sql"]),
    ("omendb", &["omen-core", "omen-raft", "omen-cloud-tier", "omen-sql", "omen-net"]),
    ("omen-perf", &["omen-core"]),
    ("omen-tests", &["omen-core", "omen-raft", "omen-cloud-tier", "omen-sql", "omen-net"]),
];

/// What packages use of ours in their tests only, beyond `DEPENDENCIES`.
const TEST_DEPENDENCIES: [(&str, &[&str]); 1] = [("omendb", &["omen-tests", "omen-perf"])];

/// Modules that may hold `unsafe`: files, or folders that end in `/`.
const UNSAFE_MODULES: [&str; 3] =
    ["core/src/env/uring/", "core/src/env/buf.rs", "net/server/src/allocator.rs"];

/// The shard world: everything there reaches clocks, files, threads and randomness through `Env`.
const SHARD_WORLD: [&str; 4] = ["core/src/", "raft/src/", "sql/src/", "net/src/"];

/// The part of the shard world that implements `Env`.
const ENV: &str = "core/src/env/";

/// Names that only `ENV` may use.
const ENV_NAMES: [&str; 9] =
    ["glommio", "io_uring", "Instant", "SystemTime", "rand", "getrandom", "tokio", "socket2", "libc"];

/// Modules of `std` that only `ENV` may use.
const ENV_MODULES: [&str; 4] = ["fs", "thread", "net", "process"];

/// Locks; code of one core has nothing to lock.
const LOCKS: [&str; 3] = ["Mutex", "RwLock", "Condvar"];

/// Packages of which one version may exist: their types cross crate borders.
const ONE_VERSION: [&str; 7] =
    ["arrow-array", "arrow-buffer", "arrow-schema", "arrow-select", "arrow-ord", "parquet", "sqlparser"];

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A text file and its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn of(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is test code.
    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| ["tests", "tests.rs", "testing", "benches"].contains(&part))
    }

    fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place))
    }

    fn tokens(&self) -> TokenStream {
        self.text.parse().unwrap_or_else(|e| panic!("{}: {e}", self.path))
    }
}

/// Every text file of the workspace.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), &root(), &mut found);
    assert!(found.len() > 50, "the workspace was not found");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let hidden = relative.starts_with('.') && relative != ".ci" && relative != ".gitignore";
        if hidden || path.ends_with("target") || relative == "omendb-demo" {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push(Source { path: relative, text });
        }
    }
}

/// Runs a rule over every source.
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let complaints: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The packages of the workspace: name and manifest.
fn manifests() -> BTreeMap<String, Table> {
    let read = |folder: &str| -> Table {
        fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
    };
    let workspace = read("");
    let members = workspace["workspace"]["members"].as_array().unwrap().iter();
    let named = |manifest: Table| (manifest["package"]["name"].as_str().unwrap().to_owned(), manifest);
    members.map(|folder| named(read(folder.as_str().unwrap()))).collect()
}

/// What a manifest depends on: its sections' names, with and without tests.
fn dependencies(manifest: &Table, sections: &[&str]) -> BTreeMap<String, toml::Value> {
    let mut found = BTreeMap::new();
    let mut add = |table: &Table| {
        for section in sections {
            if let Some(toml::Value::Table(entries)) = table.get(*section) {
                found.extend(entries.clone());
            }
        }
    };
    add(manifest);
    if let Some(toml::Value::Table(targets)) = manifest.get("target") {
        targets.values().filter_map(toml::Value::as_table).for_each(add);
    }
    found
}

fn wrong_dependencies(manifests: &BTreeMap<String, Table>) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = DEPENDENCIES.into_iter().collect();
    let in_tests: BTreeMap<&str, &[&str]> = TEST_DEPENDENCIES.into_iter().collect();
    let mut complaints = Vec::new();
    for (name, manifest) in manifests {
        let Some(allowed) = allowed.get(&**name) else {
            complaints.push(format!("{name} is not in the table of dependencies"));
            continue;
        };
        let in_tests = in_tests.get(&**name).copied().unwrap_or_default();
        let ours = |names: BTreeMap<String, toml::Value>| -> Vec<String> {
            names.into_keys().filter(|other| other.starts_with("omen")).collect()
        };
        for other in ours(dependencies(manifest, &["dependencies", "build-dependencies"])) {
            if !allowed.contains(&&*other) {
                complaints.push(format!("{name} may not depend on {other}"));
            }
        }
        for other in ours(dependencies(manifest, &["dev-dependencies"])) {
            if !allowed.contains(&&*other) && !in_tests.contains(&&*other) {
                complaints.push(format!("{name} may not depend on {other}, not even in tests"));
            }
        }
    }
    complaints
}

#[test]
fn crates_depend_in_one_direction() {
    let manifests = manifests();
    assert_eq!(manifests.len(), DEPENDENCIES.len());
    assert_eq!(wrong_dependencies(&manifests), Vec::<String>::new());

    let manifest =
        |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.parse::<Table>().unwrap())]);
    let bad = manifest("omen-core", "[dependencies]\nomen-sql.workspace = true");
    assert_eq!(wrong_dependencies(&bad).len(), 1);
    let bad = manifest("omen-raft", "[target.'cfg(unix)'.dev-dependencies]\nomen-sql = { path = \"x\" }");
    assert_eq!(wrong_dependencies(&bad).len(), 1);
    assert_eq!(wrong_dependencies(&manifest("omen-new", "")).len(), 1);
}

/// A crate that does not take lints, edition and versions from the workspace.
fn wrong_manifest(name: &str, manifest: &Table) -> Vec<String> {
    let inherits = |value: Option<&toml::Value>| {
        value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
    };
    let mut complaints = Vec::new();
    if !inherits(manifest.get("lints")) {
        complaints.push(format!("{name} does not inherit the workspace's lints"));
    }
    for field in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits(manifest.get("package").and_then(|package| package.get(field))) {
            complaints.push(format!("{name} does not inherit {field}"));
        }
    }
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    for (dependency, value) in dependencies(manifest, &sections) {
        if !inherits(Some(&value)) {
            complaints.push(format!("{name} states the version of {dependency} itself"));
        }
    }
    complaints
}

#[test]
fn crates_inherit_from_the_workspace() {
    for (name, manifest) in manifests() {
        assert_eq!(wrong_manifest(&name, &manifest), Vec::<String>::new());
    }
    let manifest = "[package]\nedition = \"2021\"\n[dependencies]\nserde = \"1\"".parse::<Table>().unwrap();
    assert_eq!(wrong_manifest("bad", &manifest).len(), 1 + 5 + 1);
}

#[test]
fn lints_are_set() {
    let workspace: Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let lints = &workspace["workspace"]["lints"];
    for lint in
        ["too_many_lines", "unwrap_used", "undocumented_unsafe_blocks", "allow_attributes_without_reason"]
    {
        assert!(lints["clippy"].get(lint).is_some(), "{lint} is off");
    }
    let clippy: Table = fs::read_to_string(root().join("clippy.toml")).unwrap().parse().unwrap();
    assert_eq!(clippy["too-many-lines-threshold"].as_integer(), Some(70));
}

/// Lines before the tests at the end of a file.
fn line_count(source: &Source) -> usize {
    let lines: Vec<&str> = source.text.lines().collect();
    let tests =
        lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}

fn too_long(source: &Source) -> Vec<String> {
    let excused = LONG_FILES.iter().any(|(path, _)| source.path == *path);
    if !source.is_rust() || source.is_test() || excused || line_count(source) <= FILE_LINES_MAX {
        return Vec::new();
    }
    let count = line_count(source);
    vec![format!("{} has {count} lines without its tests, {FILE_LINES_MAX} are allowed", source.path)]
}

#[test]
fn files_have_one_subject() {
    check(too_long);
    let line = "fn f() {}\n";
    let tests = "#[cfg(test)]\nmod tests {\n";
    assert_eq!(too_long(&Source::of("core/src/a.rs", &line.repeat(901))).len(), 1);
    assert_eq!(
        too_long(&Source::of("core/src/a.rs", &format!("{}{tests}{}", line.repeat(900), line.repeat(99))))
            .len(),
        0
    );
    assert_eq!(too_long(&Source::of("core/src/a/tests.rs", &line.repeat(901))).len(), 0);
}

fn no_module_doc(source: &Source) -> Vec<String> {
    let undocumented = source.is_rust() && !source.is_test() && !source.text.starts_with("//!");
    if undocumented {
        vec![format!("{} does not begin with what it is for (//!)", source.path)]
    } else {
        Vec::new()
    }
}

#[test]
fn modules_begin_with_what_they_are_for() {
    check(no_module_doc);
    assert_eq!(no_module_doc(&Source::of("core/src/a.rs", "use std::fmt;")).len(), 1);
}

/// A name in the code, with the line it stands in.
struct Name {
    text: String,
    line: usize,
}

/// The tokens without `#[cfg(test)]` items, each group in place of its delimiters' content.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_pound = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        let is_test = is_pound
            && matches!(rest.peek(), Some(TokenTree::Group(group)) if group.to_string().replace(' ', "") == "[cfg(test)]");
        if !is_test {
            kept.push(token);
            continue;
        }
        // The item ends with its braces, or with a semicolon.
        for token in rest.by_ref() {
            let ends = match &token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Punct(punct) => punct.as_char() == ';',
                _ => false,
            };
            if ends {
                break;
            }
        }
    }
    kept
}

/// Every name outside of tests, comments and texts; `std::x` and `std::{x, y}` also as `std::x`.
fn names(tokens: TokenStream, found: &mut Vec<Name>) {
    let tokens = without_tests(tokens);
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => names(group.stream(), found),
            TokenTree::Ident(ident) => {
                let line = ident.span().start().line;
                found.push(Name { text: ident.to_string(), line });
                if ident == "std" {
                    let after = tokens.get(index + 3).into_iter();
                    let path = |text: String| Name { text: format!("std::{text}"), line };
                    found.extend(after.flat_map(heads).map(path));
                }
            }
            _ => {}
        }
    }
}

/// The first names of what follows `std::`.
fn heads(token: &TokenTree) -> Vec<String> {
    match token {
        TokenTree::Ident(ident) => vec![ident.to_string()],
        TokenTree::Group(group) => {
            let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
            let parts =
                tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','));
            parts.filter_map(<[TokenTree]>::first).flat_map(heads).collect()
        }
        _ => Vec::new(),
    }
}

/// Complains of names for which `forbidden` has a reason.
fn forbidden_names(source: &Source, forbidden: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    names(source.tokens(), &mut found);
    let complaint = |name: Name| Some(format!("{}:{}: {}", source.path, name.line, forbidden(&name.text)?));
    found.into_iter().filter_map(complaint).collect()
}

fn misplaced_unsafe(source: &Source) -> Vec<String> {
    if !source.is_rust() || source.is_under(&UNSAFE_MODULES) {
        return Vec::new();
    }
    forbidden_names(source, |name| {
        (name == "unsafe").then(|| "unsafe outside of the listed modules".to_owned())
    })
}

#[test]
fn unsafe_stands_in_listed_modules_only() {
    check(misplaced_unsafe);
    let code = "fn f() { /* unsafe */ let _ = \"unsafe\"; g!(unsafe { h() }) }";
    assert_eq!(
        misplaced_unsafe(&Source::of("sql/src/a.rs", code)),
        ["sql/src/a.rs:1: unsafe outside of the listed modules"]
    );
    assert_eq!(misplaced_unsafe(&Source::of("core/src/env/uring/a.rs", code)).len(), 0);
    for module in UNSAFE_MODULES {
        assert!(root().join(module).exists(), "{module} is listed and does not exist");
    }
}

fn past_the_seam(source: &Source) -> Vec<String> {
    if !source.is_rust() || source.is_test() || !source.is_under(&SHARD_WORLD) || source.is_under(&[ENV]) {
        return Vec::new();
    }
    forbidden_names(source, |name| {
        let module = name.strip_prefix("std::");
        // Addresses are values; what the kernel does with them is Env's.
        let allowed_use = source.path.starts_with("net/src/") && module == Some("net");
        if ENV_NAMES.contains(&name)
            || !allowed_use && module.is_some_and(|module| ENV_MODULES.contains(&module))
        {
            return Some(format!("{name} belongs behind Env"));
        }
        LOCKS.contains(&name).then(|| format!("{name}: what belongs to one core needs no lock"))
    })
}

#[test]
fn only_env_touches_the_world() {
    check(past_the_seam);
    let complaints = |path: &str, code: &str| past_the_seam(&Source::of(path, code)).len();
    assert_eq!(complaints("core/src/wal/mod.rs", "use std::time::Instant;"), 1);
    assert_eq!(complaints("core/src/wal/mod.rs", "use std::{fmt, fs::File, io};"), 1);
    assert_eq!(
        complaints("core/src/wal/mod.rs", "fn f() { std::thread::sleep(d); glommio::yield_now() }"),
        2
    );
    assert_eq!(complaints("net/src/lib.rs", "use std::sync::Mutex; use std::net::SocketAddr;"), 1);
    assert_eq!(complaints("core/src/wal/mod.rs", "#[cfg(test)]\nmod tests { use std::time::Instant; }"), 0);
    assert_eq!(complaints("core/src/wal/mod.rs", "#[cfg(test)]\nuse std::fs;\nuse std::fs;"), 1);
    assert_eq!(complaints("core/src/env/uring/mod.rs", "use std::time::Instant;"), 0);
    assert_eq!(complaints("cloud-tier/src/local.rs", "use std::fs;"), 0);
}

/// Words that say that something is left to be done.
fn left_open(source: &Source) -> Vec<String> {
    let words = [["TO", "DO"], ["FIX", "ME"]].map(|halves| halves.concat());
    let macros = [["to", "do!"], ["unimple", "mented!"]].map(|halves| halves.concat());
    let open = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric()).any(|word| words.iter().any(|open| word == open))
            || macros.iter().any(|open| line.contains(open.as_str()))
    };
    let lines = source.text.lines().enumerate().filter(|(_, line)| source.is_rust() && open(line));
    lines.map(|(index, _)| format!("{}:{}: left open", source.path, index + 1)).collect()
}

#[test]
fn nothing_is_left_open() {
    check(left_open);
    for line in [["// TO", "DO later"], ["to", "do!()"], ["unimple", "mented!(\"x\")"]] {
        assert_eq!(left_open(&Source::of("a.rs", &line.concat())).len(), 1, "{line:?}");
    }
}

/// Paths of the machine that the code was written on.
fn foreign_paths(source: &Source) -> Vec<String> {
    let places =
        [["/wo", "rk/"], ["/ho", "me/"], ["/ro", "ot/"], ["../sha", "red"]].map(|halves| halves.concat());
    let foreign = |line: &str| places.iter().any(|place| line.contains(place.as_str()));
    let lines = source.text.lines().enumerate().filter(|(_, line)| foreign(line));
    lines
        .map(|(index, _)| format!("{}:{}: a path that means nothing to others", source.path, index + 1))
        .collect()
}

#[test]
fn no_path_leads_out_of_the_workspace() {
    check(foreign_paths);
    assert_eq!(foreign_paths(&Source::of("a.md", &["see /ho", "me/me/x"].concat())).len(), 1);
}

/// What stands at the top of the workspace.
const TOP: [&str; 17] = [
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "cloud-tier",
    "core",
    "deploy",
    "docs",
    "net",
    "perf",
    "raft",
    "rustfmt.toml",
    "sql",
    "tests",
];

/// Whether a path begins with something that does not belong at the top.
fn misplaced(source: &Source) -> Vec<String> {
    let top = source.path.split('/').next().unwrap();
    if TOP.contains(&top) { Vec::new() } else { vec![format!("{} does not belong here", source.path)] }
}

#[test]
fn the_top_folder_holds_what_it_should() {
    check(misplaced);
    assert_eq!(misplaced(&Source::of("notes.txt", "")).len(), 1);
}

fn double_versions(lock: &str) -> Vec<String> {
    let lock: Table = lock.parse().unwrap();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap();
        versions.entry(text("name")).or_default().insert(text("version"));
    }
    let several =
        ONE_VERSION.iter().filter(|name| versions.get(*name).is_some_and(|versions| versions.len() > 1));
    several.map(|name| format!("{name} has several versions: {:?}", versions[name])).collect()
}

#[test]
fn types_that_cross_crates_have_one_version() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert_eq!(double_versions(&lock), Vec::<String>::new());
    let package = |version: &str| format!("[[package]]\nname = \"parquet\"\nversion = \"{version}\"\n");
    assert_eq!(double_versions(&[package("1.0.0"), package("2.0.0")].concat()).len(), 1);
}

/// Paths in backquotes of a document that lead nowhere.
fn dead_paths(document: &str) -> Vec<String> {
    let quoted = document.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| text.contains('/') && !text.contains(char::is_whitespace));
    let ours = paths.filter(|path| DOCUMENTED.iter().any(|folder| path.starts_with(folder)));
    ours.filter(|path| !root().join(path).exists()).map(|path| format!("`{path}` does not exist")).collect()
}

/// Folders whose files documents name.
const DOCUMENTED: [&str; 10] =
    ["core/", "sql/", "net/", "raft/", "cloud-tier/", "perf/", "tests/", "docs/", "deploy/", ".ci/"];

#[test]
fn documents_name_what_exists() {
    for document in
        ["README.md", "docs/architecture.md", "docs/glossary.md", "docs/performance.md", "perf/README.md"]
    {
        let text = fs::read_to_string(root().join(document)).unwrap();
        assert_eq!(dead_paths(&text), Vec::<String>::new(), "{document}");
    }
    assert_eq!(dead_paths("see `core/src/nowhere.rs`, not `a/b` or `core/src/lib.rs`").len(), 1);
}

/// A shard must not be sent to another core: the assertion stands beside the type.
#[test]
fn a_shard_stays_on_its_core() {
    let asserted = |source: &Source| source.text.contains("assert_not_send!(Shard<");
    assert!(sources().iter().filter(|source| source.path.starts_with("core/src/shard/")).any(asserted));
}
