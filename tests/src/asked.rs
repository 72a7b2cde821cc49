//! What scripts of `tests/slt` ask for besides SQL: lines in front of it, and the data of COPY after it.
//!
//! ```text
//! -- names           the first row of the answer has the columns' names
//! -- tag             the answer is what the server says was done, such as `CREATE TABLE`
//! -- values 1|NULL   values of the parameters $1, .. in the form of answers
//! copy t from stdin
//! -- data            what follows are lines of data
//! ```

/// A statement of a script and what is asked about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The statement.
    pub sql: String,
    /// Whether the names of its columns are.
    pub names: bool,
    /// Whether only its tag is.
    pub tag: bool,
    /// Values of its parameters, if it has any; `None` is NULL.
    pub values: Option<Vec<Option<String>>>,
    /// Data that it copies.
    pub data: String,
}

impl Asked {
    /// Takes the text of a record apart.
    pub fn parse(text: &str) -> Asked {
        let mut asked = Asked::default();
        let mut rest = text;
        while let Some(line) = rest.lines().next() {
            match line.split_once(' ').map(|(_, word)| word).filter(|_| line.starts_with("-- ")) {
                Some("names") => asked.names = true,
                Some("tag") => asked.tag = true,
                Some(word) if word.starts_with("values ") => {
                    let values = word["values ".len()..].split('|');
                    asked.values = Some(values.map(value).collect());
                }
                _ => break,
            }
            rest = rest[line.len()..].trim_start_matches('\n');
        }
        let (sql, data) = rest.split_once("\n-- data").unwrap_or((rest, ""));
        sql.clone_into(&mut asked.sql);
        asked.data = data.trim_start_matches('\n').lines().map(|line| format!("{line}\n")).collect();
        asked
    }
}

fn value(shown: &str) -> Option<String> {
    match shown {
        "NULL" => None,
        "(empty)" => Some(String::new()),
        shown => Some(shown.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_comes_before_and_after_the_statement() {
        let asked = Asked::parse("-- names\n-- values 1|NULL|(empty)\nselect $1, -- names\n$2");
        assert_eq!(asked.sql, "select $1, -- names\n$2");
        assert!(asked.names && !asked.tag);
        assert_eq!(asked.values, Some(vec![Some("1".to_owned()), None, Some(String::new())]));
        let copy = Asked::parse("copy t from stdin\n-- data\n1\t2\n3\t4");
        assert_eq!((copy.sql.as_str(), copy.data.as_str()), ("copy t from stdin", "1\t2\n3\t4\n"));
        let remark = Asked::parse("-- a remark\nselect 1");
        assert_eq!(remark.sql, "-- a remark\nselect 1");
    }
}
