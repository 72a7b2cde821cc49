//! The settings of a session: what SET, RESET and SHOW work on.
//!
//! Every setting listed here has the effect that PostgreSQL documents, or can only be set to the value that describes
//! what OmenDB does anyway; any other value is refused (0A000), so that nothing is accepted and ignored.
//! Names with a dot (`app.user`) belong to applications and hold any text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{Result, Severity, SqlError, SqlState};
use crate::parse::utility::Isolation;
use crate::physical::classes::Classes;
use crate::types::{ByteaOutput, DateOrder, FormatOptions, IntervalStyle, TimeZone};

#[cfg(test)]
mod tests;

/// PostgreSQL's version that clients are told, followed by ours.
pub const SERVER_VERSION: &str = concat!("15.18 (OmenDB ", env!("CARGO_PKG_VERSION"), ")");

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Any text.
    Text,
    /// on or off.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Integer(i64, i64),
    /// Milliseconds; units are allowed.
    Duration,
    /// Kilobytes; units are allowed.
    Memory,
    /// Kilobytes, or -1 for no limit; units are allowed.
    SpaceLimit,
    /// Cannot be changed.
    ReadOnly,
    /// Only the default, because OmenDB always behaves so.
    Fixed,
    /// `DateStyle`
    DateStyle,
    /// `TimeZone`
    TimeZone,
    /// `client_encoding`
    Encoding,
    /// An isolation level.
    Isolation,
}

#[derive(Debug)]
struct Definition {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    /// Told to the client when it changes.
    reported: bool,
    about: &'static str,
}

macro_rules! definitions {
    ($($name:literal $kind:expr, $default:expr, $reported:literal, $about:literal;)*) => {
        &[$(Definition { name: $name, kind: $kind, default: $default, reported: $reported, about: $about }),*]
    };
}

/// Default of `work_mem`, far above PostgreSQL's 4 MB: what fits needs no disk.
const WORK_MEM_BYTES: usize = 256 << 20;

const MESSAGE_LEVELS: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"];

/// In order of lower-case names.
static DEFINITIONS: &[Definition] = definitions! {
    "application_name" Kind::Text, "", true, "Name of the application, for people to see.";
    "bytea_output" Kind::Word(&["hex", "escape"]), "hex", false, "How bytea is written.";
    "client_encoding" Kind::Encoding, "UTF8", true, "Encoding of text on the wire.";
    "client_min_messages" Kind::Word(MESSAGE_LEVELS), "notice", false, "Least severity of messages that are sent.";
    "DateStyle" Kind::DateStyle, "ISO, MDY", true, "How dates are written and ambiguous ones read.";
    "default_transaction_deferrable" Kind::Bool, "off", false, "Whether new transactions are deferrable.";
    "default_transaction_isolation" Kind::Isolation, "repeatable read", false, "Isolation of new transactions.";
    "default_transaction_read_only" Kind::Bool, "off", true, "Whether new transactions only read.";
    "enable_direct" Kind::Bool, "on", false, "Whether conditions on keys choose what is read; for tests.";
    "enable_scatter" Kind::Bool, "on", false, "Whether cores filter and group what they own; for tests.";
    "extra_float_digits" Kind::Integer(-15, 3), "1", false, "Digits of floating-point numbers beyond 15 or 6.";
    "idle_in_transaction_session_timeout" Kind::Fixed, "0", false, "Longest idle time inside a transaction.";
    "idle_session_timeout" Kind::Fixed, "0", false, "Longest idle time outside a transaction.";
    "in_hot_standby" Kind::ReadOnly, "off", true, "Whether the server is a standby.";
    "integer_datetimes" Kind::ReadOnly, "on", true, "Whether times are integers on the wire.";
    "IntervalStyle" Kind::Word(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), "postgres", true,
        "How intervals are written.";
    "is_superuser" Kind::ReadOnly, "on", true, "Whether the role may do everything.";
    "jit" Kind::Bool, "off", false, "Whether plans may be compiled; OmenDB never needs to.";
    "lc_collate" Kind::ReadOnly, "C", false, "Order of text.";
    "lc_ctype" Kind::ReadOnly, "C.UTF-8", false, "Classes of characters.";
    "lc_messages" Kind::Fixed, "C", false, "Language of messages.";
    "lc_monetary" Kind::Fixed, "C", false, "How money is written.";
    "lc_numeric" Kind::Fixed, "C", false, "How numbers are written by to_char.";
    "lc_time" Kind::Fixed, "C", false, "Names of months and days in to_char.";
    "lock_timeout" Kind::Fixed, "0", false, "Longest wait for a lock.";
    "max_identifier_length" Kind::ReadOnly, "63", false, "Longest name in bytes.";
    "row_security" Kind::Bool, "on", false, "Whether to filter rows by policies; there are no policies.";
    "search_path" Kind::Text, "\"$user\", public", false, "Schemas in which names are looked up.";
    "server_encoding" Kind::ReadOnly, "UTF8", true, "Encoding of stored text.";
    "server_version" Kind::ReadOnly, SERVER_VERSION, true, "Version of the server.";
    "server_version_num" Kind::ReadOnly, "150018", false, "Version of the server as a number.";
    "session_authorization" Kind::ReadOnly, "", true, "The role of the session.";
    "standard_conforming_strings" Kind::Fixed, "on", true, "Whether backslashes in '..' are plain.";
    "statement_timeout" Kind::Duration, "0", false, "Longest time of a statement; 0 is unlimited.";
    "temp_file_limit" Kind::SpaceLimit, "-1", false, "Most disk space of a statement's temporary files; -1 is unlimited.";
    "TimeZone" Kind::TimeZone, "UTC", true, "Time zone of timestamps.";
    "transaction_deferrable" Kind::Bool, "off", false, "Whether the present transaction is deferrable.";
    "transaction_isolation" Kind::Isolation, "repeatable read", false, "Isolation of the present transaction.";
    "transaction_read_only" Kind::Bool, "off", false, "Whether the present transaction only reads.";
    "work_mem" Kind::Memory, "256MB", false, "Most memory of a sort, a grouping or a list of written rows.";
};

