//! Plots over the time of a run, one panel for each kind of operation, with the faults shaded behind them.

mod chart;
mod quantiles;
mod rate;
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::bars::{Bar, Ended};
use super::paint::{Colour, fault_colours};
use crate::run::{FaultWindow, Run};

const WIDTH: u32 = 960;
const PANEL: u32 = 190;
const LEGEND: u32 = 30;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x33, 0x38, 0x3d);
const FAINT: RGBColor = RGBColor(0xe4, 0xe7, 0xea);

/// A place of a plot, and nothing else of it, is drawn on.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// What all plots show of a run.
pub(super) struct Scene<'a> {
    operations: BTreeMap<&'a str, Vec<&'a Bar<'a>>>,
    /// Kind, beginning and end.
    faults: Vec<(&'a str, f64, f64)>,
    colours: BTreeMap<&'a str, Colour>,
    seconds: f64,
}

/// Names of the plots' files, with what is in them.
pub(super) type Plots = [(&'static str, String); 3];

impl<'a> Scene<'a> {
    pub(super) fn new(run: &'a Run, bars: &'a [Bar<'a>]) -> Self {
        let mut operations: BTreeMap<&str, Vec<&Bar<'_>>> = BTreeMap::new();
        bars.iter().for_each(|bar| operations.entry(&bar.call.f).or_default().push(bar));
        let seconds = seconds_of(last_moment(run)).max(0.001);
        let window = |fault: &'a FaultWindow| {
            let to = fault.to.map_or(seconds, |to| seconds_of(to).min(seconds));
            (fault.kind.as_str(), seconds_of(fault.from).min(to), to)
        };
        let faults = run.faults.iter().map(window).collect();
        Scene { operations, faults, colours: fault_colours(&run.faults), seconds }
    }

    /// All plots.
    pub(super) fn plots(&self) -> io::Result<Plots> {
        Ok([
            ("latency-raw.svg", raw::draw(self)?),
            ("latency-quantiles.svg", quantiles::draw(self)?),
            ("rate.svg", rate::draw(self)?),
        ])
    }

    /// Draws a panel for each kind of operation below a legend of these lines and of the faults.
    fn panels(
        &self,
        legend: &[(&str, Colour)],
        panel: impl for<'b> Fn(&Area<'b>, &str, &[&Bar<'_>]) -> Drawn<'b>,
    ) -> io::Result<String> {
        let count = self.operations.len().max(1);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, LEGEND + PANEL * count as u32)).into_drawing_area();
            let draw = || {
                area.fill(&WHITE)?;
                let (top, rest) = area.split_vertically(LEGEND);
                self.legend(&top, legend)?;
                let panels = rest.split_evenly((count, 1));
                for (area, (f, bars)) in panels.iter().zip(&self.operations) {
                    panel(area, f, bars)?;
                }
                area.present()
            };
            draw().map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(svg)
    }

    fn legend<'b>(&self, area: &Area<'b>, lines: &[(&str, Colour)]) -> Drawn<'b> {
        let mut left = 60;
        let faults = self.colours.iter().map(|(kind, colour)| (*kind, *colour));
        for (nth, (name, colour)) in lines.iter().copied().chain(faults).enumerate() {
            let is_fault = nth >= lines.len();
            let top = if is_fault { 6 } else { 11 };
            let style = if is_fault { colour.rgb().mix(0.3).filled() } else { colour.rgb().filled() };
            area.draw(&Rectangle::new([(left, top), (left + 14, 28 - top)], style))?;
            area.draw(&Text::new(name.to_owned(), (left + 19, 8), (FONT, 15).into_font().color(&INK)))?;
            left += 40 + 8 * name.chars().count() as i32;
        }
        Ok(())
    }

    /// Where faults were, from the bottom to the top of a chart.
    fn shades(&self, bottom: f64, top: f64) -> impl Iterator<Item = Rectangle<(f64, f64)>> {
        self.faults.iter().map(move |(kind, from, to)| {
            let colour = self.colours.get(kind).copied().unwrap_or(Colour(0, 0, 0));
            Rectangle::new([(*from, bottom), (*to, top)], colour.rgb().mix(0.14).filled())
        })
    }

    /// The time in windows of equal length, no finer than the operations are dense.
    fn windows(&self, operations: usize) -> usize {
        (operations / 8).clamp(1, 80)
    }

    /// The window of a moment.
    fn window(&self, windows: usize, at: Duration) -> usize {
        ((seconds_of(at) / self.seconds * windows as f64) as usize).min(windows - 1)
    }

    /// The middle of a window.
    fn middle(&self, windows: usize, nth: usize) -> f64 {
        (nth as f64 + 0.5) * self.seconds / windows as f64
    }
}

/// The colours of outcomes, for a legend.
fn outcomes() -> [(&'static str, Colour); 3] {
    Ended::ALL.map(|ended| (ended.name(), ended.colour()))
}

/// The outcomes that operations came to.
fn outcomes_of(bars: &[&Bar<'_>]) -> BTreeSet<Ended> {
    bars.iter().map(|bar| bar.ended()).collect()
}

/// When the last thing happened that can be drawn.
pub(super) fn last_moment(run: &Run) -> Duration {
    run.events.iter().map(|event| event.time).fold(run.length, Duration::max)
}

fn seconds_of(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
