use super::*;

fn text(interval: Interval, style: IntervalStyle) -> String {
    let mut out = Vec::new();
    interval.write(style, &mut out);
    String::from_utf8(out).expect("ASCII")
}

/// Compares with what PostgreSQL answered.
#[test]
fn as_postgres() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in include_str!("testdata/postgres.txt").lines().filter(|line| !line.starts_with('#')) {
        let [op, a, b, expected] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let answer = answer(op, a, b).unwrap_or_else(|e| format!("ERROR {} {}", e.state.code(), e.message));
        if answer != expected {
            wrong.push(format!("{line}: {answer}"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 500);
}

fn answer(op: &str, a: &str, b: &str) -> Result<String, ValueError> {
    let x = Interval::parse(a)?;
    let factor = || b.parse::<f64>().expect(b);
    let style = match op {
        "postgres_verbose" => IntervalStyle::PostgresVerbose,
        "sql_standard" => IntervalStyle::SqlStandard,
        "iso_8601" => IntervalStyle::Iso8601,
        _ => IntervalStyle::Postgres,
    };
    let value = match op {
        "justify_hours" => x.justify_hours()?,
        "justify_days" => x.justify_days()?,
        "justify_interval" => x.justify()?,
        "*" => x.try_mul(factor())?,
        "/" => x.try_div(factor())?,
        "+" => x.try_add(Interval::parse(b)?)?,
        "-" => x.try_sub(Interval::parse(b)?)?,
        _ => x,
    };
    Ok(text(value, style))
}

#[test]
fn order_and_bytes() {
    let parse = |text: &str| Interval::parse(text).expect(text);
    assert_eq!(parse("1 mon").order(), parse("30 days").order());
    assert_eq!(parse("1 day").order(), parse("24:00").order());
    assert!(parse("1 mon").order() < parse("30 days 00:00:01").order());
    let interval = parse("-1 year 2 days -3:04:05.678901");
    assert_eq!(Interval::from_bytes(interval.to_bytes()), interval);
}

#[test]
fn units_of_the_standard() {
    let parse = |text: &str, unit| Interval::parse_in(text, Some(unit)).expect(text).to_string();
    assert_eq!(parse("5", IntervalUnit::Day), "5 days");
    assert_eq!(parse("1.5", IntervalUnit::Hour), "01:00:00");
    assert_eq!(parse("14", IntervalUnit::Month), "1 year 2 mons");
    assert_eq!(parse("1-2", IntervalUnit::Year), "1 year");
    assert_eq!(parse("1 day 02:03:04", IntervalUnit::Minute), "1 day 02:03:00");
}
