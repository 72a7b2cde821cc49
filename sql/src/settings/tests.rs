use super::*;

#[test]
fn values_are_shown_as_postgresql_shows_them() {
    let cases = [
        ("statement_timeout", "5000", "5s"),
        ("statement_timeout", "90s", "90s"),
        ("statement_timeout", "120s", "2min"),
        ("statement_timeout", "1500", "1500ms"),
        ("statement_timeout", "0", "0"),
        ("datestyle", "iso, dmy", "ISO, DMY"),
        ("DateStyle", "ymd", "ISO, YMD"),
        ("client_encoding", "utf-8", "UTF8"),
        ("jit", "1", "on"),
        ("extra_float_digits", "3", "3"),
        ("timezone", "-8", "<-08>+08"),
        ("timezone", "5.5", "<+05:30>-05:30"),
        ("standard_conforming_strings", "true", "on"),
        ("default_transaction_isolation", "READ COMMITTED", "read committed"),
        ("work_mem", "4096", "4MB"),
        ("work_mem", "1500kB", "1500kB"),
        ("work_mem", "2GB", "2GB"),
        ("app.user", "x", "x"),
    ];
    for (name, value, shown) in cases {
        let mut settings = Settings::default();
        settings.set(name, value).unwrap_or_else(|e| panic!("{name} = {value}: {e}"));
        assert_eq!(settings.show(name).expect("known"), shown, "{name} = {value}");
        settings.reset(name).expect("known");
        if !name.contains('.') {
            assert_eq!(settings, Settings::default(), "{name}");
        }
    }
}

#[test]
fn refusals() {
    let cases = [
        ("nonsense", "1", "42704 unrecognized configuration parameter \"nonsense\""),
        ("jit", "maybe", "22023 parameter \"jit\" requires a Boolean value"),
        ("server_version", "16", "55P02 parameter \"server_version\" cannot be changed"),
        (
            "standard_conforming_strings",
            "off",
            "0A000 setting \"standard_conforming_strings\" to \"off\" is not supported",
        ),
        ("lock_timeout", "5s", "0A000 setting \"lock_timeout\" to \"5s\" is not supported"),
        ("statement_timeout", "soon", "22023 invalid value for parameter \"statement_timeout\": \"soon\""),
        (
            "extra_float_digits",
            "9",
            "22023 9 is outside the valid range for parameter \"extra_float_digits\" (-15 .. 3)",
        ),
        ("client_encoding", "latin1", "0A000 client encoding \"latin1\" is not supported"),
        (
            "default_transaction_isolation",
            "serializable",
            "0A000 transaction isolation level SERIALIZABLE is not supported",
        ),
    ];
    for (name, value, expected) in cases {
        let error = Settings::default().set(name, value).expect_err(name);
        assert_eq!(format!("{} {}", error.state.code(), error.message), expected);
    }
}

#[test]
fn definitions_are_sorted_and_startup_values_are_what_reset_goes_back_to() {
    assert!(DEFINITIONS.is_sorted_by_key(|definition| definition.name.to_lowercase()));
    let mut settings = Settings::default();
    settings.set_startup("extra_float_digits", "2").expect("valid");
    settings.set("extra_float_digits", "0").expect("valid");
    settings.reset_all();
    assert_eq!(settings.format().extra_float_digits, 2);
    assert!(!settings.reported().any(|(name, _)| name == "extra_float_digits"));
    assert!(settings.reported().any(|(name, value)| name == "TimeZone" && value == "UTC"));
}
