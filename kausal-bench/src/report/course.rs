//! Lines: how much memory of its own each store has while it is filled, in budgets.

use std::error::Error;

use plotters::prelude::*;

use crate::chart::draw_lines;
use crate::peers::plan::MEMORY_AT;
use crate::peers::stores::NAMES;
use crate::row::Row;

/// Whether `row` is a point.
pub(super) fn is_shown(row: &Row) -> bool {
    row.peer.is_none() && percent(row).is_some()
}

/// A line for each store, and one for the budget itself.
///
/// # Errors
///
/// Whatever keeps it from being drawn.
pub(super) fn drawn(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let points = |store: &str| -> Vec<(f64, f64)> {
        let of_store = rows.iter().filter(|row| row.subject == store && is_shown(row));
        of_store.filter_map(|row| Some((percent(row)?, row.value))).collect()
    };
    let top = rows.iter().filter(|row| is_shown(row)).map(|row| row.value).fold(1.0, f64::max);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1100, 460)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..100.0, 0.0..top * 1.1)?;
        chart.configure_mesh().x_desc("percent filled").y_desc("budgets").draw()?;
        let stores = NAMES.into_iter().enumerate().map(|(number, store)| (store, number, points(store)));
        let budget = ("the budget", NAMES.len(), vec![(0.0, 1.0), (100.0, 1.0)]);
        draw_lines(&mut chart, stores.chain([budget]))?;
        area.present()?;
    }
    Ok(svg)
}

fn percent(row: &Row) -> Option<f64> {
    row.metric.strip_prefix(MEMORY_AT)?.parse().ok()
}
