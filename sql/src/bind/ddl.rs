//! CREATE TABLE, CREATE TABLE AS, DROP TABLE and TRUNCATE.

use std::sync::Arc;

use omen_core::catalog::{COLUMNS_MAX, Column, Table, TableSchema};
use omen_core::learned::IndexKind;
use omen_core::types::PgType;
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    self, ColumnOption, CreateTableOptions, DataType, Expr as Ast, ObjectType, PrimaryKeyConstraint,
    SqlOption, TableConstraint, TruncateIdentityOption,
};

use super::Binder;
use super::names::fold;
use super::select::{BoundQuery, Untyped};
use crate::error::{Result, SqlError, SqlState};
use crate::logical::Logical;
use crate::parse::utility::TableName;
use crate::parse::{NAME_BYTES_MAX, NO_DATA, UNTYPED_COLUMN};

/// A CREATE TABLE.
#[derive(Clone, Debug)]
pub(crate) struct CreateTable {
    /// The table's name.
    pub(crate) name: String,
    /// Its columns and key.
    pub(crate) schema: TableSchema,
    /// `IF NOT EXISTS`
    pub(crate) if_not_exists: bool,
}

/// A CREATE TABLE AS.
#[derive(Clone, Debug)]
pub(crate) struct CreateTableAs {
    /// The table, with a hidden key.
    pub(crate) table: CreateTable,
    /// Its rows; `None` for WITH NO DATA.
    pub(crate) rows: Option<Logical>,
}

/// A DROP TABLE.
#[derive(Clone, Debug)]
pub(crate) struct DropTable {
    /// Which tables.
    pub(crate) names: Vec<TableName>,
    /// `IF EXISTS`
    pub(crate) if_exists: bool,
}

/// Name of the hidden key of a table without primary key.
const ROW_ID: &str = "_rowid";

/// Columns that PostgreSQL gives every table.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Storage parameters of PostgreSQL's tables (chapter CREATE TABLE), besides those of autovacuum: known, but not supported.
const POSTGRES_PARAMETERS: [&str; 6] = [
    "fillfactor",
    "toast_tuple_target",
    "parallel_workers",
    "vacuum_index_cleanup",
    "vacuum_truncate",
    "log_autovacuum_min_duration",
];

const HINT_CONSTRAINT: &str =
    "A table has one unique constraint, its primary key; check other rules in the application.";

/// The key while a table definition is read.
#[derive(Default)]
struct Key {
    name: Option<String>,
    columns: Vec<String>,
}