/// A setting for SHOW ALL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingInfo {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: String,
    /// What it is for.
    pub about: &'static str,
}

/// The settings of one session.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// By position in `DEFINITIONS`.
    values: Vec<Cow<'static, str>>,
    /// What RESET goes back to.
    startup: Vec<Cow<'static, str>>,
    custom: BTreeMap<String, String>,
    custom_startup: BTreeMap<String, String>,
    format: FormatOptions,
    statement_timeout_us: Option<u64>,
    work_mem_bytes: usize,
    temp_file_limit_bytes: Option<u64>,
    public_in_path: bool,
    classes: Classes,
    default_isolation: Isolation,
    default_read_only: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let values: Vec<_> = DEFINITIONS.iter().map(|definition| Cow::Borrowed(definition.default)).collect();
        Settings {
            startup: values.clone(),
            values,
            custom: BTreeMap::new(),
            custom_startup: BTreeMap::new(),
            format: FormatOptions::default(),
            statement_timeout_us: None,
            work_mem_bytes: WORK_MEM_BYTES,
            temp_file_limit_bytes: None,
            public_in_path: true,
            classes: Classes { direct: true, scatter: true },
            default_isolation: Isolation::RepeatableRead,
            default_read_only: false,
        }
    }
}

fn index_of(name: &str) -> Option<usize> {
    DEFINITIONS.iter().position(|definition| definition.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

fn invalid(name: &str, value: &str) -> SqlError {
    let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

impl Settings {
    /// The value as SHOW prints it.
    ///
    /// # Errors
    /// 42704 if there is no such setting.
    pub fn show(&self, name: &str) -> Result<String> {
        match index_of(name) {
            Some(index) => Ok(self.values[index].to_string()),
            None => self.custom.get(name).cloned().ok_or_else(|| unknown(name)),
        }
    }

    /// The name as SHOW titles it.
    ///
    /// # Errors
    /// 42704 if there is no such setting.
    pub(crate) fn canonical_name(&self, name: &str) -> Result<String> {
        match index_of(name) {
            Some(index) => Ok(DEFINITIONS[index].name.to_owned()),
            None => self.custom.get(name).map(|_| name.to_owned()).ok_or_else(|| unknown(name)),
        }
    }

    /// All settings, in order of their names.
    pub fn all(&self) -> Vec<SettingInfo> {
        let known = DEFINITIONS.iter().zip(&self.values).map(|(definition, value)| SettingInfo {
            name: Cow::Borrowed(definition.name),
            value: value.to_string(),
            about: definition.about,
        });
        let custom = self.custom.iter().map(|(name, value)| SettingInfo {
            name: Cow::Owned(name.clone()),
            value: value.clone(),
            about: "",
        });
        known.chain(custom).collect()
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// 42704 if there is no such setting, 22023 if the value is not allowed, 0A000 if OmenDB cannot do it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let Some(index) = index_of(name) else {
            return if name.contains('.') {
                self.custom.insert(name.to_owned(), value.to_owned());
                Ok(())
            } else {
                Err(unknown(name))
            };
        };
        let canonical = canonical(&DEFINITIONS[index], name, value, &self.values[index])?;
        self.put(index, canonical);
        Ok(())
    }

    /// As [`Settings::set`], for a value of the startup message: RESET goes back to it.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_startup(&mut self, name: &str, value: &str) -> Result<()> {
        self.set(name, value)?;
        self.startup.clone_from(&self.values);
        self.custom_startup.clone_from(&self.custom);
        Ok(())
    }

    /// Sets what SET may not change: the role's name.
    pub(crate) fn set_read_only(&mut self, name: &str, value: &str) {
        let index = index_of(name).expect("a name of the list above");
        self.values[index] = Cow::Owned(value.to_owned());
        self.startup[index] = self.values[index].clone();
    }

    /// Goes back to the value at the start of the session.
    ///
    /// # Errors
    /// 42704 if there is no such setting, 55P02 if it cannot be changed.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        match index_of(name) {
            Some(index) if matches!(DEFINITIONS[index].kind, Kind::ReadOnly) => {
                Err(unchangeable(&DEFINITIONS[index]))
            }
            Some(index) => {
                let value = self.startup[index].clone();
                self.put(index, value);
                Ok(())
            }
            None if name.contains('.') => {
                match self.custom_startup.get(name) {
                    Some(value) => self.custom.insert(name.to_owned(), value.clone()),
                    None => self.custom.insert(name.to_owned(), String::new()),
                };
                Ok(())
            }
            None => Err(unknown(name)),
        }
    }

    /// Goes back to the values at the start of the session, but for the present transaction's.
    pub fn reset_all(&mut self) {
        for (index, value) in self.startup.clone().into_iter().enumerate() {
            if !DEFINITIONS[index].name.starts_with("transaction_") {
                self.put(index, value);
            }
        }
        self.custom.clone_from(&self.custom_startup);
    }

    /// The settings that clients are told, with their values.
    pub fn reported(&self) -> impl Iterator<Item = (&'static str, &str)> {
        DEFINITIONS
            .iter()
            .zip(&self.values)
            .filter(|(definition, _)| definition.reported)
            .map(|(definition, value)| (definition.name, value.as_ref()))
    }

    /// How values are written and read.
    pub fn format(&self) -> &FormatOptions {
        &self.format
    }

    /// `statement_timeout`, unless unlimited.
    pub fn statement_timeout_us(&self) -> Option<u64> {
        self.statement_timeout_us
    }

    /// `work_mem`
    pub fn work_mem_bytes(&self) -> usize {
        self.work_mem_bytes
    }

    /// `temp_file_limit`, unless unlimited.
    pub fn temp_file_limit_bytes(&self) -> Option<u64> {
        self.temp_file_limit_bytes
    }

    /// Whether unqualified names are looked up in schema `public`.
    pub fn public_in_path(&self) -> bool {
        self.public_in_path
    }

    /// `enable_direct` and `enable_scatter`
    pub(crate) fn classes(&self) -> Classes {
        self.classes
    }

    /// Whether messages of this severity are sent (`client_min_messages`).
    pub fn wants(&self, severity: Severity) -> bool {
        let level = match severity {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error | Severity::Fatal => return true,
        };
        let rank = |word: &str| MESSAGE_LEVELS.iter().position(|known| *known == word);
        rank(level) >= rank(&self.value("client_min_messages"))
    }

    /// `default_transaction_isolation`
    pub(crate) fn default_isolation(&self) -> Isolation {
        self.default_isolation
    }

    /// `default_transaction_read_only`
    pub(crate) fn default_read_only(&self) -> bool {
        self.default_read_only
    }

    /// `default_transaction_deferrable`
    pub(crate) fn default_deferrable(&self) -> bool {
        self.value("default_transaction_deferrable") == "on"
    }

    /// `transaction_deferrable`
    pub(crate) fn transaction_deferrable(&self) -> bool {
        self.value("transaction_deferrable") == "on"
    }

    /// Shows the modes of the present transaction.
    pub(crate) fn show_transaction(&mut self, isolation: Isolation, read_only: bool, deferrable: bool) {
        let word = |on: bool| if on { "on" } else { "off" };
        let shown = [
            ("transaction_isolation", isolation.name()),
            ("transaction_read_only", word(read_only)),
            ("transaction_deferrable", word(deferrable)),
        ];
        for (name, value) in shown {
            let index = index_of(name).expect("a name of the list above");
            self.values[index] = Cow::Borrowed(value);
        }
    }

    fn value(&self, name: &str) -> Cow<'static, str> {
        index_of(name).map_or(Cow::Borrowed(""), |index| self.values[index].clone())
    }

    /// Stores a canonical value and what follows from it.
    fn put(&mut self, index: usize, value: Cow<'static, str>) {
        match DEFINITIONS[index].name {
            "bytea_output" => {
                self.format.bytea_output =
                    if value == "hex" { ByteaOutput::Hex } else { ByteaOutput::Escape };
            }
            "DateStyle" => {
                self.format.date_order = match value.rsplit(' ').next() {
                    Some("DMY") => DateOrder::Dmy,
                    Some("YMD") => DateOrder::Ymd,
                    _ => DateOrder::Mdy,
                };
            }
            "default_transaction_isolation" => {
                self.default_isolation = Isolation::parse(&value).unwrap_or(Isolation::RepeatableRead);
            }
            "default_transaction_read_only" => self.default_read_only = value == "on",
            "enable_direct" => self.classes.direct = value == "on",
            "enable_scatter" => self.classes.scatter = value == "on",
            "extra_float_digits" => self.format.extra_float_digits = value.parse().unwrap_or(1),
            "IntervalStyle" => {
                self.format.interval_style = match value.as_ref() {
                    "postgres_verbose" => IntervalStyle::PostgresVerbose,
                    "sql_standard" => IntervalStyle::SqlStandard,
                    "iso_8601" => IntervalStyle::Iso8601,
                    _ => IntervalStyle::Postgres,
                };
            }
            "search_path" => {
                let is_public = |name: &str| name.trim().trim_matches('"') == "public";
                self.public_in_path = value.split(',').any(is_public);
            }
            "statement_timeout" => {
                let milliseconds = milliseconds(&value).unwrap_or(0);
                self.statement_timeout_us = (milliseconds > 0).then_some(milliseconds * 1_000);
            }
            "work_mem" => {
                let bytes = kilobytes(&value).and_then(|kilobytes| usize::try_from(kilobytes << 10).ok());
                self.work_mem_bytes = bytes.unwrap_or(WORK_MEM_BYTES);
            }
            "temp_file_limit" => {
                self.temp_file_limit_bytes = kilobytes(&value).map(|kilobytes| kilobytes << 10);
            }
            "TimeZone" => self.format.timezone = TimeZone::parse_setting(&value).unwrap_or(TimeZone::UTC),
            _ => {}
        }
        self.values[index] = value;
    }
}

