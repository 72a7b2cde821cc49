//! Dependent joins: one input is evaluated for each row of another one.

use omen_core::types::PgType;

use super::Logical;
use crate::expr::Expr;

/// A dependent join.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Apply {
    /// The rows.
    pub(crate) left: Logical,
    /// What is evaluated for each of them; it reads their columns as [`Expr::Outer`] of this number.
    pub(crate) right: Logical,
    /// The number, which no other dependent join of the statement has.
    pub(crate) scope: usize,
    /// What is given.
    pub(crate) kind: ApplyKind,
}

/// What a dependent join gives. Conditions are over the left side's columns, then the right side's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ApplyKind {
    /// Each row with the only column of the answer; NULL if it has no row, an error if it has several.
    Single,
    /// Each row with a column: whether the condition is true of a row of the answer, or NULL if it is true of none and
    /// NULL for some. Without condition: whether there is a row.
    Mark(Option<Expr>),
    /// Rows for which the conditions are true of a row of the answer.
    Semi(Vec<Expr>),
    /// Rows for which they are true of none.
    Anti(Vec<Expr>),
    /// Each row with each row of the answer for which the conditions are true.
    Inner(Vec<Expr>),
    /// As before, and rows for which they are true of none with NULLs.
    Left(Vec<Expr>),
}

impl Apply {
    /// Types of what it gives.
    pub(super) fn types(&self) -> Vec<PgType> {
        let mut types = self.left.types();
        match &self.kind {
            ApplyKind::Single | ApplyKind::Inner(_) | ApplyKind::Left(_) => types.extend(self.right.types()),
            ApplyKind::Mark(_) => types.push(PgType::Bool),
            ApplyKind::Semi(_) | ApplyKind::Anti(_) => {}
        }
        types
    }

    /// Its own expressions.
    pub(super) fn exprs(&self) -> Vec<&Expr> {
        match &self.kind {
            ApplyKind::Single => Vec::new(),
            ApplyKind::Mark(condition) => condition.iter().collect(),
            ApplyKind::Semi(conjuncts)
            | ApplyKind::Anti(conjuncts)
            | ApplyKind::Inner(conjuncts)
            | ApplyKind::Left(conjuncts) => conjuncts.iter().collect(),
        }
    }

    /// Its own expressions.
    pub(super) fn exprs_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ApplyKind::Single => Vec::new(),
            ApplyKind::Mark(condition) => condition.iter_mut().collect(),
            ApplyKind::Semi(conjuncts)
            | ApplyKind::Anti(conjuncts)
            | ApplyKind::Inner(conjuncts)
            | ApplyKind::Left(conjuncts) => conjuncts.iter_mut().collect(),
        }
    }
}

impl Logical {
    /// Whether a part of it reads the row of this dependent join.
    pub(crate) fn reads_outer(&self, scope: usize) -> bool {
        let mut reads = false;
        self.visit_exprs(&mut |part| reads |= is_outer(part, scope));
        reads
    }

    /// Whether a part of it reads this shared table.
    pub(crate) fn reads_shared(&self, of: usize) -> bool {
        crate::parse::with_stack(|| match self {
            Logical::Shared { table, .. } => *table == of,
            _ => self.inputs().into_iter().any(|input| input.reads_shared(of)),
        })
    }

    /// Whether it reads a row of a dependent join that is not a part of it.
    pub(crate) fn is_correlated(&self) -> bool {
        let mut own = Vec::new();
        self.add_scopes(&mut own);
        let mut correlated = false;
        self.visit_exprs(&mut |part| {
            correlated |= matches!(part, Expr::Outer { scope, .. } if !own.contains(scope));
        });
        correlated
    }

    fn add_scopes(&self, scopes: &mut Vec<usize>) {
        crate::parse::with_stack(|| {
            if let Logical::Apply(apply) = self {
                scopes.push(apply.scope);
            }
            self.inputs().into_iter().for_each(|input| input.add_scopes(scopes));
        });
    }
}

/// Whether it is a column of the row of this dependent join.
pub(crate) fn is_outer(expr: &Expr, of: usize) -> bool {
    matches!(expr, Expr::Outer { scope, .. } if *scope == of)
}

/// Whether an expression reads the row of this dependent join.
pub(crate) fn reads_outer(expr: &Expr, scope: usize) -> bool {
    let mut reads = false;
    expr.visit(&mut |part| reads |= is_outer(part, scope));
    reads
}
