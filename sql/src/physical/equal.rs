//! Columns that inner joins make equal, and what follows: `a = b` and `b = c` tie `a` and `c`, too.

use crate::expr::Expr;

/// Columns, counted over all inputs of a join, some of which are known to be equal.
#[derive(Clone, Debug)]
pub(super) struct Equal {
    /// For each column another one that it is equal to, or itself.
    parents: Vec<usize>,
}

impl Equal {
    /// None of so many columns is equal to another.
    pub(super) fn new(columns: usize) -> Equal {
        Equal { parents: (0..columns).collect() }
    }

    fn root(&self, mut column: usize) -> usize {
        while self.parents[column] != column {
            column = self.parents[column];
        }
        column
    }

    /// Whether two columns are known to be equal.
    pub(super) fn knows(&self, a: usize, b: usize) -> bool {
        self.root(a) == self.root(b)
    }

    /// Two columns are equal from now on.
    pub(super) fn add(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
    }

    /// The columns that are equal to others, those that are equal to each other together.
    pub(super) fn classes(&self) -> Vec<Vec<usize>> {
        let mut classes: Vec<Vec<usize>> = vec![Vec::new(); self.parents.len()];
        (0..self.parents.len()).for_each(|column| classes[self.root(column)].push(column));
        classes.into_iter().filter(|class| class.len() > 1).collect()
    }
}

/// The two columns that a condition asks to be equal, if it asks nothing else and they have one type.
pub(super) fn equal_columns(expr: &Expr) -> Option<(usize, usize)> {
    match expr {
        Expr::Call { function, args, .. } if function.name == "=" => match args.as_slice() {
            [Expr::Column { index: a, pg_type: one }, Expr::Column { index: b, pg_type: other }] => {
                (one == other).then_some((*a, *b))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_to_the_same_is_equal() {
        let mut equal = Equal::new(6);
        equal.add(4, 2);
        equal.add(5, 0);
        assert!(!equal.knows(4, 5));
        equal.add(2, 5);
        assert!(equal.knows(4, 0) && equal.knows(2, 5) && !equal.knows(1, 0));
        assert_eq!(equal.classes(), [[0, 2, 4, 5]]);
    }
}
