//! Every operation: when it was called, how long it took, what it came to.

use std::collections::BTreeSet;
use std::io;

use plotters::prelude::*;

use super::super::bars::Bar;
use super::chart::latency_chart;
use super::*;

pub(super) fn draw(scene: &Scene<'_>) -> io::Result<String> {
    scene.panels(&outcomes(), |area, f, bars| panel(scene, area, f, bars))
}

fn panel<'b>(scene: &Scene<'_>, area: &Area<'b>, f: &str, bars: &[&Bar<'_>]) -> Drawn<'b> {
    let (mut chart, least) = latency_chart(scene, area, f, bars)?;
    // Of points that fall on each other one is drawn: a long run would be a large file otherwise.
    let mut drawn = BTreeSet::new();
    for bar in bars {
        let Some(latency) = bar.latency() else { continue };
        let point = (seconds_of(bar.call.time), ms(latency).max(least));
        if drawn.insert((bar.ended(), chart.backend_coord(&point))) {
            let style = bar.ended().colour().rgb().mix(0.75).filled();
            chart.draw_series(std::iter::once(Circle::new(point, 2, style)))?;
        }
    }
    Ok(())
}
