//! The tables of the demo, embedded in the binary, and example queries over them.

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::Result;

use crate::sql_command::split;

/// The statements that create the tables.
const SCHEMA: &str = include_str!("../../../../tests/data/nycflights13/schema.sql");

/// Rows that are read from a file at a time.
const BATCH_ROWS: usize = 1_024;

/// A table and its rows.
pub struct Table {
    /// Its name.
    pub name: &'static str,
    parquet: &'static [u8],
}

macro_rules! table {
    ($name:literal) => {
        Table {
            name: $name,
            parquet: include_bytes!(concat!("../../../../tests/data/nycflights13/", $name, ".parquet")),
        }
    };
}

/// All tables, the large one last.
pub const TABLES: [Table; 5] =
    [table!("airlines"), table!("airports"), table!("planes"), table!("weather"), table!("flights")];

/// The rows of a table.
pub struct Source {
    /// How many.
    pub rows: u64,
    /// They themselves.
    pub batches: ParquetRecordBatchReader,
}

impl Table {
    /// The statement that creates it.
    pub fn ddl(&self) -> String {
        let head = format!("CREATE TABLE {} (", self.name);
        let found = split::statements(SCHEMA).into_iter().find(|statement| statement.contains(&head));
        found.expect("the schema has every table").trim().to_owned()
    }

    /// Opens its rows.
    pub fn read(&self) -> Result<Source> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from_static(self.parquet))?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        Ok(Source { rows, batches: builder.with_batch_size(BATCH_ROWS).build()? })
    }
}

/// Questions to start with, each with its title.
pub const QUERIES: [(&str, &str); 6] = [
    (
        "How punctual are the airlines?",
        "SELECT carrier, count(*) AS flights, round(avg(dep_delay), 1) AS mean_delay, max(dep_delay) AS worst
FROM flights
GROUP BY carrier
ORDER BY flights DESC
LIMIT 8",
    ),
    (
        "The worst departures of the year",
        "SELECT time_hour, carrier, flight, origin, dest, dep_delay
FROM flights
WHERE dep_delay IS NOT NULL
ORDER BY dep_delay DESC
LIMIT 5",
    ),
    (
        "When are flights cancelled?",
        "SELECT month, count(*) AS flights, sum(CASE WHEN dep_time IS NULL THEN 1 ELSE 0 END) AS cancelled
FROM flights
GROUP BY month
ORDER BY month",
    ),
    (
        "How cold and how windy does it get?",
        "SELECT origin, min(temp) AS coldest, max(temp) AS hottest, max(wind_gust) AS strongest_gust
FROM weather
GROUP BY origin
ORDER BY origin",
    ),
    (
        "Who built the planes?",
        "SELECT manufacturer, count(*) AS planes, min(year) AS oldest
FROM planes
GROUP BY manufacturer
HAVING count(*) >= 100
ORDER BY planes DESC",
    ),
    (
        "One flight, by its key",
        "SELECT time_hour, carrier, flight, tailnum, origin, dest, dep_time, arr_time
FROM flights
WHERE time_hour = '2013-01-01 10:00:00+00' AND carrier = 'UA' AND flight = 1545",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_statement_and_rows() {
        let mut rows = Vec::new();
        for table in &TABLES {
            assert!(table.ddl().contains("PRIMARY KEY"), "{}", table.name);
            let source = table.read().unwrap();
            let columns = source.batches.map(|batch| batch.unwrap().num_columns()).next().unwrap();
            assert_eq!(
                table
                    .ddl()
                    .lines()
                    .filter(|line| line.starts_with("    ") && !line.contains(" KEY ("))
                    .count(),
                columns
            );
            rows.push(source.rows);
        }
        assert_eq!(rows, [16, 1_458, 3_322, 26_115, 336_776]);
    }
}
