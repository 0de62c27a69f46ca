//! A panel's axes, with the faults behind what is drawn on them.

use plotters::coord::combinators::LogCoord;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::super::bars::Bar;
use super::*;

/// A chart over the seconds of the run.
pub(super) type Chart<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;
type Failed<'b> = DrawingAreaErrorKind<<SVGBackend<'b> as DrawingBackend>::ErrorType>;

/// Axes of a panel called `f`; `bounds` are those of its upright axis.
pub(super) fn chart<'a, 'b, Y>(
    scene: &Scene<'_>,
    area: &'a Area<'b>,
    f: &str,
    axis: Y,
    bounds: (f64, f64),
    label: &dyn Fn(&f64) -> String,
) -> Result<Chart<'a, 'b, Y::CoordDescType>, Failed<'b>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(f, (FONT, 16).into_font().color(&INK))
        .margin_right(16)
        .x_label_area_size(24)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..scene.seconds, axis)?;
    chart.draw_series(scene.shades(bounds.0, bounds.1))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .label_style((FONT, 13).into_font().color(&INK))
        .x_label_formatter(&|seconds| format!("{} s", (seconds * 1000.0).round() / 1000.0))
        .y_label_formatter(label)
        .draw()?;
    Ok(chart)
}

/// Axes for latencies, by powers of ten.
pub(super) fn latency_chart<'a, 'b>(
    scene: &Scene<'_>,
    area: &'a Area<'b>,
    f: &str,
    bars: &[&Bar<'_>],
) -> Result<(Chart<'a, 'b, LogCoord<f64>>, f64), Failed<'b>> {
    let (least, most) = decades(bars);
    let label = |ms: &f64| match *ms {
        ms if ms >= 1000.0 => format!("{} s", ms / 1000.0),
        ms if ms >= 0.999 => format!("{} ms", ms.round()),
        ms => format!("{} µs", (ms * 1000.0).round()),
    };
    Ok((chart(scene, area, f, (least..most).log_scale(), (least, most), &label)?, least))
}

/// The milliseconds of an axis that has room for all.
fn decades(bars: &[&Bar<'_>]) -> (f64, f64) {
    let latencies = || bars.iter().filter_map(|bar| bar.latency()).map(ms);
    let least = latencies().fold(f64::INFINITY, f64::min).clamp(0.001, 1e7);
    let most = latencies().fold(0.0, f64::max).max(least * 1.5);
    (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()))
}
