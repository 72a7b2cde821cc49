use super::*;
use crate::error::ValueError;

fn n(text: &str) -> Numeric {
    Numeric::parse(text).expect(text)
}

/// Compares with what PostgreSQL answered. Floats are compared as numbers: their text is `sql`'s business.
#[test]
fn as_postgres() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in include_str!("testdata/postgres.txt").lines().filter(|line| !line.starts_with('#')) {
        let [op, a, b, expected] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let answer =
            answer(op, a, b, expected).unwrap_or_else(|e| format!("ERROR {} {}", e.state.code(), e.message));
        if answer != expected {
            wrong.push(format!("{line}: {answer}"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 1_900);
}

fn answer(op: &str, a: &str, b: &str, expected: &str) -> Result<String, ValueError> {
    let float = |value: f64| {
        let same = expected.parse::<f64>().is_ok_and(|e| e == value || (e.is_nan() && value.is_nan()));
        if same { expected.to_owned() } else { value.to_string() }
    };
    match op {
        "from_float8" => return Numeric::from_f64(a.parse().expect(a)).map(|v| v.to_string()),
        "from_float4" => return Numeric::from_f32(a.parse().expect(a)).map(|v| v.to_string()),
        _ => {}
    }
    let x = Numeric::parse(a)?;
    let digits = || b.parse::<i32>().expect(b);
    let value = match (op, b) {
        ("+", _) => x.try_add(n(b))?,
        ("-", _) => x.try_sub(n(b))?,
        ("*", _) => x.try_mul(n(b))?,
        ("/", _) => x.try_div(n(b))?,
        ("%", _) => x.try_rem(n(b))?,
        ("sqrt", _) => x.sqrt()?,
        ("ln", _) => x.ln()?,
        ("exp", _) => x.exp()?,
        ("log", "") => x.log(Numeric::from(10))?,
        ("log", _) => n(b).log(x)?,
        ("power", _) => x.power(n(b))?,
        ("ceil", _) => x.ceil()?,
        ("floor", _) => x.floor()?,
        ("abs", _) => x.abs(),
        ("sign", _) => x.signum(),
        ("round", "") => x.round(0)?,
        ("trunc", "") => x.trunc(0)?,
        ("round", _) => x.round(digits())?,
        ("trunc", _) => x.trunc(digits())?,
        ("parse", _) => x,
        ("cast", _) => {
            let (precision, scale) = b.split_once(',').unwrap_or((b, "0"));
            x.rescale(precision.parse().expect(b), scale.parse().expect(b))?
        }
        ("to_int2", _) => return x.to_i16().map(|v| v.to_string()),
        ("to_int4", _) => return x.to_i32().map(|v| v.to_string()),
        ("to_int8", _) => return x.to_i64().map(|v| v.to_string()),
        ("to_float8", _) => return Ok(float(x.to_f64())),
        ("to_float4", _) => {
            let same = expected.parse::<f32>().is_ok_and(|e| e == x.to_f32() || e.is_nan());
            return Ok(if same { expected.to_owned() } else { x.to_f32().to_string() });
        }
        _ => panic!("{op}"),
    };
    Ok(value.to_string())
}

#[test]
fn equal_values_normalize_to_equal_fields() {
    let groups = [["0", "0.00"], ["1", "1.000"], ["-100", "-100.0"], ["NaN", "nan"], ["1200", "1200.00"]];
    for (i, [a, b]) in groups.iter().enumerate() {
        assert_eq!(n(a).normalized(), n(b).normalized());
        assert!(n(a).compare(n(b)).is_eq());
        for (j, [other, _]) in groups.iter().enumerate() {
            assert_eq!(n(b).normalized() == n(other).normalized(), i == j);
        }
    }
    let mut sorted =
        ["-1e37", "-1.5", "-1.49", "0", "1e-38", "1e-37", "0.1", "1", "1.01", "1e37", "NaN"].map(n);
    sorted.reverse();
    sorted.sort_by(|a, b| a.compare(*b));
    assert!(sorted.windows(2).all(|pair| pair[0].compare(pair[1]).is_lt()));
    assert_eq!(sorted[0].to_string(), "-10000000000000000000000000000000000000");
}

#[test]
fn digits_beyond_the_limit_go_from_the_end_or_fail() {
    let big = n("99999999999999999999999999999999999999");
    assert_eq!(big.try_add(Numeric::ONE).expect_err("39 digits").message, "value overflows numeric format");
    assert_eq!(big.try_mul(big).expect_err("76 digits").state.code(), "22003");
    let tiny = n("0.00000000000000000000000000000000000001");
    assert_eq!(tiny.try_mul(tiny).expect("rounds").to_string(), "0.00000000000000000000000000000000000000");
    let e = n("2.7182818284590452353602874713526624978");
    assert_eq!(e.try_mul(n("10000000000")).expect("fits").scale(), 27);
    assert_eq!(n("3.14159265358979323846264338327950288419716939937510").scale(), 37);
    assert_eq!(
        n("9999999999999999999999999999999999999.96").to_string(),
        "10000000000000000000000000000000000000"
    );
}

#[test]
fn bytes() {
    for text in ["0", "-1.50", "99999999999999999999999999999999999999", "NaN"] {
        assert_eq!(Numeric::from_bytes(n(text).to_bytes()), Some(n(text)));
    }
    let mut wrong = n("1").to_bytes();
    wrong[0] = 39;
    assert_eq!(Numeric::from_bytes(wrong), None);
}

#[test]
fn moments_do_not_depend_on_how_values_are_split() {
    let values = ["1.5", "-2", "3.25", "1e16", "0.0001", "12345678901234567890"].map(n);
    let deviation = |moments: &Moments| {
        let kind = Deviation { sample: true, root: false };
        moments.deviation(kind).expect("fits").map(|value| value.to_string())
    };
    let mut all = Moments::default();
    values.iter().for_each(|value| all.add(*value));
    for split in 0..values.len() {
        let mut parts = [Moments::default(), Moments::default()];
        values.iter().enumerate().for_each(|(i, value)| parts[usize::from(i >= split)].add(*value));
        let [mut left, right] = parts;
        left.merge(&Moments::from_bytes(&right.to_bytes()).expect("just written"));
        assert_eq!(deviation(&left).is_none(), deviation(&all).is_none());
        assert_eq!(deviation(&left), deviation(&all));
    }
    assert_eq!(deviation(&Moments::default()), None);
}
