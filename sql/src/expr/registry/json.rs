//! Functions and operators of `json` and `jsonb`.

use omen_core::types::PgType;

use super::short::*;
use super::{Function, Param};
use crate::expr::kernel::compare::{Eq, Ge, Gt, Le, Lt, Ne, same_type};
use crate::expr::kernel::json as j;
use crate::expr::kernel::jsonpath as p;
use crate::expr::sets::json as s;

const JSON: PgType = PgType::Json;
const JSONB: PgType = PgType::Jsonb;
const TEXTS: Param = Param::Is(PgType::Text.array_of());
const BO: Param = Param::Is(BOOL);

const VALUE: &[(&str, PgType)] = &[("value", JSON)];
const VALUE_B: &[(&str, PgType)] = &[("value", JSONB)];
const VALUE_TEXT: &[(&str, PgType)] = &[("value", TEXT)];
const PAIR: &[(&str, PgType)] = &[("key", TEXT), ("value", JSON)];
const PAIR_B: &[(&str, PgType)] = &[("key", TEXT), ("value", JSONB)];
const PAIR_TEXT: &[(&str, PgType)] = &[("key", TEXT), ("value", TEXT)];

/// `row_to_json` of names and values that take turns; has no name in SQL.
pub(super) static ROW: Function =
    Function::new("row to json", &[ANY], JSON, j::row).variadic().sees_nulls().stable();

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("array_to_json", &[ARR], JSON, j::of_value).stable(),
    Function::new("json_array_length", &[JS], INT4, j::array_length),
    Function::new("json_build_array", &[], JSON, j::build_array).sees_nulls(),
    Function::new("json_build_array", &[ANY], JSON, j::build_array).variadic().sees_nulls().stable(),
    Function::new("json_build_object", &[], JSON, j::build_object).sees_nulls(),
    Function::new("json_build_object", &[ANY], JSON, j::build_object).variadic().sees_nulls().stable(),
    Function::new("json_extract_path", &[JS, TX], JSON, |c| j::extract_path(c, false)).variadic(),
    Function::new("json_extract_path_text", &[JS, TX], TEXT, |c| j::extract_path(c, true)).variadic(),
    Function::new("json_object", &[TEXTS], JSON, j::object_of_texts),
    Function::new("json_object", &[TEXTS, TEXTS], JSON, j::object_of_texts),
    Function::new("json_strip_nulls", &[JS], JSON, j::strip_nulls),
    Function::new("jsonb_array_length", &[JB], INT4, j::array_length),
    Function::new("jsonb_build_array", &[], JSONB, j::build_array).sees_nulls(),
    Function::new("jsonb_build_array", &[ANY], JSONB, j::build_array).variadic().sees_nulls().stable(),
    Function::new("jsonb_build_object", &[], JSONB, j::build_object).sees_nulls(),
    Function::new("jsonb_build_object", &[ANY], JSONB, j::build_object).variadic().sees_nulls().stable(),
    Function::new("jsonb_extract_path", &[JB, TX], JSONB, |c| j::extract_path(c, false)).variadic(),
    Function::new("jsonb_extract_path_text", &[JB, TX], TEXT, |c| j::extract_path(c, true)).variadic(),
    Function::new("jsonb_insert", &[JB, TEXTS, JB], JSONB, j::insert),
    Function::new("jsonb_insert", &[JB, TEXTS, JB, BO], JSONB, j::insert),
    Function::new("jsonb_object", &[TEXTS], JSONB, j::object_of_texts),
    Function::new("jsonb_object", &[TEXTS, TEXTS], JSONB, j::object_of_texts),
    Function::new("jsonb_path_exists", &[JB, TX], BOOL, |c| p::exists(c, false)),
    Function::new("jsonb_path_exists", &[JB, TX, JB], BOOL, |c| p::exists(c, false)),
    Function::new("jsonb_path_exists", &[JB, TX, JB, BO], BOOL, |c| p::exists(c, false)),
    Function::new("jsonb_path_exists_tz", &[JB, TX], BOOL, |c| p::exists(c, false)),
    Function::new("jsonb_path_exists_tz", &[JB, TX, JB], BOOL, |c| p::exists(c, false)),
    Function::new("jsonb_path_exists_tz", &[JB, TX, JB, BO], BOOL, |c| p::exists(c, false)),
    Function::new("jsonb_path_match", &[JB, TX], BOOL, |c| p::matches(c, false)),
    Function::new("jsonb_path_match", &[JB, TX, JB], BOOL, |c| p::matches(c, false)),
    Function::new("jsonb_path_match", &[JB, TX, JB, BO], BOOL, |c| p::matches(c, false)),
    Function::new("jsonb_path_match_tz", &[JB, TX], BOOL, |c| p::matches(c, false)),
    Function::new("jsonb_path_match_tz", &[JB, TX, JB], BOOL, |c| p::matches(c, false)),
    Function::new("jsonb_path_match_tz", &[JB, TX, JB, BO], BOOL, |c| p::matches(c, false)),
    Function::new("jsonb_path_query_array", &[JB, TX], JSONB, p::array),
    Function::new("jsonb_path_query_array", &[JB, TX, JB], JSONB, p::array),
    Function::new("jsonb_path_query_array", &[JB, TX, JB, BO], JSONB, p::array),
    Function::new("jsonb_path_query_array_tz", &[JB, TX], JSONB, p::array),
    Function::new("jsonb_path_query_array_tz", &[JB, TX, JB], JSONB, p::array),
    Function::new("jsonb_path_query_array_tz", &[JB, TX, JB, BO], JSONB, p::array),
    Function::new("jsonb_path_query_first", &[JB, TX], JSONB, p::first),
    Function::new("jsonb_path_query_first", &[JB, TX, JB], JSONB, p::first),
    Function::new("jsonb_path_query_first", &[JB, TX, JB, BO], JSONB, p::first),
    Function::new("jsonb_path_query_first_tz", &[JB, TX], JSONB, p::first),
    Function::new("jsonb_path_query_first_tz", &[JB, TX, JB], JSONB, p::first),
    Function::new("jsonb_path_query_first_tz", &[JB, TX, JB, BO], JSONB, p::first),
    Function::new("jsonb_pretty", &[JB], TEXT, j::pretty),
    Function::new("jsonb_set", &[JB, TEXTS, JB], JSONB, j::set),
    Function::new("jsonb_set", &[JB, TEXTS, JB, BO], JSONB, j::set),
    Function::new("jsonb_set_lax", &[JB, TEXTS, JB], JSONB, j::set_lax).sees_nulls(),
    Function::new("jsonb_set_lax", &[JB, TEXTS, JB, BO], JSONB, j::set_lax).sees_nulls(),
    Function::new("jsonb_set_lax", &[JB, TEXTS, JB, BO, TX], JSONB, j::set_lax).sees_nulls(),
    Function::new("jsonb_strip_nulls", &[JB], JSONB, j::strip_nulls),
    Function::new("to_json", &[ELE], JSON, j::of_value).stable(),
    Function::new("to_jsonb", &[ELE], JSONB, j::of_value).stable(),
    Function::set_with("json_array_elements", &[JS], JSON, VALUE, |a| {
        s::elements(a, Some("json_array_elements"), false)
    }),
    Function::set_with("json_array_elements_text", &[JS], TEXT, VALUE_TEXT, |a| {
        s::elements(a, Some("json_array_elements_text"), true)
    }),
    Function::set_with("json_each", &[JS], JSON, PAIR, |a| s::members(a, "json_each", false, false)),
    Function::set_with("json_each_text", &[JS], TEXT, PAIR_TEXT, |a| {
        s::members(a, "json_each_text", false, true)
    }),
    Function::set_of("json_object_keys", &[JS], TEXT, |a| s::keys(a, "json_object_keys")),
    Function::set_with("jsonb_array_elements", &[JB], JSONB, VALUE_B, |a| s::elements(a, None, false)),
    Function::set_with("jsonb_array_elements_text", &[JB], TEXT, VALUE_TEXT, |a| s::elements(a, None, true)),
    Function::set_with("jsonb_each", &[JB], JSONB, PAIR_B, |a| s::members(a, "jsonb_each", true, false)),
    Function::set_with("jsonb_each_text", &[JB], TEXT, PAIR_TEXT, |a| {
        s::members(a, "jsonb_each_text", true, true)
    }),
    Function::set_of("jsonb_object_keys", &[JB], TEXT, |a| s::keys(a, "jsonb_object_keys")),
    Function::set_of("jsonb_path_query", &[JB, TX], JSONB, s::path),
    Function::set_of("jsonb_path_query", &[JB, TX, JB], JSONB, s::path),
    Function::set_of("jsonb_path_query", &[JB, TX, JB, BO], JSONB, s::path),
    Function::set_of("jsonb_path_query_tz", &[JB, TX], JSONB, s::path),
    Function::set_of("jsonb_path_query_tz", &[JB, TX, JB], JSONB, s::path),
    Function::set_of("jsonb_path_query_tz", &[JB, TX, JB, BO], JSONB, s::path),
];

