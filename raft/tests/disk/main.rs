//! The stores on disk against everything that a disk may do.

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod format;
#[cfg(test)]
mod full;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod model;
#[cfg(test)]
mod real;
#[cfg(test)]
mod snapshots;
