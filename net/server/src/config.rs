//! Settings of a node, from four sources: command line, environment, file, default; the first that has one decides.
//!
//! Values stay text until the strongest source of each is known, so that an error can name the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failure;
use crate::cli::NodeOptions;
use crate::log::Level;

/// Address served unless told otherwise; beside PostgreSQL's own port.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:5442";
/// Share of memory used unless told otherwise.
pub const MEMORY_DEFAULT: &str = "25%";
/// Size of a log file unless told otherwise.
pub const WAL_FILE_SIZE_DEFAULT: &str = "64MiB";
/// How long old versions are kept unless told otherwise: as long as a snapshot sees them.
pub const RETENTION_DEFAULT: &str = "0s";
/// Smallest log file: a row of a few MiB must fit.
pub const WAL_FILE_SIZE_MIN: u64 = 1 << 20;
/// Largest log file: all of it is written once with zeros when it is made.
pub const WAL_FILE_SIZE_MAX: u64 = 1 << 30;
/// Where the file is sought when the data directory has none.
const SYSTEM_FILE: &str = "/etc/omendb.toml";

/// One setting that may come from any source.
pub struct Setting {
    /// Its name in the file; `--name-with-dashes` as flag, `OMENDB_NAME` in the environment.
    pub name: &'static str,
    /// Whether there is a flag: secrets have none, since every process can see command lines.
    pub flag: bool,
    default: Option<&'static str>,
}

impl Setting {
    /// The flag of this setting.
    pub fn flag_name(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    fn environment_name(&self) -> String {
        format!("OMENDB_{}", self.name.to_uppercase())
    }
}

/// Every setting.
pub const SETTINGS: [Setting; 10] = [
    Setting { name: "data_dir", flag: true, default: None },
    Setting { name: "listen", flag: true, default: Some(LISTEN_DEFAULT) },
    Setting { name: "cores", flag: true, default: None },
    Setting { name: "memory", flag: true, default: Some(MEMORY_DEFAULT) },
    Setting { name: "wal_file_size", flag: true, default: Some(WAL_FILE_SIZE_DEFAULT) },
    Setting { name: "retention", flag: true, default: Some(RETENTION_DEFAULT) },
    Setting { name: "read_files_below", flag: true, default: None },
    Setting { name: "hba", flag: true, default: None },
    Setting { name: "log_level", flag: true, default: Some("info") },
    Setting { name: "password", flag: false, default: None },
];

/// Where a value came from; the weakest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value as text, a list for `hba`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Raw {
    values: Vec<String>,
    source: Source,
}

type Layer = BTreeMap<&'static str, Raw>;

/// The memory a node may use.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Memory {
    /// So many bytes.
    Bytes(u64),
    /// A share of the machine's memory, in percent.
    Percent(u64),
}

/// All settings of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of all data.
    pub data_dir: Option<PathBuf>,
    /// Address to serve on.
    pub listen: SocketAddr,
    /// Cores to use; `None` for all, or as many as the data directory was made for.
    pub cores: Option<u16>,
    /// Memory to use.
    pub memory: Memory,
    /// Bytes of a log file.
    pub wal_file_size_bytes: u64,
    /// How long versions are kept after their end.
    pub retention: Duration,
    /// The folder below which statements may read files.
    pub read_files_below: Option<PathBuf>,
    /// Who may connect, one rule per line; empty for the default rules.
    pub hba: Vec<String>,
    /// Password of the role `omen`.
    pub password: Option<String>,
    /// Least important messages to log.
    pub log_level: Level,
    raw: Layer,
}

impl Settings {
    /// The settings of a command run with these options, in this process's environment.
    ///
    /// # Errors
    /// If a value cannot be used or the file cannot be read.
    pub fn load(options: &NodeOptions) -> Result<Settings, Failure> {
        Settings::from_sources(options, |name| std::env::var(name).ok(), Path::new(SYSTEM_FILE))
    }

    fn from_sources(
        options: &NodeOptions,
        environment: impl Fn(&str) -> Option<String>,
        system_file: &Path,
    ) -> Result<Settings, Failure> {
        let mut layers = vec![flags(options), variables(&environment)];
        let data_dir = layers.iter().find_map(|layer| layer.get("data_dir")).map(|raw| raw.values[0].clone());
        let asked_for = options.config.clone().or_else(|| environment("OMENDB_CONFIG").map(PathBuf::from));
        if let Some(path) = config_file(asked_for, data_dir.as_deref(), system_file) {
            layers.push(file(&path)?);
        }
        layers.push(defaults());
        let mut raw = Layer::new();
        for layer in layers.into_iter().rev() {
            raw.extend(layer);
        }
        Settings::parse(raw)
    }

    fn parse(raw: Layer) -> Result<Settings, Failure> {
        Ok(Settings {
            data_dir: value(&raw, "data_dir", |text| Some(PathBuf::from(text)), "a directory")?,
            listen: required(&raw, "listen", parse_address, "an address, for example 127.0.0.1:5442")?,
            cores: value(&raw, "cores", parse_cores, "a number of cores from 1 to 127, or \"all\"")?
                .flatten(),
            memory: required(
                &raw,
                "memory",
                parse_memory,
                "a size such as 512MiB, or a share from 1% to 90%",
            )?,
            wal_file_size_bytes: required(&raw, "wal_file_size", parse_wal_size, "a size from 1MiB to 1GiB")?,
            retention: required(
                &raw,
                "retention",
                parse_duration,
                "a time such as 0s, 90s, 10min, 6h or 7d",
            )?,
            read_files_below: value(
                &raw,
                "read_files_below",
                |text| (!text.is_empty()).then(|| PathBuf::from(text)),
                "a directory",
            )?,
            hba: raw.get("hba").map(|raw| raw.values.clone()).unwrap_or_default(),
            password: value(&raw, "password", |text| Some(text.to_owned()), "a password")?,
            log_level: required(&raw, "log_level", Level::named, "one of error, warn, info, debug")?,
            raw,
        })
    }

