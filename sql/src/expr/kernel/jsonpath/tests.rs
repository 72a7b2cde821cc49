use super::path_of;

/// Cut and changed paths answer or fail, and nothing else.
#[test]
fn no_text_panics() {
    let paths = [
        "strict $.a[*] ? (@.b > 1 && @.c like_regex \"^x\" flag \"i\").**{1 to last}.size()",
        "lax $[0, last - 1 to last].\"kéy\" ? (exists(@.x) || (!(@ == null)) is unknown) + -$v * 1.5e3",
    ];
    for path in paths {
        path_of(path).expect("a path");
        for (at, _) in path.char_indices() {
            drop(path_of(&path[..at]));
            drop(path_of(&path[at..]));
            for c in ["$", "(", "\"", "é", "\\u0000", ".", "9", "{", "/*"] {
                drop(path_of(&format!("{}{c}{}", &path[..at], &path[at..])));
            }
        }
    }
}

#[test]
fn depth_is_bounded() {
    for path in ["(".repeat(100_000), format!("${}", " + 1".repeat(100_000)), "-".repeat(100_000) + "1"] {
        assert_eq!(path_of(&path).expect_err("too deep").state.code(), "54001");
    }
}
