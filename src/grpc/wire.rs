//! The messages and services generated from `proto/ambit/v1`, and their descriptors.

#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "the code is generated"
)]

pub use super::packed::ListAccessibleResponse;

tonic::include_proto!("ambit.v1");

/// The descriptors of all files with what they import, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("ambit_descriptor");
