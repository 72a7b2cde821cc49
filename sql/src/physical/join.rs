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
    /// What each input is for.
    pub(crate) roles: Vec<Role>,
    /// What becomes of rows without a partner: of the first and of the second input.
    pub(crate) kind: JoinKind,
    /// When rows are partners: over the columns of all inputs side by side.
    pub(crate) conjuncts: Vec<Tie>,
    /// What a mark asks of partners.
    pub(crate) mark: Option<Expr>,
    /// Which of these columns are given; a mark is behind them.
    pub(crate) output: Vec<usize>,
}

/// What an input of a join is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Its rows are given with their partners.
    Joined,
    /// Rows of the others are given if they have a partner here.
    Semi,
    /// Rows of the others are given if they have none here.
    Anti,
}

/// A condition.
#[derive(Clone, Debug)]
pub(crate) struct Tie {
    /// Over the columns of all inputs side by side.
    pub(crate) expr: Expr,
    /// The semi or anti joined input whose partners it describes.
    pub(crate) of: Option<usize>,
}

/// Most inputs of one plan.
const INPUTS_MAX: usize = 120;

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
    let mut plan = JoinPlan {
        inputs: Vec::new(),
        roles: Vec::new(),
        kind: join.kind,
        conjuncts: Vec::new(),
        mark: join.mark.clone(),
        output: Vec::new(),
    };
    if flows_together(join.kind) {
        plan.kind = JoinKind::Inner;
        plan.output = add(Logical::Join(Box::new(join)), &mut plan);
    } else {
        plan.inputs = vec![plan_query(join.left).in_batches(), plan_query(join.right).in_batches()];
        plan.roles = vec![Role::Joined; 2];
        plan.conjuncts = join.conjuncts.into_iter().map(|expr| Tie { expr, of: None }).collect();
        plan.output = join.output;
    }
    plan
}

/// Whether joins of this kind can run in any order with inner joins.
fn flows_together(kind: JoinKind) -> bool {
    matches!(kind, JoinKind::Inner | JoinKind::Semi | JoinKind::Anti)
}

/// How many inputs a node of an inner join has.
fn input_count(node: &Logical) -> usize {
    match node {
        Logical::Join(join) if flows_together(join.kind) => {
            input_count(&join.left) + if join.kind == JoinKind::Inner { input_count(&join.right) } else { 1 }
        }
        _ => 1,
    }
}

/// Adds what a node of an inner join reads; answers where the node's columns are among those of the plan.
fn add(node: Logical, plan: &mut JoinPlan) -> Vec<usize> {
    match node {
        Logical::Join(join) if flows_together(join.kind) => {
            let kind = join.kind;
            let is_large = input_count(&join.left) + input_count(&join.right) > INPUTS_MAX;
            let mut columns = match is_large {
                true => add_input(join.left, Role::Joined, plan),
                false => add(join.left, plan),
            };
            let of = plan.inputs.len();
            columns.extend(match kind {
                JoinKind::Semi => add_input(join.right, Role::Semi, plan),
                JoinKind::Anti => add_input(join.right, Role::Anti, plan),
                _ if is_large => add_input(join.right, Role::Joined, plan),
                _ => add(join.right, plan),
            });
            let of = (kind != JoinKind::Inner).then_some(of);
            plan.conjuncts.extend(join.conjuncts.into_iter().map(|mut expr| {
                renumber(&mut expr, &|column| columns[column]);
                Tie { expr, of }
            }));
            join.output.into_iter().map(|column| columns[column]).collect()
        }
        other => add_input(other, Role::Joined, plan),
    }
}

/// Adds an input; answers where its columns are among those of the plan.
fn add_input(node: Logical, role: Role, plan: &mut JoinPlan) -> Vec<usize> {
    let first = plan.inputs.iter().map(|input| input.types.len()).sum::<usize>();
    let input = plan_query(node).in_batches();
    let columns = (first..first + input.types.len()).collect();
    plan.inputs.push(input);
    plan.roles.push(role);
    columns
}
