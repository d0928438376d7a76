//! The pure core: rules without I/O. No async, no clock, no SQL, no wire types; `now` is an
//! argument, and everything needed to decide is in the snapshot that is passed in.

pub mod access_request;
pub mod access_set;
pub mod assignment;
pub mod catalog;
pub mod ceiling;
pub mod change;
pub mod decision;
pub mod delegation;
pub mod difference;
pub mod document;
pub mod explain;
pub mod graph;
pub mod model;
pub mod on_behalf;
pub mod partner_event;
pub mod partnership;
pub mod preview;
pub mod segment;
pub mod visibility;
pub mod yaml;
