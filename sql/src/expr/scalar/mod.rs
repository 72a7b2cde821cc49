//! Functions of single values: what the functions of SQL compute, apart from columns and NULLs.

pub mod datetime;
pub mod string;
pub mod to_char;
