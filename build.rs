//! Compiles the protobuf files without protoc: protox parses them, tonic-prost-build generates the
//! Rust code. The descriptor set is kept whole for reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 16] = [
    "ambit/v1/consistency.proto",
    "ambit/v1/model.proto",
    "ambit/v1/change.proto",
    "ambit/v1/ceiling.proto",
    "ambit/v1/import.proto",
    "ambit/v1/audit.proto",
    "ambit/v1/decision.proto",
    "ambit/v1/access_request.proto",
    "ambit/v1/preview.proto",
    "ambit/v1/access_watch.proto",
    "ambit/v1/directory.proto",
    "ambit/v1/assignment.proto",
    "ambit/v1/form.proto",
    "ambit/v1/segment.proto",
    "ambit/v1/partition.proto",
    "ambit/v1/partner.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;
    let descriptor_set = compiler.encode_file_descriptor_set();

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("ambit_descriptor.bin"), &descriptor_set)?;
    tonic_prost_build::configure()
        // Maps are ordered, so that equal messages are written equally.
        .btree_map(".")
        // Written by hand: lists are copied into it as they are on the wire.
        .extern_path(
            ".ambit.v1.ListAccessibleResponse",
            "crate::grpc::packed::ListAccessibleResponse",
        )
        .codec_path("crate::grpc::codec::Codec")
        .compile_fds(prost_types::FileDescriptorSet::decode(&*descriptor_set)?)?;
    Ok(())
}