impl Binder<'_> {
    /// Binds a CREATE TABLE.
    ///
    /// # Errors
    /// 0A000 for what is not supported, 42701, 42P16 and the like for contradictions.
    pub(crate) fn create_table(&mut self, create: &ast::CreateTable) -> Result<CreateTable> {
        self.refuse_create(create)?;
        let name = self.table_name(&create.name)?;
        self.creation_schema(&name)?;
        let mut columns: Vec<Column> = Vec::with_capacity(create.columns.len());
        let mut key: Option<Key> = None;
        for definition in &create.columns {
            let column = self.create_column(&name.name, definition, &mut key)?;
            add_column(&mut columns, column).map_err(|error| error.at(self.place_of(&definition.name)))?;
        }
        for constraint in &create.constraints {
            match constraint {
                TableConstraint::PrimaryKey(constraint) => {
                    let named = self.key_columns(constraint)?;
                    set_key(&name.name, &mut key, named)?;
                }
                TableConstraint::Unique(_) => return Err(SqlError::unsupported("UNIQUE", HINT_CONSTRAINT)),
                TableConstraint::ForeignKey(_) => {
                    return Err(SqlError::unsupported("FOREIGN KEY", HINT_CONSTRAINT));
                }
                TableConstraint::Check(_) => return Err(SqlError::unsupported("CHECK", HINT_CONSTRAINT)),
                _ => return Err(SqlError::unsupported("this constraint", HINT_CONSTRAINT)),
            }
        }
        let mut schema = with_key(&name.name, columns, key)?;
        schema.index = self.index_kind(&create.table_options)?;
        Ok(CreateTable { name: name.name, schema, if_not_exists: create.if_not_exists })
    }

    /// Binds a CREATE TABLE AS; `None` for a CREATE TABLE that lists its columns.
    ///
    /// # Errors
    /// As [`Binder::create_table`], and those of the query.
    pub(crate) fn create_table_as(&mut self, create: &ast::CreateTable) -> Result<Option<CreateTableAs>> {
        let Some(query) = &create.query else { return Ok(None) };
        let mut rest = create.clone();
        rest.query = None;
        self.refuse_create(&rest)?;
        if let Some(column) = create.columns.iter().find(|column| !is_untyped(&column.data_type)) {
            let message = format!("syntax error at or near \"{}\"", column.data_type);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let name = self.table_name(&create.name)?;
        self.creation_schema(&name)?;
        let without_data = query_without_data(query);
        let BoundQuery { plan, columns } = self.query(without_data.unwrap_or(query), Untyped::Text)?;
        let rows = without_data.is_none().then_some(plan);
        if create.columns.len() > columns.len() {
            let message = "too many column names were specified";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let given = create.columns.iter().map(|column| fold(&column.name));
        let names = given.chain(columns.iter().skip(create.columns.len()).map(|column| column.name.clone()));
        let mut created: Vec<Column> = Vec::with_capacity(columns.len());
        for (name, column) in names.zip(&columns) {
            let pg_type = column.pg_type;
            add_column(
                &mut created,
                Column { name, pg_type, not_null: false, default: None, hidden: false },
            )?;
        }
        let mut schema = with_key(&name.name, created, None)?;
        schema.index = self.index_kind(&create.table_options)?;
        let table = CreateTable { name: name.name, schema, if_not_exists: create.if_not_exists };
        Ok(Some(CreateTableAs { table, rows }))
    }

    /// The CREATE TABLE AS that a SELECT INTO means.
    ///
    /// # Errors
    /// 0A000 for tables that are not there.
    pub(crate) fn select_into(&self, query: &ast::Query) -> Result<Option<ast::CreateTable>> {
        if first_select(&query.body).is_none_or(|select| select.into.is_none()) {
            return Ok(None);
        }
        let mut query = query.clone();
        let Some(into) = take_into(&mut query.body) else { return Ok(None) };
        self.refuse(into.unlogged, "SELECT INTO UNLOGGED", "Leave UNLOGGED out.")?;
        let create = ast::helpers::stmt_create_table::CreateTableBuilder::new(into.name);
        Ok(Some(create.temporary(into.temporary).query(Some(Box::new(query))).build()))
    }

    /// Everything but what is handled must be as if it were not written.
    fn refuse_create(&self, create: &ast::CreateTable) -> Result<()> {
        self.refuse(
            create.temporary,
            "CREATE TEMPORARY TABLE",
            "Create a plain table and drop it after use.",
        )?;
        self.refuse(create.like.is_some(), "CREATE TABLE .. LIKE", "List the columns.")?;
        let hint = "A table is cut into ranges of its primary key by itself.";
        self.refuse(create.partition_by.is_some() || create.partition_of.is_some(), "PARTITION", hint)?;
        self.refuse(create.inherits.is_some(), "INHERITS", "List the columns.")?;
        let mut rest = create.clone();
        rest.columns.clear();
        rest.constraints.clear();
        rest.if_not_exists = false;
        rest.table_options = CreateTableOptions::None;
        let plain =
            CreateTableBuilder::new(create.name.clone()).hive_formats(create.hive_formats.clone()).build();
        self.refuse(
            rest != plain,
            "this form of CREATE TABLE",
            "Use columns, PRIMARY KEY, NOT NULL and DEFAULT.",
        )
    }

    /// What `WITH (..)` says of the index; everything else there must be as if it were not written.
    fn index_kind(&self, options: &CreateTableOptions) -> Result<IndexKind> {
        let options = match options {
            CreateTableOptions::None => return Ok(IndexKind::default()),
            CreateTableOptions::With(options) => options,
            _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: these table options")),
        };
        let mut index = IndexKind::default();
        let mut names: Vec<String> = Vec::with_capacity(options.len());
        for option in options {
            let SqlOption::KeyValue { key, value } = option else {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error: {option}")));
            };
            let (place, name) = (self.place_of(key), fold(key));
            if names.contains(&name) {
                return Err(invalid(format!("parameter \"{name}\" specified more than once")).at(place));
            }
            match (name.as_str(), value) {
                ("index", value) => index = index_of(value).map_err(|error| error.at(place))?,
                // Segments are always filled: the one fill factor there is can be named.
                ("fillfactor", value) if value.to_string() == "100" => {}
                (known, _) if POSTGRES_PARAMETERS.contains(&known) || known.starts_with("autovacuum_") => {
                    let what = format!("storage parameter {option}");
                    return Err(SqlError::unsupported(what, "Leave it out."));
                }
                (unknown, _) => {
                    return Err(invalid(format!("unrecognized parameter \"{unknown}\"")).at(place));
                }
            }
            names.push(name);
        }
        Ok(index)
    }

    /// Tables live in schema `public`.
    fn creation_schema(&self, name: &TableName) -> Result<()> {
        match name.schema.as_deref() {
            None if !self.settings.public_in_path() => {
                let message = "no schema has been selected to create in";
                Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message).at(name.position))
            }
            None | Some("public") => Ok(()),
            Some(schema @ ("pg_catalog" | "information_schema")) => {
                let message = format!("permission denied for schema {schema}");
                Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message).at(name.position))
            }
            Some(schema) => {
                let message = format!("schema \"{schema}\" does not exist");
                Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message).at(name.position))
            }
        }
    }

    fn create_column(
        &mut self,
        table: &str,
        definition: &ast::ColumnDef,
        key: &mut Option<Key>,
    ) -> Result<Column> {
        let name = fold(&definition.name);
        let pg_type = super::types::pg_type(&definition.data_type)
            .map_err(|e| e.at(self.place_of(&definition.name)))?;
        let mut nullable: Option<bool> = None;
        let mut default = None;
        let mut in_key = false;
        for option in &definition.options {
            match &option.option {
                ColumnOption::Null | ColumnOption::NotNull => {
                    let null = matches!(option.option, ColumnOption::Null);
                    if nullable.is_some_and(|before| before != null) {
                        let message = format!(
                            "conflicting NULL/NOT NULL declarations for column \"{name}\" of table \"{table}\""
                        );
                        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                    }
                    nullable = Some(null);
                }
                ColumnOption::Default(ast) => {
                    if default.is_some() {
                        let message = format!(
                            "multiple default values specified for column \"{name}\" of table \"{table}\""
                        );
                        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                    }
                    default = Some(self.create_default(ast, pg_type, &name)?);
                }
                ColumnOption::PrimaryKey(constraint) => {
                    let mut named = self.key_columns(constraint)?;
                    named.name = named.name.or_else(|| option.name.as_ref().map(fold));
                    named.columns = vec![name.clone()];
                    set_key(table, key, named)?;
                    in_key = true;
                }
                ColumnOption::Collation(collation) => {
                    let last = super::names::parts(collation)?.pop().unwrap_or_default();
                    let bytewise = ["C", "POSIX", "default", "ucs_basic"].contains(&last.as_str());
                    let hint = "Text is ordered by its bytes: use COLLATE \"C\" or leave it out.";
                    self.refuse(!bytewise, &format!("collation \"{last}\""), hint)?;
                }
                ColumnOption::Unique(_) => return Err(SqlError::unsupported("UNIQUE", HINT_CONSTRAINT)),
                ColumnOption::ForeignKey(_) => {
                    return Err(SqlError::unsupported("REFERENCES", HINT_CONSTRAINT));
                }
                ColumnOption::Check(_) => return Err(SqlError::unsupported("CHECK", HINT_CONSTRAINT)),
                ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                    let hint = "Use DEFAULT, for example uuid DEFAULT gen_random_uuid().";
                    return Err(SqlError::unsupported("a generated column", hint));
                }
                other => {
                    let what = format!("the column option {other}");
                    return Err(SqlError::unsupported(what, "Use PRIMARY KEY, NOT NULL and DEFAULT."));
                }
            }
        }
        let not_null = in_key || nullable == Some(false);
        Ok(Column { name, pg_type, not_null, default: default.flatten(), hidden: false })
    }

    /// The text of a default, checked; `None` for NULL.
    fn create_default(&mut self, ast: &Ast, pg_type: PgType, column: &str) -> Result<Option<String>> {
        let sql = ast.to_string();
        let bound = self.default_expr(&sql, pg_type, column).map_err(|e| match e.state {
            SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE => SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cannot use column reference in DEFAULT expression",
            ),
            SqlState::DATATYPE_MISMATCH => {
                let message =
                    e.message.replace("but expression is of type", "but default expression is of type");
                SqlError::new(e.state, message).hint("You will need to rewrite or cast the expression.")
            }
            _ => e,
        })?;
        let is_null = bound == crate::expr::Expr::null(pg_type);
        Ok((!is_null).then_some(sql))
    }

    fn key_columns(&self, constraint: &PrimaryKeyConstraint) -> Result<Key> {
        let PrimaryKeyConstraint { name, index_name, index_type, columns, index_options, characteristics } =
            constraint;
        self.refuse(characteristics.is_some(), "a deferrable constraint", HINT_CONSTRAINT)?;
        self.refuse(
            index_name.is_some() || index_type.is_some() || !index_options.is_empty(),
            "an index option of PRIMARY KEY",
            "Leave it out: a table is ordered by its key.",
        )?;
        let mut names = Vec::with_capacity(columns.len());
        for column in columns {
            let options = column.column.options;
            match &column.column.expr {
                Ast::Identifier(ident)
                    if column.operator_class.is_none()
                        && options.asc.is_none()
                        && options.nulls_first.is_none() =>
                {
                    names.push(fold(ident));
                }
                other => {
                    let message = format!("syntax error at or near \"{other}\"");
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                }
            }
        }
        Ok(Key { name: name.as_ref().map(fold), columns: names })
    }

    /// Binds a DROP.
    ///
    /// # Errors
    /// 0A000 for anything but tables.
    pub(crate) fn drop_table(&self, statement: &ast::Statement) -> Result<Option<DropTable>> {
        let ast::Statement::Drop {
            object_type,
            if_exists,
            names,
            cascade: _,
            restrict: _,
            purge,
            temporary,
            table,
        } = statement
        else {
            return Ok(None);
        };
        if *object_type != ObjectType::Table {
            let hint = "Only tables can be created and dropped.";
            return Err(SqlError::unsupported(format!("DROP {object_type}"), hint));
        }
        self.not_postgres(*purge || *temporary || table.is_some(), "this form of DROP TABLE")?;
        let names = names.iter().map(|name| self.table_name(name)).collect::<Result<_>>()?;
        Ok(Some(DropTable { names, if_exists: *if_exists }))
    }

    /// Binds a TRUNCATE.
    ///
    /// # Errors
    /// 42P01 if a table is missing.
    pub(crate) fn truncate(&self, truncate: &ast::Truncate) -> Result<Vec<Arc<Table>>> {
        let ast::Truncate { table_names, partitions, table: _, if_exists, identity, cascade: _, on_cluster } =
            truncate;
        self.not_postgres(
            partitions.is_some() || *if_exists || on_cluster.is_some(),
            "this form of TRUNCATE",
        )?;
        let restart = matches!(identity, Some(TruncateIdentityOption::Restart));
        self.refuse(restart, "RESTART IDENTITY", "There are no sequences; leave it out.")?;
        table_names.iter().map(|target| self.table(&self.table_name(&target.name)?)).collect()
    }
}