fn unchangeable(definition: &Definition) -> SqlError {
    let message = format!("parameter \"{}\" cannot be changed", definition.name);
    SqlError::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, message)
}

/// The value as SHOW prints it.
fn canonical(definition: &Definition, name: &str, value: &str, current: &str) -> Result<Cow<'static, str>> {
    match definition.kind {
        Kind::Text => Ok(Cow::Owned(value.to_owned())),
        Kind::Bool => match boolean(value) {
            Some(true) => Ok(Cow::Borrowed("on")),
            Some(false) => Ok(Cow::Borrowed("off")),
            None => {
                let message = format!("parameter \"{}\" requires a Boolean value", name);
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
        },
        Kind::Word(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
            Some(word) => Ok(Cow::Borrowed(word)),
            None => {
                let hint = format!("Available values: {}.", words.join(", "));
                Err(invalid(name, value).hint(hint))
            }
        },
        Kind::Integer(min, max) => match value.trim().parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Cow::Owned(number.to_string())),
            Ok(number) => {
                let message = format!(
                    "{number} is outside the valid range for parameter \"{}\" ({min} .. {max})",
                    name
                );
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
            Err(_) => Err(invalid(name, value)),
        },
        Kind::Duration => duration(name, value),
        Kind::Memory => memory(name, value, 64),
        Kind::SpaceLimit if value.trim() == "-1" => Ok(Cow::Borrowed("-1")),
        Kind::SpaceLimit => memory(name, value, 0),
        Kind::ReadOnly => Err(unchangeable(definition)),
        Kind::Fixed => fixed(definition, value),
        Kind::DateStyle => date_style(definition, value, current),
        Kind::TimeZone => Ok(Cow::Owned(TimeZone::parse_setting(value.trim())?.to_string())),
        Kind::Encoding => {
            let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            match plain.to_ascii_lowercase().as_str() {
                "utf8" | "unicode" => Ok(Cow::Borrowed("UTF8")),
                _ => Err(SqlError::unsupported(
                    format!("client encoding \"{value}\""),
                    "Use UTF8, the only encoding of OmenDB.",
                )),
            }
        }
        Kind::Isolation => match Isolation::parse(value) {
            Some(Isolation::Serializable) => Err(serializable()),
            Some(level) => Ok(Cow::Borrowed(level.name())),
            None => Err(invalid(name, value)),
        },
    }
}

