//! Window functions in explanations.

use super::expr::{expr_text, list_text, order_text};
use crate::fragment::window::WindowStage;
use crate::logical::{Exclude, Frame, FrameBound, FrameUnits, WindowCall, WindowFunction};

/// The text of a window: its functions, and over what.
pub(super) fn window_text(window: &WindowStage, names: &[String]) -> String {
    let calls: Vec<String> = window
        .calls
        .iter()
        .map(|call| format!("{}{}", call_name(call, names), frame_text(&call.frame)))
        .collect();
    let mut over = Vec::new();
    if !window.partition.is_empty() {
        let columns: Vec<&str> =
            window.partition.iter().filter_map(|column| names.get(*column)).map(String::as_str).collect();
        over.push(format!("partition by {}", columns.join(", ")));
    }
    if !window.order.is_empty() {
        over.push(format!("order by {}", order_text(&window.order, names)));
    }
    format!("window {} over ({})", calls.join(", "), over.join(" "))
}

/// The text of a call.
pub(super) fn call_name(call: &WindowCall, names: &[String]) -> String {
    let name = match call.function {
        WindowFunction::RowNumber => "row_number",
        WindowFunction::Rank => "rank",
        WindowFunction::DenseRank => "dense_rank",
        WindowFunction::PercentRank => "percent_rank",
        WindowFunction::CumeDist => "cume_dist",
        WindowFunction::Ntile => "ntile",
        WindowFunction::Lag => "lag",
        WindowFunction::Lead => "lead",
        WindowFunction::FirstValue => "first_value",
        WindowFunction::LastValue => "last_value",
        WindowFunction::NthValue => "nth_value",
        WindowFunction::Aggregate(name) => name,
    };
    let filter = match &call.filter {
        Some(filter) => format!(" FILTER (WHERE {})", expr_text(filter, names)),
        None => String::new(),
    };
    format!("{name}({}){filter}", list_text(call.args.iter(), names))
}

fn frame_text(frame: &Frame) -> String {
    let units = match frame.units {
        FrameUnits::Rows => "rows",
        FrameUnits::Groups => "groups",
        FrameUnits::Range if (&frame.start, &frame.end) == (&FrameBound::Unbounded, &FrameBound::Current) => {
            return String::new();
        }
        FrameUnits::Range => "range",
    };
    let bound = |bound: &FrameBound, unbounded: &str| match bound {
        FrameBound::Unbounded => format!("unbounded {unbounded}"),
        FrameBound::Current => "current row".to_owned(),
        FrameBound::Offset { following, offset, .. } => {
            format!("{} {}", expr_text(offset, &[]), if *following { "following" } else { "preceding" })
        }
    };
    let exclude = match frame.exclude {
        Exclude::NoOthers => "",
        Exclude::CurrentRow => " exclude current row",
        Exclude::Group => " exclude group",
        Exclude::Ties => " exclude ties",
    };
    let (start, end) = (bound(&frame.start, "preceding"), bound(&frame.end, "following"));
    format!(" {units} between {start} and {end}{exclude}")
}
