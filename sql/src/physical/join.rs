//! How joins are planned: which inputs there are and what ties them together. In which order inner joins run, and by
//! which algorithm, is decided when they start, from estimates (`join_order`).

use crate::expr::Expr;
use crate::logical::{Join, JoinKind, Logical};
use crate::rules::renumber;

use super::{QueryPlan, plan_query};

/// Inputs that are joined.
#[derive(Clone, Debug)]
pub(crate) struct JoinPlan {
    /// Any number that all must have a partner, or two. None of them is a point.
    pub(crate) inputs: Vec<QueryPlan>,
    /// What becomes of rows without a partner: of the first and of the second input.
    pub(crate) kind: JoinKind,
    /// When rows are partners: over the columns of all inputs side by side.
    pub(crate) conjuncts: Vec<Expr>,
    /// Which of these columns are given.
    pub(crate) output: Vec<usize>,
}

impl JoinPlan {
    /// The positions of the first columns of the inputs, and the number of all columns.
    pub(crate) fn offsets(&self) -> Vec<usize> {
        let mut offsets = vec![0];
        for input in &self.inputs {
            offsets.push(offsets[offsets.len() - 1] + input.types.len());
        }
        offsets
    }
}

/// Plans a join; inner joins of inner joins become one.
pub(super) fn plan_join(join: Join) -> JoinPlan {
    let mut plan =
        JoinPlan { inputs: Vec::new(), kind: join.kind, conjuncts: Vec::new(), output: Vec::new() };
    if join.kind == JoinKind::Inner {
        plan.output = add(Logical::Join(Box::new(join)), &mut plan);
    } else {
        plan.inputs = vec![plan_query(join.left).in_batches(), plan_query(join.right).in_batches()];
        plan.conjuncts = join.conjuncts;
        plan.output = join.output;
    }
    plan
}

/// Adds what a node of an inner join reads; answers where the node's columns are among those of the plan.
fn add(node: Logical, plan: &mut JoinPlan) -> Vec<usize> {
    match node {
        Logical::Join(join) if join.kind == JoinKind::Inner => {
            let mut columns = add(join.left, plan);
            columns.extend(add(join.right, plan));
            plan.conjuncts.extend(join.conjuncts.into_iter().map(|mut conjunct| {
                renumber(&mut conjunct, &|column| columns[column]);
                conjunct
            }));
            join.output.into_iter().map(|column| columns[column]).collect()
        }
        other => {
            let first = plan.inputs.iter().map(|input| input.types.len()).sum::<usize>();
            let input = plan_query(other).in_batches();
            let columns = (first..first + input.types.len()).collect();
            plan.inputs.push(input);
            columns
        }
    }
}
