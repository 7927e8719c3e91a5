//! Cost by number of entries as an SVG: nanoseconds per insert and per look-up from 100,000 entries on.

use std::error::Error;

use plotters::prelude::*;

use crate::chart::draw_lines;
use crate::row::Row;
use crate::text::distinct;

/// The rows of the `growth` workloads in `rows` as SVG, inserts on the left and look-ups on the right.
///
/// # Errors
///
/// Whatever keeps it from being drawn.
pub fn drawn(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1200, 600)).into_drawing_area();
        area.fill(&WHITE)?;
        for (half, metric) in area.split_evenly((1, 2)).iter().zip(["insert", "get_hit"]) {
            panel(half, rows, metric)?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn panel<D: DrawingBackend>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    rows: &[Row],
    metric: &str,
) -> Result<(), Box<dyn Error>>
where
    D::ErrorType: 'static,
{
    let points = |subject: &str| -> Vec<(f64, f64)> {
        let of_subject =
            rows.iter().filter(|row| row.subject == subject && row.metric == metric && row.peer.is_none());
        of_subject.filter_map(|row| Some((entries_of(row)?, row.value))).collect()
    };
    let growth = rows.iter().filter(|row| entries_of(row).is_some());
    let subjects = distinct(growth.map(|row| row.subject.as_str()));
    let top = subjects.iter().flat_map(|subject| points(subject)).map(|point| point.1).fold(100.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{metric}, ns by entries"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d((1e5..1e7).log_scale(), (50.0..top * 1.2).log_scale())?;
    chart.configure_mesh().draw()?;
    draw_lines(
        &mut chart,
        subjects.iter().enumerate().map(|(number, subject)| (*subject, number, points(subject))),
    )
}

/// The number of entries in the name of a `growth` workload.
pub fn entries_of(row: &Row) -> Option<f64> {
    row.workload.strip_prefix("growth/")?.parse().ok()
}
