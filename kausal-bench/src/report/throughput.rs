//! Bars: how much of the best rate of a workload each store reaches.

use std::error::Error;

use plotters::prelude::*;

use crate::peers::compare::{is_ours, workload};
use crate::peers::stores::NAMES;
use crate::row::Row;
use crate::text::distinct;

const BAR_PIXELS: usize = 7;
const MARGIN_PIXELS: usize = 10;
const AXIS_PIXELS: usize = 30;

/// Whether `row` is a bar.
pub(super) fn is_shown(row: &Row) -> bool {
    is_ours(row) && row.metric == "rate" && row.peer.is_none()
}

/// All bars, the workloads from top to bottom in the order of `rows`.
///
/// # Errors
///
/// Whatever keeps them from being drawn.
pub(super) fn drawn(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let bars: Vec<&Row> = rows.iter().filter(|row| is_shown(row)).collect();
    let workloads = distinct(bars.iter().map(|row| workload(row)));
    let stores: Vec<&str> =
        NAMES.into_iter().filter(|name| bars.iter().any(|row| row.subject == *name)).collect();
    let lines_per_workload = stores.len() + 1;
    let line_count = lines_per_workload * workloads.len();
    let mut svg = String::new();
    {
        let size = (1100, (line_count * BAR_PIXELS + 2 * MARGIN_PIXELS + AXIS_PIXELS) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(MARGIN_PIXELS as u32)
            .x_label_area_size(AXIS_PIXELS as u32)
            .y_label_area_size(150)
            .build_cartesian_2d(0.0..1.0, (line_count as f64)..0.0)?;
        // Names stand beside their bars; the axis knows numbers only.
        chart.configure_mesh().disable_y_mesh().y_labels(0).draw()?;
        for (number, store) in stores.iter().enumerate() {
            let color = Palette99::pick(number).filled();
            let rectangles = workloads.iter().enumerate().filter_map(|(place, name)| {
                let of_workload = || bars.iter().filter(|row| workload(row) == *name);
                let best = of_workload().map(|row| row.value).fold(0.0, f64::max);
                let row = of_workload().find(|row| row.subject == *store)?;
                let top = (place * lines_per_workload + number) as f64;
                Some(Rectangle::new([(0.0, top), (row.value / best, top + 0.9)], color))
            });
            let legend = move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color);
            chart.draw_series(rectangles.collect::<Vec<_>>())?.label(*store).legend(legend);
        }
        for (place, name) in workloads.iter().enumerate() {
            let middle = MARGIN_PIXELS + (2 * place + 1) * lines_per_workload * BAR_PIXELS / 2;
            let style = ("sans-serif", 13).into_font().color(&BLACK);
            area.draw(&Text::new((*name).to_owned(), (8, middle as i32 - 8), style))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}
