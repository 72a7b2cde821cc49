use super::*;

/// Settings from the given flags, variables and file contents.
fn load(options: &NodeOptions, variables: &[(&str, &str)], file: Option<&str>) -> Result<Settings, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("system.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let variables: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let find = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    Settings::from_sources(options, find, &path)
}

fn with_listen(address: &str) -> NodeOptions {
    NodeOptions { listen: Some(address.to_owned()), ..NodeOptions::default() }
}

fn port(settings: Result<Settings, Failure>) -> u16 {
    settings.unwrap().listen.port()
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let file = Some("listen = \"127.0.0.1:3\"");
    let variables = [("OMENDB_LISTEN", "127.0.0.1:2")];
    assert_eq!(port(load(&with_listen("127.0.0.1:1"), &variables, file)), 1);
    assert_eq!(port(load(&NodeOptions::default(), &variables, file)), 2);
    assert_eq!(port(load(&NodeOptions::default(), &[], file)), 3);
    assert_eq!(port(load(&NodeOptions::default(), &[], None)), 5442);
}

#[test]
fn each_setting_is_taken_from_its_own_strongest_source() {
    let variables = [
        ("OMENDB_MEMORY", "1GiB"),
        ("OMENDB_RETENTION", "6h"),
        ("OMENDB_HBA", "host all all 10.0.0.0/8 reject; host a b c trust"),
    ];
    let file =
        "cores = 3\nmemory = \"50%\"\nlog_level = \"debug\"\npassword = \"secret\"\nwal_file_size = 4194304";
    let settings = load(&with_listen("[::1]:77"), &variables, Some(file)).unwrap();
    assert_eq!(settings.listen, "[::1]:77".parse().unwrap());
    assert_eq!(settings.memory, Memory::Bytes(1 << 30));
    assert_eq!(settings.cores, Some(3));
    assert_eq!(settings.wal_file_size_bytes, 4 << 20);
    assert_eq!(settings.retention, Duration::from_secs(21_600));
    assert_eq!(settings.hba.len(), 2);
    assert_eq!(settings.log_level, Level::Debug);
    assert_eq!(settings.password.as_deref(), Some("secret"));
    let described = settings.describe().join("\n");
    assert!(described.contains("memory = 1GiB (environment variable OMENDB_MEMORY)"), "{described}");
    assert!(described.contains("cores = 3 (file "), "{described}");
    assert!(!described.contains("secret"), "{described}");
}

#[test]
fn the_file_in_the_data_directory_beats_that_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("omendb.toml"), "cores = 5").unwrap();
    let data_dir = folder.path().to_str().unwrap().to_owned();
    let options = NodeOptions { data_dir: Some(data_dir), ..NodeOptions::default() };
    assert_eq!(load(&options, &[], Some("cores = 6")).unwrap().cores, Some(5));
    let named = folder.path().join("named.toml");
    std::fs::write(&named, "cores = 7").unwrap();
    let options = NodeOptions { config: Some(named), ..options };
    assert_eq!(load(&options, &[], Some("cores = 6")).unwrap().cores, Some(7));
}

#[test]
fn errors_name_the_key_and_where_it_came_from() {
    let error = |options: &NodeOptions, variables: &[(&str, &str)], file: Option<&str>| {
        load(options, variables, file).unwrap_err().to_string()
    };
    let none = NodeOptions::default();
    let text = error(&none, &[], Some("coresx = 1"));
    assert!(text.contains("unknown key \"coresx\"; known are data_dir, listen"), "{text}");
    let text = error(&with_listen("nowhere"), &[], None);
    assert!(text.contains("listen = \"nowhere\" (flag --listen) is not an address"), "{text}");
    let text = error(&none, &[("OMENDB_CORES", "0")], None);
    assert!(text.contains("cores = \"0\" (environment variable OMENDB_CORES)"), "{text}");
    let text = error(&none, &[], Some("memory = true"));
    assert!(text.contains("memory has the wrong type: true"), "{text}");
    let text = error(&none, &[], Some("memory = "));
    assert!(text.contains("configuration file"), "{text}");
    let missing = NodeOptions { config: Some("/no/such/file.toml".into()), ..NodeOptions::default() };
    assert!(error(&missing, &[], None).contains("/no/such/file.toml: cannot be read"));
}

#[test]
fn sizes_have_units() {
    assert_eq!(parse_size("4096"), Some(4_096));
    assert_eq!(parse_size("512 MiB"), Some(512 << 20));
    assert_eq!(parse_size("2GB"), Some(2_000_000_000));
    for bad in ["", "MiB", "1.5GiB", "-1", "5 furlongs", "99999999999TiB"] {
        assert_eq!(parse_size(bad), None, "{bad}");
    }
    assert_eq!(parse_memory("25%"), Some(Memory::Percent(25)));
    assert_eq!(parse_memory("95%"), None);
    assert_eq!(parse_duration("10min"), Some(Duration::from_secs(600)));
    assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
    assert_eq!(parse_duration("2 d"), Some(Duration::from_secs(172_800)));
    for bad in ["", "10", "s", "1.5h", "-1s", "2 weeks", "99999999999999999d"] {
        assert_eq!(parse_duration(bad), None, "{bad}");
    }
    assert_eq!(parse_wal_size("512KiB"), None);
    assert_eq!(parse_wal_size("2GiB"), None);
}