/// The query in front of WITH NO DATA.
fn query_without_data(query: &ast::Query) -> Option<&ast::Query> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.from.first().map(|from| &from.relation) {
        Some(ast::TableFactor::Derived { subquery, alias: Some(alias), .. })
            if alias.name.value == NO_DATA =>
        {
            Some(subquery)
        }
        _ => None,
    }
}

/// The first branch of a query.
fn first_select(body: &ast::SetExpr) -> Option<&ast::Select> {
    let mut body = body;
    while let ast::SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    match body {
        ast::SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// Takes INTO from the first branch of a query.
fn take_into(mut body: &mut ast::SetExpr) -> Option<ast::SelectInto> {
    while let ast::SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    match body {
        ast::SetExpr::Select(select) => select.into.take(),
        _ => None,
    }
}

fn is_untyped(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Custom(name, arguments)
        if arguments.is_empty() && name.to_string() == UNTYPED_COLUMN)
}

/// Adds a column, whose name must be new.
fn add_column(columns: &mut Vec<Column>, column: Column) -> Result<()> {
    let name = &column.name;
    if SYSTEM_COLUMNS.contains(&name.as_str()) {
        let message = format!("column name \"{name}\" conflicts with a system column name");
        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
    }
    if columns.iter().any(|other| other.name == *name) {
        let message = format!("column \"{name}\" specified more than once");
        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
    }
    if columns.len() == COLUMNS_MAX {
        let message = format!("tables can have at most {COLUMNS_MAX} columns");
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    columns.push(column);
    Ok(())
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// The index that a storage parameter's value names, as a string or a word.
fn index_of(value: &Ast) -> Result<IndexKind> {
    let text = match value {
        Ast::Identifier(word) => word.value.clone(),
        Ast::Value(value) => value.value.clone().into_string().unwrap_or_else(|| value.to_string()),
        other => other.to_string(),
    };
    let kind = IndexKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(&text));
    kind.ok_or_else(|| {
        invalid(format!("invalid value for enum option \"index\": {text}"))
            .detail("Valid values are \"auto\", \"learned\", and \"binary\".")
    })
}

fn set_key(table: &str, key: &mut Option<Key>, named: Key) -> Result<()> {
    if key.is_some() {
        let message = format!("multiple primary keys for table \"{table}\" are not allowed");
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    *key = Some(named);
    Ok(())
}

/// The schema with its key, hidden if none was given.
fn with_key(table: &str, mut columns: Vec<Column>, key: Option<Key>) -> Result<TableSchema> {
    let Some(named) = key else {
        let hidden = Column {
            name: ROW_ID.to_owned(),
            pg_type: PgType::Int8,
            not_null: true,
            default: None,
            hidden: true,
        };
        columns.push(hidden);
        let key = vec![columns.len() - 1];
        return Ok(TableSchema { key, columns, key_name: None, index: IndexKind::default() });
    };
    let mut key = Vec::with_capacity(named.columns.len());
    for name in &named.columns {
        let Some(index) = columns.iter().position(|column| column.name == *name) else {
            let message = format!("column \"{name}\" named in key does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
        };
        if key.contains(&index) {
            let message = format!("column \"{name}\" appears twice in primary key constraint");
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        match columns[index].pg_type {
            PgType::Json => {
                let message = "data type json has no default operator class for access method \"btree\"";
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
            PgType::Jsonb => return Err(SqlError::unsupported("a primary key of type jsonb", "Use text.")),
            array @ PgType::Array(_) => {
                let hint = "Make a column of each element, or a table of the elements.";
                return Err(SqlError::unsupported(format!("a primary key of type {array}"), hint));
            }
            _ => {}
        }
        columns[index].not_null = true;
        key.push(index);
    }
    let key_name = Some(named.name.unwrap_or_else(|| key_name(table)));
    Ok(TableSchema { columns, key, key_name, index: IndexKind::default() })
}

/// `<table>_pkey`, with the table's name cut so that it fits.
fn key_name(table: &str) -> String {
    const SUFFIX: &str = "_pkey";
    let limit = NAME_BYTES_MAX - SUFFIX.len();
    let end = (0..=limit.min(table.len())).rev().find(|end| table.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{SUFFIX}", &table[..end])
}
