//! Draws runs as SVG: throughput over time and against the rows stored, and latencies over time.

use std::path::Path;

use plotters::prelude::*;

use super::load::{Outcome, Sample};

const SIZE: (u32, u32) = (960, 900);
const COLORS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
];

/// A panel: its title, what stands on its axes, and how a sample becomes a point.
struct Panel {
    title: &'static str,
    x: &'static str,
    point: fn(&Sample) -> (f64, f64),
}

const PANELS: [Panel; 3] = [
    Panel { title: "thousand rows/s over time", x: "seconds", point: |s| (s.seconds, s.rows_per_second / 1e3) },
    Panel {
        title: "thousand rows/s against million rows stored",
        x: "million rows",
        point: |s| (s.rows as f64 / 1e6, s.rows_per_second / 1e3),
    },
    Panel {
        title: "end-to-end latency, p99 of each second, milliseconds",
        x: "seconds",
        point: |s| (s.seconds, s.end_to_end.p99),
    },
];

/// Writes the picture of these runs.
///
/// # Errors
/// In words, when the file cannot be written.
pub fn draw(path: &Path, outcomes: &[Outcome]) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("draw {}: {error}", path.display());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    for (panel, area) in PANELS.iter().zip(root.split_evenly((PANELS.len(), 1))) {
        draw_panel(panel, &area, outcomes).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

fn draw_panel(
    panel: &Panel,
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    outcomes: &[Outcome],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = |outcome: &Outcome| outcome.samples.iter().map(panel.point).collect::<Vec<_>>();
    let all: Vec<_> = outcomes.iter().flat_map(points).collect();
    let most = |pick: fn(&(f64, f64)) -> f64| all.iter().map(pick).fold(1e-3, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..most(|point| point.0), 0.0..most(|point| point.1) * 1.05)?;
    chart.configure_mesh().x_desc(panel.x).light_line_style(WHITE.mix(0.0)).draw()?;
    for (outcome, color) in outcomes.iter().zip(COLORS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(points(outcome), color.stroke_width(2)))?
            .label(&outcome.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().border_style(BLACK.mix(0.3)).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}
