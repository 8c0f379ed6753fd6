//! Draws runs as SVG: throughput and latencies, on the left over time, on the right against the rows stored; a line for
//! each run, so that one sees whose rate holds and whose decays.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::course::Point;
use super::load::Contender;
use super::machine;
use super::report::{Report, Run};
use crate::terminal::thousands;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (1280, 1160);
/// Where the legend begins, below title, machine and load.
const LEGEND: i32 = 98;
/// More points than a panel has room for only make the file large.
const MOST_POINTS: usize = 300;
/// Okabe and Ito's palette, told apart by colour-blind readers too; the baseline is grey.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const BASELINE: RGBColor = RGBColor(90, 90, 90);
const INK: RGBColor = RGBColor(40, 40, 40);
const FONT: &str = "sans-serif";

/// One row of panels: its title, and the figure that it draws.
type Panel = (&'static str, fn(&Point) -> f64);

const PANELS: [Panel; 3] = [
    ("rows stored per second", |point| point.rows_per_second),
    ("worst commit of each interval, milliseconds", |point| point.figures.commit.max),
    ("end-to-end latency, p99 of each interval, milliseconds", |point| point.figures.end_to_end.p99),
];
const COLUMNS: [Panel; 2] = [("seconds", |point| point.seconds), ("rows stored", |point| point.rows as f64)];

/// Writes the picture of these runs.
///
/// # Errors
/// In words, when the file cannot be written.
pub fn draw(path: &Path, report: &Report) -> Result<(), String> {
    draw_all(path, report).map_err(|error| format!("draw {}: {error}", path.display()))
}

fn draw_all(path: &Path, report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let head = LEGEND + 22 * report.runs.len() as i32;
    let (top, panels) = root.split_vertically(head);
    draw_head(&top, report)?;
    for (row, (what, y)) in panels.split_evenly((PANELS.len(), 1)).iter().zip(PANELS) {
        for (area, (unit, x)) in row.split_evenly((1, COLUMNS.len())).iter().zip(COLUMNS) {
            draw_panel(area, report, (unit, x), (what, y))?;
        }
    }
    root.present()?;
    Ok(())
}

/// Title, machine and legend.
fn draw_head(area: &Area<'_>, report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    let title = (FONT, 26).into_font().style(FontStyle::Bold).color(&INK);
    let text = (FONT, 17).into_font().color(&INK);
    area.draw(&Text::new("forebay bench", (24, 18), title))?;
    area.draw(&Text::new(machine::text(), (24, 48), text.clone()))?;
    area.draw(&Text::new(report.load().unwrap_or_default(), (24, 70), text.clone()))?;
    for (index, run) in report.runs.iter().enumerate() {
        let y = LEGEND + 6 + 22 * index as i32;
        let style = color(report, index).stroke_width(4);
        area.draw(&PathElement::new([(24, y), (60, y)], style))?;
        let rate = thousands(run.outcome.rate() as u64);
        let rows = thousands(run.outcome.rows);
        let label = format!("{}: {rate} rows/s over {rows} rows", run.load.label);
        area.draw(&Text::new(label, (70, y - 9), text.clone()))?;
    }
    Ok(())
}

fn draw_panel(
    area: &Area<'_>,
    report: &Report,
    (unit, x): Panel,
    (what, y): Panel,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = |run: &Run| run.outcome.course.at_most(MOST_POINTS);
    let points: Vec<Vec<(f64, f64)>> =
        report.runs.iter().map(|run| points(run).iter().map(|point| (x(point), y(point))).collect()).collect();
    let most = |pick: fn(&(f64, f64)) -> f64| points.iter().flatten().map(pick).fold(1e-3, f64::max);
    let (width, height) = (most(|point| point.0), most(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(what, (FONT, 18).into_font().color(&INK))
        .margin(10)
        .margin_right(48)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..width, 0.0..height * 1.08)?;
    chart
        .configure_mesh()
        .x_desc(unit)
        .x_labels(6)
        .y_labels(6)
        .max_light_lines(0)
        .bold_line_style(RGBColor(225, 225, 225))
        .axis_style(RGBColor(120, 120, 120))
        .label_style((FONT, 15).into_font().color(&INK))
        .axis_desc_style((FONT, 16).into_font().color(&INK))
        .x_label_formatter(&|value| number(*value, width))
        .y_label_formatter(&|value| number(*value, height))
        .draw()?;
    for (index, points) in points.into_iter().enumerate() {
        let color = color(report, index);
        if let [point] = points.as_slice() {
            // A line of one point would not be seen.
            chart.draw_series([Circle::new(*point, 4, color.filled())])?;
        }
        chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    }
    Ok(())
}

fn color(report: &Report, index: usize) -> RGBColor {
    match report.runs[index].load.contender {
        Contender::SqliteC => BASELINE,
        Contender::Forebay => COLORS[index % COLORS.len()],
    }
}

/// A number on an axis that ends at `most`: thousands apart, decimals only where whole numbers would all be the same.
fn number(value: f64, most: f64) -> String {
    match most {
        most if most >= 10.0 => thousands(value.round() as u64),
        most if most >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
