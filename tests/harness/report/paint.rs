//! Colours, and text that cannot break out of a page.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use plotters::style::RGBColor;

use super::bars::Ended;
use crate::run::FaultWindow;

/// A colour of pages and plots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

impl Colour {
    pub(super) fn rgb(self) -> RGBColor {
        RGBColor(self.0, self.1, self.2)
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

impl Ended {
    /// Told apart by people who see no red or no green, too.
    pub(super) fn colour(self) -> Colour {
        [Colour(0x3b, 0x82, 0xc4), Colour(0xb9, 0x7f, 0xb5), Colour(0xe8, 0xa3, 0x3d)][self as usize]
    }
}

/// Of what cannot be placed.
pub(super) const WRONG: Colour = Colour(0xd1, 0x34, 0x38);

const FAULTS: [Colour; 7] = [
    Colour(0xd9, 0x77, 0x57),
    Colour(0x7a, 0x8b, 0x99),
    Colour(0x8a, 0x6f, 0xc4),
    Colour(0x4f, 0x9d, 0x8a),
    Colour(0xc4, 0xa0, 0x3b),
    Colour(0xb0, 0x58, 0x7d),
    Colour(0x5b, 0x7f, 0x3a),
];

/// A colour for each kind of fault, in the order of their names.
pub(super) fn fault_colours(faults: &[FaultWindow]) -> BTreeMap<&str, Colour> {
    let kinds: std::collections::BTreeSet<&str> = faults.iter().map(|fault| fault.kind.as_str()).collect();
    kinds.into_iter().zip(FAULTS.into_iter().cycle()).collect()
}

/// Text as the content of an element, or of an attribute in double quotes. Characters that XML has not are replaced.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            char if (char.is_control() && !matches!(char, '\n' | '\t')) || matches!(char, '\u{fffe}' | '\u{ffff}') => {
                f.write_char('\u{fffd}')
            }
            char => f.write_char(char),
        })
    }
}

/// A value within a `script` element: no part of it can end that.
pub(super) fn script_json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()));
    text.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_cannot_become_an_element() {
        assert_eq!(Escaped("<b a=\"1\">&'\u{1}").to_string(), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;\u{fffd}");
        assert_eq!(script_json(&json!("</script>")), "\"\\u003c/script>\"");
    }
}
