//! The settings of a session: what SET, RESET and SHOW work on.

use crate::error::{Result, SqlError, SqlState};

/// The settings of one session.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    application_name: String,
}

impl Settings {
    /// The value as SHOW prints it.
    ///
    /// # Errors
    /// 42704 if there is no such setting.
    pub fn show(&self, name: &str) -> Result<String> {
        match name {
            "application_name" => Ok(self.application_name.clone()),
            _ => Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("unrecognized configuration parameter \"{name}\""),
            )),
        }
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// 42704 if there is no such setting, 22023 if the value is not allowed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.show(name)?;
        value.clone_into(&mut self.application_name);
        Ok(())
    }
}
