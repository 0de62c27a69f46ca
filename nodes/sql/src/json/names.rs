//! Names of columns, no two alike: an object has each name once.

use std::collections::BTreeSet;

/// The same names in the same order, but a repeated one gets a number: `id`, `id_2`, `id_3`.
pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<&str> = names.collect();
    let given: BTreeSet<&str> = names.iter().copied().collect();
    let mut taken = BTreeSet::new();
    let mut distinct = Vec::with_capacity(names.len());
    for name in names {
        let mut own = name.to_owned();
        let mut number = 1_u64;
        // A name that another column has by itself is not taken from it.
        while taken.contains(&own) || (number > 1 && given.contains(own.as_str())) {
            number += 1;
            own = format!("{name}_{number}");
        }
        taken.insert(own.clone());
        distinct.push(own);
    }
    distinct
}
