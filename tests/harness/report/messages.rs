//! What nodes and clients said to each other, as Lamport drew it: a line for each of them, time downwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::paint::{Escaped, WRONG};
use crate::run::{Message, MessageFate};

/// Of a long run its beginning is drawn.
pub(super) const MOST: usize = 1500;
const LANE: usize = 150;
const STEP: usize = 13;
const TOP: usize = 44;

/// The diagram; `None` if nobody listened.
pub(super) fn draw(messages: &[Message]) -> Option<String> {
    let shown = &messages[..messages.len().min(MOST)];
    let names: BTreeSet<&str> =
        shown.iter().flat_map(|message| [message.src.as_str(), message.dest.as_str()]).collect();
    let lanes: BTreeMap<&str, usize> = names.into_iter().zip((0..).map(|nth| LANE / 2 + nth * LANE)).collect();
    if shown.is_empty() {
        return None;
    }
    let (width, height) = (lanes.len() * LANE, TOP + shown.len() * STEP + 20);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    // Writing to a string cannot fail, here and below.
    for (name, x) in &lanes {
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"22\" text-anchor=\"middle\" font-size=\"13\" fill=\"#333\">{}</text>\
             <line x1=\"{x}\" y1=\"30\" x2=\"{x}\" y2=\"{height}\" stroke=\"#cfd4d9\"/>",
            Escaped(name)
        );
    }
    let mut sent: BTreeMap<u64, usize> = BTreeMap::new();
    let mut on_the_way: BTreeMap<u64, &Message> = BTreeMap::new();
    for (nth, message) in shown.iter().enumerate() {
        let y = TOP + nth * STEP;
        match message.fate {
            MessageFate::Sent => {
                sent.insert(message.id, y);
                on_the_way.insert(message.id, message);
            }
            fate => {
                let left = sent.get(&message.id).copied().unwrap_or(y);
                on_the_way.remove(&message.id);
                arrow(&mut svg, message, (lanes[message.src.as_str()], left), (lanes[message.dest.as_str()], y), fate);
            }
        }
    }
    // Whatever neither arrived nor was seen to be lost.
    for (id, message) in on_the_way {
        let (from, y) = ((lanes[message.src.as_str()], sent[&id]), sent[&id] + STEP);
        arrow(&mut svg, message, from, (lanes[message.dest.as_str()], y), MessageFate::Lost);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn arrow(svg: &mut String, message: &Message, from: (usize, usize), to: (usize, usize), fate: MessageFate) {
    let lost = fate == MessageFate::Lost;
    // A lost message ends half way.
    let to = if lost { ((from.0 + to.0) / 2, (from.1 + to.1) / 2) } else { to };
    let colour = if lost { WRONG.to_string() } else { "#3b6ea5".to_owned() };
    let (middle, above) = ((from.0 + to.0) / 2, (from.1 + to.1) / 2);
    let _ = write!(
        svg,
        "<g><title>{} → {} at {:.3} ms: {}</title><line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{colour}\"/>",
        Escaped(&message.src),
        Escaped(&message.dest),
        message.time.as_secs_f64() * 1000.0,
        Escaped(&message.says),
        from.0,
        from.1,
        to.0,
        to.1
    );
    if lost {
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{colour}\" font-size=\"14\">×</text>",
            to.0,
            to.1 + 5
        );
    } else {
        let _ = write!(svg, "<circle cx=\"{}\" cy=\"{}\" r=\"2.5\" fill=\"{colour}\"/>", to.0, to.1);
    }
    let says: String = message.says.chars().take(24).collect();
    let _ = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#556\">{}</text></g>",
        above.saturating_sub(3),
        Escaped(&says)
    );
}
