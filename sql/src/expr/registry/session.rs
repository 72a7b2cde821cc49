//! Functions that tell of the session and the server.

use super::short::*;
use super::{Function, Param};
use crate::expr::kernel::{any as a, misc as m};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("col_description", &[ANY, I4], TEXT, m::nothing).stable(),
    Function::new("current_catalog", &[], TEXT, m::current_database).stable(),
    Function::new("current_database", &[], TEXT, m::current_database).stable(),
    Function::new("current_role", &[], TEXT, m::current_user).stable(),
    Function::new("current_schema", &[], TEXT, m::current_schema).stable(),
    Function::new("current_schemas", &[Param::Is(BOOL)], TEXT.array_of(), m::current_schemas).stable(),
    Function::new("current_user", &[], TEXT, m::current_user).stable(),
    Function::new("format_type", &[I8, I4], TEXT, m::format_type).sees_nulls().stable(),
    Function::new("obj_description", &[ANY, TX], TEXT, m::nothing).stable(),
    Function::new("omen_core_messages", &[], INT8, m::core_messages).volatile(),
    Function::new("pg_backend_pid", &[], INT4, m::backend_pid).stable(),
    Function::new("pg_column_size", &[ANY], INT4, a::column_size).stable(),
    Function::new("pg_is_in_recovery", &[], BOOL, m::no).stable(),
    Function::new("pg_size_pretty", &[I8], TEXT, m::size_pretty),
    Function::new("pg_typeof", &[ANY], TEXT, m::type_of).sees_nulls().stable(),
    Function::new("session_user", &[], TEXT, m::current_user).stable(),
    Function::new("user", &[], TEXT, m::current_user).stable(),
    Function::new("version", &[], TEXT, m::version).stable(),
];
