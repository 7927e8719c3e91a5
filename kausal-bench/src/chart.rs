//! Lines of a plot with their names: what the plots of this crate have in common.

use std::error::Error;

use plotters::coord::CoordTranslate;
use plotters::prelude::*;

/// A line: its name, its color by number, its points from left to right.
pub type Line<'a> = (&'a str, usize, Vec<(f64, f64)>);

/// Draws `lines` that have points, and says in the corner at the top left which is whose.
///
/// # Errors
///
/// Whatever keeps the backend from drawing.
pub fn draw_lines<'a, B, C>(
    chart: &mut ChartContext<'a, B, C>,
    lines: impl IntoIterator<Item = Line<'a>>,
) -> Result<(), Box<dyn Error>>
where
    B: DrawingBackend + 'a,
    B::ErrorType: 'static,
    C: CoordTranslate<From = (f64, f64)>,
{
    for (name, number, points) in lines {
        if points.is_empty() {
            continue;
        }
        let color = Palette99::pick(number).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, color))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}
