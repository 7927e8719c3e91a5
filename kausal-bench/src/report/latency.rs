//! Lines: how long the median put takes, how long the slowest, and what lies between.

use std::error::Error;

use plotters::prelude::*;

use crate::chart::draw_lines;
use crate::peers::compare::workload;
use crate::peers::stores::NAMES;
use crate::row::Row;

/// The workloads, side by side.
const WORKLOADS: [&str; 2] = ["latency/put", "latency/paced"];

/// The points of a line, from left to right: metric and label.
const POINTS: [(&str, &str); 4] =
    [("p50", "50 %"), ("p99", "99 %"), ("p99_9", "99.9 %"), ("slowest", "slowest")];

/// Whether `row` is a point.
pub(super) fn is_shown(row: &Row) -> bool {
    row.peer.is_none()
        && WORKLOADS.contains(&workload(row))
        && POINTS.iter().any(|(metric, _)| *metric == row.metric)
}

/// A panel for each workload, a line for each store.
///
/// # Errors
///
/// Whatever keeps it from being drawn.
pub(super) fn drawn(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1100, 460)).into_drawing_area();
        area.fill(&WHITE)?;
        for (panel, name) in area.split_evenly((1, 2)).iter().zip(WORKLOADS) {
            let points: Vec<&Row> =
                rows.iter().filter(|row| is_shown(row) && workload(row) == name).collect();
            drawn_in(panel, name, &points)?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn drawn_in<'a, D: DrawingBackend + 'a>(
    area: &'a DrawingArea<D, plotters::coord::Shift>,
    name: &str,
    rows: &[&Row],
) -> Result<(), Box<dyn Error>>
where
    D::ErrorType: 'static,
{
    let top = rows.iter().map(|row| row.value).fold(10.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{name}, µs"), ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..3.2, (0.1..top * 2.0).log_scale())?;
    let label = |place: &f64| {
        let is_whole = place.fract().abs() < 1e-6;
        POINTS
            .get(*place as usize)
            .filter(|_| is_whole)
            .map_or(String::new(), |(_, label)| (*label).to_owned())
    };
    chart.configure_mesh().x_labels(4).x_label_formatter(&label).draw()?;
    let lines = NAMES.into_iter().enumerate().map(|(number, store)| {
        let points = POINTS.iter().enumerate().filter_map(|(place, (metric, _))| {
            let row = rows.iter().find(|row| row.subject == store && row.metric == *metric)?;
            Some((place as f64, row.value.max(0.1)))
        });
        (store, number, points.collect())
    });
    draw_lines(&mut chart, lines)
}
