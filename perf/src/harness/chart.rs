//! Line and bar charts as SVG.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;

/// Colours that also those tell apart who see few (Okabe and Ito).
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One line of a chart.
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// What stands beside the axes.
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    /// Where the x axis has ticks, and what they are called.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Text for markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number as people write it: `1,234`, `56.7`, `0.123`.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

/// Lines; the y axis is logarithmic. Points that are not above 0 are left out.
pub(super) fn lines(labels: &Labels<'_>, series: &[Series<'_>]) -> String {
    let points = || series.iter().flat_map(|line| &line.points).filter(|(_, y)| *y > 0.0);
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ticks = labels.ticks.iter().map(|(x, _)| *x);
    let (x_low, x_high) = bounds(&mut points().map(|(x, _)| *x).chain(ticks));
    let (y_low, y_high) = bounds(&mut points().map(|(_, y)| *y));
    let mut svg = begun(labels.title);
    if y_low > y_high {
        return svg + "</svg>\n";
    }
    let (decade_low, mut decade_high) = (y_low.log10().floor(), y_high.log10().ceil());
    if decade_high <= decade_low {
        decade_high = decade_low + 1.0;
    }
    let x_at = |x: f64| LEFT + (x - x_low) / (x_high - x_low).max(1e-9) * (WIDTH - LEFT - RIGHT);
    let y_at = |y: f64| {
        HEIGHT - BOTTOM - (y.log10() - decade_low) / (decade_high - decade_low) * (HEIGHT - TOP - BOTTOM)
    };
    for decade in decade_low as i32..=decade_high as i32 {
        let value = 10f64.powi(decade);
        grid(&mut svg, y_at(value), &number(value));
    }
    for (x, name) in &labels.ticks {
        let (x, y) = (x_at(*x), HEIGHT - BOTTOM + 15.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", escaped(name));
    }
    axis_names(&mut svg, labels);
    for (index, line) in series.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let at = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", x_at(*x), y_at(*y));
        let path: Vec<String> = line.points.iter().filter(|(_, y)| *y > 0.0).map(at).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{}\"/>",
            path.join(" ")
        );
        legend(&mut svg, index, line.name);
    }
    svg + "</svg>\n"
}

/// A bar for each name, from 0.
pub(super) fn bars(title: &str, unit: &str, values: &[(&str, f64)]) -> String {
    let mut svg = begun(title);
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let step = (HEIGHT - TOP - BOTTOM) / values.len().max(1) as f64;
    for (index, (name, value)) in values.iter().enumerate() {
        let (y, color) = (TOP + step * index as f64, COLORS[index % COLORS.len()]);
        let width = if most > 0.0 { value / most * (WIDTH - LEFT - RIGHT - 190.0) } else { 0.0 };
        let (height, middle) = ((step * 0.7).min(40.0), y + (step * 0.35).min(20.0) + 4.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LEFT + 40.0,
            escaped(name)
        );
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>",
            LEFT + 48.0
        );
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{middle:.1}\">{} {}</text>",
            LEFT + 56.0 + width,
            number(*value),
            escaped(unit)
        );
    }
    svg + "</svg>\n"
}

fn begun(title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"{0}\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"16\" font-size=\"13\" font-weight=\"600\">{0}</text>\n",
        escaped(title)
    )
}

fn grid(svg: &mut String, y: f64, name: &str) {
    let right = WIDTH - RIGHT;
    let _ = writeln!(svg, "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>");
    let (x, y) = (LEFT - 6.0, y + 4.0);
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>");
}

fn axis_names(svg: &mut String, labels: &Labels<'_>) {
    let (x, y) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0);
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", escaped(labels.x));
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"14\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle})\">{}</text>",
        escaped(labels.y)
    );
}

fn legend(svg: &mut String, index: usize, name: &str) {
    let (x, y) = (LEFT + 10.0 + 130.0 * index as f64, TOP - 2.0);
    let color = COLORS[index % COLORS.len()];
    let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{color}\"/>", y - 5.0);
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{y}\">{}</text>", x + 19.0, escaped(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (value, text) in
            [(1234567.0, "1,234,567"), (100.4, "100"), (56.71, "56.7"), (1.0, "1.00"), (0.1234, "0.123")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn charts_are_well_formed_with_and_without_points() {
        let labels = || Labels { title: "a < b", x: "x", y: "y", ticks: vec![(0.0, "none".to_owned())] };
        let line = |points| [Series { name: "s & t", points }];
        let flat = lines(&labels(), &line(vec![(1.0, 10.0), (2.0, 10.0), (3.0, 0.0)]));
        let empty = lines(&labels(), &line(Vec::new()));
        for svg in [flat, empty, bars("t", "us", &[]), bars("t", "us", &[("a", 0.0), ("b", 2.0)])] {
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("a < b"), "{svg}");
        }
    }
}
