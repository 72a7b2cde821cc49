//! FROM 'file': sqlparser reads the literal as a name in single quotes.

use sqlparser::ast::{ObjectName, ObjectNamePart, TableAlias};

use super::Binder;
use super::from::{Source, rename};
use super::names::{Relation, Scope, fold};
use crate::error::Result;
use crate::files;
use crate::logical::{Logical, Scan};

impl Binder<'_> {
    /// The file that a part of FROM is, if it is one.
    ///
    /// # Errors
    /// If it has not been read yet.
    pub(super) fn file(&self, name: &ObjectName, alias: Option<&TableAlias>) -> Result<Option<Source>> {
        let (Some(files), [ObjectNamePart::Identifier(path)]) = (self.files, name.0.as_slice()) else {
            return Ok(None);
        };
        if path.quote_style != Some('\'') {
            return Ok(None);
        }
        let table = files.table(&path.value)?;
        let shown = alias.map_or_else(|| files::shown_name(&path.value), |alias| fold(&alias.name));
        let mut relation = Relation::of_table(&table, shown, 0);
        // Clients are told of no table: no catalog has it.
        relation.columns.iter_mut().for_each(|column| column.origin = None);
        rename(&mut relation, alias)?;
        let plan = Logical::Scan(Scan::whole(table.clone()));
        Ok(Some(Source { plan, scope: Scope::of(relation), tables: vec![(table, 0)] }))
    }
}