/// 0A000 for an isolation level that is not there yet.
pub(crate) fn serializable() -> SqlError {
    let hint =
        "Use REPEATABLE READ, the default: transactions see one snapshot, and write conflicts are errors.";
    SqlError::unsupported("transaction isolation level SERIALIZABLE", hint)
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" | "t" | "y" => Some(true),
        "off" | "false" | "no" | "0" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn fixed(definition: &Definition, value: &str) -> Result<Cow<'static, str>> {
    let same = value.eq_ignore_ascii_case(definition.default)
        || (definition.default == "on" && boolean(value) == Some(true))
        || (definition.default == "0" && milliseconds(value) == Some(0))
        || (definition.default == "C"
            && ["posix", "c.utf-8", "c.utf8"].contains(&value.to_lowercase().as_str()));
    if same {
        return Ok(Cow::Borrowed(definition.default));
    }
    let what = format!("setting \"{}\" to \"{value}\"", definition.name);
    Err(SqlError::unsupported(what, format!("Leave it at \"{}\".", definition.default)))
}

/// Milliseconds of a time with an optional unit.
fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(value.len());
    let number: f64 = value[..digits].parse().ok()?;
    let factor = match value[digits..].trim() {
        "us" => 0.001,
        "" | "ms" => 1.0,
        "s" => 1_000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let milliseconds = (number * factor).round();
    (milliseconds <= f64::from(i32::MAX)).then_some(milliseconds as u64)
}

