//! What functions and operators do, column by column.

pub(crate) mod any;
pub(crate) mod are;
pub(crate) mod array;
pub(crate) mod array_assign;
mod base64;
pub(crate) mod bits;
pub(crate) mod compare;
pub(crate) mod datetime;
pub(crate) mod decimal;
pub(crate) mod degrees;
pub(crate) mod encoding;
pub(crate) mod json;
pub(crate) mod jsonpath;
pub(crate) mod lift;
mod md5;
pub(crate) mod misc;
pub(crate) mod number;
pub(crate) mod numeric;
pub(crate) mod pattern;
pub(crate) mod regexp;
pub(crate) mod string;
pub(crate) mod template;

use omen_core::types::PgType;

use super::EvalContext;
use super::value::Value;

/// A call to be evaluated. If the function is strict, no argument is a NULL constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The arguments.
    pub args: &'a [Value],
    /// Their types.
    pub types: &'a [PgType],
    /// Rows of those arguments that are columns.
    pub rows: usize,
    /// The type of the result.
    pub result: PgType,
    /// Settings and times.
    pub context: &'a EvalContext,
}

impl Call<'_> {
    /// Whether all arguments are constants, so that the answer is one, too.
    pub(crate) fn is_scalar(&self) -> bool {
        self.args.iter().all(|arg| matches!(arg, Value::Scalar(_)))
    }
}

/// The code of a function.
pub(crate) type Kernel = fn(&Call<'_>) -> lift::Result<Value>;
