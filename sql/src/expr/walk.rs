//! Walks through the parts of expressions.

use super::Expr;

impl Expr {
    /// Calls `visit` for each direct part.
    pub fn for_each_part<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            Expr::Column { .. }
            | Expr::Outer { .. }
            | Expr::Subquery { .. }
            | Expr::Literal { .. }
            | Expr::Unknown(_)
            | Expr::UntypedParameter(_)
            | Expr::Parameter { .. } => {}
            Expr::Call { args, .. } | Expr::And(args) | Expr::Or(args) | Expr::Coalesce(args) => {
                args.iter().for_each(visit);
            }
            Expr::Extreme { args, .. } => args.iter().for_each(visit),
            Expr::Cast { arg, .. }
            | Expr::Not(arg)
            | Expr::IsNull { arg, .. }
            | Expr::IsTruth { arg, .. }
            | Expr::InSet { arg, .. } => visit(arg),
            Expr::Case { arms, otherwise, .. } => {
                for (condition, result) in arms {
                    visit(condition);
                    visit(result);
                }
                otherwise.iter().for_each(|otherwise| visit(otherwise));
            }
            Expr::IsDistinct { left: a, right: b, .. }
            | Expr::NullIf { value: a, equal: b }
            | Expr::AnyAll { left: a, array: b, .. } => {
                visit(a);
                visit(b);
            }
            Expr::InList { arg, list, .. } => {
                visit(arg);
                list.iter().for_each(visit);
            }
        }
    }

    fn for_each_part_mut(&mut self, change: &mut dyn FnMut(&mut Expr)) {
        match self {
            Expr::Column { .. }
            | Expr::Outer { .. }
            | Expr::Subquery { .. }
            | Expr::Literal { .. }
            | Expr::Unknown(_)
            | Expr::UntypedParameter(_)
            | Expr::Parameter { .. } => {}
            Expr::Call { args, .. } | Expr::And(args) | Expr::Or(args) | Expr::Coalesce(args) => {
                args.iter_mut().for_each(change);
            }
            Expr::Extreme { args, .. } => args.iter_mut().for_each(change),
            Expr::Cast { arg, .. }
            | Expr::Not(arg)
            | Expr::IsNull { arg, .. }
            | Expr::IsTruth { arg, .. }
            | Expr::InSet { arg, .. } => change(arg),
            Expr::Case { arms, otherwise, .. } => {
                for (condition, result) in arms {
                    change(condition);
                    change(result);
                }
                otherwise.iter_mut().for_each(|otherwise| change(otherwise));
            }
            Expr::IsDistinct { left: a, right: b, .. }
            | Expr::NullIf { value: a, equal: b }
            | Expr::AnyAll { left: a, array: b, .. } => {
                change(a);
                change(b);
            }
            Expr::InList { arg, list, .. } => {
                change(arg);
                list.iter_mut().for_each(change);
            }
        }
    }

    /// Calls `visit` for this expression and all parts of it, from the outside in.
    pub fn visit(&self, visit: &mut dyn FnMut(&Expr)) {
        crate::parse::with_stack(|| {
            visit(self);
            self.for_each_part(&mut |part| part.visit(visit));
        });
    }

    /// The same expression with every part replaced by what `change` answers for it, from the inside out.
    #[must_use]
    pub fn transform(mut self, change: &mut dyn FnMut(Expr) -> Expr) -> Expr {
        self.transform_in_place(change);
        self
    }

    fn transform_in_place(&mut self, change: &mut dyn FnMut(Expr) -> Expr) {
        crate::parse::with_stack(|| {
            self.for_each_part_mut(&mut |part| part.transform_in_place(change));
            let old = std::mem::replace(self, Expr::Unknown(None));
            *self = change(old);
        });
    }
}