fn duration(name: &str, value: &str) -> Result<Cow<'static, str>> {
    let Some(milliseconds) = milliseconds(value) else {
        let hint = "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".";
        let negative = value.trim().strip_prefix('-').and_then(milliseconds);
        return Err(match negative {
            Some(number) => SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!(
                    "-{number} ms is outside the valid range for parameter \"{}\" (0 .. 2147483647)",
                    name
                ),
            ),
            None => invalid(name, value).hint(hint),
        });
    };
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    if milliseconds == 0 {
        return Ok(Cow::Borrowed("0"));
    }
    let (size, unit) = units.into_iter().find(|(size, _)| milliseconds % size == 0).unwrap_or((1, "ms"));
    Ok(Cow::Owned(format!("{}{unit}", milliseconds / size)))
}

/// Kilobytes of an amount of memory with an optional unit.
fn kilobytes(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..digits].parse().ok()?;
    let shift = match value[digits..].trim() {
        "B" => return Some(number >> 10),
        "" | "kB" => 0,
        "MB" => 10,
        "GB" => 20,
        "TB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift).filter(|kilobytes| *kilobytes <= i32::MAX as u64)
}

fn memory(name: &str, value: &str, least: u64) -> Result<Cow<'static, str>> {
    let Some(kilobytes) = kilobytes(value) else {
        let hint = "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".";
        return Err(invalid(name, value).hint(hint));
    };
    if kilobytes < least {
        let message = format!(
            "{kilobytes} kB is outside the valid range for parameter \"{name}\" ({least} .. 2147483647)"
        );
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    if kilobytes == 0 {
        return Ok(Cow::Borrowed("0"));
    }
    let units = [(1 << 20, "GB"), (1 << 10, "MB"), (1, "kB")];
    let (size, unit) = units.into_iter().find(|(size, _)| kilobytes % size == 0).unwrap_or((1, "kB"));
    Ok(Cow::Owned(format!("{}{unit}", kilobytes / size)))
}

fn date_style(definition: &Definition, value: &str, current: &str) -> Result<Cow<'static, str>> {
    let mut order = current.rsplit(' ').next().unwrap_or("MDY").to_owned();
    for word in value.split(',') {
        match word.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "iso" => {}
            "mdy" | "us" | "noneuro" | "noneuropean" => "MDY".clone_into(&mut order),
            "dmy" | "euro" | "european" => "DMY".clone_into(&mut order),
            "ymd" => "YMD".clone_into(&mut order),
            "default" => "MDY".clone_into(&mut order),
            "sql" | "postgres" | "german" => {
                let hint = "Use DateStyle ISO and let the client format dates.";
                return Err(SqlError::unsupported(format!("DateStyle \"{}\"", word.trim()), hint));
            }
            _ => return Err(invalid(definition.name, value)),
        }
    }
    Ok(Cow::Owned(format!("ISO, {order}")))
}