    /// Lines `name = value (source)` for `doctor`; secrets are not shown.
    pub fn describe(&self) -> Vec<String> {
        let describe = |setting: &Setting| {
            let Some(raw) = self.raw.get(setting.name) else { return format!("{} is not set", setting.name) };
            let values = if setting.flag { raw.values.join("; ") } else { "(hidden)".to_owned() };
            format!("{} = {values} ({})", setting.name, raw.source)
        };
        SETTINGS.iter().map(describe).collect()
    }

    /// Whether nobody set this.
    pub fn is_default(&self, name: &str) -> bool {
        self.raw.get(name).is_none_or(|raw| raw.source == Source::Default)
    }

    /// Replaces a data directory that nobody set.
    pub fn set_default_data_dir(&mut self, path: &str) {
        if self.data_dir.is_none() {
            self.data_dir = Some(PathBuf::from(path));
            self.raw.insert("data_dir", Raw { values: vec![path.to_owned()], source: Source::Default });
        }
    }
}

fn flags(options: &NodeOptions) -> Layer {
    let mut layer = Layer::new();
    for setting in SETTINGS.iter().filter(|setting| setting.flag) {
        let values: Vec<String> = match setting.name {
            "data_dir" => options.data_dir.iter().cloned().collect(),
            "listen" => options.listen.iter().cloned().collect(),
            "cores" => options.cores.iter().cloned().collect(),
            "memory" => options.memory.iter().cloned().collect(),
            "wal_file_size" => options.wal_file_size.iter().cloned().collect(),
            "retention" => options.retention.iter().cloned().collect(),
            "read_files_below" => options.read_files_below.iter().cloned().collect(),
            "hba" => options.hba.clone(),
            "log_level" => options.log_level.iter().cloned().collect(),
            other => unreachable!("setting {other} has no flag"),
        };
        if !values.is_empty() {
            layer.insert(setting.name, Raw { values, source: Source::Flag(setting.flag_name()) });
        }
    }
    layer
}

fn variables(environment: &impl Fn(&str) -> Option<String>) -> Layer {
    let mut layer = Layer::new();
    for setting in &SETTINGS {
        let name = setting.environment_name();
        let Some(text) = environment(&name) else { continue };
        let values = match setting.name {
            "hba" => {
                text.split(';').map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
            }
            _ => vec![text],
        };
        layer.insert(setting.name, Raw { values, source: Source::Environment(name) });
    }
    layer
}

fn defaults() -> Layer {
    let raw = |text: &str| Raw { values: vec![text.to_owned()], source: Source::Default };
    SETTINGS.iter().filter_map(|setting| Some((setting.name, raw(setting.default?)))).collect()
}

/// The file to read: the one asked for, or the first default one that exists.
fn config_file(asked_for: Option<PathBuf>, data_dir: Option<&str>, system_file: &Path) -> Option<PathBuf> {
    let in_data_dir = || data_dir.map(|dir| Path::new(dir).join("omendb.toml")).filter(|path| path.exists());
    let of_system = || Some(system_file.to_owned()).filter(|path| path.exists());
    asked_for.or_else(in_data_dir).or_else(of_system)
}

fn file(path: &Path) -> Result<Layer, Failure> {
    let fail = |why: String| Failure::new(format!("configuration file {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| fail(e.to_string()))?;
    let mut layer = Layer::new();
    for (name, value) in table {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            return Err(fail(format!("unknown key {name:?}; known are {}", known.join(", "))));
        };
        let values = match (&value, setting.name) {
            (toml::Value::Array(lines), "hba") => {
                lines.iter().map(|line| line.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            (toml::Value::String(text), _) => Some(vec![text.clone()]),
            (toml::Value::Integer(number), _) => Some(vec![number.to_string()]),
            _ => None,
        };
        let values = values.ok_or_else(|| fail(format!("{name} has the wrong type: {value}")))?;
        layer.insert(setting.name, Raw { values, source: Source::File(path.to_owned()) });
    }
    Ok(layer)
}

fn value<T>(
    raw: &Layer,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    wanted: &str,
) -> Result<Option<T>, Failure> {
    let Some(raw) = raw.get(name) else { return Ok(None) };
    let text = raw.values.last().map_or("", String::as_str);
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(Failure::new(format!("{name} = {text:?} ({}) is not {wanted}", raw.source))),
    }
}

fn required<T>(
    raw: &Layer,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    wanted: &str,
) -> Result<T, Failure> {
    value(raw, name, parse, wanted)?.ok_or_else(|| Failure::new(format!("{name} is not set")))
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    text.to_socket_addrs().ok()?.next()
}

fn parse_cores(text: &str) -> Option<Option<u16>> {
    if text == "all" {
        return Some(None);
    }
    text.parse().ok().filter(|count| (1..=omen_core::node::CORES_MAX).contains(count)).map(Some)
}

fn parse_memory(text: &str) -> Option<Memory> {
    match text.strip_suffix('%') {
        Some(share) => {
            share.trim().parse().ok().filter(|share| (1..=90).contains(share)).map(Memory::Percent)
        }
        None => parse_size(text).map(Memory::Bytes),
    }
}

fn parse_wal_size(text: &str) -> Option<u64> {
    parse_size(text)
        .filter(|size| (WAL_FILE_SIZE_MIN..=WAL_FILE_SIZE_MAX).contains(size) && size % 4_096 == 0)
}

/// A size such as `1GiB`, `512 MiB`, `100MB` or `4096` bytes.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A time such as `500ms`, `0s`, `10min`, `6h` or `7d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests;
