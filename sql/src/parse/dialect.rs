//! `sqlparser`'s PostgreSQL, without what it takes beyond PostgreSQL 15.

use std::any::TypeId;

use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};

/// See the module.
#[derive(Debug)]
pub(super) struct Postgres15;

/// Hands methods through that PostgreSQL's dialect overrides.
macro_rules! as_postgresql {
    ($($name:ident($($arg:ident: $arg_type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $arg_type),*) -> $result {
            PostgreSqlDialect {}.$name($($arg),*)
        })*
    };
}

impl Dialect for Postgres15 {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    /// `SELECT * x`: an alias of a wildcard.
    fn supports_select_wildcard_with_alias(&self) -> bool {
        false
    }

    /// `1_000`, which came with PostgreSQL 16.
    fn supports_numeric_literal_underscores(&self) -> bool {
        false
    }

    /// `5 !`, which went with PostgreSQL 14.
    fn supports_factorial_operator(&self) -> bool {
        false
    }

    as_postgresql! {
        identifier_quote_style(identifier: &str) -> Option<char>;
        is_delimited_identifier_start(ch: char) -> bool;
        is_identifier_start(ch: char) -> bool;
        is_identifier_part(ch: char) -> bool;
        supports_unicode_string_literal() -> bool;
        is_reserved_for_identifier(keyword: Keyword) -> bool;
        is_custom_operator_part(ch: char) -> bool;
        get_next_precedence(parser: &Parser<'_>) -> Option<Result<u8, ParserError>>;
        supports_filter_during_aggregation() -> bool;
        supports_group_by_expr() -> bool;
        prec_value(precedence: Precedence) -> u8;
        allow_extract_custom() -> bool;
        allow_extract_single_quotes() -> bool;
        supports_bitwise_shift_operators() -> bool;
        supports_named_fn_args_with_colon_operator() -> bool;
        supports_named_fn_args_with_expr_name() -> bool;
        supports_empty_projections() -> bool;
        supports_nested_comments() -> bool;
        supports_string_escape_constant() -> bool;
        supports_array_typedef_with_brackets() -> bool;
        supports_geometric_types() -> bool;
        supports_notnull_operator() -> bool;
        supports_interval_options() -> bool;
        supports_insert_table_alias() -> bool;
        supports_create_table_like_parenthesized() -> bool;
        supports_comma_separated_trim() -> bool;
    }
}
