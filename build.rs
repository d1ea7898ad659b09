//! Compiles `proto/` to Rust, without a system `protoc`, and keeps the descriptors for gRPC reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use tonic_prost_build::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/datadb");
    let files = [
        "datadb/v1/repository.proto",
        "datadb/v1/upload.proto",
        "datadb/v1/browse.proto",
        "datadb/v1/store.proto",
        "datadb/v1/database.proto",
        "datadb/v1/monitor.proto",
        "datadb/v1/schedules.proto",
    ];
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for file in files {
        compiler.open_file(file)?;
    }
    let descriptors = compiler.file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    fs::write(out.join("methods.rs"), methods(&descriptors))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}

/// All methods as `package.Service/Method`, sorted, as a slice in Rust.
fn methods(descriptors: &FileDescriptorSet) -> String {
    let mut all = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            all.extend(service.method.iter().map(|method| format!("{name}/{}", method.name())));
        }
    }
    all.sort();
    format!("&{all:?}")
}
