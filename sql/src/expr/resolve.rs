//! Which function or operator a call means (PG 15, chapters 10.2 and 10.3; `func_select_candidate`).

use omen_core::types::PgType;

use super::build::Coercion;
use super::cast::{Category, can_coerce, category, is_preferred};
use super::registry::{Function, Param};

/// The type of an argument while a call is resolved; `None` for literals and parameters whose type is not known.
pub(crate) type ArgType = Option<PgType>;

/// What resolution found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Resolution {
    /// This one.
    Found(&'static Function),
    /// None takes these arguments.
    Missing,
    /// Several do, none better than the others.
    Ambiguous,
}

fn takes_exactly(param: Param, arg: PgType) -> bool {
    param == Param::Is(arg.base())
}

fn takes(param: Param, arg: ArgType) -> bool {
    match (param, arg) {
        (Param::Any | Param::Element, _) | (_, None) => true,
        (Param::NonArray, Some(from)) => !matches!(from, PgType::Array(_)),
        (Param::Array, Some(from)) => matches!(from, PgType::Array(_)),
        (Param::Is(to), Some(from)) => can_coerce(from, to, Coercion::Implicit),
    }
}

/// Whether a function takes all arguments, and those that must share a type can.
fn takes_all(function: &Function, args: &[ArgType]) -> bool {
    args.iter().enumerate().all(|(i, arg)| takes(function.param(i), *arg))
        && shared_type(function, args).is_some()
}

/// The type that the arguments of kinds `Array` and `Element` share; `Some(None)` if nothing tells it. The outer `None`:
/// they cannot.
pub(crate) fn shared_type(function: &Function, args: &[ArgType]) -> Option<ArgType> {
    let mut types: Vec<ArgType> = Vec::new();
    for (i, arg) in args.iter().enumerate() {
        match (function.param(i), arg) {
            (Param::Array, Some(arg)) => types.push(Some(arg.element()?.base())),
            (Param::Element, Some(PgType::Array(_))) if function.params.contains(&Param::Array) => {
                return None;
            }
            (Param::Element, Some(arg)) => types.push(Some(arg.base())),
            _ => {}
        }
    }
    let Some(first) = types.first().copied() else { return Some(None) };
    if function.compatible {
        let common = super::build::common_type(&types).ok()?;
        let becomes = |from: PgType| can_coerce(from, common, Coercion::Implicit);
        return types.iter().flatten().all(|from| becomes(*from)).then_some(Some(common.base()));
    }
    types.iter().all(|other| *other == first).then_some(first)
}

/// Finds the function of this name for these arguments.
pub(crate) fn function(candidates: &[&'static Function], args: &[ArgType]) -> Resolution {
    let fits: Vec<&'static Function> = candidates.iter().copied().filter(|f| f.takes(args.len())).collect();
    if let Some(exact) = exact(&fits, args) {
        return Resolution::Found(exact);
    }
    select(fits, args)
}

/// Finds the operator of this name for one or two operands.
pub(crate) fn operator(candidates: &[&'static Function], args: &[ArgType]) -> Resolution {
    let fits: Vec<&'static Function> =
        candidates.iter().copied().filter(|f| f.params.len() == args.len()).collect();
    // An operand of unknown type is first taken to be of the other's type.
    let assumed: Option<Vec<ArgType>> = match args {
        [Some(known), None] | [None, Some(known)] => Some(vec![Some(*known), Some(*known)]),
        [Some(_), Some(_)] | [Some(_)] => Some(args.to_vec()),
        _ => None,
    };
    if let Some(exact) = assumed.and_then(|assumed| exact(&fits, &assumed)) {
        return Resolution::Found(exact);
    }
    select(fits, args)
}

fn exact(candidates: &[&'static Function], args: &[ArgType]) -> Option<&'static Function> {
    candidates.iter().copied().find(|function| {
        args.iter().enumerate().all(|(i, arg)| arg.is_some_and(|arg| takes_exactly(function.param(i), arg)))
    })
}

/// Keeps the candidates with the highest score.
fn keep_best(candidates: &mut Vec<&'static Function>, score: impl Fn(&Function) -> usize) {
    let best = candidates.iter().map(|function| score(function)).max().unwrap_or(0);
    candidates.retain(|function| score(function) == best);
}

fn select(fits: Vec<&'static Function>, args: &[ArgType]) -> Resolution {
    let mut candidates = fits;
    candidates.retain(|function| takes_all(function, args));
    let known = || args.iter().enumerate().filter_map(|(i, arg)| Some((i, (*arg)?)));
    if candidates.len() > 1 {
        keep_best(&mut candidates, |function| {
            known().filter(|(i, arg)| takes_exactly(function.param(*i), *arg)).count()
        });
    }
    if candidates.len() > 1 {
        keep_best(&mut candidates, |function| {
            let good = |(i, arg): &(usize, PgType)| match function.param(*i) {
                Param::Is(to) => to == arg.base() || (category(to) == category(*arg) && is_preferred(to)),
                _ => false,
            };
            known().filter(good).count()
        });
    }
    if candidates.len() > 1 {
        by_category(&mut candidates, args);
    }
    if candidates.len() > 1 {
        same_as_known(&mut candidates, args);
    }
    match candidates.as_slice() {
        [] => Resolution::Missing,
        [one] => Resolution::Found(one),
        _ => Resolution::Ambiguous,
    }
}

/// Looks at what the candidates take where the type is unknown: texts win, else one category for all is kept; of a
/// category with a preferred type, only that.
fn by_category(candidates: &mut Vec<&'static Function>, args: &[ArgType]) {
    let mut wanted: Vec<(usize, Category, bool)> = Vec::new();
    for (i, _) in args.iter().enumerate().filter(|(_, arg)| arg.is_none()) {
        let types: Vec<PgType> = candidates
            .iter()
            .filter_map(|function| match function.param(i) {
                Param::Is(pg_type) => Some(pg_type),
                _ => None,
            })
            .collect();
        let text = types.iter().any(|pg_type| category(*pg_type) == Category::Text);
        let Some(first) = types.first().map(|pg_type| category(*pg_type)) else { return };
        let uniform =
            types.len() == candidates.len() && types.iter().all(|pg_type| category(*pg_type) == first);
        if !text && !uniform {
            return;
        }
        let wanted_category = if text { Category::Text } else { first };
        let preferred =
            types.iter().any(|pg_type| category(*pg_type) == wanted_category && is_preferred(*pg_type));
        wanted.push((i, wanted_category, preferred));
    }
    let fits = |function: &Function| {
        wanted.iter().all(|(i, wanted, preferred)| match function.param(*i) {
            Param::Is(pg_type) => category(pg_type) == *wanted && (!preferred || is_preferred(pg_type)),
            _ => false,
        })
    };
    if candidates.iter().any(|function| fits(function)) {
        candidates.retain(|function| fits(function));
    }
}

/// If all known arguments have one type, the unknown ones are taken to have it, too.
fn same_as_known(candidates: &mut Vec<&'static Function>, args: &[ArgType]) {
    let mut known = args.iter().flatten().map(|arg| arg.base());
    let Some(first) = known.next() else { return };
    if !known.all(|arg| arg == first) || args.iter().all(Option::is_some) {
        return;
    }
    let assumed = vec![Some(first); args.len()];
    let fits = |function: &Function| takes_all(function, &assumed);
    let fitting: Vec<&'static Function> =
        candidates.iter().copied().filter(|function| fits(function)).collect();
    if fitting.len() == 1 {
        *candidates = fitting;
    }
}
