use super::*;

fn error(sql: &str) -> (String, Option<u32>) {
    match split(sql) {
        Ok(_) => panic!("{sql} was accepted"),
        Err(e) => (format!("{} {}", e.state.code(), e.message), e.position),
    }
}

#[test]
fn splits_at_semicolons_outside_strings() {
    let count = |sql| split(sql).expect("valid").len();
    assert_eq!(count(""), 0);
    assert_eq!(count(" ; -- nothing\n ;"), 0);
    assert_eq!(count("select ';' ; select 2 /* ; */;"), 2);
    assert_eq!(count("begin; select 1; end"), 3);
}

#[test]
fn errors_have_the_words_and_place_of_postgresql() {
    let cases = [
        ("selec 1", "42601 syntax error at or near \"selec\"", 1),
        ("select 1 from", "42601 syntax error at end of input", 14),
        ("select 1;\nselect * frm t x y", "42601 syntax error at or near \"frm\"", 20),
        ("select 'abc", "42601 unterminated quoted string at or near \"'abc\"", 8),
        ("select \"abc", "42601 unterminated quoted identifier at or near \"\"abc\"", 8),
        ("begin foo", "42601 syntax error at or near \"foo\"", 7),
        ("set x", "42601 syntax error at end of input", 6),
        ("select (1", "42601 syntax error at end of input", 10),
    ];
    for (sql, message, position) in cases {
        assert_eq!(error(sql), (message.to_owned(), Some(position)), "{sql}");
    }
}

#[test]
fn deep_and_long_texts() {
    let nested = |depth: usize| format!("select {}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(split(&nested(200)).is_ok());
    assert!(split(&nested(5_000)).is_ok());
    assert!(error(&nested(50_000)).0.starts_with("54001"));
    assert!(error(&format!("select 1{}", "+1".repeat(300_000))).0.starts_with("54001"));
    assert!(error(&format!("select {}1", "- ".repeat(300_000))).0.starts_with("54001"));
    assert!(error(&format!("select {}", "(".repeat(500_000))).0.starts_with("54001"));
    assert!(error(&format!("select {}", "case when ".repeat(100_000))).0.starts_with("54001"));
    assert!(split(&format!("select 1{}", "+1".repeat(5_000))).is_ok());
    let ors = vec!["a = 1"; 5_000].join(" or ");
    assert!(split(&format!("select * from t where {ors}")).is_ok());
    let wide = vec!["(1, 'some text')"; 60_000].join(", ");
    assert!(split(&format!("insert into t values {wide}")).is_ok());
}
