//! How long operations that succeeded took, window by window: what is usual and what is rare.

use std::io;
use std::time::Duration;

use plotters::prelude::*;

use super::super::bars::{Bar, Ended};
use super::chart::latency_chart;
use super::*;
use crate::gaps::quantile;

/// What is drawn of the latencies of a window, with a name.
const QUANTILES: [(f64, &str, Colour); 4] = [
    (0.5, "0.5", Colour(0x8f, 0xb8, 0xde)),
    (0.95, "0.95", Colour(0x3b, 0x82, 0xc4)),
    (0.99, "0.99", Colour(0x1d, 0x4f, 0x8a)),
    (1.0, "1", Colour(0xd1, 0x34, 0x38)),
];

pub(super) fn draw(scene: &Scene<'_>) -> io::Result<String> {
    let legend = QUANTILES.map(|(_, name, colour)| (name, colour));
    scene.panels(&legend, |area, f, bars| panel(scene, area, f, bars))
}

fn panel<'b>(scene: &Scene<'_>, area: &Area<'b>, f: &str, bars: &[&Bar<'_>]) -> Drawn<'b> {
    let count = scene.windows(bars.len());
    let mut windows: Vec<Vec<Duration>> = vec![Vec::new(); count];
    for bar in bars.iter().filter(|bar| bar.ended() == Ended::Ok) {
        if let Some(latency) = bar.latency() {
            windows[scene.window(count, bar.call.time)].push(latency);
        }
    }
    windows.iter_mut().for_each(|window| window.sort_unstable());

    let (mut chart, least) = latency_chart(scene, area, f, bars)?;
    for (which, _, colour) in QUANTILES {
        let points = windows.iter().enumerate().filter(|(_, window)| !window.is_empty());
        let points = points.map(|(nth, window)| (scene.middle(count, nth), ms(quantile(window, which)).max(least)));
        chart.draw_series(LineSeries::new(points, colour.rgb().stroke_width(2)).point_size(2))?;
    }
    Ok(())
}