pub(super) static OPERATORS: &[Function] = &[
    Function::new("->", &[JS, TX], JSON, |c| j::member(c, false)),
    Function::new("->", &[JS, I4], JSON, |c| j::element(c, false)),
    Function::new("->", &[JB, TX], JSONB, |c| j::member(c, false)),
    Function::new("->", &[JB, I4], JSONB, |c| j::element(c, false)),
    Function::new("->>", &[JS, TX], TEXT, |c| j::member(c, true)),
    Function::new("->>", &[JS, I4], TEXT, |c| j::element(c, true)),
    Function::new("->>", &[JB, TX], TEXT, |c| j::member(c, true)),
    Function::new("->>", &[JB, I4], TEXT, |c| j::element(c, true)),
    Function::new("#>", &[JS, TEXTS], JSON, |c| j::path(c, false)),
    Function::new("#>", &[JB, TEXTS], JSONB, |c| j::path(c, false)),
    Function::new("#>>", &[JS, TEXTS], TEXT, |c| j::path(c, true)),
    Function::new("#>>", &[JB, TEXTS], TEXT, |c| j::path(c, true)),
    Function::new("@>", &[JB, JB], BOOL, j::contains),
    Function::new("<@", &[JB, JB], BOOL, j::contained),
    Function::new("@?", &[JB, TX], BOOL, |c| p::exists(c, true)),
    Function::new("@@", &[JB, TX], BOOL, |c| p::matches(c, true)),
    Function::new("?", &[JB, TX], BOOL, j::exists),
    Function::new("?|", &[JB, TEXTS], BOOL, |c| j::exists_some(c, false)),
    Function::new("?&", &[JB, TEXTS], BOOL, |c| j::exists_some(c, true)),
    Function::new("||", &[JB, JB], JSONB, j::concat),
    Function::new("-", &[JB, TX], JSONB, j::without_keys),
    Function::new("-", &[JB, TEXTS], JSONB, j::without_keys),
    Function::new("-", &[JB, I4], JSONB, j::without_element),
    Function::new("#-", &[JB, TEXTS], JSONB, j::without_path),
    Function::new("=", &[JB, JB], BOOL, same_type::<Eq>(JSONB)),
    Function::new("<>", &[JB, JB], BOOL, same_type::<Ne>(JSONB)),
    Function::new("<", &[JB, JB], BOOL, same_type::<Lt>(JSONB)),
    Function::new("<=", &[JB, JB], BOOL, same_type::<Le>(JSONB)),
    Function::new(">", &[JB, JB], BOOL, same_type::<Gt>(JSONB)),
    Function::new(">=", &[JB, JB], BOOL, same_type::<Ge>(JSONB)),
];
