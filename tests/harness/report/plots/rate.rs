//! How many operations ended in each second, by what they came to.

use std::io;

use plotters::prelude::*;

use super::super::bars::Bar;
use super::chart::chart;
use super::*;

pub(super) fn draw(scene: &Scene<'_>) -> io::Result<String> {
    scene.panels(&outcomes(), |area, f, bars| panel(scene, area, f, bars))
}

fn panel<'b>(scene: &Scene<'_>, area: &Area<'b>, f: &str, bars: &[&Bar<'_>]) -> Drawn<'b> {
    let count = scene.windows(bars.len());
    let rates = |ended| {
        let mut rates = vec![0.0; count];
        for bar in bars.iter().filter(|bar| bar.ended() == ended) {
            let at = bar.end.unwrap_or(bar.call).time;
            rates[scene.window(count, at)] += count as f64 / scene.seconds;
        }
        rates
    };
    let lines: Vec<_> = outcomes_of(bars).into_iter().map(|ended| (ended, rates(ended))).collect();
    let most = lines.iter().flat_map(|(_, rates)| rates).fold(1.0, |most: f64, rate| most.max(*rate)) * 1.1;
    let label = |rate: &f64| format!("{rate} /s");
    let mut chart = chart(scene, area, f, 0.0..most, (0.0, most), &label)?;
    for (ended, rates) in lines {
        let points = rates.iter().enumerate().map(|(nth, rate)| (scene.middle(count, nth), *rate));
        chart.draw_series(LineSeries::new(points, ended.colour().rgb().stroke_width(2)).point_size(2))?;
    }
    Ok(())
}
